"""The smallest values of some rows against Python's sort, by both of its ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax.core import NO_ADDRESS, smallest

RNG = np.random.default_rng(0)
N = 24


def by_sort(values, number, mask, index):
  """The marks of one call: tuples in Python's order."""
  rows = sorted((float(values[i]), int(index[i]), i) for i in range(len(values)) if mask[i])
  marks = np.zeros(len(values), bool)
  marks[[i for _, _, i in rows[: max(int(number), 0)]]] = True
  return marks


def shuffled(n):
  return RNG.permutation(n).astype(np.int32)


def padded(n, real):
  """Indices of some real rows among padding, and the mask of the real ones."""
  mask = np.zeros(n, bool)
  mask[RNG.choice(n, real, replace=False)] = True
  index = np.full(n, NO_ADDRESS, np.int32)
  index[mask] = RNG.choice(2**31 - 2, real, replace=False)
  return mask, index


def case(values, mask=None, index=None):
  values, n = np.asarray(values), len(values)
  mask = np.ones(n, bool) if mask is None else np.asarray(mask)
  return values, mask, shuffled(n) if index is None else index


few, some = padded(N, 9), padded(N, 17)
CASES = {
  "distinct": case(RNG.normal(size=N)),
  "ties": case(RNG.integers(0, 3, N)),
  "all equal": case(np.full(N, -2.5)),
  "all equal, padded": case(np.full(N, 3.0), *few),
  "ties, padded": case(RNG.integers(-1, 2, N), *some),
  "distinct, masked": case(RNG.normal(size=N), RNG.random(N) < 0.6),
  "ties, masked": case(RNG.integers(0, 4, N), RNG.random(N) < 0.5),
  "smallest outside the mask": case(np.arange(N), np.arange(N) > 10),
  "nobody takes part": case(RNG.normal(size=N), np.zeros(N, bool)),
  "one takes part": case(np.full(N, 7.0), np.arange(N) == 5),
  "infinities": case(RNG.choice([np.inf, -np.inf, 0.0, 1.0], N), *some),
  "infinite in and out of the mask": case(np.full(N, np.inf), np.arange(N) % 2 == 0),
  "minus infinity everywhere": case(np.full(N, -np.inf)),
  "minus infinity everywhere, padded": case(np.full(N, -np.inf), *few),
  "zeros of both signs": case(RNG.choice([0.0, -0.0], N)),
  "zeros of both signs among others": case(RNG.choice([0.0, -0.0, 1.0, -1.0], N), *some),
  "largest indices": case(
    RNG.integers(0, 2, N), None, (NO_ADDRESS - 1 - shuffled(N)).astype(np.int32)
  ),
  "many magnitudes": case(RNG.normal(size=N) * 10.0 ** RNG.integers(-30, 30, N), *some),
}
NUMBERS = [-3, *range(N + 2), 10 * N, NO_ADDRESS]


def compiled(dtype):
  """Marks of all cases and numbers, [cases, numbers, N], by a function that is traced anew."""
  columns = [np.stack(column) for column in zip(*CASES.values(), strict=True)]
  values, mask, index = columns
  one = lambda v, m, i, k: smallest(v, k, m, i)
  many = jax.vmap(jax.vmap(one, (None, None, None, 0)), (0, 0, 0, None))
  found = jax.jit(many)(
    jnp.asarray(values.astype(dtype)), jnp.asarray(mask), jnp.asarray(index), jnp.asarray(NUMBERS)
  )
  return np.asarray(found)


def wanted(dtype):
  return np.stack(
    [[by_sort(v.astype(dtype), k, m, i) for k in NUMBERS] for v, m, i in CASES.values()]
  )


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_is_pythons_sort_for_every_number(dtype):
  with jax.enable_x64(dtype is np.float64), np.errstate(over="ignore", under="ignore"):
    found, expected = compiled(dtype), wanted(dtype)
  for name, one, two in zip(CASES, found, expected, strict=True):
    np.testing.assert_array_equal(one, two, err_msg=name)


@pytest.mark.parametrize("n", [1200, 9000])
def test_many_values_are_numpys_sort(n):
  values = RNG.integers(0, 40, n).astype(np.float32) / 8
  mask, index = padded(n, n - 700)
  order = np.lexsort((index, values))
  order = order[mask[order]]
  numbers = [0, 1, 57, n // 2, n - 701, n - 700, n - 699, n + 5]
  marks = jax.jit(jax.vmap(smallest, (None, 0, None, None)))(
    values, jnp.asarray(numbers), jnp.asarray(mask), jnp.asarray(index)
  )
  for number, found in zip(numbers, np.asarray(marks), strict=True):
    expected = np.zeros(n, bool)
    expected[order[:number]] = True
    np.testing.assert_array_equal(found, expected, err_msg=str(number))


@pytest.mark.parametrize("n", [12, 3000])
def test_permuting_the_rows_permutes_the_marks(n):
  values, index = RNG.integers(0, 3, n).astype(np.float32), shuffled(n)
  mask, p = RNG.random(n) < 0.7, RNG.permutation(n)
  mark = jax.jit(lambda v, m, i: smallest(v, n // 3, m, i))
  plain = np.asarray(mark(values, mask, index))
  np.testing.assert_array_equal(mark(values[p], mask[p], index[p]), plain[p])
  assert plain.sum() == min(n // 3, mask.sum()) and not plain[~mask].any()
