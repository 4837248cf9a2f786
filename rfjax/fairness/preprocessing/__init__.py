"""Pre-processing: the training set is made fair, by new labels, features, weights or rows."""

from rfjax.fairness.preprocessing._cell_oversampling import (
  cell_oversampling as cell_oversampling,
)
from rfjax.fairness.preprocessing._conditional_repair import (
  ConditionalRepairState as ConditionalRepairState,
)
from rfjax.fairness.preprocessing._conditional_repair import (
  conditional_repair as conditional_repair,
)
from rfjax.fairness.preprocessing._correlation_remover import (
  CorrelationRemoverState as CorrelationRemoverState,
)
from rfjax.fairness.preprocessing._correlation_remover import (
  correlation_remover as correlation_remover,
)
from rfjax.fairness.preprocessing._density_ratio_weights import (
  DensityRatioWeightsState as DensityRatioWeightsState,
)
from rfjax.fairness.preprocessing._density_ratio_weights import (
  density_ratio_weights as density_ratio_weights,
)
from rfjax.fairness.preprocessing._discrimination_decomposition import (
  DiscriminationDecomposition as DiscriminationDecomposition,
)
from rfjax.fairness.preprocessing._discrimination_decomposition import (
  discrimination_decomposition as discrimination_decomposition,
)
from rfjax.fairness.preprocessing._disparate_impact_remover import (
  DisparateImpactRemoverState as DisparateImpactRemoverState,
)
from rfjax.fairness.preprocessing._disparate_impact_remover import (
  disparate_impact_remover as disparate_impact_remover,
)
from rfjax.fairness.preprocessing._fair_balance import FairBalanceState as FairBalanceState
from rfjax.fairness.preprocessing._fair_balance import fair_balance as fair_balance
from rfjax.fairness.preprocessing._fair_gan import FairGanState as FairGanState
from rfjax.fairness.preprocessing._fair_gan import fair_gan as fair_gan
from rfjax.fairness.preprocessing._inverse_probability_weights import (
  InverseProbabilityWeightsState as InverseProbabilityWeightsState,
)
from rfjax.fairness.preprocessing._inverse_probability_weights import (
  inverse_probability_weights as inverse_probability_weights,
)
from rfjax.fairness.preprocessing._label_bias_correction import (
  LabelBiasCorrectionState as LabelBiasCorrectionState,
)
from rfjax.fairness.preprocessing._label_bias_correction import (
  label_bias_correction as label_bias_correction,
)
from rfjax.fairness.preprocessing._learning_curve import LearningCurve as LearningCurve
from rfjax.fairness.preprocessing._learning_curve import learning_curve as learning_curve
from rfjax.fairness.preprocessing._lfr import LFRState as LFRState
from rfjax.fairness.preprocessing._lfr import lfr as lfr
from rfjax.fairness.preprocessing._massaging import massaging as massaging
from rfjax.fairness.preprocessing._noise_bounds import noise_bounds as noise_bounds
from rfjax.fairness.preprocessing._optimized_preprocessing import (
  OptimizedPreprocessingState as OptimizedPreprocessingState,
)
from rfjax.fairness.preprocessing._optimized_preprocessing import (
  optimized_preprocessing as optimized_preprocessing,
)
from rfjax.fairness.preprocessing._preferential_sampling import (
  preferential_sampling as preferential_sampling,
)
from rfjax.fairness.preprocessing._reweighing import ReweighingState as ReweighingState
from rfjax.fairness.preprocessing._reweighing import reweighing as reweighing
from rfjax.fairness.preprocessing._slice_tuner import SliceTuner as SliceTuner
from rfjax.fairness.preprocessing._slice_tuner import slice_plan as slice_plan
from rfjax.fairness.preprocessing._slice_tuner import slice_tuner as slice_tuner
from rfjax.fairness.preprocessing._uniform_acquisition import (
  uniform_acquisition as uniform_acquisition,
)
from rfjax.fairness.preprocessing._uniform_sampling import uniform_sampling as uniform_sampling
from rfjax.fairness.preprocessing._water_filling import water_filling as water_filling
