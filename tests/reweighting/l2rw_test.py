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
    params, _ = meta.MLP.init(meta.KEY, meta.X)

    @jax.jit
    def both(params):
      flow = meta.uneven(params)
      out, _ = meta.update(reweighting.l2rw(), flow, params)
      return flow, out, by_definition(params, flow)

    flow, out, expected = both(params)
  counted = np.asarray(flow.keep) > 0
  assert len(set(np.asarray(expected)[counted])) > 3
  np.testing.assert_allclose(out.weight[counted], (flow.weight * expected)[counted], rtol=1e-12)
  share = np.asarray(flow.keep) * np.asarray(out.weight) / np.asarray(flow.weight)
  np.testing.assert_allclose(share.sum(), np.asarray(flow.keep).sum())
  for name in ("cost", "target", "keep", "penalty"):
    np.testing.assert_array_equal(getattr(out, name), getattr(flow, name))


def test_weights_are_inner_products_of_gradients(meta):
  with jax.enable_x64(True):
    w, _ = meta.LINEAR.init(meta.KEY, meta.X)
    flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
    out, _ = meta.update(reweighting.l2rw(), flow, w, meta.LINEAR)
  gradients = []
  for x, y in (*zip(meta.X, meta.Y, strict=True), *zip(meta.CLEAN_X, meta.CLEAN_Y, strict=True)):
    e = np.exp(x @ np.asarray(w))
    gradients.append(np.outer(x, e / e.sum() - np.eye(meta.CLASSES)[y]))
  clean = np.mean(gradients[meta.ROWS :], axis=0)
  u = np.array([max((g * clean).sum(), 0) for g in gradients[: meta.ROWS]])
  assert 0 < (u == 0).sum() < meta.ROWS
  np.testing.assert_allclose(out.weight, meta.ROWS * u / u.sum(), rtol=1e-12)


def test_rows_that_all_harm_teach_nothing(meta):
  x, y = np.ones((4, 4)), np.zeros(4, int)
  data = meta.dataset(x, y, x, y + 1)
  w = jnp.zeros((4, meta.CLASSES))

  def objective(w):
    flow = meta.forward_of(meta.LINEAR)(w, data)
    out, _ = meta.update(reweighting.l2rw(), flow, w, meta.LINEAR)
    return out.objective, out.weight

  (value, weight), slope = jax.value_and_grad(objective, has_aux=True)(w)
  np.testing.assert_array_equal(weight, 0)
  np.testing.assert_array_equal(slope, 0)
  assert value == 0


def test_no_gradient_flows_through_the_weight(meta):
  w, _ = meta.LINEAR.init(meta.KEY, meta.X)

  def run(w):
    flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
    return meta.update(reweighting.l2rw(), flow, w, meta.LINEAR)[0]

  np.testing.assert_array_equal(jax.grad(lambda w: run(w).weight @ jnp.arange(8.0))(w), 0)
  fixed = run(w).weight
  of_risk = jax.grad(lambda w: run(w).risk)(w)
  plain = lambda w: jnp.mean(fixed * meta.forward_of(meta.LINEAR)(w, meta.dataset()).loss)
  np.testing.assert_allclose(of_risk, jax.grad(plain)(w), rtol=1e-5, atol=1e-7)


def test_a_minimum_makes_weights_even_in_the_end(meta):
  w, _ = meta.LINEAR.init(meta.KEY, meta.X)
  flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
  run = jax.jit(lambda m: meta.update(reweighting.l2rw(minimum=m), flow, w, meta.LINEAR)[0].weight)
  np.testing.assert_allclose(run(1e20), 1, rtol=1e-6)
  assert 0 < run(0.01).min() < 0.9 and run(0.0).min() == 0


def test_the_loss_of_the_chain_does_not_change_the_weights(meta):
  w, _ = meta.LINEAR.init(meta.KEY, meta.X)
  flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
  plain = meta.update(reweighting.l2rw(), flow, w, meta.LINEAR)[0].weight
  corrected, _ = correction.forward(0.8 * np.eye(3) + 0.2 / 3).update(flow, ())
  again = meta.update(reweighting.l2rw(), corrected, w, meta.LINEAR)[0].weight
  np.testing.assert_allclose(again, plain, rtol=1e-6)


def test_small_batches_of_trusted_rows_are_drawn_without_repetition(meta):
  w, _ = meta.LINEAR.init(meta.KEY, meta.X)
  flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
  t, whole = reweighting.l2rw(trusted_batch_size=2), reweighting.l2rw()
  pairs = np.array(list(itertools.combinations(range(meta.TRUSTED), 2)))

  @jax.jit
  def of_pair(rows):
    chosen = flow.replace(trusted=flow.trusted.take(rows))
    return meta.update(whole, chosen, w, meta.LINEAR)[0].weight

  @jax.jit
  def drawn(key):
    return meta.update(t, flow, w, meta.LINEAR, key=key)[0].weight

  table, seen = np.stack([of_pair(rows) for rows in pairs]), set()
  for seed in range(40):
    distance = np.abs(table - np.asarray(drawn(jax.random.key(seed)))).max(1)
    assert distance.min() < 1e-5
    seen.add(int(distance.argmin()))
  assert len(seen) > 6
  everything = reweighting.l2rw(trusted_batch_size=meta.TRUSTED)
  np.testing.assert_allclose(
    meta.update(everything, flow, w, meta.LINEAR)[0].weight,
    meta.update(whole, flow, w, meta.LINEAR)[0].weight,
    rtol=1e-5,
    atol=1e-6,
  )


def test_padding_among_the_trusted_rows_does_not_count(meta):
  w, _ = meta.LINEAR.init(meta.KEY, meta.X)
  flow = meta.forward_of(meta.LINEAR)(w, meta.dataset())
  trusted = flow.trusted.take(jnp.array([9, 1, 9, 3]))
  trusted = trusted.replace(x=trusted.x + 5.0 * ~trusted.valid[:, None])
  padded = flow.replace(trusted=trusted)
  real = flow.replace(trusted=flow.trusted.take(jnp.array([1, 3])))
  weigh = lambda t, flow, key: meta.update(t, flow, w, meta.LINEAR, key=key)[0].weight
  expected = weigh(reweighting.l2rw(), real, meta.KEY)
  drawing = reweighting.l2rw(trusted_batch_size=2)
  found = [weigh(reweighting.l2rw(), padded, meta.KEY)]
  found += list(jax.vmap(lambda key: weigh(drawing, padded, key))(jax.random.split(meta.KEY, 6)))
  for weight in found:
    np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


def test_a_run_learns_from_the_trusted_rows(meta):
  rng = np.random.default_rng(3)
  x = rng.normal(size=(60, 2))
  truth, clean_x = (x[:, 0] > 0).astype(int), rng.normal(size=(8, 2))
  wrong = np.arange(60) % 5 < 2
  data = meta.dataset(x, np.where(wrong, 0, truth), clean_x, (clean_x[:, 0] > 0).astype(int), 2)
  network, t = architectures.logistic(), reweighting.l2rw()
  state, log = rfjax.fit(network, t, optax.sgd(0.5), data, key=meta.KEY, epochs=20, batch_size=30)
  flow = rfjax.predict(network, state, data)
  weight = np.asarray(meta.update(t, flow, state.params, network)[0].weight)
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
