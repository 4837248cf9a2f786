"""JoCoR: its joint loss, selection and gradients against two networks trained as one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import losses, selection

KEY = jax.random.key(0)
ROWS, CLASSES = 10, 3
Y = np.arange(ROWS) % CLASSES
SETTINGS = [(0.0, 0.0), (0.3, 0.1), (0.5, 0.9), (0.2, 1.0), (0.9, 0.65)]


def dataset():
  return rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), Y, num_classes=CLASSES)


def lane(rate, strength, flow, z, before=None):
  extra = {"key": KEY, "step": 0, "epoch": 1, "forward": None}
  t = selection.jocor(rate, strength=strength)
  method = rfjax.chain(t) if before is None else rfjax.chain(before, t)
  return method.update(flow.fill(z), ((),) * (1 + (before is not None)), (), **extra)[0]


@jax.jit
def lanes(rate, strength, flow, logits):
  """Both batches, and the gradient of both objectives, each by the network's own logits."""

  def one(z):
    run = lambda z: (lambda out: (out.objective, out))(lane(rate, strength, flow, z))
    gradient, out = jax.grad(run, has_aux=True)(z)
    return out, gradient, out.objective

  return jax.vmap(one, axis_name="peer")(logits)


def rows_by_hand(logits, y, strength):
  """The joint loss of each row, and its three parts."""
  parts = []
  for i in range(len(y)):
    p, log_p = [], []
    for z in logits[:, i].astype(np.float64):
      log_p.append(z - z.max() - np.log(np.exp(z - z.max()).sum()))
      p.append(np.exp(log_p[-1]))
    kl_12 = sum(p[0][k] * (log_p[0][k] - log_p[1][k]) for k in range(CLASSES))
    kl_21 = sum(p[1][k] * (log_p[1][k] - log_p[0][k]) for k in range(CLASSES))
    parts.append((-log_p[0][y[i]], -log_p[1][y[i]], kl_12 + kl_21))
  one, two, apart = np.array(parts).T
  return (1 - strength) * (one + two) + strength * apart, one, two, apart


def joint(logits, y, strength, mask):
  """The loss that the authors minimise over both networks at once, with all gradients."""
  log_p = jax.nn.log_softmax(logits)
  ce = -jnp.take_along_axis(log_p, jnp.asarray(y)[None, :, None], axis=2)[..., 0].sum(0)
  kl = lambda a, b: jnp.sum(jnp.exp(log_p[a]) * (log_p[a] - log_p[b]), -1)
  loss = (1 - strength) * ce + strength * (kl(0, 1) + kl(1, 0))
  return jnp.sum(mask * loss) / jnp.maximum(mask.sum(), 1)


JOINT = jax.jit(jax.grad(joint))


@pytest.mark.parametrize("rate, strength", SETTINGS)
def test_rows_values_and_gradients_are_those_of_the_joint_loss(rate, strength):
  rng = np.random.default_rng(int(100 * rate))
  for _ in range(4):
    rows = rng.permutation(np.append(rng.permutation(ROWS)[:8], [ROWS] * 2))
    y, valid = np.where(rows < ROWS, rows % CLASSES, 0), rows < ROWS
    keep = (valid & (rng.random(10) < 0.8)).astype(np.float32)
    logits = (2 * rng.normal(size=(2, 10, CLASSES))).astype(np.float32)
    flow = dataset().take(jnp.asarray(rows)).replace(keep=jnp.asarray(keep))
    out, gradient, objective = lanes(rate, strength, flow, jnp.asarray(logits))
    total, one, two, apart = rows_by_hand(logits, y, strength)
    pool = np.flatnonzero(keep)
    chosen = pool[np.argsort(total[pool])][: int(np.floor((1 - rate) * len(pool) + 1e-6))]
    mask = np.isin(np.arange(10), chosen).astype(np.float32)
    np.testing.assert_array_equal(out.keep, np.stack([mask, mask]))
    for i, own in enumerate((one, two)):
      wanted = mask @ ((1 - strength) * own + strength * apart) / max(mask.sum(), 1)
      np.testing.assert_allclose(objective[i], wanted, rtol=1e-5)
    # Each network's gradient is its part of that of the joint loss: of all of its terms.
    wanted = JOINT(jnp.asarray(logits), y, strength, jnp.asarray(mask))
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-6)


