"""Importance reweighting against ratios in float64, and its identity over the population."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import losses, reweighting

RNG = np.random.default_rng(0)
ROWS, CLASSES = 8, 4
LOGITS = 2.0 * RNG.normal(size=(ROWS, CLASSES))
Y = np.arange(ROWS) % CLASSES
T = RNG.dirichlet(np.ones(CLASSES), CLASSES)
PAIR = 0.7 * np.eye(CLASSES) + 0.3 * np.roll(np.eye(CLASSES), 1, axis=1)  # with zeros


def batch(logits, y=Y):
  rows = np.zeros((len(logits), 1), np.float32)
  return rfjax.Batch.from_arrays(rows, y, num_classes=CLASSES).fill(logits)


def apply(method, flow):
  extra = {"key": jax.random.key(0), "step": 0, "epoch": 0, "forward": None}
  return method.update(flow, (), (), **extra)[0]


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def ratio(logits, transition, y=Y):
  p, rows = softmax(logits), np.arange(len(logits))
  return p[rows, y] / (p @ transition)[rows, y]


@pytest.mark.parametrize("dtype", [float, jnp.float32])
def test_is_the_ratio_and_multiplies_the_weights(dtype):
  many = np.stack([T, PAIR, np.full((CLASSES, CLASSES), 1 / CLASSES)])
  before = RNG.random(ROWS)

  def weight(transition, logits, before):
    method = reweighting.importance(transition)
    return apply(method, batch(logits).replace(weight=before)).weight

  @jax.jit
  def both(many, logits, before):
    lanes = jax.vmap(weight, (0, None, None))(many, logits, before)
    return lanes, weight(T, logits, before)

  with jax.enable_x64(dtype is float):
    found, fixed = jax.device_get(both(*(v.astype(dtype) for v in (many, LOGITS, before))))
  rtol = 1e-12 if dtype is float else 1e-5
  for lane, transition in zip(found, many, strict=True):
    np.testing.assert_allclose(lane, before * ratio(LOGITS, transition), rtol=rtol)
  np.testing.assert_allclose(fixed, before * ratio(LOGITS, T), rtol=rtol)
  assert found.dtype == fixed.dtype == dtype


def test_the_identity_gives_every_row_the_weight_one():
  @jax.jit
  def both(logits):
    method = reweighting.importance(np.eye(CLASSES))
    slope = jax.value_and_grad(lambda z, m: apply(m, batch(z)).risk)
    weights = apply(method, batch(logits)).weight
    return weights, slope(logits, method), slope(logits, rfjax.chain())

  weights, one, two = both(jnp.asarray(LOGITS, jnp.float32))
  np.testing.assert_allclose(weights, 1, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, two)


@pytest.mark.parametrize("loss", [rfjax.chain(), losses.gce(0.7), losses.mae()])
def test_the_weighted_risk_over_the_noise_is_the_clean_risk(loss):
  # With p the true posterior, whatever the loss; each row once with every given label.
  p = softmax(LOGITS)
  given = np.tile(np.arange(CLASSES), ROWS)
  with jax.enable_x64(True):
    method = rfjax.chain(loss, reweighting.importance(T))

    @jax.jit
    def weighted(logits):
      flow = batch(jnp.repeat(logits, CLASSES, 0), given)
      out = method.update(
        flow, method.init(flow, key=jax.random.key(0)), (), key=jax.random.key(0), step=0,
        epoch=0, forward=None,
      )[0]  # fmt: skip
      return out.weight * out.loss, out.cost

    values, cost = (np.asarray(leaf) for leaf in weighted(jnp.asarray(LOGITS)))
  noisy = np.zeros(ROWS)
  for i in range(ROWS):
    for k in range(CLASSES):
      noisy[i] += (p[i] @ T[:, k]) * values[CLASSES * i + k]
  np.testing.assert_allclose(noisy, (p * cost[::CLASSES]).sum(1), rtol=1e-12)


def risk(logits, transition, largest, differentiable):
  method = reweighting.importance(transition, largest=largest, differentiable=differentiable)
  return apply(method, batch(logits)).risk


def by_differences(logits, transition, largest, weights=None):
  """The gradient of the risk in float64; of given weights, or of those of the logits."""

  def value(z):
    w = np.minimum(ratio(z, transition), largest) if weights is None else weights
    return np.mean(-w * np.log(softmax(z)[np.arange(ROWS), Y]))

  slope = np.zeros(logits.shape)
  for at in np.ndindex(logits.shape):
    step = np.zeros(logits.shape)
    step[at] = 1e-5
    slope[at] = (value(logits + step) - value(logits - step)) / 2e-5
  return slope


@pytest.mark.parametrize("largest", [100.0, 1.0])
def test_the_gradient_flows_through_the_weight_only_where_it_is_asked_to(largest):
  weights = np.minimum(ratio(LOGITS, T), largest)
  assert (weights == largest).any() == (largest == 1.0)
  with jax.enable_x64(True):
    slopes = jax.jit(lambda z, most: [jax.grad(risk)(z, T, most, flag) for flag in (False, True)])(
      jnp.asarray(LOGITS), largest
    )
  still, flowing = (np.asarray(s) for s in slopes)
  np.testing.assert_allclose(still, by_differences(LOGITS, T, largest, weights), atol=1e-9)
  np.testing.assert_allclose(flowing, by_differences(LOGITS, T, largest), atol=1e-9)
  p = softmax(LOGITS)
  np.testing.assert_allclose(
    still, weights[:, None] * (p - np.eye(CLASSES)[Y]) / ROWS, rtol=1e-10, atol=1e-12
  )
  # A weight that is cut has no gradient of its own.
  np.testing.assert_allclose(still[weights == largest], flowing[weights == largest], atol=1e-12)
  assert np.abs(still - flowing).max() > 1e-3


def test_the_gradient_stops_by_default():
  default = lambda z: apply(reweighting.importance(T), batch(z)).risk
  z = jnp.asarray(LOGITS, jnp.float32)
  found, wanted = jax.jit(lambda: (jax.grad(default)(z), jax.grad(risk)(z, T, 100.0, False)))()
  np.testing.assert_array_equal(found, wanted)


def test_the_largest_ratio_is_a_bound_that_may_be_traced():
  # The label 0 is given half the time that it is true.
  never = np.array([[1e-6, 1 - 1e-6], [0.0, 1.0]])
  y = np.zeros(3, int)
  logits = np.array([[9.0, 0.0], [0.0, 0.0], [0.0, 9.0]], np.float32)

  def weight(largest):
    data = rfjax.Batch.from_arrays(np.zeros((3, 1), np.float32), y, num_classes=2)
    return apply(reweighting.importance(never, largest=largest), data.fill(logits)).weight

  def by_default():
    data = rfjax.Batch.from_arrays(np.zeros((3, 1), np.float32), y, num_classes=2)
    return apply(reweighting.importance(never), data.fill(logits)).weight

  found, default = jax.jit(lambda most: (jax.vmap(weight)(most), by_default()))(
    np.array([0.5, 50.0, 1e7], np.float32)
  )
  np.testing.assert_allclose(found, np.array([0.5, 50.0, 1e6])[:, None] * np.ones(3), rtol=1e-4)
  np.testing.assert_array_equal(default, 100)


@pytest.mark.parametrize("differentiable", [False, True])
def test_values_and_gradients_are_finite_at_far_logits(differentiable):
  far = np.array([[1e4, -1e4, -1e4, -1e4], [-1e4, 0, 1e4, 1e4], [0, 0, 0, -1e4], [1e4] * 4])
  far = np.concatenate([far, far[:, ::-1]])
  many = np.stack([T, PAIR, np.eye(CLASSES), np.eye(CLASSES)[[0, 0, 0, 0]]]).astype(np.float32)
  each = jax.value_and_grad(lambda z, t: risk(z, t, 100.0, differentiable))
  values, slopes = jax.jit(jax.vmap(each, (None, 0)))(jnp.asarray(far, jnp.float32), many)
  assert np.isfinite(values).all() and np.isfinite(slopes).all()


def test_it_writes_weight_only():
  method = reweighting.importance(T)
  assert method.writes == ("weight",)

  def step(logits):
    flow = batch(logits)
    out = apply(method, flow)
    for name in ("cost", "target", "keep", "penalty", "log_probs"):
      assert getattr(out, name) is getattr(flow, name)
    assert method.refresh(flow, (), (), epoch=0)[0] is flow
    return out.weight

  jax.jit(step)(jnp.asarray(LOGITS, jnp.float32))


@pytest.mark.parametrize("largest", [0.0, -1.0, float("nan")])
def test_bounds_out_of_range_are_refused(largest):
  with pytest.raises(ValueError, match="largest must"):
    reweighting.importance(np.eye(2), largest=largest)


@pytest.mark.parametrize("bad", [[[0.5, 0.6], [0.0, 1.0]], [[1.0, 0.0]]])
def test_what_is_no_transition_is_refused(bad):
  with pytest.raises(ValueError, match="transition must"):
    reweighting.importance(bad)


def test_a_matrix_of_other_classes_is_refused():
  with pytest.raises(ValueError, match="transition"):
    apply(reweighting.importance(np.eye(3)), batch(jnp.asarray(LOGITS, jnp.float32)))
