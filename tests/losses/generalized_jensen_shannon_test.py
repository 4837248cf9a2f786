"""Generalised Jensen-Shannon divergence: the formula over several views, and its limits."""

import host
import jax
import numpy as np
import pytest

import rfjax
from rfjax import losses

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 6, 4
X = RNG.normal(size=(ROWS, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 3, 0, 1])
W = RNG.normal(size=(3, CLASSES)).astype(np.float32)
SHIFT = RNG.normal(size=(ROWS, 3)).astype(np.float32)


def forward(params, batch):
  return batch.fill(batch.x @ params)


def softmax(z):
  z = np.asarray(z, np.float64)
  e = np.exp(z - z.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def divergence(p, q):
  """KL(p, q) of rows, with 0 log 0 = 0."""
  return np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / np.where(p > 0, q, 1)), 0).sum(-1)


def oracle(pi, probs):
  """The cost if the label were k, float64 [B, C], as a mean of divergences from the mixture."""
  share, cost = (1 - pi) / len(probs), []
  for k in range(CLASSES):
    e = np.eye(CLASSES)[[k] * ROWS]
    m = pi * e + share * sum(probs)
    cost.append(pi * divergence(e, m) + share * sum(divergence(p, m) for p in probs))
  return np.stack(cost, 1) / (-(1 - pi) * np.log(1 - pi))


def filled(params=W):
  return forward(params, rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES))


def update(t, flow, params=W, key=KEY, forward=forward, act="update"):
  state = t.init(flow, key=KEY, spec=None)
  return getattr(t, act)(flow, state, params, key=key, step=0, epoch=0, forward=forward)[0]


def updated(t, *, act="update", forward=forward, key=KEY):
  """The rows before and after, as one program."""

  def run(key):
    flow = filled()
    return flow, update(t, flow, key=key, forward=forward, act=act)

  return host.run(run, key)


def shifted(x, key):
  del key
  return 0.5 * x + SHIFT


def noisy(x, key):
  return x + jax.random.normal(key, x.shape)


def recorder():
  """A forward that keeps what it was asked for."""
  seen = []

  def record(params, batch):
    jax.debug.callback(lambda x: seen.append(np.asarray(x)), batch.x)
    return forward(params, batch)

  return record, seen


@pytest.mark.parametrize("act", ["update", "refresh"])
@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_is_the_formula_for_two_views(pi, act):
  flow, out = updated(losses.generalized_jensen_shannon(pi, shifted), act=act)
  expected = oracle(pi, [softmax(X @ W), softmax((0.5 * X + SHIFT) @ W)])
  np.testing.assert_allclose(out.cost, expected, rtol=1e-4, atol=1e-6)
  for name in ("logits", "log_probs", "x", "target", "keep", "weight", "penalty"):
    np.testing.assert_array_equal(getattr(out, name), getattr(flow, name))
  assert losses.generalized_jensen_shannon(pi, shifted).writes == ("loss",)


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_every_further_view_is_drawn_by_itself(num_views):
  record, seen = recorder()
  t = losses.generalized_jensen_shannon(0.3, noisy, num_views=num_views)
  _, out = updated(t, forward=record)
  jax.effects_barrier()
  assert len(seen) == num_views - 1 and all(x.shape == X.shape for x in seen)
  draws = np.array([x - X for x in seen])
  assert len(np.unique(draws.round(4))) == draws.size
  expected = oracle(0.3, [softmax(X @ W), *(softmax(x @ W) for x in seen)])
  np.testing.assert_allclose(out.cost, expected, rtol=1e-4, atol=1e-6)
  one = lambda seed: update(t, filled(), key=jax.random.key(seed)).cost
  again, other = host.run(jax.vmap(one), np.arange(2))
  assert np.abs(other - out.cost).max() > 1e-2
  np.testing.assert_allclose(again, out.cost, rtol=1e-6)


