"""Selection: which examples of the training set are learned from."""

from rfjax.selection._co_teaching import co_teaching as co_teaching
from rfjax.selection._co_teaching_plus import co_teaching_plus as co_teaching_plus
from rfjax.selection._cyclical import cyclical as cyclical
from rfjax.selection._decoupling import decoupling as decoupling
from rfjax.selection._itlm import ItlmState as ItlmState
from rfjax.selection._itlm import itlm as itlm
from rfjax.selection._itlm_rounds import itlm_rounds as itlm_rounds
from rfjax.selection._jocor import jocor as jocor
from rfjax.selection._divide_mix import DivideMixState as DivideMixState
from rfjax.selection._divide_mix import divide_mix as divide_mix
from rfjax.selection._morph import MorphState as MorphState
from rfjax.selection._morph import morph as morph
from rfjax.selection._o2u import O2UState as O2UState
from rfjax.selection._o2u import o2u as o2u
from rfjax.selection._o2u_rounds import o2u_rounds as o2u_rounds
from rfjax.selection._prestopping import PrestoppingState as PrestoppingState
from rfjax.selection._prestopping import memorized as memorized
from rfjax.selection._prestopping import prestopping as prestopping
from rfjax.selection._prestopping_rounds import prestopping_rounds as prestopping_rounds
from rfjax.selection._ramp_up import ramp_up as ramp_up
from rfjax.selection._sigua import sigua as sigua
from rfjax.selection._sigua_bc import sigua_bc as sigua_bc
from rfjax.selection._small_loss import small_loss as small_loss