def test_without_strength_it_is_the_shared_small_loss_of_the_sum():
  logits = np.random.default_rng(3).normal(size=(2, ROWS, CLASSES)).astype(np.float32)
  out, _, objective = lanes(0.4, 0.0, dataset(), jnp.asarray(logits))
  _, one, two, _ = rows_by_hand(logits, Y, 0.0)
  mask = np.isin(np.arange(ROWS), np.argsort(one + two)[:6])
  np.testing.assert_array_equal(out.keep, np.stack([mask, mask]))
  np.testing.assert_allclose(objective, [one[mask].mean(), two[mask].mean()], rtol=1e-5)


def test_equal_networks_share_half_of_the_joint_loss():
  z = np.random.default_rng(4).normal(size=(1, ROWS, CLASSES)).astype(np.float32)
  out, _, _ = lanes(0.0, 0.3, dataset(), jnp.asarray(z.repeat(2, 0)))
  plain = dataset().fill(jnp.asarray(z[0])).cost
  np.testing.assert_allclose(out.cost[0], 0.7 * plain, rtol=1e-5)


@functools.partial(jax.jit, static_argnums=0)
def behind(before, flow, logits):
  return jax.vmap(lambda z: lane(0.3, 0.4, flow, z, before), axis_name="peer")(logits)


def test_it_maps_the_cost_of_any_loss_and_selects_by_it():
  logits = jnp.asarray(2 * np.random.default_rng(5).normal(size=(2, ROWS, CLASSES)), jnp.float32)
  loss = losses.mae()
  out = behind(loss, dataset(), logits)
  p = np.asarray(jax.nn.softmax(logits), np.float64)
  *_, apart = rows_by_hand(np.asarray(logits), Y, 0.4)
  own = (
    loss.update(dataset().fill(logits[0]), ())[0].cost,
    loss.update(dataset().fill(logits[1]), ())[0].cost,
  )
  np.testing.assert_allclose(own[0], 2 * (1 - p[0]), rtol=1e-4, atol=1e-5)
  for i in range(2):
    wanted = 0.6 * np.asarray(own[i]) + 0.4 * apart[:, None]
    np.testing.assert_allclose(out.cost[i], wanted, rtol=1e-4, atol=1e-6)
  at = np.arange(ROWS), Y
  total = 0.6 * (np.asarray(own[0])[at] + np.asarray(own[1])[at]) + 0.4 * apart
  mask = np.isin(np.arange(ROWS), np.argsort(total)[:7])
  np.testing.assert_array_equal(out.keep, np.stack([mask, mask]))


def test_far_logits_have_finite_values_and_gradients():
  far = np.where(np.random.default_rng(6).random((2, ROWS, CLASSES)) < 0.5, 1e4, -1e4)
  out, gradient, objective = lanes(0.2, 0.5, dataset(), jnp.asarray(far, jnp.float32))
  assert (
    np.isfinite(out.cost).all() and np.isfinite(gradient).all() and np.isfinite(objective).all()
  )


def test_it_needs_peers_and_settings_in_range():
  with pytest.raises(ValueError, match="jocor needs peers=2"):
    lane(0.2, 0.1, dataset(), jnp.zeros((ROWS, CLASSES)))
  for rate, strength in ((1.0, 0.1), (-0.1, 0.1), (0.1, -0.1), (0.1, 1.1), ("a", 0.1)):
    with pytest.raises(ValueError, match="must"):
      selection.jocor(rate, strength=strength)
  assert selection.jocor(0.2).writes == ("cost", "keep")
