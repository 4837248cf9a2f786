"""Correction: the softmax output, or the loss, is corrected by the transition of labels."""

from rfjax.correction._anchor_transition import anchor_transition as anchor_transition
from rfjax.correction._backward import backward as backward
from rfjax.correction._dual_t import dual_t as dual_t
from rfjax.correction._forward import forward as forward
from rfjax.correction._glc_rounds import glc_rounds as glc_rounds
from rfjax.correction._gold_loss_correction import gold_loss_correction as gold_loss_correction
from rfjax.correction._gold_transition import gold_transition as gold_transition
from rfjax.correction._t_revision import TRevisionState as TRevisionState
from rfjax.correction._t_revision import t_revision as t_revision
from rfjax.correction._t_revision_rounds import t_revision_rounds as t_revision_rounds
from rfjax.correction._transition_from_joint import (
  transition_from_joint as transition_from_joint,
)
from rfjax.correction._vol_min_net import vol_min_matrix as vol_min_matrix
from rfjax.correction._vol_min_net import vol_min_net as vol_min_net
