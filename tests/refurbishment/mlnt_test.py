"""MLNT: its synthetic labels by brute force, its penalty and gradients by definition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, refurbishment
from rfjax.refurbishment._mlnt import synthetic_targets

KEY = jax.random.key(0)
ROWS, CLASSES, SETS, RATE, RELABEL = 9, 3, 4, 0.3, 0.5
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(ROWS, 4)), RNG.integers(0, CLASSES, ROWS)
MLP = architectures.mlp([5], CLASSES)


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


def forward(params, flow, key=None):
  logits, features, _ = MLP.apply(params, (), flow.x, key=key, train=True)
  return flow.fill(logits, features)


def make(**settings):
  settings = {"rate": RATE, "num_sets": SETS, "num_neighbors": 3, "start": 5, "full": 9} | settings
  return refurbishment.mlnt(MLP, **settings)


def update(t, flow, params, state, step=20):
  return t.update(flow, state, params, key=KEY, step=step, epoch=0, forward=forward)


def uneven(params):
  rng = np.random.default_rng(1)
  flow = dataset().take(jnp.asarray([3, 0, ROWS, 7, 5, 1, ROWS, 2, 8]))
  keep = jnp.asarray(rng.choice([0.0, 0.5, 1.0], ROWS, p=[0.1, 0.4, 0.5])) * flow.valid
  return forward(params, flow.replace(keep=keep))


@jax.jit
def weights(seed):
  """Weights of the network that are none of its own initial ones."""
  return MLP.init(jax.random.key(seed), X)[0]


def by_definition(params, teacher, flow, targets, first_order=False):
  """The mean over the sets of labels of KL(teacher || network after a step on them)."""
  share = flow.keep / jnp.sum(flow.keep)
  log_probs = lambda p: jax.nn.log_softmax(MLP.apply(p, (), flow.x, key=None, train=True)[0])
  said = jax.nn.softmax(MLP.apply(teacher, (), flow.x, key=None, train=True)[0])

  def one(target):
    gradient = jax.grad(lambda p: -jnp.sum(share[:, None] * target * log_probs(p)))(params)
    gradient = jax.lax.stop_gradient(gradient) if first_order else gradient
    ahead = jax.tree.map(lambda p, g: p - RATE * g, params, gradient)
    return jnp.sum(share[:, None] * said * (jnp.log(said) - log_probs(ahead)))

  return jnp.mean(jax.vmap(one)(targets))


@pytest.mark.parametrize("order", [1, 2])
def test_the_penalty_and_its_gradient_are_those_of_the_definition(order):
  t = make(order=order, strength=0.7)
  with jax.enable_x64(True):
    params, teacher = weights(1), weights(2)

    def penalty(params, old):
      flow = uneven(params).replace(penalty=jnp.asarray(0.25))
      out, new = update(t, flow, params, refurbishment.MLNTState(old))
      return out.penalty, (flow, out, new.teacher)

    @jax.jit
    def everything(params, old):
      (value, (flow, out, now)), slope = jax.value_and_grad(penalty, has_aux=True)(params, old)
      targets = synthetic_targets(flow, flow.features, KEY, SETS, RELABEL, 3)
      exact = jax.value_and_grad(by_definition)(params, now, flow, targets, order == 1)

      def moved(by):
        last = {**params[1], "kernel": params[1]["kernel"].at[2, 1].add(by)}
        return by_definition([*params[:1], last], now, flow, targets)

      ahead, back = jax.vmap(moved)(jnp.asarray([1e-5, -1e-5]))
      return value, slope, exact, flow, out, now, (ahead - back) / 2e-5

    params, teacher = jax.device_get((params, teacher))
    value, slope, exact, flow, out, now, quotient = jax.device_get(everything(params, teacher))
    np.testing.assert_allclose(value - 0.25, 0.7 * exact[0], rtol=1e-10)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, 0.7 * b, rtol=1e-8, atol=1e-14), slope, exact[1]
    )
    jax.tree.map(
      lambda new, old, p: np.testing.assert_allclose(new, 0.999 * old + 0.001 * p, rtol=1e-10),
      now, teacher, params,
    )  # fmt: skip
  whole = np.isclose(quotient, exact[1][1]["kernel"][2, 1], rtol=1e-6)
  assert whole == (order == 2)  # one order less is no derivative
  for name in ("cost", "target", "keep", "weight"):
    np.testing.assert_array_equal(getattr(out, name), getattr(flow, name))


def test_synthetic_labels_are_those_of_near_rows():
  rng, sets, neighbors = np.random.default_rng(4), 400, 3
  features = rng.normal(size=(ROWS, 2)).astype(np.float32)
  features[4] = features[5]  # the same place is no reason to be oneself

  @jax.jit
  def everything(features, key):
    flow = uneven(weights(1))
    named = flow.replace(target=jnp.eye(ROWS))
    draw = lambda flow: synthetic_targets(flow, features, key, sets, RELABEL, neighbors)
    return flow, draw(flow), draw(named)

  flow, found, found_rows = jax.device_get(everything(features, KEY))
  keep = flow.keep > 0
  np.testing.assert_allclose(found, found_rows @ np.asarray(flow.target), atol=1e-6)
  source, own = np.asarray(found_rows).argmax(-1), np.arange(ROWS)
  changed = source != own
  assert set(changed.sum(1)) == {int(keep.sum() * RELABEL)}
  assert not changed[:, ~keep].any()
  for i in np.flatnonzero(keep):
    distance = ((features[i] - features) ** 2).sum(1)
    distance[~keep] = np.inf
    distance[i] = np.inf
    near = np.argsort(distance)[:neighbors]
    taken, times = np.unique(source[changed[:, i], i], return_counts=True)
    assert set(taken) == set(near)
    assert times.min() > 0.2 * times.sum()  # each of three
  share = changed.mean(0)[keep]
  np.testing.assert_allclose(share, int(keep.sum() * RELABEL) / keep.sum(), atol=0.12)


def test_few_rows_have_few_neighbours_and_one_has_none():
  @jax.jit
  def drawn():
    flow = forward(weights(1), dataset())
    two, one = (
      flow.replace(keep=jnp.asarray(np.arange(ROWS) >= ROWS - n, float), target=jnp.eye(ROWS))
      for n in (2, 1)
    )
    draw = lambda some, *more: synthetic_targets(some, flow.features, KEY, *more, 10)
    return draw(two, 20, RELABEL), draw(one, 20, RELABEL), draw(one, 5, 1.0)

  *few, whole = (np.asarray(found).argmax(-1) for found in drawn())
  for found, rows, relabelled in zip(few, (2, 1), (1, 0), strict=True):
    assert (found != np.arange(ROWS)).sum(1).tolist() == [relabelled] * 20
    assert set(found[:, -1]) <= set(range(ROWS - rows, ROWS))
  np.testing.assert_array_equal(whole, np.tile(np.arange(ROWS), (5, 1)))


def test_the_weight_ramps_up_and_the_teacher_starts_as_a_copy():
  params, other = jax.device_get((weights(1), weights(2)))

  @jax.jit
  def compiled(step, old):
    flow = forward(params, dataset())
    out, new = update(make(), flow, params, refurbishment.MLNTState(old), step)
    return out.penalty, new.teacher

  at = lambda *args: jax.device_get(compiled(*args))
  full, _ = at(50, params)
  assert full > 1e-3
  for step in range(12):
    u = (step - 5) / 4
    expected = 0.0 if step <= 5 else min(np.exp(-5 * (1 - min(u, 1)) ** 2), 1.0)
    np.testing.assert_allclose(at(step, params)[0], expected * full, rtol=1e-5)
    kept = 0.0 if step <= 6 else 0.99 if step <= 9 else 0.999
    jax.tree.map(
      lambda new, old, p, kept=kept: np.testing.assert_allclose(
        new, kept * old + (1 - kept) * p, rtol=1e-4, atol=1e-6
      ),
      at(step, other)[1], other, params,
    )  # fmt: skip


def test_given_features_take_the_place_of_the_network_s():
  given = np.random.default_rng(6).normal(size=(ROWS, 2)).astype(np.float32)
  t, mine = make(features=given), make()

  @jax.jit
  def penalties():
    params, state = weights(1), refurbishment.MLNTState(weights(2))
    flow = uneven(params)
    rows = jnp.where(flow.valid, flow.index, 0)
    swapped = flow.replace(features=jnp.asarray(given)[rows])
    cases = ((t, flow), (mine, swapped), (mine, flow))
    return [update(m, f, params, state)[0].penalty for m, f in cases]

  found, expected, other = jax.device_get(penalties())
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert abs(found - other) > 1e-6
  with pytest.raises(ValueError, match=r"features must have one row .* \(3, 2\) for 9 rows"):
    make(features=given[:3]).init(dataset(), key=KEY, spec=None)


def test_a_run_has_a_teacher_that_follows():
  method = rfjax.chain(make(start=2, full=6, decay=(0.5, 0.9)))
  run = jax.jit(
    lambda: rfjax.fit(MLP, method, optax.sgd(0.1), dataset(), key=KEY, epochs=6, batch_size=5)
  )
  state, log = jax.device_get(run())
  [mlnt] = state.method
  distance = jax.tree.map(lambda a, b: np.abs(a - b).max(), mlnt.teacher, state.params)
  assert 0 < max(jax.tree.leaves(distance)) < 0.1
  assert log.penalty[0] == 0 and (log.penalty[2:] > 0).all()


def test_weights_of_another_network_are_refused():
  other = architectures.mlp([5, 5], CLASSES)
  method = rfjax.chain(refurbishment.mlnt(other))
  with pytest.raises(ValueError, match="network must be the one that is trained"):
    rfjax.fit(MLP, method, optax.sgd(0.1), dataset(), key=KEY, epochs=1)


@pytest.mark.parametrize(
  ("settings", "named"),
  [
    ({"strength": -1.0}, "strength"),
    ({"rate": -1.0}, "rate"),
    ({"relabel": 1.5}, "relabel"),
    ({"num_sets": 0}, "num_sets"),
    ({"num_neighbors": 0}, "num_neighbors"),
    ({"start": -1}, "start"),
    ({"full": 4}, "full"),
    ({"order": 3}, "order"),
    ({"decay": (0.5, 1.5)}, "decay"),
    ({"decay": 0.99}, "decay"),
  ],
)
def test_settings_out_of_range_are_refused(settings, named):
  with pytest.raises(ValueError, match=f"{named} must"):
    make(**settings)
