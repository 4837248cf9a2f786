"""Adversarially reweighted learning: an adversary finds the regions in which the model errs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Transform, _check, descend, player, ratio
from rfjax.core._network import as_float, widths
from rfjax.fairness.inprocessing import _adversary

INPUTS = ("x", "features", "group")
_LEAST = 1e-4  # of the mean of the adversary's sigmoids, as the authors' code has it
_NAME = "adversarial_reweighting"


class AdversarialReweightingState(NamedTuple):
  """The state of `adversarial_reweighting`.

  Attributes:
    adversary: the adversary, a `Player`; its parameters are a list of linear layers.
  """

  adversary: Player


class _View(NamedTuple):
  """What the adversary sees of a batch."""

  inputs: jax.Array  # [d, B]
  loss: jax.Array  # [B]
  mass: jax.Array  # [B], keep times weight
  kept: jax.Array  # []


def adversarial_reweighting(
  *,
  pretrain_steps: int = 250,
  inputs: str = "x",
  include_y: bool = True,
  hidden: Sequence[int] = (),
  tx: optax.GradientTransformation | None = None,
) -> Transform:
  r"""ARL: learns most where an adversary, who sees features and labels, finds high losses.

  $$\min_\theta \max_\phi \mathrm{risk}, \qquad
  \mathrm{weight}_i \leftarrow \mathrm{weight}_i\, \lambda_i, \qquad
  \lambda_i = 1 + \frac{\sigma(a_\phi(x_i, y_i))}{\max(\overline{\sigma(a_\phi)},\, 10^{-4})}$$

  with the mean over the rows that are kept, by their weights, so that the mean of lambda is 2. Both
  players move once a step from where they stand: the model descends on the risk by the adversary
  before its step, which ascends on the same losses. In the first steps lambda is 1, and the
  adversary rests.

  The adversary a is linear, so it can raise the weight of regions and of labels, and hardly that of
  single rows: groups that features tell of are heard without being named, and labels that are wrong
  anywhere weigh less than where weights follow losses, as in `chi_square_dro`. Features should have
  one scale. In the authors' code the optimizers of both players advance the count of steps.

  Args:
    pretrain_steps: steps before the adversary plays, at least 0; the default is that of the
      authors' runs.
    inputs: what the adversary sees: "x"; "features", the network's penultimate layer; or "group",
      the authors' baseline that reweights known groups; static.
    include_y: whether it sees the label too.
    hidden: widths of hidden layers, which have no activation and leave a linear; (32,) in the
      authors' code.
    tx: its optimizer, Adagrad at 0.01 by default. The authors' runs have 2 for Adult and 0.001 for
      COMPAS and Law School.

  Returns:
    The transform; it writes weight, and needs group for inputs="group" only. It reads the loss:
    losses, corrections and selections stand in front.

  Raises:
    ValueError: for values out of range, or where what the adversary is to see is missing.

  References:
    Lahoti, Beutel, Chen, Lee, Prost, Thain, Wang, Chi, Fairness without Demographics through
    Adversarially Reweighted Learning, NeurIPS 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> method = convergence.adversarial_reweighting(pretrain_steps=2, tx=optax.adagrad(1.0))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adagrad(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
    >>> state.method.adversary.params[0]["kernel"].shape
    (2, 1)
  """
  pretrain_steps = _check.count("pretrain_steps", pretrain_steps, 0)
  _check.choice("inputs", inputs, INPUTS)
  layers = widths("hidden", hidden)
  adversary_tx = optax.adagrad(0.01) if tx is None else tx

  def width(data: Batch, spec: Any) -> int:
    if inputs == "features":
      return _adversary.width_of(inputs, data, spec, _NAME)
    if inputs == "group":
      return data.require("group", by=_NAME).num_groups
    return data.x[0].size

  def init(
    data: Batch, *, key: jax.Array, spec: Any = None, **unused: Any
  ) -> AdversarialReweightingState:
    del unused
    seen = width(data, spec) + (data.num_classes - 1 if include_y else 0)
    params = _adversary.layers(key, [seen, *layers, 1])
    return AdversarialReweightingState(player(params, adversary_tx))

  def look(batch: Batch) -> _View:
    batch.require("cost", "target", "keep", "weight", *({inputs} - {"x"}), by=_NAME)
    seen = batch.membership if inputs == "group" else getattr(batch, inputs)
    rows = as_float(seen.reshape(batch.num_rows, -1))
    if include_y:
      labels = jax.nn.one_hot(batch.y, batch.num_classes, dtype=rows.dtype)[:, 1:]
      rows = jnp.concatenate([rows, labels], axis=1)
    mass = batch.keep * batch.weight
    return jax.lax.stop_gradient(_View(rows.T, batch.loss, mass, jnp.sum(batch.keep)))

  def update(
    batch: Batch,
    state: AdversarialReweightingState,
    params: Any = None,
    *,
    step: Any,
    **unused: Any,
  ) -> tuple[Batch, AdversarialReweightingState]:
    del params, unused
    view, old = look(batch), state.adversary

    def play() -> tuple[jax.Array, Player]:
      factor = _weights(old.params, view)
      return factor.astype(batch.weight.dtype), descend(_gain, old, view, adversary_tx)

    rest = lambda: (jnp.ones_like(batch.weight), old)
    factor, new = jax.lax.cond(step >= pretrain_steps, play, rest)
    return batch.replace(weight=batch.weight * factor), AdversarialReweightingState(new)

  return Transform(init, update, writes=("weight",))


def _weights(params: list[Any], view: _View) -> jax.Array:
  """lambda, [B]."""
  high = jax.nn.sigmoid(_adversary.scores(params, view.inputs, slope=1.0)[0])
  mean = ratio(jnp.sum(view.mass * high), jnp.sum(view.mass))
  return 1 + high / jnp.maximum(mean, _LEAST)


def _gain(params: list[Any], view: _View) -> jax.Array:
  """The risk by lambda, negated: what the adversary descends on."""
  risk = jnp.sum(view.mass * _weights(params, view) * view.loss)
  return -risk / jnp.maximum(view.kept, 1)
