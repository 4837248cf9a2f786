"""ITLM: the rows of the smallest losses of the whole training set, chosen again and again."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check
from rfjax.selection._elements import (
  Rate,
  check_rate,
  first_mask,
  keep_only,
  rate_at,
  smallest_of_all,
)


class ItlmState(NamedTuple):
  """The state of `itlm`.

  Attributes:
    kept: bool [N], the rows that are learned from.
  """

  kept: jax.Array


def itlm(rate: Rate, *, every: int = 1, kept: jax.Array | None = None) -> Transform:
  r"""Iterative trimmed loss minimization: learn from some rows, and select them anew by the result.

  $$S \leftarrow \arg\min_{|S| = \lfloor (1 - \tau) N \rfloor} \sum_{i \in S} \mathrm{loss}_i,
  \qquad \mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[i \in S]$$

  at the start of every `every`-th epoch but the first, with the losses of the whole training set in
  evaluation mode. Before the first selection all rows are kept. Selection and training descend on
  one trimmed objective, so in a convex problem it never rises. The network goes on from where it
  is; `itlm_rounds` starts it anew each time, as the paper does. A sampler behind it draws of S.

  Args:
    rate: tau in [0, 1), the share to leave out, usually the noise rate; may be traced, or be a
      function of the epoch.
    every: epochs from one selection to the next, at least 1.
    kept: bool [N], the rows of the first epochs; all when None.

  Returns:
    The transform; it writes keep.

  Raises:
    ValueError: for values out of range.

  References:
    Shen, Sanghavi, Learning with Bad Training Data via Iterative Trimmed Loss Minimization, ICML
    2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 0, 1])
    >>> state, log = rfjax.fit(architectures.logistic(), selection.itlm(0.25, every=5),
    ...                        optax.sgd(1.0), data, key=jax.random.key(0), epochs=20)
    >>> state.method.kept.tolist()
    [True, True, False, True]
  """
  check_rate("rate", rate)
  every = _check.count("every", every)

  def init(data: Batch, **unused: Any) -> ItlmState:
    del unused
    return ItlmState(first_mask(data, kept))

  def refresh(
    data: Batch, state: ItlmState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, ItlmState]:
    del params, unused
    now = (epoch > 0) & (epoch % every == 0)
    found = smallest_of_all(data, data.loss, rate_at(rate, epoch))
    chosen = jnp.where(now, found, state.kept)
    return keep_only(data, chosen), ItlmState(chosen)

  def update(
    batch: Batch, state: ItlmState, params: Any = None, **unused: Any
  ) -> tuple[Batch, ItlmState]:
    del params, unused
    batch.require("keep", by="itlm")
    return keep_only(batch, state.kept), state

  return Transform(init, update, refresh, writes=("keep",))
