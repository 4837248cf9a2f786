"""In-processing: training is made fair, by penalties, constraints, adversaries and samplers."""

from rfjax.fairness.inprocessing._adafair import AdaFair as AdaFair
from rfjax.fairness.inprocessing._adafair import adafair as adafair
from rfjax.fairness.inprocessing._adafair import adafair_vote as adafair_vote
from rfjax.fairness.inprocessing._adversarial_debiasing import (
  adversarial_debiasing as adversarial_debiasing,
)
from rfjax.fairness.inprocessing._adversary import AdversaryState as AdversaryState
from rfjax.fairness.inprocessing._bounded_group_loss import bounded_group_loss as bounded_group_loss
from rfjax.fairness.inprocessing._correlation import correlation as correlation
from rfjax.fairness.inprocessing._counterfactual_logit_pairing import (
  counterfactual_logit_pairing as counterfactual_logit_pairing,
)
from rfjax.fairness.inprocessing._covariance import covariance as covariance
from rfjax.fairness.inprocessing._covariance_constraint import (
  CovarianceConstraintState as CovarianceConstraintState,
)
from rfjax.fairness.inprocessing._covariance_constraint import (
  covariance_constraint as covariance_constraint,
)
from rfjax.fairness.inprocessing._exponentiated_gradient import (
  ExponentiatedGradient as ExponentiatedGradient,
)
from rfjax.fairness.inprocessing._exponentiated_gradient import (
  exponentiated_gradient as exponentiated_gradient,
)
from rfjax.fairness.inprocessing._fair_projection import fair_projection as fair_projection
from rfjax.fairness.inprocessing._fairbatch import FairBatchState as FairBatchState
from rfjax.fairness.inprocessing._fairbatch import fairbatch as fairbatch
from rfjax.fairness.inprocessing._fairbatch_reweight import (
  FairBatchReweightState as FairBatchReweightState,
)
from rfjax.fairness.inprocessing._fairbatch_reweight import fairbatch_reweight as fairbatch_reweight
from rfjax.fairness.inprocessing._gap import gap as gap
from rfjax.fairness.inprocessing._gradient_reversal import gradient_reversal as gradient_reversal
from rfjax.fairness.inprocessing._gradient_reversal import reversal_schedule as reversal_schedule
from rfjax.fairness.inprocessing._gradient_surgery import gradient_surgery as gradient_surgery
from rfjax.fairness.inprocessing._grid_search import GridSearch as GridSearch
from rfjax.fairness.inprocessing._grid_search import grid_search as grid_search
from rfjax.fairness.inprocessing._group_dro import GroupDROState as GroupDROState
from rfjax.fairness.inprocessing._group_dro import group_dro as group_dro
from rfjax.fairness.inprocessing._hsic import hsic as hsic
from rfjax.fairness.inprocessing._laftr import LAFTRState as LAFTRState
from rfjax.fairness.inprocessing._laftr import laftr as laftr
from rfjax.fairness.inprocessing._lagrangian import LagrangianState as LagrangianState
from rfjax.fairness.inprocessing._lagrangian import lagrangian as lagrangian
from rfjax.fairness.inprocessing._mistreatment_covariance import (
  mistreatment_covariance as mistreatment_covariance,
)
from rfjax.fairness.inprocessing._mmd import mmd as mmd
from rfjax.fairness.inprocessing._oracle import Oracle as Oracle
from rfjax.fairness.inprocessing._oracle import RandomizedClassifier as RandomizedClassifier
from rfjax.fairness.inprocessing._oracle import logistic_oracle as logistic_oracle
from rfjax.fairness.inprocessing._parity_moments import ParityMoments as ParityMoments
from rfjax.fairness.inprocessing._parity_moments import parity_moments as parity_moments
from rfjax.fairness.inprocessing._prejudice_remover import prejudice_remover as prejudice_remover
from rfjax.fairness.inprocessing._project_against import project_against as project_against
from rfjax.fairness.inprocessing._proxy_lagrangian import (
  ProxyLagrangianState as ProxyLagrangianState,
)
from rfjax.fairness.inprocessing._proxy_lagrangian import proxy_lagrangian as proxy_lagrangian
from rfjax.fairness.inprocessing._relative_gap import relative_gap as relative_gap
from rfjax.fairness.inprocessing._stump import Learner as Learner
from rfjax.fairness.inprocessing._stump import Stump as Stump
from rfjax.fairness.inprocessing._stump import stump as stump
from rfjax.fairness.inprocessing._wasserstein import wasserstein as wasserstein
