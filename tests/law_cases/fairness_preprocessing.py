"""Cases of what makes the training set fair."""

import numpy as np

from law_cases.case import Case
from rfjax.fairness import preprocessing

SCORES = np.random.default_rng(5).normal(size=(10, 2))


def side(batch):
  """A stratum of each row: the sign of its first feature."""
  return (batch.x[:, 0] > 0).astype(int)


CORNERS = np.array([[1.0, 1.0, 0.0, 0.0], [-1.0, -1.0, 0.0, 0.0]])


def optimized(**settings):
  return preprocessing.optimized_preprocessing(CORNERS, thresholds=[1.0], **settings)


CASES = {
  "reweighing": Case(
    make=lambda s: preprocessing.reweighing(),
    neutral=None,
    refused=(),
    acts="data",
  ),
  "fair_balance": Case(
    make=lambda s: preprocessing.fair_balance("equal"),
    neutral=None,
    refused=((("fair",), {}),),
    acts="data",
  ),
  "inverse_probability_weights": Case(
    make=lambda s: preprocessing.inverse_probability_weights(),
    neutral=None,
    refused=(),
    acts="data",
  ),
  "massaging": Case(
    make=lambda s: preprocessing.massaging(SCORES, strength=s),
    neutral=lambda: preprocessing.massaging(SCORES, strength=0.0),
    refused=(((SCORES[:, 0],), {}), ((), {"strength": 1.5})),
    acts="data",
    num_classes=2,
  ),
  "preferential_sampling": Case(
    make=lambda s: preprocessing.preferential_sampling(SCORES),
    neutral=None,
    refused=(((SCORES[:, :1],), {}),),
    acts="data",
    num_classes=2,
  ),
  "uniform_sampling": Case(
    make=lambda s: preprocessing.uniform_sampling(),
    neutral=None,
    refused=(),
    acts="data",
  ),
  "correlation_remover": Case(
    make=lambda s: preprocessing.correlation_remover(s),
    neutral=lambda: preprocessing.correlation_remover(0.0),
    refused=(((1.5,), {}), ((), {"columns": [-1]}), ((), {"columns": [1, 1]})),
    acts="data",
  ),
  "disparate_impact_remover": Case(
    make=lambda s: preprocessing.disparate_impact_remover(s),
    neutral=lambda: preprocessing.disparate_impact_remover(0.0),
    refused=(((-0.5,), {}), ((), {"columns": []})),
    acts="data",
  ),
  "conditional_repair": Case(
    make=lambda s: preprocessing.conditional_repair(side, 2),
    neutral=None,
    refused=(((side, 0), {}),),
    acts="data",
  ),
  "label_bias_correction": Case(
    make=lambda s: preprocessing.label_bias_correction("equalized_odds", learning_rate=s),
    neutral=lambda: preprocessing.label_bias_correction(learning_rate=0.0),
    refused=((("kindness",), {}), ((), {"learning_rate": -1.0}), ((), {"every": 0})),
    num_classes=2,
  ),
  "lfr": Case(
    make=lambda s: preprocessing.lfr(2, fairness=s, learning_rate=0.05, steps=5),
    neutral=None,
    refused=(((0,), {}), ((), {"fairness": -1.0}), ((), {"distance": "far"})),
    acts="data",
  ),
  "optimized_preprocessing": Case(
    make=lambda s: optimized(epsilon=s, limits=[0.5], steps=20),
    neutral=lambda: optimized(epsilon=1.0, limits=[1.0], steps=20),
    refused=(
      (([0.0, 1.0],), {"thresholds": [1.0], "limits": [0.5]}),
      ((CORNERS,), {"thresholds": [1.0], "limits": [0.5, 0.5]}),
      ((CORNERS,), {"thresholds": [1.0], "limits": [1.5]}),
      ((CORNERS,), {"thresholds": [1.0], "limits": [0.5], "epsilon": -0.1}),
    ),
    acts="data",
  ),
  "cell_oversampling": Case(
    make=lambda s: preprocessing.cell_oversampling(s, neighbors=2, capacity=5),
    neutral=lambda: preprocessing.cell_oversampling(0.0, capacity=5),
    refused=(((1.5,), {}), ((), {"neighbors": 0}), ((), {"indicators": [1, 1]})),
    acts="data",
    num_classes=2,
    appends=5,
  ),
  "density_ratio_weights": Case(
    make=lambda s: preprocessing.density_ratio_weights(s, steps=8),
    neutral=lambda: preprocessing.density_ratio_weights(0.0, steps=2),
    refused=(((1.5,), {}), ((), {"l2": 0.0}), ((), {"steps": 0})),
    acts="data",
  ),
  "fair_gan": Case(
    make=lambda s: preprocessing.fair_gan(s, noise=2, hidden=3, steps=4),
    neutral=None,
    refused=(((-1.0,), {}), ((), {"noise": 0}), ((), {"learning_rate": 0.0}), ((), {"steps": 0})),
    acts="data",
  ),
}
