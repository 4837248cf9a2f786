"""Any method that reads groups by their sums, corrected for noise of the sensitive attribute."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.convergence._group_noise import (
  check_group_transition,
  check_matrix_of,
  corrected_membership,
)
from rfjax.core import Batch, Transform


def corrected_groups(method: Transform, matrix: ArrayLike) -> Transform:
  r"""Lets a method see groups whose sums have those of the true groups for their mean.

  $$m_i \leftarrow \tilde m_i H^{-1}, \qquad P(\tilde z = h \mid z = g) = H_{gh}$$

  It serves what reads groups by their sums: all penalties and constraints on rates, on covariances
  and on laws of scores. The corrected membership has entries below 0, so what draws rows by their
  group, such as a sampler, has no meaning for it and is refused. A correction multiplies the noise
  of small samples, by up to the norm of the inverse: where a group's corrected size in a batch is
  not above 0, rates leave it out; take large batches, or a penalty's `decay`.

  Args:
    method: a transform that reads `group`, such as `inprocessing.gap`.
    matrix: H [G, G], rows of probabilities, invertible; or one for each label [C, G, G], where
      noise hangs on the label too. May be traced.

  Returns:
    The transform; it writes what `method` writes, and needs group in training only.

  Raises:
    ValueError: for a matrix that is no transition, not invertible, or not of the data set's groups;
      for a method that writes order.

  References:
    Celis, Huang, Keswani, Vishnoi, Fair Classification with Noisy Protected Attributes: A Framework
    with Provable Guarantees, ICML 2021.
    Wang, Guo, Narasimhan, Cotter, Gupta, Jordan, Robust Optimization for Fairness with Noisy
    Protected Groups, NeurIPS 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> method = convergence.corrected_groups(inprocessing.gap(0.5), [[0.9, 0.1], [0.2, 0.8]])
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
  """
  given = check_group_transition(matrix)
  if "order" in method.writes:
    raise ValueError(
      "method must read groups by their sums, got a sampler, which writes order: use its form that"
      " writes weight or penalty"
    )
  table = jnp.asarray(given)

  def corrected(flow: Batch) -> Batch:
    check_matrix_of(table, flow.require("group", by="corrected_groups"))
    return flow.replace(group=corrected_membership(flow.membership, table, flow.y))

  def init(data: Batch, **extra: Any) -> Any:
    return method.init(corrected(data), **extra)

  def with_them(apply: Callable[..., tuple[Batch, Any]]) -> Callable[..., tuple[Batch, Any]]:
    def act(flow: Batch, state: Any, params: Any = None, **extra: Any) -> tuple[Batch, Any]:
      new, state = apply(corrected(flow), state, params, **extra)
      return new.replace(group=flow.group), state

    return act

  return Transform(init, with_them(method.update), with_them(method.refresh), method.writes)
