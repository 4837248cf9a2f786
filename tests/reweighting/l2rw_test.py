"""Learning to reweight: its weights against double differentiation, and a loop over gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, correction, reweighting


def cross_entropy(network, params, x, target):
  logits = network.apply(params, (), x, key=None, train=True)[0]
  return -jnp.sum(target * jax.nn.log_softmax(logits), -1)


def linear(meta):
  """The weights of the linear network, and a batch that it has filled."""
  w, _ = meta.LINEAR.init(meta.KEY, meta.X)
  return w, meta.forward_of(meta.LINEAR)(w, meta.dataset())


def test_weights_are_those_of_a_virtual_step(meta):
  alpha = 0.37  # which cancels

  def by_definition(params, flow):
    clean = jax.nn.one_hot(flow.trusted.y, meta.CLASSES)

    def after(eps):
      inner = lambda p: jnp.sum(eps * cross_entropy(meta.MLP, p, flow.x, flow.target))
      ahead = jax.tree.map(lambda p, g: p - alpha * g, params, jax.grad(inner)(params))
      return jnp.mean(cross_entropy(meta.MLP, ahead, flow.trusted.x, clean))

    u = jnp.maximum(-jax.grad(after)(jnp.zeros(meta.ROWS)), 0)
    return jnp.sum(flow.keep) * u / jnp.sum(flow.keep * u)

  with jax.enable_x64(True):

    @jax.jit
    def both():
      params, _ = meta.MLP.init(meta.KEY, meta.X)
      flow = meta.uneven(params)
      out, _ = meta.update(reweighting.l2rw(), flow, params)
      return flow, out, by_definition(params, flow)

    flow, out, expected = jax.device_get(both())
  counted = flow.keep > 0
  assert len(set(expected[counted])) > 3
  np.testing.assert_allclose(out.weight[counted], (flow.weight * expected)[counted], rtol=1e-12)
  share = flow.keep * out.weight / flow.weight
  np.testing.assert_allclose(share.sum(), flow.keep.sum())
  for name in ("cost", "target", "keep", "penalty"):
    np.testing.assert_array_equal(getattr(out, name), getattr(flow, name))


def test_weights_are_inner_products_of_gradients(meta):
  with jax.enable_x64(True):

    @jax.jit
    def both():
      w, flow = linear(meta)
      return w, meta.update(reweighting.l2rw(), flow, w, meta.LINEAR)[0].weight

    w, found = jax.device_get(both())
  gradients = []
  for x, y in (*zip(meta.X, meta.Y, strict=True), *zip(meta.CLEAN_X, meta.CLEAN_Y, strict=True)):
    e = np.exp(x @ w)
    gradients.append(np.outer(x, e / e.sum() - np.eye(meta.CLASSES)[y]))
  clean = np.mean(gradients[meta.ROWS :], axis=0)
  u = np.array([max((g * clean).sum(), 0) for g in gradients[: meta.ROWS]])
  assert 0 < (u == 0).sum() < meta.ROWS
  np.testing.assert_allclose(found, meta.ROWS * u / u.sum(), rtol=1e-12)


def test_rows_that_all_harm_teach_nothing(meta):
  x, y = np.ones((4, 4)), np.zeros(4, int)
  data = meta.dataset(x, y, x, y + 1)
  w = np.zeros((4, meta.CLASSES), np.float32)

  def objective(w):
    flow = meta.forward_of(meta.LINEAR)(w, data)
    out, _ = meta.update(reweighting.l2rw(), flow, w, meta.LINEAR)
    return out.objective, out.weight

  (value, weight), slope = jax.jit(jax.value_and_grad(objective, has_aux=True))(w)
  np.testing.assert_array_equal(weight, 0)
  np.testing.assert_array_equal(slope, 0)
  assert value == 0


def test_no_gradient_flows_through_the_weight(meta):

  def run(w):
    flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
    return meta.update(reweighting.l2rw(), flow, w, meta.LINEAR)[0]

  @jax.jit
  def slopes():
    w, _ = meta.LINEAR.init(meta.KEY, meta.X)
    fixed = run(w).weight
    plain = lambda w: jnp.mean(fixed * meta.forward_of(meta.LINEAR)(w, meta.dataset()).loss)
    weighed = lambda w: run(w).weight @ np.arange(8, dtype=np.float32)
    return [jax.grad(of)(w) for of in (weighed, lambda w: run(w).risk, plain)]

  of_weight, of_risk, wanted = slopes()
  np.testing.assert_array_equal(of_weight, 0)
  np.testing.assert_allclose(of_risk, wanted, rtol=1e-5, atol=1e-7)


def test_a_minimum_makes_weights_even_in_the_end(meta):

  @jax.jit
  def run(minimum):
    w, flow = linear(meta)
    return meta.update(reweighting.l2rw(minimum=minimum), flow, w, meta.LINEAR)[0].weight

  np.testing.assert_allclose(run(1e20), 1, rtol=1e-6)
  assert 0 < np.min(run(0.01)) < 0.9 and np.min(run(0.0)) == 0


def test_the_loss_of_the_chain_does_not_change_the_weights(meta):

  @jax.jit
  def both():
    w, flow = linear(meta)
    corrected, _ = correction.forward(0.8 * np.eye(3) + 0.2 / 3).update(flow, ())
    weigh = lambda flow: meta.update(reweighting.l2rw(), flow, w, meta.LINEAR)[0].weight
    return weigh(flow), weigh(corrected)

  plain, again = both()
  np.testing.assert_allclose(again, plain, rtol=1e-6)


def test_small_batches_of_trusted_rows_are_drawn_without_repetition(meta):
  w, flow = jax.jit(lambda: linear(meta))()
  t, whole = reweighting.l2rw(trusted_batch_size=2), reweighting.l2rw()
  pairs = np.array(list(itertools.combinations(range(meta.TRUSTED), 2)))

  @jax.jit
  @jax.vmap
  def of_pairs(rows):
    chosen = flow.replace(trusted=flow.trusted.take(rows))
    return meta.update(whole, chosen, w, meta.LINEAR)[0].weight

  @jax.jit
  @jax.vmap
  def drawn(seed):
    return meta.update(t, flow, w, meta.LINEAR, key=jax.random.key(seed))[0].weight

  table, seen = np.asarray(of_pairs(pairs)), set()
  for weight in np.asarray(drawn(np.arange(40))):
    distance = np.abs(table - weight).max(1)
    assert distance.min() < 1e-5
    seen.add(int(distance.argmin()))
  assert len(seen) > 6
  everything = reweighting.l2rw(trusted_batch_size=meta.TRUSTED)
  both = jax.jit(lambda: [meta.update(m, flow, w, meta.LINEAR)[0].weight
                          for m in (everything, whole)])  # fmt: skip
  np.testing.assert_allclose(*both(), rtol=1e-5, atol=1e-6)


def test_padding_among_the_trusted_rows_does_not_count(meta):

  @jax.jit
  def weights():
    w, flow = linear(meta)
    trusted = flow.trusted.take(jnp.array([9, 1, 9, 3]))
    trusted = trusted.replace(x=trusted.x + 5.0 * ~trusted.valid[:, None])
    padded = flow.replace(trusted=trusted)
    real = flow.replace(trusted=flow.trusted.take(jnp.array([1, 3])))
    weigh = lambda t, flow, key: meta.update(t, flow, w, meta.LINEAR, key=key)[0].weight
    drawing = reweighting.l2rw(trusted_batch_size=2)
    drawn = jax.vmap(lambda key: weigh(drawing, padded, key))(jax.random.split(meta.KEY, 6))
    whole = [weigh(reweighting.l2rw(), some, meta.KEY) for some in (real, padded)]
    return *whole, drawn

  expected, padded, drawn = jax.device_get(weights())
  for weight in (padded, *drawn):
    np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


def test_a_run_learns_from_the_trusted_rows(meta):
  rng = np.random.default_rng(3)
  x = rng.normal(size=(60, 2))
  truth, clean_x = (x[:, 0] > 0).astype(int), rng.normal(size=(8, 2))
  wrong = np.arange(60) % 5 < 2
  data = meta.dataset(x, np.where(wrong, 0, truth), clean_x, (clean_x[:, 0] > 0).astype(int), 2)
  network, t = architectures.logistic(), reweighting.l2rw()

  @jax.jit
  def run(data):
    state, log = rfjax.fit(network, t, optax.sgd(0.5), data, key=meta.KEY, epochs=20, batch_size=30)
    flow = rfjax.predict(network, state, data)
    return log, meta.update(t, flow, state.params, network)[0].weight

  log, weight = jax.device_get(run(data))
  harmful = np.where(wrong, 0, truth) != truth
  assert weight[harmful].mean() < 0.5 * weight[~harmful].mean()
  assert np.isfinite(log.risk).all()


def test_it_says_what_is_missing(meta):
  bare = rfjax.Batch.from_arrays(meta.X, meta.Y)
  with pytest.raises(ValueError, match=r"l2rw needs trusted.*pass trusted="):
    reweighting.l2rw().init(bare, key=meta.KEY, spec=None)
  with pytest.raises(ValueError, match="trusted_batch_size must be at most the 5 trusted rows"):
    reweighting.l2rw(trusted_batch_size=6).init(meta.dataset(), key=meta.KEY, spec=None)


@pytest.mark.parametrize(
  "settings", [{"minimum": -0.1}, {"minimum": float("nan")}, {"trusted_batch_size": 0}]
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    reweighting.l2rw(**settings)
