"""Asymmetric label noise: some classes are taken for one that looks like them."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.catalog._reader import unknown
from rfjax.core import Batch, Transform, _check, stateless
from rfjax.noise._class_conditional import mix

Arrows = tuple[tuple[int, int], ...]

# The superclass of each of CIFAR-100's classes, both in alphabetical order.
# fmt: off
_CIFAR100_SUPERCLASS = (
  4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11,
  6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5,
  5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
  10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13,
  16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)
# fmt: on


def _cycles(part: Sequence[int]) -> Arrows:
  """From each class to the next one of the same part, and from the last to the first."""
  members = [[i for i, p in enumerate(part) if p == k] for k in sorted(set(part))]
  return tuple(pair for m in members for pair in zip(m, m[1:] + m[:1], strict=True))


_NAMED: dict[str, tuple[int, Arrows]] = {
  "mnist": (10, ((7, 1), (2, 7), (3, 8), (5, 6), (6, 5))),
  "fashion_mnist": (10, ((0, 6), (6, 0), (2, 4), (4, 2), (5, 7))),
  "cifar10": (10, ((9, 1), (2, 0), (3, 5), (5, 3), (4, 7))),
  "cifar100": (100, _cycles(_CIFAR100_SUPERCLASS)),
  "cifar100_blocks": (100, _cycles([i // 5 for i in range(100)])),
}


def _pair(value: Any) -> tuple[int, int]:
  try:
    start, end = value
  except (TypeError, ValueError):
    raise ValueError(f"mapping must hold (from, to) pairs of labels, got {value!r}") from None
  start, end = (_check.count("a label of mapping", label, 0) for label in (start, end))
  if start == end:
    raise ValueError(f"mapping sends label {start} to itself: leave the pair out")
  return start, end


def _read(mapping: Any) -> tuple[int | None, Arrows]:
  """The number of classes of a named mapping, None of another one, and the checked pairs."""
  if isinstance(mapping, str):
    if mapping not in _NAMED:
      raise unknown("mapping", mapping, _NAMED)
    return _NAMED[mapping]
  if not isinstance(mapping, Iterable):
    raise ValueError(f"mapping must be a name or (from, to) pairs of labels, got {mapping!r}")
  arrows = tuple(map(_pair, mapping))
  starts = [start for start, _ in arrows]
  twice = [start for start in starts if starts.count(start) > 1]
  if twice:
    raise ValueError(
      f"mapping sends label {twice[0]} to more than one: use class_conditional to divide a class"
    )
  return None, arrows


def _kept(mapping: Any) -> str | Arrows:
  """The mapping, checked, such that it can be read again: an iterator is read but once."""
  _, arrows = _read(mapping)
  return mapping if isinstance(mapping, str) else arrows


def _goals(mapping: Any, num_classes: int) -> jax.Array:
  classes, arrows = _read(mapping)
  if classes not in (None, num_classes):
    raise ValueError(
      f"mapping {mapping!r} is of {classes} classes, got num_classes {num_classes}: pass pairs"
    )
  goal = np.arange(num_classes)
  for start, end in arrows:
    if max(start, end) >= num_classes:
      raise ValueError(
        f"mapping must hold labels in [0, {num_classes}), got ({start}, {end}): remap the labels"
      )
    goal[start] = end
  return jnp.eye(num_classes)[goal]


def asymmetric_matrix(
  rate: float | jax.Array, mapping: str | Sequence[tuple[int, int]], num_classes: int
) -> jax.Array:
  r"""The transition matrix of asymmetric label noise.

  $$T = (1 - \tau)\, I + \tau\, M, \qquad M_{ij} = [j = m(i)]$$

  where m(i) is the label that i is taken for, and i itself where there is none.

  Args:
    rate: tau in [0, 1]; may be traced.
    mapping: as in `asymmetric`.
    num_classes: C, at least 2.

  Returns:
    T [C, C].

  Raises:
    ValueError: as in `asymmetric`.

  Examples:
    >>> from rfjax import noise
    >>> noise.asymmetric_matrix(0.25, [(0, 2), (2, 0)], 3).tolist()
    [[0.75, 0.0, 0.25], [0.0, 1.0, 0.0], [0.25, 0.0, 0.75]]
  """
  _check.number("rate", rate, 0.0, 1.0)
  num_classes = _check.count("num_classes", num_classes, 2)
  return (1 - rate) * jnp.eye(num_classes) + rate * _goals(mapping, num_classes)


def asymmetric(
  rate: float | jax.Array,
  mapping: str | Sequence[tuple[int, int]],
  *,
  exact_count: bool = False,
) -> Transform:
  r"""Label noise that takes some classes for one that looks like them.

  $$P(\tilde y = m(i) \mid y = i) = \tau, \qquad P(\tilde y = i \mid y = i) = 1 - \tau$$

  Classes from which no pair starts keep their labels, so that fewer than tau N labels are wrong:
  half of it on a balanced MNIST, Fashion-MNIST or CIFAR-10. `record` says how many there are. The
  true labels are kept in `truth`, unless they are there already; with one key, a higher rate
  strikes the rows of a lower one and some more.

  Args:
    rate: tau in [0, 1]; may be traced.
    mapping: (from, to) pairs of labels, each label at most once a "from", or a name.
      "mnist": 7 to 1, 2 to 7, 3 to 8, 5 and 6 swapped.
      "cifar10": truck to automobile, bird to airplane, deer to horse, cat and dog swapped.
      "cifar100": each class to the next one, in order of the labels, of its superclass.
      "cifar100_blocks": the same within the labels 5 k to 5 k + 4, as the published codes have it;
      these are not the superclasses.
      "fashion_mnist": sandal to sneaker, T-shirt and shirt, pullover and coat swapped; there is no
      customary one, and this one is our choice.
    exact_count: whether floor(tau N) rows, of all classes, are struck; else each is struck by
      itself.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for a rate out of range, an unknown name, or pairs that are no map; when applied,
      for a data set with other labels than the mapping's.

  References:
    Patrini, Rozza, Menon, Nock, Qu, Making Deep Neural Networks Robust to Label Noise: A Loss
    Correction Approach, CVPR 2017 (MNIST, CIFAR-10 and CIFAR-100).

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 2, 2])
    >>> swap = noise.asymmetric(1.0, [(0, 2), (2, 0)])
    >>> rfjax.transform(swap, clean, key=jax.random.key(0)).y.tolist()
    [2, 1, 0, 0]
  """
  _check.number("rate", rate, 0.0, 1.0)
  pairs = _kept(mapping)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    return mix(batch, rate, _goals(pairs, batch.num_classes), key, exact_count)

  return stateless(apply, writes=("y",))
