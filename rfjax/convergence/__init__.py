"""Robustness and fairness at once, as equals or one inside the other."""

from rfjax.convergence._adversarial_reweighting import (
  AdversarialReweightingState as AdversarialReweightingState,
)
from rfjax.convergence._adversarial_reweighting import (
  adversarial_reweighting as adversarial_reweighting,
)
from rfjax.convergence._bias_and_noise_correction import (
  bias_and_noise_correction as bias_and_noise_correction,
)
from rfjax.convergence._chi_square_dro import ChiSquareRisk as ChiSquareRisk
from rfjax.convergence._chi_square_dro import chi_square_dro as chi_square_dro
from rfjax.convergence._chi_square_dro import chi_square_risk as chi_square_risk
from rfjax.convergence._corrected_groups import corrected_groups as corrected_groups
from rfjax.convergence._corrected_labels import corrected_labels as corrected_labels
from rfjax.convergence._corrected_labels import label_copies as label_copies
from rfjax.convergence._denoised_constraints import denoised_constraints as denoised_constraints
from rfjax.convergence._equalized_odds_noise import GroupNoiseAudit as GroupNoiseAudit
from rfjax.convergence._equalized_odds_noise import (
  equalized_odds_bias_factor as equalized_odds_bias_factor,
)
from rfjax.convergence._equalized_odds_noise import group_noise_audit as group_noise_audit
from rfjax.convergence._error_tolerant import error_tolerant as error_tolerant
from rfjax.convergence._error_tolerant import tolerated_ratio as tolerated_ratio
from rfjax.convergence._excess_bias import ExcessBias as ExcessBias
from rfjax.convergence._excess_bias import excess_bias as excess_bias
from rfjax.convergence._fair_robust import FairRobustState as FairRobustState
from rfjax.convergence._fair_robust import fair_robust as fair_robust
from rfjax.convergence._fair_small_loss import FairSmallLossState as FairSmallLossState
from rfjax.convergence._fair_small_loss import fair_small_loss as fair_small_loss
from rfjax.convergence._flea import SourceDistances as SourceDistances
from rfjax.convergence._flea import flea as flea
from rfjax.convergence._flea import kept_sources as kept_sources
from rfjax.convergence._flea import source_distances as source_distances
from rfjax.convergence._fr_train import FRTrainState as FRTrainState
from rfjax.convergence._fr_train import fr_train as fr_train
from rfjax.convergence._fr_train import fr_train_steps as fr_train_steps
from rfjax.convergence._group_noise import corrected_membership as corrected_membership
from rfjax.convergence._group_noise import group_posterior as group_posterior
from rfjax.convergence._group_noise import groups_as_labels as groups_as_labels
from rfjax.convergence._group_noise import true_shares as true_shares
from rfjax.convergence._group_noise_rates import GroupNoiseRates as GroupNoiseRates
from rfjax.convergence._group_noise_rates import group_noise_rates as group_noise_rates
from rfjax.convergence._group_peer import group_peer as group_peer
from rfjax.convergence._group_surrogate import group_surrogate as group_surrogate
from rfjax.convergence._hierarchical_term import hierarchical_term as hierarchical_term
from rfjax.convergence._noise_tolerant_bound import noise_tolerant_bound as noise_tolerant_bound
from rfjax.convergence._prevalence_weights import prevalence_weights as prevalence_weights
from rfjax.convergence._proxy_equalized_odds import proxy_equalized_odds as proxy_equalized_odds
from rfjax.convergence._robust_ensemble import predict_median as predict_median
from rfjax.convergence._robust_ensemble import robust_ensemble as robust_ensemble
from rfjax.convergence._soft_assignment_constraints import (
  soft_assignment_constraints as soft_assignment_constraints,
)
from rfjax.convergence._target_fair import target_fair as target_fair
from rfjax.convergence._tv_robust_constraints import (
  tv_radius as tv_radius,
)
from rfjax.convergence._tv_robust_constraints import (
  tv_robust_constraints as tv_robust_constraints,
)