@pytest.mark.parametrize("pi", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("num_views", [1, 2, 4])
def test_views_that_agree_are_jensen_shannon(pi, num_views):
  same = lambda x, key: x
  view = shifted if num_views == 1 else same
  t = losses.generalized_jensen_shannon(pi, view, num_views=num_views)
  run = lambda: [update(each, filled()).cost for each in (t, losses.jensen_shannon(pi))]
  cost, plain = host.run(run)
  np.testing.assert_allclose(cost, oracle(pi, [softmax(X @ W)]), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(cost, plain, rtol=2e-5, atol=1e-6)


def test_one_view_asks_nobody():
  def nobody(*_):
    raise AssertionError("a single view needs neither forward nor view")

  t = losses.generalized_jensen_shannon(0.5, nobody, num_views=1)
  updated(t, forward=nobody)


def test_views_that_differ_cost_more_than_their_mean():
  probs = [softmax(X @ W), softmax((0.5 * X + SHIFT) @ W)]
  mean = np.log((probs[0] + probs[1]) / 2).astype(np.float32)

  def run(mean):
    cost = update(losses.generalized_jensen_shannon(0.4, shifted), filled()).cost
    return cost, update(losses.jensen_shannon(0.4), filled().replace(log_probs=mean)).cost

  cost, agreed = host.run(run, mean)
  m = (probs[0] + probs[1]) / 2
  disagreement = 0.5 * (divergence(probs[0], m) + divergence(probs[1], m))
  expected = np.asarray(agreed) + (0.6 * disagreement / (-0.6 * np.log(0.6)))[:, None]
  assert disagreement.min() > 1e-3
  np.testing.assert_allclose(cost, expected, rtol=1e-4)


def test_reads_log_probs_corrected_before_it():
  p = RNG.dirichlet(np.ones(CLASSES), ROWS)
  t = losses.generalized_jensen_shannon(0.4, shifted)
  out = host.run(lambda z: update(t, filled().replace(log_probs=z)), np.float32(np.log(p)))
  expected = oracle(0.4, [p, softmax((0.5 * X + SHIFT) @ W)])
  np.testing.assert_allclose(out.cost, expected, rtol=1e-4, atol=1e-6)


def test_the_gradient_goes_through_every_view():
  with jax.enable_x64(True):
    params = W.astype(np.float64)
    t = losses.generalized_jensen_shannon(0.3, shifted, num_views=3)
    gradient = host.run(jax.grad(lambda w: update(t, filled(w), w).risk), params)
  probs = lambda w: [softmax(X @ w)] + 2 * [softmax((0.5 * X + SHIFT) @ w)]
  value = lambda w: oracle(0.3, probs(w))[np.arange(ROWS), Y].mean()
  for i, k in np.ndindex(*W.shape):
    step = np.zeros(W.shape)
    step[i, k] = 1e-5
    slope = (value(W + step) - value(W - step)) / 2e-5
    np.testing.assert_allclose(gradient[i, k], slope, atol=1e-8)


@pytest.mark.parametrize("pi", [0.1, 0.5, 0.9])
def test_far_logits_reach_the_bounds_with_finite_gradients(pi):
  t = losses.generalized_jensen_shannon(pi, lambda x, key: x)
  far = np.where(np.eye(CLASSES)[Y], 1e4, -1e4).astype(np.float32)
  eye = np.eye(CLASSES, dtype=np.float32)

  def total(z):
    flow = rfjax.Batch.from_arrays(z, Y, num_classes=CLASSES, num_groups=0)
    out = update(t, forward(eye, flow), eye)
    return out.cost.sum(), out.cost

  gradient, cost = host.run(jax.grad(total, has_aux=True), far)
  assert np.isfinite(gradient).all()
  most = -(pi * np.log(pi) + (1 - pi) * np.log(1 - pi)) / (-(1 - pi) * np.log(1 - pi))
  np.testing.assert_allclose(cost, most * (1 - np.eye(CLASSES)[Y]), rtol=1e-5, atol=1e-6)
  opposed = losses.generalized_jensen_shannon(pi, lambda x, key: -x)

  def cost_of_opposed(z):
    data = rfjax.Batch.from_arrays(z, Y, num_classes=CLASSES, num_groups=0)
    return update(opposed, forward(eye, data), eye).cost.sum()

  gradient = host.run(jax.grad(cost_of_opposed), far)
  assert np.isfinite(gradient).all()


def test_traced_weights_are_the_loop():
  run = lambda pi: update(losses.generalized_jensen_shannon(pi, shifted), filled()).cost
  pis = [0.1, 0.4, 0.9]
  both = lambda many: (jax.vmap(run)(many), [run(pi) for pi in pis])
  many, loop = host.run(both, np.float32(pis))
  np.testing.assert_allclose(many, loop, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pi", [0.0, 1.0, -0.1, 1.5, float("nan"), "a"])
def test_a_weight_out_of_range_is_refused(pi):
  with pytest.raises(ValueError, match="pi must"):
    losses.generalized_jensen_shannon(pi, shifted)


@pytest.mark.parametrize("num_views", [0, -1, 1.5])
def test_a_number_of_views_out_of_range_is_refused(num_views):
  with pytest.raises(ValueError, match="num_views must"):
    losses.generalized_jensen_shannon(0.5, shifted, num_views=num_views)
