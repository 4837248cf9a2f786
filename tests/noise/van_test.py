"""Van et al.'s attack against an oracle in NumPy, row by row."""

import functools

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.noise import _van as noise

KEY = jax.random.key(0)
ROWS, POOL = 60, 25


def dataset(rows=ROWS, seed=0):
  return host.zafar(rows, seed)


def poison(clean, pool, rate=0.1, key=KEY, **options):
  options = {"steps": 30} | options
  return rfjax.transform(noise.van(rate, pool, **options), clean, key=key)


@functools.cache
def compiled(**options):
  return jax.jit(functools.partial(poison, **options))


def attack(clean, pool, **options):
  return jax.device_get(compiled(**options)(clean, pool))


class Oracle:
  """The attack with rows that are appended one by one, and slopes on paper."""

  def __init__(self, clean, rows, statistic, alpha, gamma, gap_weight, learning_rate, l2):
    columns = lambda b: [np.asarray(v, float) for v in (b.x, b.y, b.group)]
    self.clean, self.pool = columns(clean), columns(rows)
    self.statistic, self.alpha, self.gamma = statistic, alpha, gamma
    self.weight, self.rate, self.l2 = gap_weight, learning_rate, l2

  def gap(self, theta, x, y, group):
    """The gap and its slope in (kernel, bias)."""
    rows = np.column_stack([x, np.ones(len(x))])
    if self.statistic == "demographic_parity":
      away = group - group.mean()
      inner, slope = np.mean(away * (rows @ theta)), away @ rows / len(x)
      return inner**2, 2 * inner * slope
    total, gradient, sign = 0.0, np.zeros_like(theta), 2 * y - 1
    half = (1 - sign * (rows @ theta)) / 2
    for label in (0, 1):
      a, b = ((group == g) & (y == label) for g in (0, 1))
      apart = half[a].mean() - half[b].mean()
      total += abs(apart)
      slope = -sign[:, None] * rows / 2
      gradient += np.sign(apart) * (slope[a].mean(0) - slope[b].mean(0))
    return total, gradient

  def step(self, theta, x, y, group):
    rows, sign = np.column_stack([x, np.ones(len(x))]), 2 * y - 1
    short = sign * (rows @ theta) < 1
    gradient = -(sign * short) @ rows / len(x) + self.weight * self.gap(theta, x, y, group)[1]
    return theta - self.rate * (gradient + 2 * self.l2 * np.append(theta[:-1], 0))

  def run(self, theta, steps, number):
    have, taken = self.clean, []
    join = lambda p: [
      np.concatenate([v, w[p : p + 1]]) for v, w in zip(have, self.pool, strict=True)
    ]
    for _ in range(steps):
      theta = self.step(theta, *have)
    for _ in range(number):
      x, y, _ = self.pool
      hinge = np.maximum(0, 1 - (2 * y - 1) * (x @ theta[:-1] + theta[-1]))
      gap = np.array([self.gap(theta, *join(p))[0] for p in range(len(x))])
      score = self.alpha * hinge + (1 - self.alpha) * self.gamma * gap
      score[taken] = -np.inf
      taken.append(int(score.argmax()))
      have = join(taken[-1])
      theta = self.step(theta, *have)
    return taken


# Without a penalty on the kernel it is the one of the authors.
@pytest.mark.parametrize(
  ("statistic", "alpha", "given", "l2"),
  [
    ("equalized_odds", 0.6, 0.1, 0.1),
    ("equalized_odds", 0.0, None, 1.0),
    ("demographic_parity", 0.3, None, 0.0),
  ],
)
def test_the_rows_taken_are_those_of_the_oracle(statistic, alpha, given, l2):
  options = {"statistic": statistic, "alpha": alpha, "gamma": 4.0, "gap_weight": 2.0}
  options |= {"learning_rate": 0.05}
  with jax.enable_x64(True):
    clean, pool = dataset(), dataset(POOL, 1)
    method = noise.van(0.2, host.on_device(pool), steps=30, l2=given, **options)
    new, _ = jax.device_get(jax.jit(lambda batch: method.update(batch, (), key=KEY))(clean))
    start = np.asarray(jax.random.uniform(jax.random.split(KEY)[0], (4,), jnp.float64))
  taken = Oracle(clean, pool, l2=l2, **options).run(start, 30, 12)
  for other in ({"l2": l2 + 0.3}, {"alpha": 1.0}, {"gap_weight": 0.0}):
    assert taken != Oracle(clean, pool, **({"l2": l2} | options | other)).run(start, 30, 12)
  np.testing.assert_array_equal(new.x[ROWS:], pool.x[np.array(taken)])
  np.testing.assert_array_equal(new.y[ROWS:], pool.y[np.array(taken)])
  np.testing.assert_array_equal(new.group[ROWS:], pool.group[np.array(taken)])


def test_the_gap_of_demographic_parity_is_the_covariance_of_the_data_with_the_copies():
  clean, pool, theta = dataset(10), dataset(4, 1), (np.float32([0.5, -1, 2]), np.float32(0.3))

  @jax.jit
  def gaps(copies, *batches):
    points = [noise.Points.of(b.x, b.y, b.group, b.valid) for b in batches]
    return noise._gaps(theta, *points, copies, "demographic_parity")

  for copies in (0, 1, 3):
    found = gaps(np.float32(copies), clean, pool)
    for p in range(4):
      rows = np.append(np.arange(10), [10 + p] * copies).astype(int)
      x, z = (
        np.concatenate([v, w])[rows] for v, w in ((clean.x, pool.x), (clean.group, pool.group))
      )
      covariance = np.mean((z - z.mean()) * (x @ np.asarray(theta[0]) + 0.3))
      np.testing.assert_allclose(found[p], covariance**2, rtol=1e-4)


