"""Losses: robust ones, and what regularises a loss or its gradient against label noise."""

from rfjax.losses._active_passive import active_passive as active_passive
from rfjax.losses._active_passive import normalized as normalized
from rfjax.losses._bi_tempered import bi_tempered as bi_tempered
from rfjax.losses._bi_tempered import tempered_log_softmax as tempered_log_softmax
from rfjax.losses._cdr import cdr as cdr
from rfjax.losses._cross_entropy import cross_entropy as cross_entropy
from rfjax.losses._dmi import dmi as dmi
from rfjax.losses._elr import ELRState as ELRState
from rfjax.losses._elr import elr as elr
from rfjax.losses._focal import focal as focal
from rfjax.losses._gce import gce as gce
from rfjax.losses._jensen_shannon import (
  generalized_jensen_shannon as generalized_jensen_shannon,
)
from rfjax.losses._jensen_shannon import jensen_shannon as jensen_shannon
from rfjax.losses._label_smoothing import label_smoothing as label_smoothing
from rfjax.losses._mae import mae as mae
from rfjax.losses._mae import unhinged as unhinged
from rfjax.losses._mixup import mixup as mixup
from rfjax.losses._negative_learning import negative_learning as negative_learning
from rfjax.losses._npcl import npcl as npcl
from rfjax.losses._peer_loss import peer_loss as peer_loss
from rfjax.losses._phuber import phuber as phuber
from rfjax.losses._sce import rce as rce
from rfjax.losses._sce import sce as sce
from rfjax.losses._taylor import taylor as taylor
from rfjax.losses._truncated_gce import TruncatedGCEState as TruncatedGCEState
from rfjax.losses._truncated_gce import truncated_gce as truncated_gce
