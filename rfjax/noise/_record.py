"""What noise did to a data set: its realised rates, and a hash to tell label sets apart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch

_MIXERS = (0x85EBCA6B, 0xC2B2AE35)  # of MurmurHash3's finalizer


class Record(NamedTuple):
  """What noise did to a data set.

  Attributes:
    label_rate: share of the valid rows whose label is not the true one, []; 0 without known truth.
    group_rate: share of the valid rows whose group is not the true one, or missing, []; 0 without
      known truth.
    label_hash: of the labels with their row numbers, uint32 []: equal for equal labels of the same
      rows in any order, and for other labels equal once in 2**32.
  """

  label_rate: jax.Array
  group_rate: jax.Array
  label_hash: jax.Array


def record(data: Batch) -> Record:
  r"""Records what noise did to a data set, also inside of compiled code.

  $$\mathrm{label\_rate} = \frac{1}{n} \sum_i [\tilde y_i \ne y_i], \qquad
  \mathrm{label\_hash} = \sum_i h(h(\mathrm{index}_i) + \tilde y_i) \bmod 2^{32}$$

  over the valid rows, where h is the finalizer of MurmurHash3.

  Args:
    data: the data set, with the true labels and groups in `truth` where noise has struck.

  Returns:
    The `Record`.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 10, [0, 1] * 5)
    >>> noisy = rfjax.transform(noise.symmetric(0.3, exact_count=True), clean,
    ...                         key=jax.random.key(0))
    >>> round(float(noise.record(noisy).label_rate), 6)
    0.3
  """
  zero = jnp.zeros(())
  truth = data.truth
  labels = zero if truth is None or truth.y is None else data.mean(data.y != truth.y)
  true = None if truth is None else truth.group
  groups = zero if true is None else data.mean(_wrong_group(data, true))
  return Record(labels, groups, _hash(data))


def _wrong_group(data: Batch, true: jax.Array) -> jax.Array:
  given = data.group
  if given.ndim == true.ndim:
    return given != true if given.ndim == 1 else jnp.any(given != true, axis=-1)
  hard, soft = (given, true) if given.ndim == 1 else (true, given)
  return jnp.any(jax.nn.one_hot(hard, data.num_groups) != soft, axis=-1)


def _hash(data: Batch) -> jax.Array:
  place = _finalize(data.index.astype(jnp.uint32))
  rows = _finalize(place + data.y.astype(jnp.uint32))
  return jnp.sum(jnp.where(data.valid, rows, 0), dtype=jnp.uint32)


def _finalize(h: jax.Array) -> jax.Array:
  """MurmurHash3's 32-bit finalizer, a bijection of uint32."""
  for mixer, shift in zip(_MIXERS, (16, 13), strict=True):
    h = (h ^ (h >> shift)) * jnp.uint32(mixer)
  return h ^ (h >> 16)
