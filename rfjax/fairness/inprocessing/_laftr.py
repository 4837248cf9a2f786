"""LAFTR: representations from which whatever is learned later treats the groups alike."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.architectures._dense import flatten
from rfjax.core import Batch, Player, Transform, _check, descend, player, ratio
from rfjax.fairness.inprocessing import _adversary
from rfjax.fairness.inprocessing._cells import CRITERIA, cell_sum
from rfjax.fairness.inprocessing._elements import check_strength


class LAFTRState(NamedTuple):
  """The state of `laftr`.

  Attributes:
    adversary: the adversary, a `Player`.
    decoder: what makes features of the representation and the group, a `Player`; () without one.
    factor: [C, G], the weight of a label and group in the adversary's loss.
  """

  adversary: Player
  decoder: Any
  factor: jax.Array


class _View(NamedTuple):
  inputs: jax.Array  # [d, B], of the adversary
  miss: jax.Array  # [G, B], what it costs not to guess a group
  known: jax.Array  # [d + G - 1, B], of the decoder
  x: jax.Array  # [B, D]
  share: jax.Array  # [B], the same for all valid rows


def laftr(
  strength: float | jax.Array,
  criterion: str = "demographic_parity",
  *,
  reconstruction: float | jax.Array = 0.0,
  hidden: tuple[int, ...] = (8,),
  tx: optax.GradientTransformation | None = None,
  steps: int = 1,
) -> Transform:
  r"""Learning adversarially fair and transferable representations.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} - \gamma\, L_A + \beta\, L_X, \qquad
  L_A = \overline{w_i \left|g_i - h(z_i)\right|}, \qquad w_i = n / n_{g_i}$$

  with the network's features z and an adversary h, a perceptron that descends on L_A; |g - h| is 1
  less the probability that h gives to the group. Of two groups L_A is at its least 1 less the total
  variation distance between their features, which bounds how far their selection rates can be
  apart, whatever is made of z. For equalized odds h sees the label too, and w = n / n_gy; for
  equal opportunity only rows with label 1 count. L_X is the mean squared error of features x that
  a linear decoder makes of z and g.

  Args:
    strength: gamma, at least 0; may be traced.
    criterion: "demographic_parity", "equalized_odds" or "equal_opportunity"; static.
    reconstruction: beta, at least 0; may be traced.
    hidden: widths of the hidden layers of h.
    tx: optimizer of adversary and decoder, Adam at 1e-3 by default.
    steps: of both for one of the network, at least 1.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group or the features are missing.

  References:
    Madras, Creager, Pitassi, Zemel, Learning adversarially fair and transferable representations,
    ICML 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1], [0, 0, 1, 1])
    >>> state, log = rfjax.fit(architectures.mlp([8]), inprocessing.laftr(1.0), optax.adam(1e-3),
    ...                        data, key=jax.random.key(0), epochs=5)
  """
  check_strength(strength)
  _check.choice("criterion", criterion, CRITERIA)
  _check.number("reconstruction", reconstruction, 0.0, open_high=True)
  hidden = tuple(_check.count("hidden", width) for width in hidden)
  steps = _check.count("steps", steps)
  tx = optax.adam(1e-3) if tx is None else tx
  decodes = _check.traced(reconstruction) or reconstruction != 0
  parity, odds = criterion == "demographic_parity", criterion == "equalized_odds"

  def init(data: Batch, *, key: jax.Array, spec: Any = None, **unused: Any) -> LAFTRState:
    del unused
    width = _adversary.width_of("features", data.require("group", by="laftr"), spec, "laftr")
    keys, groups = jax.random.split(key), data.num_groups - 1
    seen = width + (data.num_classes - 1 if odds else 0)
    adversary = _adversary.layers(keys[0], (seen, *hidden, groups))
    decoder: Any = ()
    if decodes:
      decoder = player(_adversary.layers(keys[1], (width + groups, data.x[0].size)), tx)
    count = cell_sum(jnp.ones(data.num_rows), data)[:, :-1]
    size = jnp.broadcast_to(jnp.sum(count, axis=0), count.shape) if parity else count
    counted = 1 if criterion != "equal_opportunity" else jnp.arange(len(count))[:, None] == 1
    factor = ratio(jnp.sum(count) * counted, size)
    return LAFTRState(player(adversary, tx), decoder, factor)

  def look(batch: Batch, factor: jax.Array) -> _View:
    member, label = batch.membership, jax.nn.one_hot(batch.y, batch.num_classes)
    rows = jnp.maximum(jnp.sum(member), 1)
    seen = jnp.concatenate([batch.features, label[:, 1:]], 1) if odds else batch.features
    return _View(
      inputs=seen.T,
      miss=(member * factor[batch.y] / rows).T,
      known=jnp.concatenate([batch.features, member[:, 1:]], axis=1).T,
      x=flatten(batch.x),
      share=batch.valid / jnp.maximum(jnp.sum(batch.valid), 1),
    )

  def unfair(params: Any, seen: _View) -> jax.Array:
    scores = _adversary.scores(params, seen.inputs, slope=0.2)
    guess = jax.nn.softmax(jnp.pad(scores, ((1, 0), (0, 0))), axis=0)
    return jnp.sum(seen.miss * (1 - guess))

  def blurred(params: Any, seen: _View) -> jax.Array:
    error = jnp.mean((_adversary.scores(params, seen.known).T - seen.x) ** 2, axis=1)
    return jnp.sum(seen.share * error)

  def update(
    batch: Batch, state: LAFTRState, params: Any = None, **unused: Any
  ) -> tuple[Batch, LAFTRState]:
    del params, unused
    seen = look(batch.require("features", "group", by="laftr"), state.factor)
    still = jax.lax.stop_gradient(state)
    penalty = batch.penalty - strength * unfair(still.adversary.params, seen)
    turns = lambda loss, one: jax.lax.fori_loop(
      0, steps, lambda _, p: descend(loss, p, seen, tx), one
    )
    decoder = state.decoder
    if decodes:
      penalty += reconstruction * blurred(still.decoder.params, seen)
      decoder = turns(blurred, decoder)
    adversary = turns(unfair, state.adversary)
    return batch.replace(penalty=penalty), LAFTRState(adversary, decoder, state.factor)

  return Transform(init, update, writes=("penalty",))
