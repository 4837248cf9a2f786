"""What noise of the sensitive attribute does to sums by group, and how it is taken back."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Truth, _check, ratio


def check_group_transition(matrix: Any, by_label: bool = True) -> Any:
  """Refuses what is no invertible transition of groups, [G, G] or one for each label [C, G, G]."""
  given = transition_of_groups(matrix, by_label)
  remedy = "groups that noise has made alike cannot be told apart; merge them"
  _check.invertible("matrix", given, remedy)
  return given


def transition_of_groups(matrix: Any, by_label: bool = True, name: str = "matrix") -> Any:
  """Refuses what is no transition of groups, whether or not it has an inverse."""
  given = _check.array(name, matrix)
  return _check.transition(name, given, axes=3 if by_label and given.ndim == 3 else 2)


def check_matrix_of(matrix: Any, data: Batch) -> None:
  """Refuses a transition that is not of the data set's groups, or labels."""
  if matrix.shape[-1] != data.num_groups:
    raise ValueError(
      f"matrix is of {matrix.shape[-1]} groups, but the data set has num_groups {data.num_groups}"
    )
  if matrix.ndim == 3:
    _check.classes("matrix", matrix.shape[0], data)


def corrected_membership(
  membership: ArrayLike, matrix: ArrayLike, y: ArrayLike | None = None
) -> jax.Array:
  r"""Membership that has the true one for its mean over the noise of the groups.

  $$\hat m_i = \tilde m_i H^{-1}, \qquad
  \mathbb E\Bigl[\sum_i \hat m_{ig}\, v_i\Bigr] = \sum_i [z_i = g]\, v_i$$

  for all values v that do not hang on the noise, which strikes a group as it is:
  $P(\tilde z = h \mid z = g) = H_{gh}$, or $H^{(y)}_{gh}$ where the label has a say. So every sum
  over a group is corrected by one product, and with it counts, rates, covariances and what else is
  made of sums. A row sums to 1 as it did, and has entries below 0.

  Args:
    membership: m [N, G], such as `Batch.membership`; a row of zeros, a missing group, stays one.
    matrix: H [G, G], rows of probabilities, invertible; or one for each label [C, G, G]. May be
      traced.
    y: labels, integers [N], for a matrix for each label.

  Returns:
    The membership [N, G].

  Raises:
    ValueError: for a matrix that is no transition of so many groups, or not invertible.

  References:
    Celis, Huang, Keswani, Vishnoi, Fair Classification with Noisy Protected Attributes: A Framework
    with Provable Guarantees, ICML 2021.
    Lamy, Zhong, Menon, Verma, Noise-tolerant Fair Classification, NeurIPS 2019.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import convergence
    >>> given = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> convergence.corrected_membership(given, [[0.75, 0.25], [0.0, 1.0]]).round(3).tolist()
    [[1.33..., -0.33...], [0.0, 1.0]]
  """
  given, member = check_group_transition(matrix), jnp.asarray(membership)
  member = member.astype(jnp.promote_types(member.dtype, jnp.float32))
  if member.ndim != 2 or member.shape[1] != given.shape[-1]:
    raise ValueError(
      f"membership must have one column for each of the {given.shape[-1]} groups of matrix, got"
      f" shape {member.shape}"
    )
  inverse = jnp.linalg.inv(jnp.asarray(given, member.dtype))
  if inverse.ndim == 2:
    return jnp.matmul(member, inverse, precision="highest")
  if y is None:
    raise ValueError("y must be given for a matrix for each label")
  return jnp.einsum("ng,ngh->nh", member, inverse[jnp.asarray(y)], precision="highest")


