"""The Wasserstein barycentre of the groups' scores: one distribution for all of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, ratio, uniform
from rfjax.fairness.postprocessing._decide import binary
from rfjax.fairness.postprocessing._scores import of_groups, weighted_membership, with_probs

_BY = "wasserstein_barycenter"


class WassersteinBarycenterState(NamedTuple):
  """The state of `wasserstein_barycenter`.

  Attributes:
    score: [G, N], the scores of each group in ascending order, the last one repeated at the end.
    place: [G, N], the share of the group up to the middle of a row.
    below: [G, N], its share of lower scores.
    upto: [G, N], its share of scores that are not higher.
    share: [G], how large a part of all rows the group is; 0 where it has none.
  """

  score: jax.Array
  place: jax.Array
  below: jax.Array
  upto: jax.Array
  share: jax.Array


def wasserstein_barycenter(
  amount: float | jax.Array = 1.0, *, randomize: bool = False
) -> Transform:
  r"""Demographic parity at any threshold: every score goes to its rank's place in the barycentre.

  $$s \leftarrow s + \varepsilon\,(T_a(s) - s), \qquad
  T_a(s) = P(a)\, s + \sum_{b \ne a} P(b)\, Q_b(F_a(s))$$

  for a row of group a with $s = P(y = 1)$: the distribution function F of its group says which
  share of it has a lower score, and the quantile functions Q which scores have as low a rank in the
  other groups. No labels are used. After it all groups have nearly one distribution of scores; of
  all such maps it moves scores least, in mean square, and the order within a group stays. F and Q
  are linear between the middles of the rows that it was fitted on.

  Args:
    amount: epsilon in [0, 1], where 0 changes nothing; may be traced.
    randomize: give equal scores ranks by lot, by the key of `rfjax.transform`. Otherwise they share
      the middle one, and a group with few distinct scores has few after it.

  Returns:
    The transform of a filled data set, fitted on another; it writes logits, and needs group at
    prediction.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Chzhen, Denis, Hebiri, Oneto, Pontil, Fair regression with Wasserstein barycenters, NeurIPS
    2020.
    Jiang, Pacchiano, Stepleton, Jiang, Chiappa, Wasserstein fair classification, UAI 2019.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], [0, 0, 1, 1])
    >>> score = jnp.array([0.1, 0.3, 0.5, 0.9])
    >>> said = data.fill(jnp.log(jnp.stack([1 - score, score], axis=1)))
    >>> method = postprocessing.wasserstein_barycenter()
    >>> fair = rfjax.transform(method, said, key=jax.random.key(0))
    >>> [round(p, 3) for p in fair.probs[:, 1].tolist()]
    [0.3, 0.6, 0.3, 0.6]
  """
  _check.number("amount", amount, 0.0, 1.0)

  def init(data: Batch, **unused: Any) -> WassersteinBarycenterState:
    del unused
    weight = weighted_membership(binary(data, _BY)).T
    score = jnp.where(weight > 0, jax.nn.softmax(data.logits)[:, 1], jnp.inf)
    order = jnp.argsort(score, axis=1)
    score, weight = (jnp.take_along_axis(v, order, axis=1) for v in (score, weight))
    highest = jnp.max(score, axis=1, keepdims=True, where=weight > 0, initial=0)
    score = jnp.where(weight > 0, score, highest)
    upto = jnp.cumsum(weight, axis=1)
    total = upto[:, -1:]
    edge = ratio(jnp.pad(upto, ((0, 0), (1, 0))), total)
    at = lambda side: jax.vmap(lambda s, e: e[jnp.searchsorted(s, s, side=side)])(score, edge)
    share = ratio(total[:, 0], jnp.sum(total))
    place = ratio(upto - weight / 2, total)
    return WassersteinBarycenterState(score, place, at("left"), at("right"), share)

  def update(
    batch: Batch,
    state: WassersteinBarycenterState,
    params: Any = None,
    *,
    key: jax.Array,
    **unused: Any,
  ) -> tuple[Batch, WassersteinBarycenterState]:
    del params, unused
    score = jax.nn.softmax(binary(batch, _BY).logits)[:, 1]
    part = uniform(key, batch) if randomize else 0.5

    def moved(own: jax.Array, share: jax.Array, known: Any) -> jax.Array:
      """The scores of rows as if all were of one group, [B]."""
      below, upto = (jnp.interp(score, known[0], edge) for edge in known[1:])
      there = jax.vmap(jnp.interp, (None, 0, 0))(below + part * (upto - below), *others)
      new = jnp.tensordot(state.share * (1 - own), there, 1, precision="highest") + share * score
      return jnp.where(share > 0, new, score)

    others = (state.place, state.score)
    of_group = (state.score, state.below, state.upto)
    each = jax.vmap(moved)(jnp.eye(len(state.share)), state.share, of_group)
    fair = of_groups(batch, score[:, None] + amount * (each.T - score[:, None]), score, rows=True)
    return with_probs(batch, jnp.stack([1 - fair, fair], axis=1)), state

  return Transform(init, update, writes=("logits",))
