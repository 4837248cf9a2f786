"""Group distributionally robust optimisation: the worst group's loss is what is minimised."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, group_mean, ratio


class GroupDROState(NamedTuple):
  """The state of `group_dro`.

  Attributes:
    log_q: [G], the logarithms of the weights of groups; minus infinity for one without rows.
    average: [G], moving averages of the groups' losses.
    seen: [G], 1 for groups that have an average already.
    size: [G], the rows of each group in the training set.
  """

  log_q: jax.Array
  average: jax.Array
  seen: jax.Array
  size: jax.Array


def group_dro(
  step_size: float | jax.Array = 0.01,
  *,
  adjustment: ArrayLike = 0.0,
  fraction: float | jax.Array | None = None,
  decay: float | jax.Array = 0.9,
) -> Transform:
  r"""Group DRO: an adversary weighs the groups, and the model descends on the weighted losses.

  $$\mathrm{risk} = \sum_g q_g L_g, \qquad
  q_g \propto q_g \exp\Bigl(\eta\,\bigl(L_g + C_g / \sqrt{n_g}\bigr)\Bigr)$$

  with the mean losses L of a batch, 0 for a group that it lacks, by weights of rows: n / n_g of the
  batch times q_g. Rows count by what stands in front: as selected, with the targets and the weights
  that they were given, below 0 not at all. Weights start equal, and move before the model does.
  C > 0 asks smaller groups to fit better, since they generalise worse, and counts where some of C
  are 0 too, which the authors' code then leaves out as a whole; eta = 0 makes groups count alike. A
  group without rows in the training set takes no weight. Groups are often those of a label and an
  attribute together. Without strong regularisation or early stopping a network fits every group,
  and nothing is gained.

  With a fraction f the weights are those of the conditional value at risk: groups in descending
  order of their moving averages, as far as they make up a share f of the training set.

  Args:
    step_size: eta, at least 0; may be traced.
    adjustment: C, a number at least 0, or one a group; may be traced.
    fraction: f, in (0, 1]; None for exponentiated weights; may be traced.
    decay: of the moving averages, which only f reads, in [0, 1); may be traced.

  Returns:
    The transform; it writes weight, and needs group in training only. A row without a group keeps
    its weight.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Sagawa, Koh, Hashimoto, Liang, Distributionally robust neural networks for group shifts: on the
    importance of regularization for worst-case generalization, ICLR 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1], [0, 0, 1, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), inprocessing.group_dro(0.1),
    ...                        optax.sgd(0.1), data, key=jax.random.key(0), epochs=5)
    >>> state.method.log_q.shape
    (2,)
  """
  _check.number("step_size", step_size, 0.0, open_high=True)
  extra = _check.numbers("adjustment", adjustment, 0.0, open_high=True)
  if extra.ndim > 1:
    raise ValueError(f"adjustment must be a number, or one a group, got shape {extra.shape}")
  if fraction is not None:
    _check.number("fraction", fraction, 0.0, 1.0, open_low=True)
  _check.number("decay", decay, 0.0, 1.0, open_high=True)

  def init(data: Batch, **unused: Any) -> GroupDROState:
    del unused
    size = jnp.sum(data.require("group", by="group_dro").membership, axis=0)
    if extra.shape not in ((), size.shape):
      raise ValueError(f"adjustment must have one number a group, {size.size}, got {extra.size}")
    zero, some = jnp.zeros_like(size), (size > 0) | jnp.all(size == 0)
    log_q = jnp.where(some, -jnp.log(jnp.sum(some)), -jnp.inf).astype(size.dtype)
    return GroupDROState(log_q, zero, zero, size)

  def update(
    batch: Batch, state: GroupDROState, params: Any = None, **unused: Any
  ) -> tuple[Batch, GroupDROState]:
    del params, unused
    batch.require("cost", "target", "keep", "weight", "group", by="group_dro")
    counted = jax.lax.stop_gradient(batch.keep * jnp.maximum(batch.weight, 0))
    member = batch.membership * counted[:, None]
    loss, rows = group_mean(jax.lax.stop_gradient(batch.loss), member)
    old = jnp.where(state.seen > 0, decay * state.average + (1 - decay) * loss, loss)
    average = jnp.where(rows > 0, old, state.average)
    more = extra / jnp.sqrt(jnp.maximum(state.size, 1))
    log_q = jax.nn.log_softmax(state.log_q + step_size * (loss + more))
    q = jnp.exp(log_q) if fraction is None else _worst(average + more, state.size, fraction)
    factor = batch.membership @ ratio(q * jnp.sum(rows), rows)
    factor += jnp.maximum(1 - jnp.sum(batch.membership, axis=1), 0)
    seen = jnp.maximum(state.seen, rows > 0)
    weight = batch.weight * factor.astype(batch.weight.dtype)
    return batch.replace(weight=weight), GroupDROState(log_q, average, seen, state.size)

  return Transform(init, update, writes=("weight",))


def _worst(loss: jax.Array, size: jax.Array, fraction: Any) -> jax.Array:
  """The weights [G] of the worst groups, as far as they make up a fraction of all rows."""
  share = size / jnp.maximum(jnp.sum(size), 1)
  before = jnp.sum(jnp.where(_precedes(loss), share, 0), axis=1)
  return jnp.clip(fraction - before, 0, share) / fraction


def _precedes(loss: jax.Array) -> jax.Array:
  """Which group [g, h] says of h that it comes before g in descending order; ties by number."""
  number = jnp.arange(loss.size)
  larger = loss[None] > loss[:, None]
  return larger | ((loss[None] == loss[:, None]) & (number[None] < number[:, None]))
