"""FairBalance: weights that give every group the same, balanced labels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, ratio
from rfjax.fairness.preprocessing._elements import label_counts, multiply

_NAME = "fair_balance"
_GROUPS = ("kept", "equal")


class FairBalanceState(NamedTuple):
  """The state of `fair_balance`.

  Attributes:
    factor: [G, C], the weight of each group and label; 0 where there is no row.
  """

  factor: jax.Array


def fair_balance(groups: str = "kept") -> Transform:
  r"""FairBalance: as much weight on each label as on any other, in every group.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot W_{g_i y_i}, \qquad
  W_{gy} = \frac{n_g}{C\, n_{gy}} \quad\text{or}\quad \frac{n}{G\, C\, n_{gy}}$$

  where n sums the weights that the training set has already, C counts the labels and G the groups
  that it has. Labels as equal in all groups as these are necessary for equalized odds without
  another change of training, and balanced ones make the average odds difference 0 where the errors
  of both labels weigh alike. Where every group has all labels, the total stays what it was; what a
  group lacks is given to nobody. All that is of hard groups: of a row with soft membership m the
  factor is the mean over its groups, $\sum_g m_g W_{gy} / \sum_g m_g$, which is balanced about; it
  is 1 where the group is missing.

  Args:
    groups: "kept" leaves each group its weight; "equal", the authors' variant, gives all groups the
      same.

  Returns:
    The transform of a data set or of batches; it writes weight, and needs group in training only.

  Raises:
    ValueError: for another name, or where the group is missing.

  References:
    Yu, Chakraborty, Menzies, FairBalance: how to achieve equalized odds with data pre-processing,
    arXiv 2107.08310, 2021.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 5, [0, 1, 1, 1, 0], [0, 0, 0, 1, 1])
    >>> rfjax.transform(preprocessing.fair_balance(), data, key=jax.random.key(0)).weight.tolist()
    [1.5, 0.75, 0.75, 1.0, 1.0]
  """
  _check.choice("groups", groups, _GROUPS)

  def init(data: Batch, **unused: Any) -> FairBalanceState:
    del unused
    count = label_counts(data, _NAME)
    of_group = jnp.sum(count, axis=1, keepdims=True)
    if groups == "equal":
      of_group = ratio(jnp.sum(of_group), jnp.sum(of_group > 0)) * jnp.ones_like(of_group)
    labels = jnp.sum(jnp.sum(count, axis=0) > 0)
    return FairBalanceState(ratio(of_group, labels * count))

  def update(
    batch: Batch, state: FairBalanceState, params: Any = None, **unused: Any
  ) -> tuple[Batch, FairBalanceState]:
    del params, unused
    return multiply(batch, state.factor, _NAME), state

  return Transform(init, update, writes=("weight",))
