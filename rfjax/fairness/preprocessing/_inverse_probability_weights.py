"""Inverse probability weights: every group counts the same, whatever its size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, ratio
from rfjax.fairness.preprocessing._elements import label_counts, multiply

_NAME = "inverse_probability_weights"


class InverseProbabilityWeightsState(NamedTuple):
  """The state of `inverse_probability_weights`.

  Attributes:
    factor: [G], the weight of each group; 0 where there is no row.
  """

  factor: jax.Array


def inverse_probability_weights() -> Transform:
  r"""Inverse probability weights of the groups, the baseline for groups that are known.

  $$\mathrm{weight}_i \leftarrow \frac{\mathrm{weight}_i}{G\, p(g_i)}, \qquad
  p(g) = \frac{n_g}{n}$$

  where n sums the weights that the training set has already, and G counts the groups that it has.
  So the total stays what it was, and all groups have the same. The authors' code has them without
  G, which a learning rate makes up for. Those of group and label together, 1 / p(g, y), are
  `fair_balance("equal")`. Of a row with soft membership m the factor is the mean over its groups,
  $\sum_g m_g / (G\, p(g)) / \sum_g m_g$; it is 1 where the group is missing.

  Returns:
    The transform of a data set or of batches; it writes weight, and needs group in training only.

  Raises:
    ValueError: where the group is missing.

  References:
    Lahoti, Beutel, Chen, Lee, Prost, Thain, Wang, Chi, Fairness without Demographics through
    Adversarially Reweighted Learning, NeurIPS 2020 (its baselines).

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 1, 1], [0, 0, 0, 1])
    >>> method = preprocessing.inverse_probability_weights()
    >>> rfjax.transform(method, data, key=jax.random.key(0)).weight.round(2).tolist()
    [0.66..., 0.66..., 0.66..., 2.0]
  """

  def init(data: Batch, **unused: Any) -> InverseProbabilityWeightsState:
    del unused
    size = jnp.sum(label_counts(data, _NAME), axis=1)
    return InverseProbabilityWeightsState(ratio(jnp.sum(size), jnp.sum(size > 0) * size))

  def update(
    batch: Batch, state: InverseProbabilityWeightsState, params: Any = None, **unused: Any
  ) -> tuple[Batch, InverseProbabilityWeightsState]:
    del params, unused
    factor = jnp.broadcast_to(state.factor[:, None], (state.factor.size, batch.num_classes))
    return multiply(batch, factor, _NAME), state

  return Transform(init, update, writes=("weight",))
