"""Post-processing: the decisions of a trained model are made fair, or the model itself is."""

from rfjax.fairness.postprocessing._calibrated_equalized_odds import (
  CalibratedEqualizedOddsState as CalibratedEqualizedOddsState,
)
from rfjax.fairness.postprocessing._calibrated_equalized_odds import (
  calibrated_equalized_odds as calibrated_equalized_odds,
)
from rfjax.fairness.postprocessing._equal_opportunity import (
  EqualOpportunityState as EqualOpportunityState,
)
from rfjax.fairness.postprocessing._equal_opportunity import equal_opportunity as equal_opportunity
from rfjax.fairness.postprocessing._equalized_odds import EqualizedOddsState as EqualizedOddsState
from rfjax.fairness.postprocessing._equalized_odds import equalized_odds as equalized_odds
from rfjax.fairness.postprocessing._fairness_pruning import fairness_pruning as fairness_pruning
from rfjax.fairness.postprocessing._group_calibration import (
  GroupCalibrationState as GroupCalibrationState,
)
from rfjax.fairness.postprocessing._group_calibration import group_calibration as group_calibration
from rfjax.fairness.postprocessing._group_thresholds import (
  GroupThresholdsState as GroupThresholdsState,
)
from rfjax.fairness.postprocessing._group_thresholds import group_thresholds as group_thresholds
from rfjax.fairness.postprocessing._last_layer import last_layer as last_layer
from rfjax.fairness.postprocessing._level_up import LevelUpState as LevelUpState
from rfjax.fairness.postprocessing._level_up import level_up as level_up
from rfjax.fairness.postprocessing._linear_post import LinearPostState as LinearPostState
from rfjax.fairness.postprocessing._linear_post import linear_post as linear_post
from rfjax.fairness.postprocessing._multicalibration import (
  MulticalibrationState as MulticalibrationState,
)
from rfjax.fairness.postprocessing._multicalibration import multicalibration as multicalibration
from rfjax.fairness.postprocessing._plug_in_equal_opportunity import (
  PlugInEqualOpportunityState as PlugInEqualOpportunityState,
)
from rfjax.fairness.postprocessing._plug_in_equal_opportunity import (
  plug_in_equal_opportunity as plug_in_equal_opportunity,
)
from rfjax.fairness.postprocessing._random_perturbation import (
  random_perturbation as random_perturbation,
)
from rfjax.fairness.postprocessing._reject_option import RejectOptionState as RejectOptionState
from rfjax.fairness.postprocessing._reject_option import reject_option as reject_option
from rfjax.fairness.postprocessing._threshold_optimizer import (
  ThresholdOptimizerState as ThresholdOptimizerState,
)
from rfjax.fairness.postprocessing._threshold_optimizer import (
  threshold_optimizer as threshold_optimizer,
)
from rfjax.fairness.postprocessing._wasserstein_barycenter import (
  WassersteinBarycenterState as WassersteinBarycenterState,
)
from rfjax.fairness.postprocessing._wasserstein_barycenter import (
  wasserstein_barycenter as wasserstein_barycenter,
)
