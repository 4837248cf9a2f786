"""D2L: dimensions against the closed form, and its turning point and labels against a loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, refurbishment

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 12, 3
Y = np.arange(ROWS) % CLASSES
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


lid = jax.jit(refurbishment.lid, static_argnums=1)


def dimension(features, k):
  """The estimate of each row, by a sorted list of distances."""
  result = []
  for i, x in enumerate(features):
    others = np.delete(features, i, 0)
    r = np.sort(np.sqrt(((others - x) ** 2).sum(1)))[: min(k, len(others))]
    with np.errstate(all="ignore"):
      result.append(-len(r) / np.log(r / r[-1]).sum())
  return np.array(result)


@pytest.mark.parametrize("rows, k", [(30, 20), (30, 2), (6, 20)])
def test_dimensions_are_those_of_sorted_distances(rows, k):
  features = RNG.normal(size=(rows, 5))
  found = lid(features.astype(np.float32), k)
  np.testing.assert_allclose(found, dimension(features, k), rtol=1e-4)


def test_near_neighbours_far_from_the_origin_keep_their_distances():
  features = np.float32(1000 + 1e-2 * RNG.normal(size=(20, 3)))
  found = lid(features, 5)
  np.testing.assert_allclose(found, dimension(features.astype(np.float64), 5), rtol=1e-4)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_dimension_of_uniform_points_in_a_ball(d):
  rng, k, n = np.random.default_rng(d), 20, 4000
  points = rng.normal(size=(n, d))
  points *= (rng.random(n) ** (1 / d) / np.linalg.norm(points, axis=1))[:, None]
  inner = np.linalg.norm(points, axis=1) < 0.5
  found = np.asarray(lid(points.astype(np.float32), k))[inner]
  # The logarithms are a Gamma(k - 1) of rate d, whose reciprocal has the mean d / (k - 2).
  np.testing.assert_allclose(found.mean() * (k - 2) / k, d, rtol=0.06)


def test_masked_rows_are_no_neighbours_and_equal_rows_are_finite_where_some_differ():
  features = RNG.normal(size=(12, 3)).astype(np.float32)
  mask = np.arange(12) % 4 != 1
  found = np.asarray(lid(features, 4, mask=mask))
  np.testing.assert_allclose(found[mask], dimension(features[mask].astype(float), 4), rtol=1e-4)
  twice = np.repeat(features[:4], 3, 0)
  assert np.isfinite(lid(twice, 5)).all()
  for alike in (np.ones((6, 2), np.float32), np.eye(6, dtype=np.float32)):
    assert np.isposinf(lid(alike, 3)).all()
  with pytest.raises(ValueError, match="features must have at least 2 rows"):
    refurbishment.lid(np.ones((1, 2)))


# A network whose features have the dimension that an epoch asks for: the forward pass is a stub.
EPOCHS, WARMUP, WINDOW = 14, 2, 3


def make(deviations=2.0, epochs=EPOCHS, warmup=WARMUP):
  return refurbishment.d2l(
    epochs, warmup=warmup, window=WINDOW, deviations=deviations, neighbours=4, batches=2,
    batch_size=6,
  )  # fmt: skip


@jax.jit
def refresh(deviations, data, features, state, key, epoch):
  def forward(params, rows):
    taken = features.at[rows.index].get(mode="fill", fill_value=0)
    return rows.fill(jnp.zeros((rows.num_rows, CLASSES)), taken)

  data = data.fill(jnp.zeros((ROWS, CLASSES)), features)
  return make(deviations).refresh(data, state, (), key=key, epoch=epoch, forward=forward)[1]


@jax.jit
def updated(logits, target, state):
  """The targets of a batch that comes with other ones."""
  return make().update(dataset().fill(logits).replace(target=target), state, ())[0].target


@jax.jit
def begun():
  return make().init(dataset(), key=KEY, spec=None)


class Loop:
  """The authors' callback, with a list of dimensions."""

  def __init__(self, deviations):
    self.lids, self.turned, self.alpha, self.deviations = [], -1, 1.0, deviations

  def begin(self, epoch, lid):
    self.lids.append(lid if lid > 0 else self.lids[-1])
    if len(self.lids) > WARMUP + WINDOW and self.turned < 0:
      before = np.array(self.lids[-WINDOW - 1 : -1])
      if self.lids[-1] - before.mean() > self.deviations * before.std():
        self.turned = epoch
    if self.turned >= 0:
      self.alpha = np.exp(-epoch / EPOCHS * self.lids[-1] / np.min(self.lids))


@functools.cache
def _features():
  """Features of one epoch after another, one of them all equal, and one in a batch."""
  drawn = np.random.default_rng(5).normal(size=(EPOCHS, ROWS, 4))
  all_of_them = list(drawn.astype(np.float32))
  all_of_them[3][:] = 1.0
  all_of_them[6][_order(KEY)[1]] = 1.0
  return all_of_them


