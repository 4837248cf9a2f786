"""Any penalty that reads labels by group through sums, corrected for noise of the labels."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.convergence._group_noise import (
  check_group_transition,
  check_matrix_of,
  corrected_membership,
)
from rfjax.convergence._label_noise import (
  check_label_transition,
  check_label_transition_of,
  label_inverse,
  label_inverses,
)
from rfjax.core import Batch, Transform

_NAME = "corrected_labels"


def label_copies(
  data: Batch, transition: ArrayLike, *, group_matrix: ArrayLike | None = None
) -> Batch:
  r"""Copies of each row with each label, whose sums have those of the true labels for their mean.

  $$m_{(i,k)} = (T_i^{-1})_{\tilde y_i k}\; \tilde m_i, \qquad
  \mathbb E\Bigl[\sum_{i,k} m_{(i,k) g}\, v_{ik}\Bigr] = \sum_i m_{ig}\, v_{i y_i}$$

  for all values v that do not hang on the noise, which strikes labels as `noise.group_dependent`
  does, with T_i as in `group_surrogate`. So all rates by group of the copies are corrected ones:
  `metrics.group_rates` may be asked. A copy's membership may be below 0; those of a row add up to
  that of the row. With `group_matrix` the groups are noisy too, as in `corrected_groups`, and the
  label noise is that of the true one:

  $$m_{(i,k) g} = (\tilde m_i H^{-1})_g\, (T^{(g)-1})_{\tilde y_i k}.$$

  Args:
    data: a data set of two or more classes and any groups, filled or not.
    transition: as in `group_surrogate`.
    group_matrix: H [G, G], rows of probabilities, invertible; may be traced.

  Returns:
    A `Batch` of N C rows, those of one row after each other, with their labels and memberships.

  Raises:
    ValueError: for matrices that are not row-stochastic, not invertible, or not of the data set's
      groups and classes.

  References:
    Wang, Liu, Levy, Fair Classification with Group-Dependent Label Noise, FAccT 2021 (rates of true
    labels from those of noisy ones).

  Examples:
    >>> import rfjax
    >>> from rfjax import convergence
    >>> data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1], [0, 1])
    >>> copies = convergence.label_copies(data, [0.0, 0.25])
    >>> copies.y.tolist(), copies.membership[:, 1].tolist()
    ([0, 1, 0, 1], [0.0, 0.0, -0.5, 1.5])
  """
  given = check_label_transition(transition)
  check_label_transition_of(given, data, "label_copies")
  rows, classes = jnp.arange(data.num_rows), data.num_classes
  if group_matrix is None:
    share = label_inverse(given, data)[rows, data.y]
    member = share[:, :, None] * data.membership[:, None]
  else:
    matrix = jnp.asarray(check_group_transition(group_matrix, by_label=False))
    check_matrix_of(matrix, data)
    known = corrected_membership(data.membership, matrix)
    share = label_inverses(given, data)[:, data.y]
    member = jnp.einsum("bg,gbk->bkg", known, share, precision="highest")
  copies = data.take(jnp.repeat(rows, classes))
  labels = jnp.tile(jnp.arange(classes, dtype=jnp.int32), data.num_rows)
  return copies.replace(y=labels, group=member.reshape(-1, data.num_groups))


def corrected_labels(
  method: Transform, transition: ArrayLike, *, group_matrix: ArrayLike | None = None
) -> Transform:
  r"""Lets a penalty see labels whose sums have those of the true labels for their mean.

  $$\sum_i m_{ig}\, [y_i = k]\, v_i \leftarrow
  \sum_i m_{ig}\, (T_i^{-1})_{\tilde y_i k}\, v_i, \qquad
  T_i = \sum_g m_{ig}\, T^{(g)} + \Bigl(1 - \sum_g m_{ig}\Bigr) I$$

  It serves what reads labels by sums over groups: penalties and constraints on rates, on laws of
  scores of one label, on losses by group. For true and false positive rates of two classes it is a
  constraint of equalized odds by the true labels. It is exact in the mean where noise hangs on
  label and group alone, and not on features; `proxy_equalized_odds` has the authors' other reading.
  The method sees `label_copies`, so what averages over rows instead of groups, such as
  `fair_projection`, and what has an adversary, has no meaning for it. A correction multiplies the
  noise of small samples: take large batches, or a penalty's `decay`.

  Where the groups are noisy as well, pass their matrix here; `corrected_groups` inside of it is
  for label noise that hangs on the given group instead of the true one.

  Args:
    method: a transform that writes penalty alone, such as `inprocessing.gap`.
    transition: T [G, C, C] or rates [G], as in `group_surrogate`; may be traced.
    group_matrix: as in `label_copies`; may be traced.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for matrices that are not row-stochastic, not invertible, or not of the data set's
      groups and classes; for a method that writes anything else.

  References:
    Wang, Liu, Levy, Fair Classification with Group-Dependent Label Noise, FAccT 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 1, 0, 1])
    >>> equal_opportunity = inprocessing.gap(0.5, "true_positive_rate")
    >>> method = convergence.corrected_labels(equal_opportunity, [0.0, 0.3])
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
  """
  if tuple(method.writes) != ("penalty",):
    written = ", ".join(method.writes) or "nothing"
    raise ValueError(f"method must write penalty alone, got one that writes {written}")
  given = check_label_transition(transition)
  if group_matrix is not None:
    check_group_transition(group_matrix, by_label=False)

  def copies(flow: Batch) -> Batch:
    flow.require("group", by=_NAME)
    return label_copies(flow, given, group_matrix=group_matrix)

  def init(data: Batch, **extra: Any) -> Any:
    return method.init(copies(data), **extra)

  def with_them(apply: Callable[..., tuple[Batch, Any]]) -> Callable[..., tuple[Batch, Any]]:
    def act(flow: Batch, state: Any, params: Any = None, **extra: Any) -> tuple[Batch, Any]:
      new, state = apply(copies(flow), state, params, **extra)
      return flow.replace(penalty=new.penalty), state

    return act

  return Transform(init, with_them(method.update), with_them(method.refresh), method.writes)