def test_flipped_labels_are_an_exact_share_of_the_pool_drawn_by_index():
  pool = dataset(POOL, 1)
  made = jax.jit(lambda pool: noise._candidates(pool, pool, "label_flip", 0.15, None, KEY))
  rows, valid = jax.device_get(made(pool))
  assert (rows.y != pool.y).sum() == 3 and valid.sum() == POOL
  np.testing.assert_array_equal(rows.true_y, pool.y)
  order = np.random.default_rng(0).permutation(POOL)
  moved, _ = made(host.take(pool, order))
  np.testing.assert_array_equal(moved.y, rows.y[order])


def test_changed_rows_have_one_column_of_those_named_with_its_other_value():
  rng = np.random.default_rng(0)
  make = lambda n: host.batch(
    np.column_stack([rng.normal(size=n), 3.0 * rng.integers(0, 2, n) + 2, rng.integers(0, 2, n)]),
    rng.integers(0, 2, n), rng.integers(0, 2, n),
  )  # fmt: skip
  clean, pool = host.take(make(40), np.arange(40), np.full(5, 40)), make(30)
  made = jax.jit(lambda *b: noise._candidates(*b, "feature_change", 0.15, (1, 2), KEY))
  rows, valid = jax.device_get(made(clean, pool))
  np.testing.assert_array_equal(rows.x[:30], pool.x)
  np.testing.assert_array_equal(rows.y, np.tile(pool.y, 2))
  changed = np.asarray(rows.x[30:] != pool.x)
  assert changed.sum(1).tolist() == [1] * 30 and changed.any(0).tolist() == [False, True, True]
  assert set(np.unique(rows.x[30:, 1])) == {2, 5} and set(np.unique(rows.x[30:, 2])) == {0, 1}
  assert valid.size == 60
  new = attack(clean, pool, kind="feature_change", columns=(1, 2))
  assert new.valid.sum() == 44


def test_padding_is_neither_learned_from_nor_taken():
  clean, pool = dataset(), dataset(POOL, 1)
  options = {"statistic": "demographic_parity", "kind": "label_flip", "flip_rate": 0.4}
  wider = host.take(clean, np.arange(ROWS), np.full(20, ROWS))
  deeper = host.take(pool, np.arange(POOL), np.full(5, POOL))
  new = attack(clean, pool, **options)
  padded = attack(wider, deeper, capacity=7, **options)
  for name in ("x", "y", "group"):
    np.testing.assert_array_equal(getattr(padded, name)[80:86], getattr(new, name)[ROWS:])
  assert padded.valid.sum() == 66 and (new.y != new.truth.y).any()


def test_traced_settings_equal_the_loop_and_a_pool_that_just_suffices_is_appended_whole():
  clean, pool = host.on_device((dataset(), dataset(12, 1)))
  run = lambda rate, alpha, gamma, size: poison(
    clean, pool, rate, alpha=alpha, gamma=gamma, learning_rate=size, capacity=12
  )
  settings = [np.float32(v) for v in ([0, 0.05, 0.2], [0, 0.5, 1], [1, 50, 150], [0.01, 0.1, 0.1])]
  swept, single = jax.device_get(jax.jit(jax.vmap(run))(*settings)), jax.jit(run)
  for i, each in enumerate(zip(*settings, strict=True)):
    one = jax.device_get(single(*each))
    for name in ("x", "y", "group", "valid", "index"):
      np.testing.assert_array_equal(getattr(swept, name)[i], getattr(one, name))
    assert int(one.valid.sum()) == ROWS + [0, 3, 12][i]
  order = lambda x: np.asarray(x)[np.argsort(np.asarray(x)[:, 0])]
  np.testing.assert_array_equal(order(swept.x[2, ROWS:]), order(pool.x))
  assert swept.index[2].tolist() == list(range(ROWS + 12))


@pytest.mark.parametrize(
  "bad",
  [
    {"rate": 1.1},
    {"statistic": "kindness"},
    {"kind": "kindness"},
    {"alpha": 1.1},
    {"gamma": -1.0},
    {"gap_weight": -1.0},
    {"steps": -1},
    {"learning_rate": 0.0},
    {"l2": -1.0},
    {"flip_rate": 1.1},
    {"columns": ()},
    {"columns": (-1,)},
    {"capacity": -1},
  ],
)
def test_the_factory_refuses_values_out_of_range(bad):
  kind = {"kind": "feature_change"} if "columns" in bad else {}
  with pytest.raises(ValueError, match=f"{next(iter(bad))} must"):
    noise.van(**{"rate": 0.1, "pool": dataset(POOL)} | kind | bad)


def test_pools_and_data_of_another_kind_are_refused():
  clean, pool = dataset(), dataset(POOL, 1)
  with pytest.raises(ValueError, match="pool must be a Batch, got ArrayImpl: use"):
    noise.van(0.1, jax.device_put(pool.x))
  with pytest.raises(ValueError, match="the pool of van needs group"):
    noise.van(0.1, pool.replace(group=None))
  with pytest.raises(ValueError, match="columns must name features for feature_change"):
    noise.van(0.1, pool, kind="feature_change")
  with pytest.raises(ValueError, match=r"columns must lie in \[0, 3\), got 3"):
    host.refuse(poison, clean, pool, kind="feature_change", columns=(3,))
  with pytest.raises(ValueError, match="van needs group"):
    host.refuse(poison, clean.replace(group=None), pool)
  with pytest.raises(ValueError, match=r"pool has rows of shape \(2,\) but x of \(3,\)"):
    host.refuse(poison, clean, pool.replace(x=pool.x[:, :2]))
  with pytest.raises(ValueError, match="pool has 25 candidates for 54 rows"):
    host.refuse(poison, clean, pool, 0.9)
