"""The dropout noise model against a loop in float64, with the masks that it draws."""

import jax
import numpy as np
import optax
import pytest

from rfjax import architectures
from rfjax.core import uniform

RNG = np.random.default_rng(0)
ROWS, CLASSES, LR = 8, 4, 0.5
LOGITS = RNG.normal(size=(ROWS, CLASSES))
Y = np.arange(ROWS) % CLASSES
KEY = jax.random.key(3)


@pytest.mark.parametrize("on", ["outputs", "weights"])
def test_follows_the_loop_by_hand(check, on):
  rate, w, p = 0.4, np.eye(CLASSES), check.softmax(LOGITS)
  with jax.enable_x64(True):
    flow = check.filled(LOGITS, Y)
    t = architectures.dropout_noise_model(rate, on=on, tx=optax.sgd(LR))
    state = check.init(t, flow)

    @jax.jit
    def step(flow, state, key):
      shape = (CLASSES, CLASSES)
      by_row = on == "outputs"
      drawn = uniform(key, flow, (CLASSES,)) if by_row else jax.random.uniform(key, shape)
      return drawn, *check.update(t, flow, state, key=key)

    for key in jax.random.split(KEY, 3):
      drawn, out, state = step(flow, state, key)
      kept = np.asarray(drawn) >= rate
      slope, said = np.zeros_like(w), []
      for row in range(ROWS):
        mask = kept[row] if on == "outputs" else kept
        if on == "outputs":
          z = p[row] @ w * mask / (1 - rate)
        else:
          z = p[row] @ (w * mask / (1 - rate))
        said.append(np.log(check.softmax(z)))
        by_z = check.softmax(z) - np.eye(CLASSES)[Y[row]]
        slope += np.outer(p[row], by_z) * mask / (1 - rate) / ROWS
      np.testing.assert_allclose(out.log_probs, said, rtol=1e-9)
      w = w - LR * slope
      np.testing.assert_allclose(state.params, w, rtol=1e-9, atol=1e-12)
      assert 0 < kept.mean() < 1


def test_evaluation_drops_nothing(check):
  flow = check.filled(LOGITS.astype(np.float32), Y)
  t = architectures.dropout_noise_model(0.5)
  extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
  seen = jax.jit(lambda flow: t.refresh(flow, check.init(t, flow), None, **extra)[0])(flow)
  expected = np.log(check.softmax(check.softmax(LOGITS)))
  np.testing.assert_allclose(seen.log_probs, expected, rtol=1e-5)


def test_rate_0_is_not_the_linear_layer(check):
  """The second softmax is of probabilities: none can be above e / (e + C - 1)."""
  flow = check.filled(np.where(np.eye(10)[np.arange(10)], 50.0, -50.0), np.arange(10))
  methods = architectures.dropout_noise_model(0.0), architectures.noise_layer(0.0)
  run = jax.jit(lambda flow: [check.update(t, flow)[0] for t in methods])
  out, linear = jax.device_get(run(flow))
  np.testing.assert_allclose(np.exp(out.log_probs).max(1), np.e / (np.e + 9), rtol=1e-6)
  np.testing.assert_allclose(np.exp(linear.log_probs).max(1), 1, rtol=1e-6)


def test_a_traced_rate_is_the_rate(check):
  flow = check.filled(LOGITS.astype(np.float32), Y)

  def said(rate):
    t = architectures.dropout_noise_model(rate)
    return t.update(flow, check.init(t, flow), None, key=KEY, step=0, epoch=0)[0].log_probs

  def told(rate):
    return check.update(architectures.dropout_noise_model(rate), flow, key=KEY)[0].log_probs

  rates = (0.0, 0.1, 0.7)
  run = jax.jit(lambda traced: (jax.vmap(said)(traced), [told(rate) for rate in rates]))
  for one, alone in zip(*jax.device_get(run(np.array(rates, np.float32))), strict=True):
    np.testing.assert_allclose(one, alone, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"rate": 1.0}, {"rate": -0.1}, {"on": "inputs"}])
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    architectures.dropout_noise_model(**settings)