@pytest.mark.parametrize("deviations", [2.0, 0.5, -3.0])
def test_the_turning_point_and_the_labels_are_those_of_the_loop(deviations):
  order = _order(KEY)
  loop, state = Loop(deviations), begun()
  for epoch in range(EPOCHS):
    features = _features()[epoch]
    state = jax.device_get(refresh(deviations, dataset(), features, state, KEY, epoch))
    lids = np.array([dimension(features[rows].astype(float), 4) for rows in order])
    finite = np.isfinite(lids)
    assert finite.any() == (epoch != 3) and finite.all() == (epoch not in (3, 6))
    loop.begin(epoch, lids[finite].mean() if finite.any() else np.nan)
    np.testing.assert_allclose(state.lids[-1], loop.lids[-1], rtol=1e-4)
    np.testing.assert_allclose(state.least, np.min(loop.lids), rtol=1e-4)
    np.testing.assert_allclose(state.alpha, loop.alpha, rtol=1e-4)
    assert state.turned == loop.turned
    logits, before = RNG.normal(size=(ROWS, CLASSES)), RNG.dirichlet(np.ones(CLASSES), ROWS)
    found = updated(logits.astype(np.float32), before.astype(np.float32), state)
    expected = loop.alpha * before + (1 - loop.alpha) * np.eye(CLASSES)[logits.argmax(1)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
  assert loop.turned >= WARMUP + WINDOW


@pytest.mark.parametrize("factor, rises", [(0.99, True), (1.01, False)])
def test_the_turning_point_is_sharp(factor, rises):
  start, features = jax.device_get(begun()), _features()[0]
  epoch = WARMUP + WINDOW
  newest = np.asarray(refresh(2.0, dataset(), features, start, KEY, 0).lids)[-1]
  # m - u, m and m + u have a standard deviation of sqrt(2 / 3) u.
  middle, width = 0.5 * newest, factor * 0.25 * newest / np.sqrt(2 / 3)
  lids = np.stack([100 * newest, middle - width, middle, middle + width]).astype(np.float32)
  for at, expected in ((epoch, epoch if rises else -1), (epoch - 1, -1)):
    after = refresh(2.0, dataset(), features, start._replace(lids=lids), KEY, at)
    assert after.turned == expected


@functools.partial(jax.jit, static_argnums=0)
def drawn(method, key, valid):
  """The rows of which the forward pass of a refresh is asked."""
  seen = []

  def forward(params, rows):
    seen.append(rows.index)
    return rows.fill(jnp.zeros((rows.num_rows, CLASSES)), jnp.ones((rows.num_rows, 2)))

  state = method.init(dataset(), key=KEY, spec=None)
  data = dataset().fill(jnp.zeros((ROWS, CLASSES)), jnp.ones((ROWS, 2)))
  data = data.replace(valid=data.valid & valid)
  method.refresh(data, state, (), key=key, epoch=0, forward=forward)
  return seen[0]


METHOD = make()


def _order(key, method=METHOD, valid=True):
  """The two batches that a key draws, as its forward pass sees them."""
  valid = np.broadcast_to(np.asarray(valid), ROWS)
  return np.asarray(drawn(method, key, valid)).reshape(-1, 6)


def test_rows_are_drawn_without_replacement_and_anew_by_key():
  assert sorted(_order(KEY).ravel()) == list(range(ROWS))
  assert (_order(KEY) != _order(jax.random.key(1))).any()
  np.testing.assert_array_equal(_order(KEY), _order(KEY))


def test_invalid_rows_are_drawn_last_and_do_not_count():
  valid = np.arange(ROWS) < 8
  features = RNG.normal(size=(ROWS, 4)).astype(np.float32)
  wild = np.where(valid[:, None], features, np.float32(1e6))
  data = dataset().replace(valid=jnp.asarray(valid))
  one, two = (jax.device_get(refresh(2.0, data, f, begun(), KEY, 0)) for f in (features, wild))
  np.testing.assert_array_equal(one.lids, two.lids)
  assert one.lids[-1] > 0
  assert (one.lids[:-1] == 0).all()
  method = refurbishment.d2l(5, neighbours=2, batches=1, batch_size=6)
  for seed in range(4):
    assert set(_order(jax.random.key(seed), method, np.arange(ROWS) % 3 > 0).ravel() % 3) == {1, 2}


def test_runs_side_by_side_turn_at_their_own_times():
  @jax.jit
  @jax.vmap
  def run(deviations):
    return rfjax.fit(
      architectures.mlp([5], CLASSES), make(deviations, 9, 0), optax.sgd(0.5), dataset(), key=KEY,
      epochs=9, batch_size=6, observe=lambda state, view: state.method,
    )  # fmt: skip

  _, log = jax.device_get(run(np.array([-np.inf, np.inf, 0.0], np.float32)))
  turned = log.observed.turned[:, -1]
  assert turned[0] == WINDOW and turned[1] == -1
  assert (log.observed.alpha[1] == 1).all() and (log.observed.alpha[0, WINDOW:] < 1).all()
  assert (log.observed.alpha[0, :WINDOW] == 1).all()


def test_what_it_needs_is_said():
  with pytest.raises(ValueError, match="batches and batch_size must"):
    refurbishment.d2l(5).init(dataset(), key=KEY, spec=None)
  with pytest.raises(ValueError, match="d2l needs features"):
    rfjax.fit(architectures.logistic(CLASSES), make(), optax.sgd(0.1), dataset(), key=KEY, epochs=1)
  with pytest.raises(ValueError, match="neighbours must"):
    refurbishment.lid(np.ones((5, 2)), 1)
  with pytest.raises(ValueError, match="features must"):
    refurbishment.lid(np.ones(5), 2)


@pytest.mark.parametrize(
  "settings",
  [{"epochs": 0}, {"warmup": -1}, {"window": 0}, {"deviations": float("nan")}, {"neighbours": 1}]
  + [{"batches": 0}, {"batch_size": 2}],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    refurbishment.d2l(**({"epochs": 10} | settings))
