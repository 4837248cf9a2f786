"""SIGUA: its signed weights against the authors' two means, and both of its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import correction, selection

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 12, 3
Y = np.arange(ROWS) % CLASSES
# forget_rate, ascent, ascend_rate
SETTINGS = np.array(
  [(0.25, 0.01, 1.0), (0.5, 1.0, 0.3), (0.5, 0.5, 0.4), (0.75, 0.2, 0.7), (0.0, 0.5, 1.0),
   (0.1, 2.0, 0.0), (0.95, 0.3, 0.5), (0.5, 0.0, 1.0)], np.float32,
)  # fmt: skip


def dataset():
  return rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), Y, num_classes=CLASSES)


def update(method, flow, epoch=1):
  return method.update(flow, (), (), key=KEY, step=0, epoch=epoch, forward=None)[0]


def with_gradient(method, flow, z):
  """The batch, and the gradient of its risk by the logits."""
  run = lambda z: (lambda out: (out.risk, out))(update(method, flow.fill(z)))
  return jax.grad(run, has_aux=True)(z)[::-1]


@jax.jit
def lanes(flow, z):
  def one(setting):
    rate, ascent, ascend_rate = setting
    method = selection.sigua(rate, ascent=ascent, ascend_rate=ascend_rate)
    out, gradient = with_gradient(method, flow, z)
    return out, out.risk, gradient

  return jax.vmap(one)(jnp.asarray(SETTINGS))


def by_hand(z, y):
  """Losses and their gradients by the logits."""
  p = np.exp(z - z.max(-1, keepdims=True))
  p /= p.sum(-1, keepdims=True)
  at = np.arange(len(y))
  return -np.log(p[at, y]), p - np.eye(CLASSES)[y]


def sets(loss, keep, rate, ascend_rate):
  """The rows that are descended and those that are ascended: the first ones of the rest."""
  pool = sorted(np.flatnonzero(keep > 0), key=lambda i: loss[i])
  small = pool[: int(np.floor((1 - np.float64(rate)) * len(pool) + 1e-6))]
  rest = pool[len(small) :]
  number = int(np.floor(np.float64(ascend_rate) * len(rest) + 1e-6))
  return small, rest[: number or 1]


def test_risk_and_gradient_are_those_of_the_two_means():
  rng = np.random.default_rng(1)
  for _ in range(6):
    rows = rng.permutation(np.append(rng.permutation(ROWS)[:10], [ROWS] * 2))
    y = np.where(rows < ROWS, rows % CLASSES, 0)
    keep = (rng.random(12) < 0.85) * (rows < ROWS).astype(np.float32)
    z = 2 * rng.normal(size=(12, CLASSES))
    flow = dataset().take(jnp.asarray(rows)).replace(keep=jnp.asarray(keep))
    out, risks, gradients = lanes(flow, jnp.asarray(z, jnp.float32))
    loss, slopes = by_hand(z, y)
    for i, (rate, ascent, ascend_rate) in enumerate(SETTINGS):
      small, big = sets(loss, keep, rate, ascend_rate)
      mean = lambda v, at: v[at].mean(0) if at else 0 * v[0]
      np.testing.assert_array_equal(out.keep[i], keep * np.isin(np.arange(12), small + big))
      wanted = mean(loss, small) - ascent * mean(loss, big)
      np.testing.assert_allclose(risks[i], wanted, rtol=1e-4, atol=1e-5)
      expected = np.zeros_like(slopes)
      expected[small] += slopes[small] / max(len(small), 1)
      expected[big] -= ascent * slopes[big] / max(len(big), 1)
      np.testing.assert_allclose(gradients[i], expected, rtol=1e-4, atol=1e-6)


def test_columns_that_are_there_are_multiplied():
  z = jnp.asarray(RNG.normal(size=(ROWS, CLASSES)), jnp.float32)
  keep, weight = RNG.choice([0.5, 1.0], ROWS), RNG.uniform(0.5, 2.0, ROWS)
  flow = dataset().replace(
    keep=jnp.asarray(keep, jnp.float32), weight=jnp.asarray(weight, jnp.float32)
  )
  loss, _ = by_hand(np.asarray(z, np.float64), Y)
  small, big = sets(loss, keep, 0.5, 0.5)
  mean = lambda at: (keep * weight * loss)[at].sum() / max(keep[at].sum(), 1)
  out = update(selection.sigua(0.5, ascent=0.3, ascend_rate=0.5), flow.fill(z))
  np.testing.assert_allclose(out.risk, mean(small) - 0.3 * mean(big), rtol=1e-5)


def test_without_ascent_it_is_small_loss():
  z = jnp.asarray(RNG.normal(size=(ROWS, CLASSES)), jnp.float32)
  for rate in (0.0, 0.3, 0.6):
    one, gradient = with_gradient(selection.sigua(rate, ascent=0.0), dataset(), z)
    two, other = with_gradient(selection.small_loss(rate), dataset(), z)
    np.testing.assert_allclose(one.risk, two.risk, rtol=1e-6)
    np.testing.assert_allclose(gradient, other, rtol=1e-5, atol=1e-8)


def test_the_rate_may_be_a_function_of_the_epoch_and_the_defaults_are_the_authors():
  flow = dataset().fill(jnp.asarray(RNG.normal(size=(ROWS, CLASSES)), jnp.float32))
  method = selection.sigua(selection.ramp_up(0.5, 3))
  for epoch, rate in ((0, 0.0), (1, 0.25), (5, 0.5)):
    wanted = update(selection.sigua(rate, ascent=0.01, ascend_rate=1.0), flow)
    found = update(method, flow, epoch)
    np.testing.assert_array_equal(found.weight, wanted.weight)
    np.testing.assert_array_equal(found.keep, 1)


TRANSITION = np.array([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.25, 0.15, 0.6]])


def test_corrected_losses_below_zero_are_turned_round():
  z = 2 * np.random.default_rng(7).normal(size=(ROWS, CLASSES))
  log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
  loss = -(np.linalg.inv(TRANSITION)[Y] * log_p).sum(-1)
  assert 2 <= (loss < 0).sum() <= ROWS - 2
  flow = correction.backward(TRANSITION).update(dataset().fill(jnp.asarray(z, jnp.float32)), ())[0]
  for ascent in (0.0, 0.01, 1.0):
    out = update(selection.sigua_bc(ascent), flow)
    np.testing.assert_allclose(out.risk, np.where(loss < 0, -ascent * loss, loss).mean(), rtol=1e-4)
    np.testing.assert_array_equal(out.weight, np.where(loss < 0, np.float32(-ascent), 1))
  np.testing.assert_allclose(out.risk, np.abs(loss).mean(), rtol=1e-4)
  np.testing.assert_array_equal(update(selection.sigua_bc(), flow).weight.min(), np.float32(-0.01))


def test_a_threshold_and_a_warm_up_of_the_corrected_kind():
  flow = dataset().fill(jnp.asarray(RNG.normal(size=(ROWS, CLASSES)), jnp.float32))
  flow = flow.replace(weight=jnp.full(ROWS, 2.0))
  method = selection.sigua_bc(0.5, threshold=flow.loss[3], warmup=2)
  wanted = np.where(flow.loss < flow.loss[3], -1.0, 2.0)
  assert wanted[3] == 2 and (wanted < 0).any()
  np.testing.assert_array_equal(update(method, flow, 2).weight, wanted)
  np.testing.assert_array_equal(update(method, flow, 1).weight, 2)
  np.testing.assert_array_equal(update(selection.sigua_bc(0.5), flow).weight, 2)


def test_settings_out_of_range_are_refused():
  bad = [{"forget_rate": 1.0}, {"ascent": -0.1}, {"ascend_rate": 1.1}, {"ascend_rate": -0.1}]
  for settings in bad:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.sigua(**({"forget_rate": 0.1} | settings))
  for settings in ({"ascent": -1.0}, {"threshold": float("nan")}, {"warmup": -1}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.sigua_bc(**settings)
  assert selection.sigua(0.1).writes == ("keep", "weight")
  assert selection.sigua_bc().writes == ("weight",)
