"""Refurbishment: the target label is corrected by what the network has learned."""

from rfjax.refurbishment._beta_mixture import BetaMixture as BetaMixture
from rfjax.refurbishment._beta_mixture import beta_mixture as beta_mixture
from rfjax.refurbishment._beta_mixture import beta_posterior as beta_posterior
from rfjax.refurbishment._bootstrap_hard import bootstrap_hard as bootstrap_hard
from rfjax.refurbishment._bootstrap_soft import bootstrap_soft as bootstrap_soft
from rfjax.refurbishment._dynamic_bootstrap import DynamicBootstrapState as DynamicBootstrapState
from rfjax.refurbishment._dynamic_bootstrap import dynamic_bootstrap as dynamic_bootstrap
from rfjax.refurbishment._mlc import mlc as mlc
from rfjax.refurbishment._mlnt import MLNTState as MLNTState
from rfjax.refurbishment._mlnt import mlnt as mlnt
from rfjax.refurbishment._prestopping_plus import prestopping_plus as prestopping_plus
from rfjax.refurbishment._selfie import SelfieState as SelfieState
from rfjax.refurbishment._selfie import selfie as selfie
from rfjax.refurbishment._selfie_rounds import selfie_rounds as selfie_rounds