def true_shares(given: ArrayLike, matrix: ArrayLike) -> jax.Array:
  r"""The shares of the true groups, from those of the given ones.

  $$\pi = \tilde\pi H^{-1}$$

  cut at 0 and divided by its sum, which changes it only where the given shares cannot come from H.

  Args:
    given: shares or counts of the given groups, [G] or [..., G], at least 0.
    matrix: H [G, G]; may be traced.

  Returns:
    The shares, of the same shape; zeros where there is no row.

  Raises:
    ValueError: for a matrix that is no transition, or not invertible.

  References:
    Lamy, Zhong, Menon, Verma, Noise-tolerant Fair Classification, NeurIPS 2019.

  Examples:
    >>> from rfjax import convergence
    >>> convergence.true_shares([0.45, 0.55], [[0.75, 0.25], [0.0, 1.0]]).round(3).tolist()
    [0.6..., 0.4...]
  """
  matrix = jnp.asarray(check_group_transition(matrix, by_label=False))
  found = jnp.asarray(given)
  found = found.astype(jnp.promote_types(found.dtype, jnp.float32))
  back = jnp.linalg.inv(matrix.astype(found.dtype))
  shares = jnp.maximum(jnp.matmul(found, back, precision="highest"), 0)
  return ratio(shares, jnp.sum(shares, axis=-1, keepdims=True))


def group_posterior(matrix: ArrayLike, shares: ArrayLike) -> jax.Array:
  r"""How likely each true group is behind a given one.

  $$W_{hg} = P(z = g \mid \tilde z = h) = \frac{\pi_g H_{gh}}{\sum_k \pi_k H_{kh}}$$

  Args:
    matrix: H [G, G], rows of probabilities; or one for each label [C, G, G]. May be traced.
    shares: pi [G], or [..., G], shares or counts of the true groups; for a matrix for each label
      [C, G], those among its rows.

  Returns:
    W, [..., G, G], a row for each given group; that of one that never comes is the identity's.

  Raises:
    ValueError: for a matrix that is no transition.

  References:
    Lamy, Zhong, Menon, Verma, Noise-tolerant Fair Classification, NeurIPS 2019 (its alpha and beta
    are the entries off the diagonal).

  Examples:
    >>> from rfjax import convergence
    >>> convergence.group_posterior([[0.75, 0.25], [0.0, 1.0]], [0.6, 0.4]).round(3).tolist()
    [[1.0, 0.0], [0.27..., 0.72...]]
  """
  given = jnp.asarray(transition_of_groups(matrix))
  given = given.astype(jnp.promote_types(given.dtype, jnp.float32))
  joint = jnp.asarray(shares)[..., :, None] * given
  total = jnp.sum(joint, axis=-2)[..., None]
  posterior = ratio(jnp.swapaxes(joint, -1, -2), total)
  return jnp.where(total > 0, posterior, jnp.eye(given.shape[-1], dtype=posterior.dtype))


def groups_as_labels(data: Batch) -> Batch:
  """The same rows with the sensitive attribute in the place of the label.

  So what is known of noisy labels serves noisy groups: a network learns x -> given group, and
  `correction.anchor_transition`, `correction.dual_t` or `selection.confident_joint` estimate the
  transition of the groups from what it says.

  Args:
    data: a data set with one group a row; of soft membership, rows with their likeliest group and
      without a group as padding.

  Returns:
    A data set with G classes and no groups; true groups are true labels.

  Raises:
    ValueError: where the group is missing.

  References:
    Lamy, Zhong, Menon, Verma, Noise-tolerant Fair Classification, NeurIPS 2019.

  Examples:
    >>> import rfjax
    >>> from rfjax import convergence
    >>> data = rfjax.Batch.from_arrays([[0.0], [1.0], [2.0]], [0, 0, 1], [0, 1, 1])
    >>> convergence.groups_as_labels(data).y.tolist()
    [0, 1, 1]
  """
  member = data.require("group", by="groups_as_labels").membership
  group = data.group if data.group.ndim == 1 else jnp.argmax(member, axis=1).astype(jnp.int32)
  rows = Batch(
    index=data.index,
    valid=data.valid & (jnp.sum(member, axis=1) > 0),
    x=data.x,
    y=group,
    num_classes=data.num_groups,
  )
  if data.truth is None or data.truth.group is None:
    return rows
  return rows.replace(truth=Truth(y=data.truth.group))
