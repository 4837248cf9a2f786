"""Reweighting: how much each example counts."""

from rfjax.reweighting._active_bias import ActiveBiasState as ActiveBiasState
from rfjax.reweighting._active_bias import active_bias as active_bias
from rfjax.reweighting._importance import importance as importance
from rfjax.reweighting._l2rw import l2rw as l2rw
from rfjax.reweighting._mentor_net import MentorNetState as MentorNetState
from rfjax.reweighting._mentor_net import mentor_net as mentor_net
from rfjax.reweighting._meta_weight_net import meta_weight_net as meta_weight_net
