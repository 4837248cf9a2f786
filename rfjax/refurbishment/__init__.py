"""Refurbishment: the target label is corrected by what the network has learned."""

from rfjax.refurbishment._mlc import mlc as mlc
from rfjax.refurbishment._mlnt import MLNTState as MLNTState
from rfjax.refurbishment._mlnt import mlnt as mlnt
from rfjax.refurbishment._selfie import SelfieState as SelfieState
from rfjax.refurbishment._selfie import selfie as selfie
from rfjax.refurbishment._selfie_rounds import selfie_rounds as selfie_rounds
