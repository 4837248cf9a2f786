"""Selection: which examples of the training set are learned from."""

from rfjax.selection._co_teaching import co_teaching as co_teaching
from rfjax.selection._confident_joint import confident_joint as confident_joint
from rfjax.selection._confident_learning import ConfidentLearningState as ConfidentLearningState
from rfjax.selection._confident_learning import confident_learning as confident_learning
from rfjax.selection._crust import CrustState as CrustState
from rfjax.selection._crust import crust as crust
from rfjax.selection._fine import FineState as FineState
from rfjax.selection._fine import fine as fine
from rfjax.selection._incv import Incv as Incv
from rfjax.selection._incv import incv as incv
from rfjax.selection._incv_rounds import incv_rounds as incv_rounds
from rfjax.selection._label_issues import label_issues as label_issues
from rfjax.selection._morph import MorphState as MorphState
from rfjax.selection._morph import morph as morph
from rfjax.selection._noise_rate import rate_from_agreement as rate_from_agreement
from rfjax.selection._noise_rate import rate_from_areas as rate_from_areas
from rfjax.selection._noise_rate import rate_from_confident_joint as rate_from_confident_joint
from rfjax.selection._out_of_sample import deal_folds as deal_folds
from rfjax.selection._out_of_sample import out_of_sample as out_of_sample
from rfjax.selection._prestopping import PrestoppingState as PrestoppingState
from rfjax.selection._prestopping import prestopping as prestopping
from rfjax.selection._ramp_up import ramp_up as ramp_up
from rfjax.selection._selected import SelectedState as SelectedState
from rfjax.selection._selected import packed as packed
from rfjax.selection._selected import selected as selected
from rfjax.selection._small_loss import small_loss as small_loss
