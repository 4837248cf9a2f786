"""Refurbishment: the target label is corrected by what the network has learned."""

from rfjax.refurbishment._ada_corr import AdaCorrState as AdaCorrState
from rfjax.refurbishment._ada_corr import ada_corr as ada_corr
from rfjax.refurbishment._beta_mixture import BetaMixture as BetaMixture
from rfjax.refurbishment._beta_mixture import beta_mixture as beta_mixture
from rfjax.refurbishment._beta_mixture import beta_posterior as beta_posterior
from rfjax.refurbishment._bootstrap_hard import bootstrap_hard as bootstrap_hard
from rfjax.refurbishment._bootstrap_soft import bootstrap_soft as bootstrap_soft
from rfjax.refurbishment._d2l import D2LState as D2LState
from rfjax.refurbishment._d2l import d2l as d2l
from rfjax.refurbishment._dynamic_bootstrap import DynamicBootstrapState as DynamicBootstrapState
from rfjax.refurbishment._dynamic_bootstrap import dynamic_bootstrap as dynamic_bootstrap
from rfjax.refurbishment._joint_optimization import (
  JointOptimizationState as JointOptimizationState,
)
from rfjax.refurbishment._joint_optimization import joint_optimization as joint_optimization
from rfjax.refurbishment._joint_optimization_rounds import (
  joint_optimization_rounds as joint_optimization_rounds,
)
from rfjax.refurbishment._lid import lid as lid
from rfjax.refurbishment._mlc import mlc as mlc
from rfjax.refurbishment._mlnt import MLNTState as MLNTState
from rfjax.refurbishment._mlnt import mlnt as mlnt
from rfjax.refurbishment._plc import PLCState as PLCState
from rfjax.refurbishment._plc import plc as plc
from rfjax.refurbishment._prestopping_plus import prestopping_plus as prestopping_plus
from rfjax.refurbishment._sat import SATState as SATState
from rfjax.refurbishment._sat import sat as sat
from rfjax.refurbishment._selfie import SelfieState as SelfieState
from rfjax.refurbishment._selfie import selfie as selfie
from rfjax.refurbishment._selfie_rounds import selfie_rounds as selfie_rounds
