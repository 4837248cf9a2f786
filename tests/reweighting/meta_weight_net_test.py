"""Meta-Weight-Net: its hypergradient by double differentiation and by finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, reweighting

RATE = 0.4


def weights(phi, losses):
  """V by NumPy."""
  hidden = np.maximum(losses[:, None] @ phi["hidden"]["kernel"] + phi["hidden"]["bias"], 0)
  z = (hidden @ phi["head"]["kernel"] + phi["head"]["bias"])[:, 0]
  return 1 / (1 + np.exp(-z))


def v_of(phi, losses):
  hidden = jax.nn.relu(losses[:, None] * phi["hidden"]["kernel"][0] + phi["hidden"]["bias"])
  return jax.nn.sigmoid(hidden @ phi["head"]["kernel"] + phi["head"]["bias"])[:, 0]


def cross_entropy(meta, params, x, target):
  logits = meta.MLP.apply(params, (), x, key=None, train=True)[0]
  return -jnp.sum(target * jax.nn.log_softmax(logits), -1)


def after_a_virtual_step(meta, phi, params, flow):
  """The trusted loss after a step on weighted losses, from the definition."""
  share = flow.keep * flow.weight / jnp.maximum(jnp.sum(flow.keep), 1)
  v = v_of(phi, cross_entropy(meta, params, flow.x, flow.target))
  inner = lambda p: jnp.sum(share * v * cross_entropy(meta, p, flow.x, flow.target))
  ahead = jax.tree.map(lambda p, g: p - RATE * g, params, jax.grad(inner)(params))
  clean = jax.nn.one_hot(flow.trusted.y, meta.CLASSES)
  return jnp.mean(cross_entropy(meta, ahead, flow.trusted.x, clean))


@pytest.fixture(scope="module")
def start():
  rng = np.random.default_rng(5)
  kernel, bias = rng.uniform(-1, 1, (1, 7)), rng.uniform(-1, 1, 7)
  head = {"kernel": rng.normal(size=(7, 1)), "bias": rng.normal(size=1)}
  return {"hidden": {"kernel": kernel, "bias": bias}, "head": head}


def test_the_hypergradient_is_exact(meta, start):
  tx = optax.sgd(1.0)
  t = reweighting.meta_weight_net(RATE, tx=tx, hidden=7)
  with jax.enable_x64(True):
    phi = start
    params = jax.device_get(jax.jit(lambda: meta.MLP.init(meta.KEY, meta.X)[0])())

    @jax.jit
    def everything(params, phi):
      flow = meta.uneven(params)
      out, new = meta.update(t, flow, params, state=rfjax.core.player(phi, tx))
      exact = jax.grad(lambda phi: after_a_virtual_step(meta, phi, params, flow))(phi)
      return flow, out, new.params, exact

    flow, out, new, exact = jax.device_get(everything(params, phi))
    taken = jax.tree.map(lambda old, new: old - new, phi, new)
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14), taken, exact
    )
    value = jax.jit(lambda phi: after_a_virtual_step(meta, phi, params, flow))
    leaves, structure = jax.tree.flatten(phi)
    for at, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(taken), strict=True)):
      spot, h = (0,) * (leaf.ndim - 1) + (leaf.shape[-1] - 1,), 1e-5
      unit = np.zeros(leaf.shape)
      unit[spot] = h
      moved = [
        float(value(structure.unflatten([*leaves[:at], leaf + step, *leaves[at + 1 :]])))
        for step in (unit, -unit)
      ]
      np.testing.assert_allclose(
        (moved[0] - moved[1]) / (2 * h), slope[spot], rtol=1e-6, atol=1e-11
      )
  assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(exact)) > 1e-5
  said = np.exp(flow.logits)
  losses = -(flow.target * np.log(said / said.sum(1, keepdims=True))).sum(1)
  expected = flow.weight * weights(new, losses)
  real = flow.valid
  np.testing.assert_allclose(out.weight[real], expected[real], rtol=1e-6)
  assert np.ptp(expected) > 0.01


def test_a_constant_weight_scales_the_cross_entropy(meta):
  """V says the logistic function of its bias where its other kernel is 0."""
  tx = optax.sgd(0.0)
  phi = {
    "hidden": {"kernel": np.ones((1, 4)), "bias": np.zeros(4)},
    "head": {"kernel": np.zeros((4, 1)), "bias": np.full(1, np.log(0.25 / 0.75))},
  }
  phi = jax.tree.map(jnp.asarray, phi)
  t = reweighting.meta_weight_net(RATE, tx=tx, hidden=4)

  def risk(params):
    flow = meta.forward_of(meta.MLP)(params, meta.dataset())
    state = rfjax.core.player(phi, tx)
    return meta.update(t, flow, params, state=state)[0].objective

  plain = lambda params: 0.25 * meta.forward_of(meta.MLP)(params, meta.dataset()).risk

  @jax.jit
  def both():
    params, _ = meta.MLP.init(meta.KEY, meta.X)
    return jax.value_and_grad(risk)(params), jax.value_and_grad(plain)(params)

  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *both())


def test_no_gradient_flows_through_the_weight(meta, start):
  phi, tx = jax.tree.map(jnp.asarray, start), optax.sgd(1.0)
  t = reweighting.meta_weight_net(RATE, tx=tx, hidden=7)

  def run(w):
    flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
    state = rfjax.core.player(phi, tx)
    out = meta.update(t, flow, w, meta.LINEAR, state=state)[0]
    return out.weight @ np.arange(8, dtype=np.float32)

  slope = jax.jit(lambda: jax.grad(run)(meta.LINEAR.init(meta.KEY, meta.X)[0]))()
  np.testing.assert_array_equal(slope, 0)


def test_the_net_starts_as_the_authors_have_it_and_learns(meta):
  t = reweighting.meta_weight_net()

  @jax.jit
  def everything():
    params, _ = meta.MLP.init(meta.KEY, meta.X)
    flow = meta.forward_of(meta.MLP)(params, meta.dataset())
    state = t.init(flow, key=meta.KEY, spec=None)
    other = t.init(flow, key=jax.random.key(1), spec=None)
    return state, other, *meta.update(t, flow, params, state=state)

  state, other, out, new = jax.device_get(everything())
  assert jax.tree.map(jnp.shape, state.params) == {
    "hidden": {"kernel": (1, 100), "bias": (100,)},
    "head": {"kernel": (100, 1), "bias": (1,)},
  }
  first, second = (state.params[name]["kernel"] for name in ("hidden", "head"))
  assert 0.9 < np.abs(first).max() <= 1 and 0.09 < np.abs(second).max() <= 0.1
  step = np.abs(new.params["head"]["kernel"] - state.params["head"]["kernel"])
  np.testing.assert_allclose(step.max(), 1e-3, rtol=1e-2)  # that of Adam's first
  assert out.weight.min() > 0 and out.weight.max() < 1
  assert not np.array_equal(other.params["hidden"]["bias"], state.params["hidden"]["bias"])


def test_the_rate_may_be_a_schedule(meta, start):
  phi, tx = jax.tree.map(jnp.asarray, start), optax.sgd(1.0)

  def moved(rate, step):
    w, _ = meta.LINEAR.init(meta.KEY, meta.X)
    flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
    t = reweighting.meta_weight_net(rate, tx=tx, hidden=7)
    state = rfjax.core.player(phi, tx)
    new = meta.update(t, flow, w, meta.LINEAR, state=state, step=step)[1].params
    return new["head"]["bias"] - phi["head"]["bias"]

  schedule = optax.piecewise_constant_schedule(0.5, {3: 0.1})
  rates = [float(schedule(step)) for step in (0, 5)]
  found = jax.jit(
    lambda: ([moved(schedule, step) for step in (0, 5)], [moved(r, 0) for r in (*rates, 0.0)])
  )()
  np.testing.assert_allclose(found[0], found[1][:2], rtol=1e-6)
  np.testing.assert_array_equal(found[1][2], 0)


def test_statistics_do_not_see_the_virtual_step(meta):
  """A network that remembers the mean of its inputs remembers that of the batch only."""

  def apply(params, stats, x, *, key, train):
    del key
    return (x - stats) @ params, None, 0.5 * stats + 0.5 * x.mean(0) if train else stats

  init = lambda key, x: (jnp.zeros((x.shape[1], 3)), jnp.zeros(x.shape[1]))
  network, data = rfjax.core.Network(init, apply), meta.dataset()
  methods = rfjax.chain(), reweighting.meta_weight_net(RATE)
  fit = lambda t: rfjax.fit(network, t, optax.sgd(0.1), data, key=meta.KEY, epochs=2)[0]
  runs = jax.device_get(jax.jit(lambda: [fit(t) for t in methods])())
  np.testing.assert_allclose(runs[1].stats, runs[0].stats, rtol=1e-6)
  assert not np.allclose(runs[1].params, runs[0].params)


def test_large_losses_come_to_count_less_where_they_are_wrong_labels(meta):
  """The network stays, so that wrong labels are the large losses and harm on trusted rows."""
  rng = np.random.default_rng(3)
  x, clean_x = rng.normal(size=(60, 1)), rng.normal(size=(20, 1))
  x += np.sign(x)
  truth, wrong = (x[:, 0] > 0).astype(int), np.arange(60) % 5 < 2
  data = meta.dataset(x, truth ^ wrong, clean_x, (clean_x[:, 0] > 0).astype(int), 2)
  network = architectures.logistic()
  t = reweighting.meta_weight_net(1.0, tx=optax.adam(0.03), trusted_batch_size=10)

  @jax.jit
  def run(data):
    params = {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}
    state, _ = rfjax.fit(
      network, t, optax.sgd(0.0), data, key=meta.KEY, epochs=40, batch_size=30, params=params
    )
    flow = rfjax.predict(network, state, data)
    return meta.update(t, flow, params, network, state=state.method)[0].weight

  weight = np.asarray(run(data))
  assert weight[wrong].max() < 0.2 and weight[~wrong].min() > 0.8


@pytest.mark.parametrize(
  ("settings", "named"),
  [
    ({"rate": -0.1}, "rate"),
    ({"rate": float("nan")}, "rate"),
    ({"hidden": 0}, "hidden"),
    ({"trusted_batch_size": 0}, "trusted_batch_size"),
  ],
)
def test_settings_out_of_range_are_refused(settings, named):
  with pytest.raises(ValueError, match=f"{named} must"):
    reweighting.meta_weight_net(**settings)


def test_it_says_what_is_missing(meta):
  bare = rfjax.Batch.from_arrays(meta.X, meta.Y)
  with pytest.raises(ValueError, match="meta_weight_net needs trusted"):
    reweighting.meta_weight_net().init(bare, key=meta.KEY, spec=None)


def test_the_gradient_through_an_earlier_weight_stays(meta, start):
  phi, tx = jax.tree.map(jnp.asarray, start), optax.sgd(1.0)
  t = reweighting.meta_weight_net(RATE, tx=tx, hidden=7)

  def total(scale):
    w, _ = meta.LINEAR.init(meta.KEY, meta.X)
    flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
    state = rfjax.core.player(phi, tx)
    out = meta.update(t, flow.replace(weight=scale * flow.weight), w, meta.LINEAR, state=state)[0]
    return out.weight.sum(), out.weight.sum()

  slope, weight = jax.jit(jax.grad(total, has_aux=True))(1.0)
  # V is fixed here, but for what the meta-step of a scaled batch makes of it, which has no slope.
  np.testing.assert_allclose(slope, weight, rtol=1e-5)
