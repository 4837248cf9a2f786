"""Conditional repair: label and group are made independent in each stratum of what may count."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, group_sum, ratio
from rfjax.core._groups import mix_groups
from rfjax.fairness.preprocessing._elements import independent

_NAME = "conditional_repair"


class ConditionalRepairState(NamedTuple):
  """The state of `conditional_repair`.

  Attributes:
    factor: [A, G, C], the weight of each group and label in each stratum; 0 where there is no row.
    lost: [], the share of the weight that the repair wants where there is no row to bear it.
  """

  factor: jax.Array
  lost: jax.Array


def conditional_repair(strata: Callable[[Batch], jax.Array], num_strata: int) -> Transform:
  r"""Capuchin's independent coupling: label independent of group given the admissible features.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot W_{a_i g_i y_i}, \qquad
  W_{agy} = \frac{P(g \mid a)\, P(y \mid a)}{P(g, y \mid a)}
  = \frac{n_{ag}\, n_{ay}}{n_a\, n_{agy}}$$

  where a is the stratum of a row, made of the features through which a group may bear on the label,
  and n sums the weights that the data set has already: reweighing inside each stratum. It is the
  closest table by Kullback-Leibler divergence with this independence, so of hard groups the
  conditional mutual information with the label becomes 0, while strata keep groups and labels.

  Weights cannot make rows. Where a stratum has a group and a label but no row of both, what the
  coupling would put there is lost, and that stratum stays dependent: `init(data).lost` says how
  much of the whole it is. Of a row with soft membership m the factor is the mean over its groups,
  $\sum_g m_g W_{agy} / \sum_g m_g$, which leaves some dependence; it is 1 where the group is
  missing or the stratum is none of the given ones.

  Args:
    strata: the stratum of each row of a batch, `strata(batch) -> int [B]` in [0, num_strata), such
      as codes in a column of x.
    num_strata: A, at least 1.

  Returns:
    The transform of a data set or of batches; it writes weight, and needs group in training only.

  Raises:
    ValueError: for a number of strata below 1; when applied, where the group is missing, or for
      strata that are not one integer a row.

  References:
    Salimi, Rodriguez, Howe, Suciu, Interventional fairness: causal database repair for algorithmic
    fairness, SIGMOD 2019.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> x = [[0], [0], [0], [0], [1], [1], [1], [1]]
    >>> y, group = [0, 1, 1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 1, 0, 1]
    >>> data = rfjax.Batch.from_arrays(x, y, group)
    >>> method = preprocessing.conditional_repair(lambda batch: batch.x[:, 0], 2)
    >>> rfjax.transform(method, data, key=jax.random.key(0)).weight.tolist()
    [0.5, 1.5, 0.75, 0.75, 1.0, 1.0, 1.0, 1.0]
    >>> float(method.init(data).lost)
    0.0625
  """
  num_strata = _check.count("num_strata", num_strata)

  def code(batch: Batch) -> jax.Array:
    found = jnp.asarray(strata(batch))
    if found.shape != batch.y.shape or not jnp.issubdtype(found.dtype, jnp.integer):
      raise ValueError(
        f"strata must give one integer a row, {batch.y.shape}, got {found.dtype}{found.shape}"
      )
    return found

  def init(data: Batch, **unused: Any) -> ConditionalRepairState:
    del unused
    data = data.require("group", by=_NAME).with_columns("weight")
    labels = jax.nn.one_hot(data.y, data.num_classes) * data.weight[:, None]
    # Negative codes would be read from the end.
    stratum = jax.nn.one_hot(code(data), num_strata)
    count = group_sum(data.membership[:, :, None] * labels[:, None, :], stratum)
    wanted = jax.vmap(independent)(count)
    lost = ratio(jnp.sum(jnp.where(count > 0, 0, wanted)), jnp.sum(count))
    return ConditionalRepairState(ratio(wanted, count), lost)

  def update(
    batch: Batch, state: ConditionalRepairState, params: Any = None, **unused: Any
  ) -> tuple[Batch, ConditionalRepairState]:
    del params, unused
    membership = batch.require("group", "weight", by=_NAME).membership
    stratum = code(batch)
    inside = (stratum >= 0) & (stratum < num_strata)
    factor = state.factor[jnp.clip(stratum, 0, num_strata - 1), :, batch.y]
    mixed = jnp.where(inside, mix_groups(membership, factor, 1, rows=True), 1)
    return batch.replace(weight=batch.weight * mixed.astype(batch.weight.dtype)), state

  return Transform(init, update, writes=("weight",))
