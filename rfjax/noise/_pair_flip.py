"""Pair flipping: the labels of each class are taken for those of the next one."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, stateless
from rfjax.noise._class_conditional import mix


def _goals(num_classes: int) -> jax.Array:
  return jnp.roll(jnp.eye(num_classes), 1, axis=1)


def pair_flip_matrix(rate: float | jax.Array, num_classes: int) -> jax.Array:
  r"""The transition matrix of pair flipping.

  $$T = (1 - \tau)\, I + \tau\, M, \qquad M_{ij} = [j = (i + 1) \bmod C]$$

  Args:
    rate: tau in [0, 1]; may be traced.
    num_classes: C, at least 2.

  Returns:
    T [C, C].

  Raises:
    ValueError: for values out of range.

  Examples:
    >>> from rfjax import noise
    >>> noise.pair_flip_matrix(0.25, 3).tolist()
    [[0.75, 0.25, 0.0], [0.0, 0.75, 0.25], [0.25, 0.0, 0.75]]
  """
  _check.number("rate", rate, 0.0, 1.0)
  num_classes = _check.count("num_classes", num_classes, 2)
  return (1 - rate) * jnp.eye(num_classes) + rate * _goals(num_classes)


def pair_flip(rate: float | jax.Array, *, exact_count: bool = False) -> Transform:
  r"""Label noise that takes each class for the next one.

  $$P(\tilde y = (i + 1) \bmod C \mid y = i) = \tau, \qquad P(\tilde y = i \mid y = i) = 1 - \tau$$

  From a rate of 0.5 on, the true class is no longer the most frequent label of its examples. The
  true labels are kept in `truth`, unless they are there already; with one key, a higher rate
  strikes the rows of a lower one and some more.

  Args:
    rate: tau in [0, 1]; may be traced.
    exact_count: whether floor(tau N) rows are struck; else each is struck by itself.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for a rate out of range.

  References:
    Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, Co-teaching: Robust Training of Deep Neural Networks
    with Extremely Noisy Labels, NeurIPS 2018.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 2, 2])
    >>> rfjax.transform(noise.pair_flip(1.0), clean, key=jax.random.key(0)).y.tolist()
    [1, 2, 0, 0]
  """
  _check.number("rate", rate, 0.0, 1.0)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    return mix(batch, rate, _goals(batch.num_classes), key, exact_count)

  return stateless(apply, writes=("y",))
