"""Label bias correction: weights as if the labels had not been biased against groups."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, group_mean

_NAME = "label_bias_correction"

# The labels among which each row of multipliers compares the groups; None for all.
_PARTS = {"demographic_parity": (None,), "equal_opportunity": (1,), "equalized_odds": (1, 0)}


class LabelBiasCorrectionState(NamedTuple):
  """The state of `label_bias_correction`.

  Attributes:
    multipliers: [1, G]; [2, G] for equalized odds, of positives and of negatives.
  """

  multipliers: jax.Array


def label_bias_correction(
  criterion: str = "demographic_parity",
  *,
  learning_rate: float | jax.Array = 1.0,
  every: int = 1,
) -> Transform:
  r"""Learns how labels are biased against groups, and weighs the examples against it.

  The given labels are taken to be the closest ones to fair labels with a certain violation, which
  multiplies their odds by a factor of each group. Its inverse is the weight

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot 2\,\sigma\Bigl(2 s_i \sum_g m_g
  c_{ig}\Bigr), \qquad m_g \leftarrow m_g + \eta\,(\bar d - \bar d_g)$$

  with s = 1 for label 1 and -1 for label 0, membership c, and the mean $\bar d_g$ of the decisions
  of the network in each group: over all rows for demographic parity, over those with label 1 for
  equal opportunity. Equalized odds has multipliers of its own for each label, by the decisions
  over the rows with that label. A group that gets too few positives so has its positives count
  more. The weights are twice those of the authors' code, so that they start at 1. The multipliers
  move at the start of an epoch, where the authors train a new model for each of 100 such steps.

  A network that fits every given label has no violation but that of the labels: use it with one
  that cannot, or that stops early.

  Args:
    criterion: "demographic_parity", "equal_opportunity" or "equalized_odds".
    learning_rate: eta, at least 0; may be traced.
    every: epochs from one step of the multipliers to the next, at least 1.

  Returns:
    The transform of data with two classes; it writes weight in refresh, and needs group in training
    only.

  Raises:
    ValueError: for values out of range, more than two classes, or where the group is missing.

  References:
    Jiang, Nachum, Identifying and correcting label bias in machine learning, AISTATS 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> method = preprocessing.label_bias_correction()
    >>> state, _ = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                      key=jax.random.key(0), epochs=3)
    >>> state.method.multipliers.shape
    (1, 2)
  """
  _check.choice("criterion", criterion, tuple(_PARTS))
  _check.number("learning_rate", learning_rate, 0.0, open_high=True)
  every = _check.count("every", every)

  def init(data: Batch, **unused: Any) -> LabelBiasCorrectionState:
    del unused
    if data.require("group", by=_NAME).num_classes != 2:
      raise ValueError(
        f"num_classes must be 2 for {_NAME}, got {data.num_classes}: make the labels binary"
      )
    return LabelBiasCorrectionState(jnp.zeros((len(_PARTS[criterion]), data.num_groups)))

  def refresh(
    data: Batch, state: LabelBiasCorrectionState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, LabelBiasCorrectionState]:
    del params, unused
    data.require("logits", "group", "weight", by=_NAME)
    moves = (jnp.asarray(epoch) > 0) & (jnp.asarray(epoch) % every == 0)
    gap = jnp.stack([_violation(data, label) for label in _PARTS[criterion]])
    multipliers = state.multipliers + jnp.where(moves, learning_rate * gap, 0)
    of_label = label_factors(data.membership, multipliers)
    factor = jnp.where(data.y == 1, of_label[:, 1], of_label[:, 0])
    weight = data.weight * factor.astype(data.weight.dtype)
    return data.replace(weight=weight), LabelBiasCorrectionState(multipliers)

  return Transform(init, refresh=refresh, writes=("weight",))


def label_factors(membership: jax.Array, multipliers: jax.Array) -> jax.Array:
  """What an example of label 0 and of label 1 counts, [B, 2]."""
  exponent = jnp.matmul(membership, multipliers.T, precision="highest")
  return 2 * jax.nn.sigmoid(2 * jnp.stack([-exponent[:, -1], exponent[:, 0]], axis=1))


def _violation(data: Batch, label: int | None) -> jax.Array:
  """How many fewer positive decisions a group gets than all rows, among one label, [G]."""
  membership = data.membership
  counted = data.weight if label is None else data.weight * (data.y == label)
  decided = jnp.argmax(data.logits, axis=1).astype(membership.dtype)
  known = jnp.sum(membership, axis=1, keepdims=True)
  mean, size = group_mean(decided, membership * counted[:, None])
  overall, _ = group_mean(decided, known * counted[:, None])
  return jnp.where(size > 0, overall - mean, 0)
