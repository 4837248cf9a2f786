"""Selection: which examples of the training set are learned from."""

from rfjax.selection._co_teaching import co_teaching as co_teaching
from rfjax.selection._divide_mix import DivideMixState as DivideMixState
from rfjax.selection._divide_mix import divide_mix as divide_mix
from rfjax.selection._morph import MorphState as MorphState
from rfjax.selection._morph import morph as morph
from rfjax.selection._prestopping import PrestoppingState as PrestoppingState
from rfjax.selection._prestopping import prestopping as prestopping
from rfjax.selection._ramp_up import ramp_up as ramp_up
from rfjax.selection._small_loss import small_loss as small_loss
