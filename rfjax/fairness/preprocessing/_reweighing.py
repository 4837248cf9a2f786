"""Reweighing: weights that make the label independent of the group."""

from typing import Any, NamedTuple

import jax

from rfjax.core import Batch, Transform, ratio
from rfjax.fairness.preprocessing._elements import independent, label_counts, multiply


class ReweighingState(NamedTuple):
  """The state of `reweighing`.

  Attributes:
    factor: [G, C], the weight of each group and label; 0 where there is no row.
  """

  factor: jax.Array


def reweighing() -> Transform:
  r"""Reweighing: as much weight as each group and label would have if they were independent.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot W_{g_i y_i}, \qquad
  W_{gy} = \frac{n_g\, n_y}{n\, n_{gy}}$$

  where n sums the weights that the training set has already. Of hard groups the total stays what it
  was, and label and group are independent under the new weights. Of a row with soft membership m
  the factor is the mean over its groups, $\sum_g m_g W_{gy} / \sum_g m_g$, which leaves some
  dependence; it is 1 where the group is missing.

  Returns:
    The transform of a data set or of batches; it writes weight, and needs group in training only.

  Raises:
    ValueError: where the group is missing.

  References:
    Kamiran, Calders, Data preprocessing techniques for classification without discrimination,
    Knowledge and Information Systems, 2012.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 1, 1], [0, 0, 1, 1])
    >>> rfjax.transform(preprocessing.reweighing(), data, key=jax.random.key(0)).weight.tolist()
    [0.5, 1.5, 0.75, 0.75]
  """

  def init(data: Batch, **unused: Any) -> ReweighingState:
    del unused
    count = label_counts(data, "reweighing")
    return ReweighingState(ratio(independent(count), count))

  def update(
    batch: Batch, state: ReweighingState, params: Any = None, **unused: Any
  ) -> tuple[Batch, ReweighingState]:
    del params, unused
    return multiply(batch, state.factor, "reweighing"), state

  return Transform(init, update, writes=("weight",))
