"""Bounds of noise: how much of the error of a group no classifier can take away."""

import jax
import jax.numpy as jnp

from rfjax.core import Batch, _check, group_mean
from rfjax.fairness.preprocessing import _elements

_NAME = "noise_bounds"


def noise_bounds(data: Batch, *, block: int = 32) -> tuple[jax.Array, jax.Array]:
  r"""Bounds of the least error of each group, by the labels of the nearest rows of the group.

  $$\frac{C - 1}{C} \Bigl(1 - \sqrt{1 - \frac{C}{C - 1}\, e}\Bigr) \;\le\; R^* \;\le\; e$$

  where e is the share of rows with another label than the nearest other row of their group. The
  bounds hold as the number of rows grows; on few rows, and in many dimensions, e is too large. The
  least error is that of any classifier on these features: other ones may lower it. Equally near
  rows go by `index`; of soft membership more than half decides.

  Args:
    data: the data set; scale its features first. It compares all pairs of rows.
    block: for how many rows distances are held at a time; static.

  Returns:
    The lower and the upper bounds, each [G], at most 1 - 1/C; 0 for a group of fewer than two rows.

  Raises:
    ValueError: for a block below 1, or where the group is missing.

  References:
    Cover, Hart, Nearest neighbor pattern classification, IEEE Transactions on Information Theory,
    1967.
    Chen, Johansson, Sontag, Why is my classifier discriminatory?, NeurIPS 2018 (by group).

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0], [1.0], [3.0], [4.0], [7.0]], [0, 0, 1, 1, 0],
    ...                                [0, 0, 0, 0, 0])
    >>> [float(bound[0].round(3)) for bound in preprocessing.noise_bounds(data)]
    [0.11..., 0.2...]
  """
  block = _check.count("block", block)
  group = _elements.hard_group(data, _NAME)
  order = jnp.argsort(data.index)  # of equal distances argmin takes the first
  x, y, own = _elements.features(data)[order], data.y[order], group[order]
  places = jnp.arange(data.num_rows)

  def differs(i: jax.Array) -> tuple[jax.Array, jax.Array]:
    near = (own == own[i]) & (places != i) & (own < data.num_groups)
    distance = jnp.sum((x - x[i]) ** 2, axis=1)
    nearest = jnp.argmin(jnp.where(near, distance, jnp.inf))
    return jnp.any(near), (y[nearest] != y[i]).astype(x.dtype)

  counts, wrong = jax.lax.map(differs, places, batch_size=min(block, data.num_rows))
  error, _ = group_mean(wrong, jax.nn.one_hot(own, data.num_groups) * counts[:, None])
  most = 1 - 1 / data.num_classes
  high = jnp.minimum(error, most)
  return most * (1 - jnp.sqrt(jnp.maximum(1 - high / most, 0))), high
