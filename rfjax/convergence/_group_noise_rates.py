"""Rates of label noise in each group, estimated by whether nearest neighbours agree."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, _check, group_mean
from rfjax.core._network import as_float

_NAME = "group_noise_rates"


class GroupNoiseRates(NamedTuple):
  """What `group_noise_rates` found.

  Attributes:
    delta: [G], in [0, 1], P(given 1 | true 1) - P(given 1 | true 0), for `group_peer`.
    transition: [G, 2, 2], rows of probabilities, for `group_surrogate` and `corrected_labels`.
  """

  delta: jax.Array
  transition: jax.Array


def group_noise_rates(data: Batch, *, prior: ArrayLike = 0.5, block: int = 64) -> GroupNoiseRates:
  r"""Estimates how wrong the labels of each group are, without clean ones.

  If a row and its nearest neighbour in its group have the same true label, and their noise is
  independent, then with p = P(given 1 | true 1), q = P(given 1 | true 0) and the share pi of
  true label 1 in the group

  $$s_1 = P(\tilde y = 1) = \pi p + (1 - \pi) q, \qquad
  s_2 = P(\tilde y = \tilde y_{NN} = 1) = \pi p^2 + (1 - \pi) q^2,$$
  $$\Delta = p - q = \sqrt{\frac{s_2 - s_1^2}{\pi (1 - \pi)}}, \qquad
  p = s_1 + (1 - \pi) \Delta, \quad q = s_1 - \pi \Delta,$$

  where labels are more often right than wrong. The authors assume balanced groups, pi = 1/2, and
  have $\sqrt{2 c_2 - c_1^2}$ with c = 2 s; a wrong share scales Delta. Delta is cut at 0, where
  neighbours agree less than at random, and the rates are cut at 0 and 1.

  Distances are Euclidean: standardise the features first. Where classes overlap, neighbours of
  another class make Delta too small. Of equally near rows the one of the lowest index counts, and
  none is ever taken from another group, as it may be in the authors' code.

  Args:
    data: a data set of two classes with one group a row; of soft membership, rows with their
      likeliest group, and those without a group do not count.
    prior: pi in (0, 1), one number or one for each group [G]; may be traced.
    block: rows whose distances to all rows are in memory at once; it changes no result.

  Returns:
    A `GroupNoiseRates`; a group of less than two rows has a Delta of 1.

  Raises:
    ValueError: for more than two classes, without groups, or for values out of range.

  References:
    Wang, Liu, Levy, Fair Classification with Group-Dependent Label Noise, FAccT 2021.

  Examples:
    >>> import rfjax
    >>> from rfjax import convergence
    >>> x = [[0.0], [0.1], [1.0], [1.1], [2.0], [2.1], [3.0], [3.1]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 1, 0, 0, 1, 1], [0] * 8)
    >>> convergence.group_noise_rates(data).delta.tolist()
    [1.0]
  """
  share = _check.numbers("prior", prior, 0.0, 1.0, open_low=True, open_high=True)
  block = _check.count("block", block)
  if data.require("group", by=_NAME).num_classes != 2:
    raise ValueError(
      f"num_classes must be 2 for {_NAME}, got {data.num_classes}: make the labels binary"
    )
  if share.shape not in ((), (data.num_groups,)):
    raise ValueError(
      f"prior must be one number, or one for each of the {data.num_groups} groups, got shape"
      f" {share.shape}"
    )
  by_index = jnp.argsort(data.index)  # so that of equal distances the first is taken
  x = as_float(data.x.reshape(data.num_rows, -1))[by_index]
  y, member = data.y[by_index] == 1, data.membership[by_index]
  counted, group = jnp.any(member > 0, axis=1), jnp.argmax(member, axis=1)
  places = jnp.arange(data.num_rows)

  def agrees(i: jax.Array) -> jax.Array:
    distance = jnp.sum((x - x[i]) ** 2, axis=1)
    near = counted & (group == group[i]) & (places != i)
    return y[i] & y[jnp.argmin(jnp.where(near, distance, jnp.inf))]

  both = jax.lax.map(agrees, places, batch_size=min(block, data.num_rows))
  code = jnp.where(counted, group, data.num_groups)
  means, size = group_mean(jnp.stack([y, both], axis=1).astype(x.dtype), code, data.num_groups)
  one, two = means.T
  share = jnp.asarray(share, x.dtype)
  delta = jnp.sqrt(jnp.maximum(two - one**2, 0) / (share * (1 - share)))
  right = jnp.clip(one + (1 - share) * delta, 0, 1)
  wrong = jnp.clip(one - share * delta, 0, 1)
  columns = jnp.stack([wrong, right], axis=1)
  transition = jnp.stack([1 - columns, columns], axis=2)
  known = size > 1
  return GroupNoiseRates(
    jnp.where(known, jnp.minimum(delta, 1), 1),
    jnp.where(known[:, None, None], transition, jnp.eye(2, dtype=x.dtype)),
  )
