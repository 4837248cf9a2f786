"""Refurbishment: the target label is corrected by what the network has learned."""

from rfjax.refurbishment._bootstrap_hard import bootstrap_hard as bootstrap_hard
from rfjax.refurbishment._bootstrap_soft import bootstrap_soft as bootstrap_soft
from rfjax.refurbishment._selfie import SelfieState as SelfieState
from rfjax.refurbishment._selfie import selfie as selfie
from rfjax.refurbishment._selfie_rounds import selfie_rounds as selfie_rounds
