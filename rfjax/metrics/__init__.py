"""Measures: accuracy and group fairness, and what became of noisy labels."""

from rfjax.metrics._accuracy_parity import accuracy_parity_difference as accuracy_parity_difference
from rfjax.metrics._accuracy_parity import accuracy_parity_ratio as accuracy_parity_ratio
from rfjax.metrics._auc import abroca as abroca
from rfjax.metrics._auc import auc_parity_difference as auc_parity_difference
from rfjax.metrics._auc import group_xauc as group_xauc
from rfjax.metrics._balance import balance_difference as balance_difference
from rfjax.metrics._base_data import base_rate_difference as base_rate_difference
from rfjax.metrics._base_data import base_rate_ratio as base_rate_ratio
from rfjax.metrics._base_data import class_imbalance as class_imbalance
from rfjax.metrics._base_data import label_divergence as label_divergence
from rfjax.metrics._bootstrap import Bootstrap as Bootstrap
from rfjax.metrics._bootstrap import bootstrap as bootstrap
from rfjax.metrics._calibration import calibration_error as calibration_error
from rfjax.metrics._calibration import calibration_gap as calibration_gap
from rfjax.metrics._cells import Rate as Rate
from rfjax.metrics._conditional import (
  conditional_demographic_disparity as conditional_demographic_disparity,
)
from rfjax.metrics._conditional import (
  conditional_demographic_parity_difference as conditional_demographic_parity_difference,
)
from rfjax.metrics._consistency import consistency as consistency
from rfjax.metrics._counterfactual import counterfactual_unfairness as counterfactual_unfairness
from rfjax.metrics._counterfactual import flip_column as flip_column
from rfjax.metrics._demographic_parity import (
  demographic_parity_difference as demographic_parity_difference,
)
from rfjax.metrics._demographic_parity import demographic_parity_ratio as demographic_parity_ratio
from rfjax.metrics._demographic_parity import disparate_impact as disparate_impact
from rfjax.metrics._differential_fairness import differential_fairness as differential_fairness
from rfjax.metrics._differential_fairness import (
  differential_fairness_bias_amplification as differential_fairness_bias_amplification,
)
from rfjax.metrics._equalized_odds import (
  equal_opportunity_difference as equal_opportunity_difference,
)
from rfjax.metrics._equalized_odds import equal_opportunity_ratio as equal_opportunity_ratio
from rfjax.metrics._equalized_odds import equalized_odds_difference as equalized_odds_difference
from rfjax.metrics._equalized_odds import equalized_odds_ratio as equalized_odds_ratio
from rfjax.metrics._generalized_entropy import (
  between_group_generalized_entropy as between_group_generalized_entropy,
)
from rfjax.metrics._generalized_entropy import coefficient_of_variation as coefficient_of_variation
from rfjax.metrics._generalized_entropy import generalized_entropy as generalized_entropy
from rfjax.metrics._generalized_entropy import theil_index as theil_index
from rfjax.metrics._group_rates import difference as difference
from rfjax.metrics._group_rates import group_rates as group_rates
from rfjax.metrics._group_rates import ratio as ratio
from rfjax.metrics._group_table import group_table as group_table
from rfjax.metrics._lipschitz import lipschitz_violation as lipschitz_violation
from rfjax.metrics._noisy_labels import Choices as Choices
from rfjax.metrics._noisy_labels import Memorization as Memorization
from rfjax.metrics._noisy_labels import choices as choices
from rfjax.metrics._noisy_labels import correction_accuracy as correction_accuracy
from rfjax.metrics._noisy_labels import label_f1 as label_f1
from rfjax.metrics._noisy_labels import label_precision as label_precision
from rfjax.metrics._noisy_labels import label_recall as label_recall
from rfjax.metrics._noisy_labels import memorization_rates as memorization_rates
from rfjax.metrics._noisy_labels import noise_transition as noise_transition
from rfjax.metrics._noisy_labels import transition_error as transition_error
from rfjax.metrics._predictive_parity import (
  predictive_parity_difference as predictive_parity_difference,
)
from rfjax.metrics._predictive_parity import predictive_parity_ratio as predictive_parity_ratio
from rfjax.metrics._proxy_groups import ProxyBias as ProxyBias
from rfjax.metrics._proxy_groups import proxy_bias as proxy_bias
from rfjax.metrics._proxy_groups import threshold_estimator as threshold_estimator
from rfjax.metrics._proxy_groups import weighted_estimator as weighted_estimator
from rfjax.metrics._rates import ByGroup as ByGroup
from rfjax.metrics._rates import accuracy as accuracy
from rfjax.metrics._rates import by_group as by_group
from rfjax.metrics._rates import false_positive_rate as false_positive_rate
from rfjax.metrics._rates import selection_rate as selection_rate
from rfjax.metrics._rates import true_positive_rate as true_positive_rate
from rfjax.metrics._score_correlation import score_correlation as score_correlation
from rfjax.metrics._score_gaps import abcc as abcc
from rfjax.metrics._score_gaps import abpc as abpc
from rfjax.metrics._score_gaps import ks_distance as ks_distance
from rfjax.metrics._score_hsic import score_hsic as score_hsic
from rfjax.metrics._score_mmd import score_mmd as score_mmd
from rfjax.metrics._score_wasserstein import score_wasserstein as score_wasserstein
from rfjax.metrics._treatment_equality import (
  treatment_equality_difference as treatment_equality_difference,
)
from rfjax.metrics._watch import WatchState as WatchState
from rfjax.metrics._watch import watch as watch
from rfjax.metrics._worst_group import (
  bounded_group_loss_violation as bounded_group_loss_violation,
)
from rfjax.metrics._worst_group import worst_group_accuracy as worst_group_accuracy
