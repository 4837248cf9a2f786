"""Hierarchical TERM against its formula in NumPy, its limits, and sources that are flipped."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import slopes
from rfjax import architectures, convergence, metrics, noise

KEY = jax.random.key(0)
ROWS, PADDED, SOURCES, GROUPS = 24, 28, 3, 2
NEAR_0 = [(0.0, 2.0), (-3.0, 0.0), (1e-9, -1e-9), (0.0, 0.0)]
TILTS = [(-2.0, 2.0), (1.5, -0.7), (-40.0, 60.0), *NEAR_0]


# ---- the formula, one source and one group after the other


def tilted(risks, masses, t):
  """(1 / t) log of the mean of exp(t risk), shifted by the risk that counts most."""
  share = np.array(masses) / np.sum(masses)
  risks = np.array(risks)
  if t == 0:
    return share @ risks
  top = (risks if t > 0 else -risks).max() * np.sign(t)
  return top + np.log1p(share @ np.expm1(t * (risks - top))) / t


def tilted_risk(loss, mass, source, member, t, tau):
  """J by loops; the last column of `member` has the part of a row that is in no group."""
  risks, sizes = [], []
  for s in range(SOURCES):
    mine = (source == s) * mass
    cells = [mine * member[:, g] for g in range(member.shape[1])]
    cells = [c for c in cells if c.sum() > 0]
    if not cells:
      continue
    risks.append(tilted([c @ loss / c.sum() for c in cells], [c.sum() for c in cells], tau))
    sizes.append(mine.sum())
  return tilted(risks, sizes, t)


def losses(batch):
  return np.sum(np.asarray(batch.target) * np.asarray(batch.cost), axis=1)


# ---- batches with padding, missing groups, dropped rows and weights


def case(seed, kind="hard"):
  """A batch in float64 with cells of unequal sizes, and its parts in NumPy."""
  rng = np.random.default_rng(seed)
  source = rng.choice(SOURCES, ROWS, p=[0.2, 0.3, 0.5])
  source[:SOURCES] = range(SOURCES)
  index = np.append(rng.permutation(ROWS), np.full(PADDED - ROWS, 2**31 - 1)).astype(np.int32)
  soft = rng.dirichlet(np.ones(GROUPS + 1), PADDED)[:, :GROUPS]
  hard = np.eye(GROUPS)[rng.integers(GROUPS, size=PADDED)]
  if kind == "missing":
    hard *= (rng.random(PADDED) < 0.7)[:, None]
  group = soft if kind == "soft" else hard
  keep = (rng.random(PADDED) < 0.8) * np.where(rng.random(PADDED) < 0.2, 0.5, 1.0)
  batch = rfjax.Batch(
    index=jnp.asarray(index), valid=jnp.asarray(np.arange(PADDED) < ROWS),
    x=jnp.asarray(np.zeros((PADDED, 1))), y=jnp.asarray(rng.integers(3, size=PADDED)),
    group=jnp.asarray(group), num_classes=3, num_groups=GROUPS,
  )  # fmt: skip
  batch = filled(batch, jnp.asarray(2 * rng.normal(size=(PADDED, 3))))
  batch = batch.replace(
    keep=jnp.asarray(np.asarray(batch.keep) * keep.astype(batch.keep.dtype)),
    weight=jnp.asarray(rng.choice([0.0, 0.5, 2.0], PADDED)),
  )
  known = np.c_[group, 1 - group.sum(1)] * np.asarray(batch.valid)[:, None]
  mass = np.asarray(batch.keep) * np.asarray(batch.weight)
  at = np.where(index < ROWS, source[np.minimum(index, ROWS - 1)], SOURCES)
  return batch, source, (mass, at, known)


@functools.cache
def weighing(source):
  """A batch as it is weighed, compiled for all tilts."""

  def weighed(batch, t, tau):
    made = convergence.hierarchical_term(np.array(source), t, tau)
    return made.update(batch, made.init(batch), None)[0]

  return jax.jit(weighed)


def weigh(batch, source, t, tau):
  return weighing(tuple(source.tolist()))(batch, t, tau)


@functools.cache
def slope_of_risk(source):
  weighed = weighing(source)
  risk = lambda cost, batch, t, tau: weighed(batch.replace(cost=cost), t, tau).risk
  return jax.jit(jax.grad(risk))


filled = jax.jit(lambda batch, logits: batch.fill(logits))
risk_of = jax.jit(lambda batch: batch.risk)


@pytest.mark.parametrize("kind", ["hard", "missing", "soft"])
@pytest.mark.parametrize(("t", "tau"), TILTS)
def test_the_slope_of_the_risk_is_that_of_the_tilted_risk(kind, t, tau):
  """By central differences in each loss; rows count by what they were given."""
  with jax.enable_x64(True):
    batch, source, parts = case(3, kind)
    slope = slope_of_risk(tuple(source.tolist()))
    found = np.asarray(slope(batch.cost, batch, t, tau))
    loss, target, kept = losses(batch), np.asarray(batch.target), np.asarray(batch.keep)
  want = slopes(lambda at: tilted_risk(at, *parts, t, tau), loss)
  np.testing.assert_allclose(found.sum(1), parts[0].sum() / kept.sum() * want, atol=2e-8)
  np.testing.assert_array_equal(found[target == 0], 0)
  assert np.abs(want).max() > 0.01


@pytest.mark.parametrize("kind", ["hard", "missing", "soft"])
def test_tilts_of_zero_are_cross_entropy_to_the_bit(kind):
  for seed in range(8):
    batch, source, (mass, *_) = case(seed, kind)
    if kind == "hard" and seed % 2:  # membership may exceed 1 by rounding
      batch = batch.replace(group=jnp.asarray(np.asarray(batch.group) * np.float32(1 + 1e-6)))
    for zero in (0.0, -0.0):
      got = weigh(batch, source, zero, zero)
      weight, given = np.asarray(got.weight), np.asarray(batch.weight)
      np.testing.assert_array_equal(weight[mass > 0], given[mass > 0])
      assert np.asarray(risk_of(got)) == np.asarray(risk_of(batch))


def test_tilts_near_zero_lose_no_digits():
  """Weights move from 1 in proportion to the tilts, down to those that are no normal number."""
  with jax.enable_x64(True):
    batch, source, (mass, *_) = case(5)
    at = lambda t, tau: np.asarray(weigh(batch, source, t, tau).weight)[mass > 0]
    plain = np.asarray(batch.weight)[mass > 0]
    slope = (at(1e-5, 1e-5) - plain) / 1e-5
    np.testing.assert_allclose((at(1e-9, 1e-9) - plain) / 1e-9, slope, atol=1e-3)
    np.testing.assert_array_equal(at(1e-320, 1e-320), plain)
    np.testing.assert_array_equal(at(-2.0, 1e-320), at(-2.0, 0.0))
    np.testing.assert_allclose(at(-2.0, 1e-300), at(-2.0, 0.0), rtol=1e-12)


def cell_risks(batch, parts):
  mass, at, member = parts
  loss = losses(batch)
  cells = {}
  for s in range(SOURCES):
    for g in range(member.shape[1]):
      part = mass * (at == s) * member[:, g]
      if part.sum() > 0:
        cells[s, g] = (part @ loss / part.sum(), part.sum())
  return cells


@pytest.mark.parametrize(("t", "best"), [(-1e6, min), (1e6, max)])
def test_extreme_t_picks_a_source_and_extreme_tau_a_group(t, best):
  with jax.enable_x64(True):
    batch, source, parts = case(6)
    cells = cell_risks(batch, parts)
    worst = {s: max((r, g) for (at, g), (r, _) in cells.items() if at == s) for s in range(SOURCES)}
    picked = best(worst, key=lambda s: worst[s][0])
    total = parts[0].sum()
    got = weigh(batch, source, t, 1e6)
    factor = np.asarray(got.weight) / np.maximum(batch.weight, 1e-9)
    risk = float(risk_of(got)) * float(np.asarray(batch.keep).sum()) / total
  mine = (parts[1] == picked) & (parts[2][:, worst[picked][1]] > 0) & (parts[0] > 0)
  want = np.where(mine, total / cells[picked, worst[picked][1]][1], 0)
  np.testing.assert_allclose(factor[parts[0] > 0], want[parts[0] > 0], rtol=1e-9)
  np.testing.assert_allclose(risk, worst[picked][0], rtol=1e-9)


def test_finite_tilts_and_losses_leave_finite_weights():
  batch, source, _ = case(7, "missing")
  large = filled(batch, jnp.asarray(1e4 * np.asarray(batch.logits)))
  for t, tau in ((-1e30, 1e30), (1e30, -1e30), (-2.0, 2.0)):
    weight = np.asarray(weigh(large, source, t, tau).weight)
    assert np.all(np.isfinite(weight)) and np.all(weight >= 0) and np.any(weight > 0)


def test_a_small_worst_cell_keeps_its_digits_in_float32():
  """One row of ten thousand is the worst group."""
  rows = 10_000
  logits = np.zeros((rows, 2), np.float32)
  logits[0] = [30, 0]
  data = rfjax.Batch.from_arrays(
    np.zeros((rows, 1)), np.ones(rows, int), (np.arange(rows) > 0).astype(int)
  )
  weight = weigh(filled(data, jnp.asarray(logits)), np.arange(rows) % 2, 0.0, 5.0).weight
  np.testing.assert_allclose(np.asarray(weight)[0], rows / 2, rtol=1e-5)


def test_padding_and_dropped_rows_count_nowhere():
  batch, source, _ = case(8, "missing")
  out = ~np.asarray(batch.valid) | (np.asarray(batch.keep) == 0)
  spoil = lambda v, by: jnp.asarray(np.where(out[:, None], np.float32(by), np.asarray(v)))
  spoilt = batch.replace(cost=spoil(batch.cost, 1e3), group=spoil(batch.group, 1.0))
  before, after = weigh(batch, source, -2.0, 2.0), weigh(spoilt, source, -2.0, 2.0)
  np.testing.assert_array_equal(np.asarray(before.weight)[~out], np.asarray(after.weight)[~out])
  assert np.asarray(risk_of(before)) == np.asarray(risk_of(after))


def test_rows_without_a_group_are_a_cell_of_their_own():
  batch, source, _ = case(9, "missing")
  group = np.asarray(batch.group)
  third = np.where(group.sum(1) > 0, group.argmax(1), GROUPS).astype(np.int32)
  known = batch.replace(group=jnp.asarray(third), num_groups=GROUPS + 1)
  got, want = weigh(batch, source, -2.0, 2.0), weigh(known, source, -2.0, 2.0)
  assert np.any((third == GROUPS) & np.asarray(batch.valid))
  got, want = (np.asarray(b.weight)[:ROWS] for b in (got, want))
  np.testing.assert_allclose(got, want, rtol=1e-6)


def test_losses_are_those_of_the_chain():
  batch, source, _ = case(10)
  method = rfjax.chain(rfjax.losses.mae(), convergence.hierarchical_term(source))

  @jax.jit
  def both(batch):
    batch = batch.replace(weight=jnp.ones_like(batch.weight), keep=batch.valid.astype(float))
    state, extra = method.init(batch, key=KEY, spec=None), {"step": 0, "epoch": 0, "forward": None}
    got, _ = method.update(batch, state, None, key=KEY, **extra)
    want = weigh(batch.replace(cost=2 * (1 - batch.probs)), source, -2.0, 2.0)
    return got.weight, want.weight

  np.testing.assert_allclose(*both(batch), rtol=1e-5)


# ---- training


NETWORK = architectures.logistic(init_scale=0.0)


@functools.cache
def accuracies():
  """Of plain and of tilted training, over four seeds; two of five sources are flipped."""
  source = np.arange(1000) % 5

  def run(seed, t, tau):
    key = jax.random.key(seed)
    clean, test = rfjax.data.zafar(key, 1000), rfjax.data.zafar(jax.random.fold_in(key, 1), 2000)
    bad = noise.corrupt_sources("flip_label", source, [1, 3])
    data = rfjax.transform(bad, clean, key=key)
    method = convergence.hierarchical_term(source, t, tau)
    state, _ = rfjax.fit(NETWORK, method, optax.adam(0.1), data, key=key, epochs=200)
    said = rfjax.predict(NETWORK, state, test)
    return metrics.accuracy(said), jnp.mean(said.loss)

  runs = jax.jit(jax.vmap(jax.vmap(run, (0, None, None)), (None, 0, 0)))
  tilts = np.array([[0.0, -2.0], [0.0, 2.0]], np.float32)
  return jax.tree.map(np.asarray, runs(np.arange(4), *tilts))


def test_flipped_sources_hurt_it_less_than_plain_training():
  accuracy, loss = accuracies()
  assert np.all(accuracy[1] > accuracy[0])
  assert np.all(loss[1] < 0.75 * loss[0])


# ---- what is refused


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (([0, 0],), r"source must have ids from 0 .* none of \[1\]: renumber"),
    (([0, 2],), r"source must have ids"),
    (([0, -1],), r"source must lie in \[0, .*got -1"),
    (([0.5, 1.0],), "source must hold integers"),
    (([0, 1], np.inf), "t must lie in"),
    (([0, 1], -2.0, np.nan), "tau must lie in"),
    (([0, 1], [1.0, 2.0]), "t must be a single number"),
  ],
)
def test_refuses(arguments, message):
  with pytest.raises(ValueError, match=message):
    convergence.hierarchical_term(*arguments)


def test_refuses_other_data():
  made = convergence.hierarchical_term([0, 1])
  with pytest.raises(ValueError, match="source has 2 rows, but the data set has index 9"):
    made.init(rfjax.Batch.from_arrays(np.zeros((10, 1)), [0, 1] * 5, [0, 1] * 5))
  with pytest.raises(ValueError, match="hierarchical_term needs group"):
    made.init(rfjax.Batch.from_arrays(np.zeros((2, 1)), [0, 1]))
