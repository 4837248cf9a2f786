"""Symmetric label noise: any wrong label is as likely as any other."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, stateless
from rfjax.noise._class_conditional import mix


def _goals(num_classes: int, inclusive: bool) -> jax.Array:
  if inclusive:
    return jnp.full((num_classes, num_classes), 1 / num_classes)
  return (1 - jnp.eye(num_classes)) / (num_classes - 1)


def symmetric_matrix(
  rate: float | jax.Array, num_classes: int, *, inclusive: bool = False
) -> jax.Array:
  r"""The transition matrix of symmetric label noise.

  $$T = (1 - \tau)\, I + \tau\, M, \qquad M_{ij} = \frac{[i \ne j]}{C - 1}
  \quad\text{or, inclusive,}\quad \frac{1}{C}$$

  Args:
    rate: tau in [0, 1]; may be traced.
    num_classes: C, at least 2.
    inclusive: as in `symmetric`.

  Returns:
    T [C, C].

  Raises:
    ValueError: for values out of range.

  Examples:
    >>> from rfjax import noise
    >>> noise.symmetric_matrix(0.5, 3).tolist()
    [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
  """
  _check.number("rate", rate, 0.0, 1.0)
  num_classes = _check.count("num_classes", num_classes, 2)
  return (1 - rate) * jnp.eye(num_classes) + rate * _goals(num_classes, inclusive)


def symmetric(
  rate: float | jax.Array, *, inclusive: bool = False, exact_count: bool = False
) -> Transform:
  r"""Symmetric label noise, without or with the true class among the new labels.

  $$P(\tilde y = j \mid y = i) = (1 - \tau)\, [i = j] + \tau\, M_{ij}, \qquad
  M_{ij} = \frac{[i \ne j]}{C - 1} \quad\text{or, inclusive,}\quad \frac{1}{C}$$

  Papers mean either by the same words: the inclusive form has only tau (C - 1) / C wrong labels.
  `record` says how many there are. The true labels are kept in `truth`, unless they are there
  already; with one key, a higher rate strikes the rows of a lower one and some more.

  Args:
    rate: tau in [0, 1]; may be traced.
    inclusive: whether a new label may be the true one, as in Zhang et al. and in DivideMix.
    exact_count: whether floor(tau N) rows are struck; else each is struck by itself.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for a rate out of range.

  References:
    van Rooyen, Menon, Williamson, Learning with Symmetric Label Noise: The Importance of Being
    Unhinged, NeurIPS 2015.
    Zhang, Bengio, Hardt, Recht, Vinyals, Understanding Deep Learning Requires Rethinking
    Generalization, ICLR 2017 (inclusive).

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 100, [0, 1, 2, 3] * 25)
    >>> half = noise.symmetric(0.5, exact_count=True)
    >>> noisy = rfjax.transform(half, clean, key=jax.random.key(0))
    >>> int((noisy.y != noisy.truth.y).sum())
    50
  """
  _check.number("rate", rate, 0.0, 1.0)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    return mix(batch, rate, _goals(batch.num_classes, inclusive), key, exact_count)

  return stateless(apply, writes=("y",))
