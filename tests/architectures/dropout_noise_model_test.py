"""The dropout noise model against a loop in float64, with the masks that it draws."""

import jax
import jax.numpy as jnp
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
    for key in jax.random.split(KEY, 3):
      drawn = (
        uniform(key, flow, (CLASSES,)) if on == "outputs" else jax.random.uniform(key, w.shape)
      )
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
      out, state = check.update(t, flow, state, key=key)
      np.testing.assert_allclose(out.log_probs, said, rtol=1e-9)
      w = w - LR * slope
      np.testing.assert_allclose(state.params, w, rtol=1e-9, atol=1e-12)
      assert 0 < kept.mean() < 1


def test_evaluation_drops_nothing(check):
  flow = check.filled(LOGITS.astype(np.float32), Y)
  t = architectures.dropout_noise_model(0.5)
  seen = t.refresh(flow, check.init(t, flow), None, key=KEY, step=0, epoch=0, forward=None)[0]
  expected = np.log(check.softmax(check.softmax(LOGITS)))
  np.testing.assert_allclose(seen.log_probs, expected, rtol=1e-5)


def test_rate_0_is_not_the_linear_layer(check):
  """The second softmax is of probabilities: none can be above e / (e + C - 1)."""
  flow = check.filled(np.where(np.eye(10)[np.arange(10)], 50.0, -50.0), np.arange(10))
  out, _ = check.update(architectures.dropout_noise_model(0.0), flow)
  np.testing.assert_allclose(np.exp(out.log_probs).max(1), np.e / (np.e + 9), rtol=1e-6)
  linear, _ = check.update(architectures.noise_layer(0.0), flow)
  np.testing.assert_allclose(np.exp(linear.log_probs).max(1), 1, rtol=1e-6)


def test_a_traced_rate_is_the_rate(check):
  flow = check.filled(LOGITS.astype(np.float32), Y)

  def said(rate):
    t = architectures.dropout_noise_model(rate)
    return t.update(flow, check.init(t, flow), None, key=KEY, step=0, epoch=0)[0].log_probs

  many = jax.jit(jax.vmap(said))(jnp.array([0.0, 0.1, 0.7]))
  for one, rate in zip(many, (0.0, 0.1, 0.7), strict=True):
    alone = check.update(architectures.dropout_noise_model(rate), flow, key=KEY)[0].log_probs
    np.testing.assert_allclose(one, alone, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"rate": 1.0}, {"rate": -0.1}, {"on": "inputs"}])
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    architectures.dropout_noise_model(**settings)
