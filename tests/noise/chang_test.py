"""Chang et al.'s attacks against an oracle in NumPy, and the harm that they do on Zafar's data."""

import functools

import host
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import data, metrics
from rfjax.core import logistic_regression
from rfjax.noise import _append, _chang_models
from rfjax.noise import _chang as noise

KEY = jax.random.key(0)
ROWS, POOL, STEPS = 60, 25, 40
SEEDS = 6


def dataset(rows=ROWS, seed=0):
  return host.zafar(rows, seed)


def poison(clean, pool, rate=0.1, key=KEY, **options):
  options = {"steps": STEPS} | options
  return rfjax.transform(noise.chang(rate, pool, **options), clean, key=key)


@functools.cache
def compiled(**options):
  return jax.jit(functools.partial(poison, **options))


def attack(clean, pool, **options):
  return jax.device_get(compiled(**options)(clean, pool))


class Oracle:
  """Both algorithms, row by row as on paper: the copies are appended one by one."""

  def __init__(self, clean, pool, count, flip, barred, gap_weight, learning_rate, l2):
    columns = lambda b: [np.asarray(v, float) for v in (b.x, b.y, b.group)]
    self.x, self.y, self.group = columns(clean)
    self.px, self.py, self.pg = columns(pool)
    if flip:
      self.px, self.pg = np.concatenate([self.px] * 2), np.append(self.pg, self.pg)
      self.py = np.append(self.py, 1 - self.py)
    self.count, self.strength, self.rate, self.l2 = count, gap_weight, learning_rate, l2
    self.barred = barred

  def with_copies(self, p):
    x = np.concatenate([self.x, np.repeat(self.px[p : p + 1], self.count, axis=0)])
    y = np.append(self.y, [self.py[p]] * self.count)
    return x, y, np.append(self.group, [self.pg[p]] * self.count)

  def linear_gap(self, theta, p):
    """The gap of algorithm 1 and its gradient in (kernel, bias)."""
    x, y, group = self.with_copies(p)
    s, rows = 2 * y - 1, np.column_stack([x, np.ones(len(x))])
    half, slope = (1 - s * (rows @ theta)) / 2, -s[:, None] * rows / 2
    gap, gradient = 0.0, np.zeros_like(theta)
    for label in (0, 1):
      a, b = ((group == g) & (y == label) for g in (0, 1))
      difference = half[a].mean() - half[b].mean()
      gap += abs(difference)
      gradient += np.sign(difference) * (slope[a].mean(0) - slope[b].mean(0))
    return gap, gradient

  def first(self, theta, steps):
    taken, n = [], len(self.x)
    for _ in range(steps):
      s = 2 * self.py - 1
      hinge = np.maximum(0, 1 - s * (self.px @ theta[:-1] + theta[-1]))
      gap = [self.linear_gap(theta, p)[0] for p in range(len(self.px))]
      p = self.best(hinge + self.strength * np.array(gap), taken)
      x, y, _ = self.with_copies(p)
      s, rows = 2 * y - 1, np.column_stack([x, np.ones(len(x))])
      wrong = s * (rows @ theta) < 1
      gradient = -(s * wrong) @ rows + self.count * self.strength * self.linear_gap(theta, p)[1]
      theta = theta - self.rate * (gradient / n + 2 * self.l2 * np.append(theta[:-1], 0))
      taken.append(p)
    return taken

  def error_gap(self, theta, p):
    x, y, group = self.with_copies(p)
    wrong = (x @ theta[:-1] + theta[-1] > 0) != (y == 1)
    rate = lambda g, label: wrong[(group == g) & (y == label)].mean()
    return max(abs(rate(0, label) - rate(1, label)) for label in (0, 1))

  def second(self, steps):
    taken, n = [], len(self.x)
    theta = self.regression()
    mean, square = np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, steps + 1):
      loss = np.log1p(np.exp((1 - 2 * self.py) * (self.px @ theta[:-1] + theta[-1])))
      gap = [self.error_gap(theta, p) for p in range(len(self.px))]
      p = self.best(loss + self.strength * np.array(gap), taken)
      x, y, _ = self.with_copies(p)
      rows = np.column_stack([x, np.ones(len(x))])
      gradient = (1 / (1 + np.exp(-rows @ theta)) - y) @ rows / n
      mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
      step = (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
      theta = theta - self.rate * step
      taken.append(p)
    return taken

  def regression(self):
    """The minimum of the summed loss with half the squared kernel, by undamped Newton steps."""
    rows, theta = np.column_stack([self.x, np.ones(len(self.x))]), np.zeros(self.x.shape[1] + 1)
    ridge = np.diag(np.append(np.ones(self.x.shape[1]), 0))
    for _ in range(50):
      prob = 1 / (1 + np.exp(-rows @ theta))
      hessian = rows.T @ ((prob * (1 - prob))[:, None] * rows) + ridge
      theta = theta - np.linalg.solve(hessian, (prob - self.y) @ rows + ridge @ theta)
    return theta

  def best(self, score, taken):
    recent = taken[max(len(taken) - self.barred, 0) :]
    return max((p for p in range(len(score)) if p not in recent), key=lambda p: (score[p], -p))


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("algorithm", [1, 2])
def test_the_rows_taken_are_those_of_the_oracle(algorithm, flip):
  options = {"gap_weight": 3.0, "learning_rate": 0.3, "l2": 0.1}
  with jax.enable_x64(True):
    clean, pool = dataset(), dataset(POOL, 1)
    assert clean.x.dtype == jnp.float64
    method = noise.chang(
      0.1, host.on_device(pool), algorithm=algorithm, flip=flip, steps=STEPS, **options
    )
    new, _ = jax.device_get(jax.jit(lambda batch: method.update(batch, (), key=KEY))(clean))
    start = np.asarray(jax.random.uniform(KEY, (4,), jnp.float64))
  oracle = Oracle(clean, pool, 6, flip, barred={1: 5, 2: 6}[algorithm], **options)
  taken = oracle.first(start, STEPS) if algorithm == 1 else oracle.second(STEPS)
  assert len(set(taken)) > 6  # more than one window of rows: some leave it and others come
  last = taken[-6:]
  np.testing.assert_array_equal(new.x[ROWS:], oracle.px[last])
  np.testing.assert_array_equal(new.y[ROWS:], oracle.py[last])
  np.testing.assert_array_equal(new.group[ROWS:], oracle.pg[last])
  np.testing.assert_array_equal(new.truth.y[ROWS:], np.asarray(pool.y)[np.array(last) % POOL])


def test_gaps_are_those_of_the_data_with_copies():
  rng = np.random.default_rng(0)
  one_hot = lambda code: np.eye(4, dtype=np.float32)[code]
  gaps = jax.jit(_chang_models.gaps)
  code, values = rng.integers(0, 4, 30), rng.normal(size=30).astype(np.float32)
  for cells in (code, np.minimum(code, 2), np.full(30, 3)):
    make = lambda c: _chang_models.Points(
      np.zeros((len(c), 1)), np.ones(len(c), np.float32), one_hot(c)
    )
    pool = np.arange(4)
    got = gaps(make(cells), values, make(pool), np.float32(pool), np.float32(5))
    for p in pool:
      c, v = np.append(cells, [p] * 5), np.append(values, [p] * 5)
      for label in (0, 1):
        known = (c == label).any() and (c == 2 + label).any()
        gap = abs(v[c == label].mean() - v[c == 2 + label].mean()) if known else 0
        np.testing.assert_allclose(got[p, label], gap, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("algorithm", [1, 2])
def test_structure(algorithm):
  clean, pool = dataset(), dataset(POOL, 1)
  pool = pool.replace(truth=rfjax.Truth(1 - pool.y, 1 - pool.group))
  new = attack(clean, pool, algorithm=algorithm, flip=False)
  assert new.num_rows == ROWS + 6 and new.index.tolist() == list(range(ROWS + 6))
  for name in ("x", "y", "group", "valid"):
    np.testing.assert_array_equal(getattr(new, name)[:ROWS], getattr(clean, name))
  match = (np.asarray(new.x[ROWS:, None]) == np.asarray(pool.x)).all(-1)
  rows = match.argmax(1)
  assert match.any(1).all() and len(set(rows.tolist())) == 6
  np.testing.assert_array_equal(new.y[ROWS:], pool.y[rows])
  np.testing.assert_array_equal(new.group[ROWS:], pool.group[rows])
  np.testing.assert_array_equal(new.truth.y[ROWS:], 1 - new.y[ROWS:])
  np.testing.assert_array_equal(new.truth.group[ROWS:], 1 - new.group[ROWS:])


@pytest.mark.parametrize("algorithm", [1, 2])
def test_a_pool_that_just_suffices_is_appended_whole(algorithm):
  clean, pool = dataset(), dataset(6, 1)
  steps = {1: STEPS, 2: 6}[algorithm]
  new = attack(clean, pool, algorithm=algorithm, flip=False, steps=steps)
  order = lambda x: np.asarray(x)[np.argsort(np.asarray(x)[:, 0])]
  np.testing.assert_array_equal(order(new.x[ROWS:]), order(pool.x))


def test_rows_come_again_when_they_are_barred_no_more():
  take_turns = jax.jit(lambda barred: noise._take_turns(still, jnp.ones(7, bool), barred, 9))
  still = _chang_models.Attacker((), lambda state: jnp.arange(7.0), lambda state, row: state)
  for barred, expected in ((0, [6] * 9), (2, [6, 5, 4] * 3), (5, [6, 5, 4, 3, 2, 1, 6, 5, 4])):
    turns = take_turns(barred)
    assert turns.tolist() == expected


def test_the_second_algorithm_needs_one_candidate_more():
  clean, pool = dataset(), dataset(6, 1)
  with pytest.raises(
    ValueError, match="pool has 6 candidates for 6 rows, and algorithm 2 needs one"
  ):
    host.refuse(poison, clean, pool, algorithm=2, flip=False)


@pytest.mark.parametrize("algorithm", [1, 2])
def test_padding_is_neither_learned_from_nor_taken(algorithm):
  clean, pool = dataset(), dataset(POOL, 1)
  wider = host.take(clean, np.arange(ROWS), np.full(20, ROWS))
  deeper = host.take(pool, np.arange(POOL), np.full(5, POOL))
  new = attack(clean, pool, algorithm=algorithm)
  padded = attack(wider, deeper, algorithm=algorithm, capacity=7)
  for name in ("x", "y", "group"):
    np.testing.assert_array_equal(getattr(padded, name)[80:86], getattr(new, name)[ROWS:])
  assert padded.valid.sum() == 66


def test_traced_settings_equal_the_loop():
  clean, pool = host.on_device((dataset(), dataset(POOL, 1)))
  run = lambda rate, strength, size: poison(
    clean, pool, rate, gap_weight=strength, learning_rate=size, capacity=12
  )
  settings = [np.float32(v) for v in ([0.0, 0.05, 0.2], [0.0, 1.0, 5.0], [0.01, 0.05, 0.1])]
  swept, single = jax.device_get(jax.jit(jax.vmap(run))(*settings)), jax.jit(run)
  for i, each in enumerate(zip(*settings, strict=True)):
    one = jax.device_get(single(*each))
    for name in ("x", "y", "group", "valid", "index"):
      np.testing.assert_array_equal(getattr(swept, name)[i], getattr(one, name))
    assert int(one.valid.sum()) == ROWS + [0, 3, 12][i]


def test_the_start_of_the_first_algorithm_hangs_on_the_key():
  clean, pool = dataset(), dataset(POOL, 1)
  run = compiled(steps=6, flip=False)
  taken = [np.asarray(run(clean, pool, key=jax.random.key(s)).x) for s in range(4)]
  assert len({x[ROWS:].tobytes() for x in taken}) > 1


def uniform(train, pool, key):
  rows = jax.random.permutation(key, pool.num_rows)[: train.num_rows // 10]
  taken = jax.tree.map(lambda v: v[rows], _append.rows_of(pool))
  return _append.append(train, taken, jnp.ones(rows.size, bool))


def plain_gap(train, test):
  kernel, intercept = logistic_regression(train.x, train.y, weight=train.valid)
  guess = (test.x @ kernel + intercept > 0).astype(jnp.int32)
  return metrics.equalized_odds_difference(test.y, guess, test.group, num_groups=2, num_classes=2)


def fair_accuracy(train, test):
  """Test accuracy of a logistic regression with a penalty of 5 on its soft equalized odds gaps."""
  cell = jax.nn.one_hot(2 * train.group + train.y, 4)

  def objective(theta):
    score = train.x @ theta[:-1] + theta[-1]
    mean = (cell.T @ jax.nn.sigmoid(score) / cell.sum(0)).reshape(2, 2)
    risk = jnp.mean(jax.nn.softplus((1 - 2 * train.y) * score))
    return risk + 5 * jnp.sum(jnp.abs(mean[0] - mean[1]))

  tx = optax.adam(0.02)

  def step(unused, carry):
    theta, memory = carry
    move, memory = tx.update(jax.grad(objective)(theta), memory)
    return theta + move, memory

  theta = jnp.zeros(train.x.shape[1] + 1)
  theta, _ = jax.lax.fori_loop(0, 600, step, (theta, tx.init(theta)))
  return jnp.mean((test.x @ theta[:-1] + theta[-1] > 0) == test.y)


def test_plain_models_get_less_fair_and_fair_ones_less_accurate_than_with_uniform_rows():
  def run(seed):
    keys = jax.random.split(jax.random.key(seed), 4)
    train, pool, test = (data.zafar(keys[i], n) for i, n in enumerate((400, 400, 1000)))
    first, second = (poison(train, pool, key=keys[3], algorithm=a, steps=None) for a in (1, 2))
    none = uniform(train.with_columns("keep", "weight"), pool, keys[3])
    ways = jax.tree.map(lambda *v: jnp.stack(v), none, first, second)
    measures = lambda t: (plain_gap(t, test), fair_accuracy(t, test))
    return jax.lax.map(measures, ways)

  runs = jax.jit(lambda seeds: jax.lax.map(run, seeds))(np.arange(SEEDS))
  gaps, accuracy = jax.device_get(runs)
  assert (gaps[:, 1] > gaps[:, 0]).all() and gaps[:, 1].mean() - gaps[:, 0].mean() > 0.05
  assert (accuracy[:, 2] < accuracy[:, 0]).all()
  assert accuracy[:, 0].mean() - accuracy[:, 2].mean() > 0.1
  assert accuracy[:, 0].mean() - accuracy[:, 1].mean() > 0.03


@pytest.mark.parametrize(
  "bad",
  [
    {"rate": 1.1},
    {"algorithm": 3},
    {"gap_weight": -1.0},
    {"steps": 0},
    {"learning_rate": 0.0},
    {"l2": -1.0},
    {"capacity": -1},
  ],
)
def test_the_factory_refuses_values_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    noise.chang(**{"rate": 0.1, "pool": dataset(POOL)} | bad)


def test_pools_and_data_of_another_kind_are_refused():
  clean, pool = dataset(), dataset(POOL, 1)
  with pytest.raises(ValueError, match="pool must be a Batch, got ArrayImpl: use"):
    noise.chang(0.1, jax.device_put(pool.x))
  with pytest.raises(ValueError, match="the pool of chang needs group"):
    noise.chang(0.1, pool.replace(group=None))
  with pytest.raises(ValueError, match="chang needs group"):
    host.refuse(poison, clean.replace(group=None), pool)
  with pytest.raises(ValueError, match=r"pool has rows of shape \(2,\) but x of \(3,\)"):
    host.refuse(poison, clean, pool.replace(x=pool.x[:, :2]))
  with pytest.raises(ValueError, match="pool has 50 candidates for 54 rows"):
    host.refuse(poison, clean, pool, 0.9, steps=60)
  few = host.on_device(host.take(pool, np.arange(2), np.full(9, POOL)))
  with pytest.raises(ValueError, match="pool has 4 candidates for 6 rows"):
    poison(clean, few)
  with pytest.raises(ValueError, match="steps must be at least the 6 rows to append, got 5"):
    host.refuse(poison, clean, pool, steps=5)
