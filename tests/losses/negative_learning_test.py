"""Negative learning: the labels drawn, the loss near its pole, the three phases."""

import functools

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import losses

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 10, 4
Y = np.arange(ROWS) % CLASSES
LOGITS = (2 * RNG.normal(size=(ROWS, CLASSES))).astype(np.float32)
LOGITS[np.arange(ROWS), Y] += np.linspace(0, 4, ROWS)


def log_softmax(z):
  z = np.asarray(z, np.float64)
  z = z - z.max(-1, keepdims=True)
  return z - np.log(np.exp(z).sum(-1, keepdims=True))


def negative(z):
  """-log(1 - p_k) by the sum of the other classes, or where p_k is small by p_k, float64 [B, C]."""
  log_probs = log_softmax(z)
  others = [np.delete(log_probs, k, axis=1) for k in range(log_probs.shape[1])]
  top = np.stack([o.max(1) for o in others], 1)
  sums = [np.exp(o - top[:, k : k + 1]).sum(1) for k, o in enumerate(others)]
  small = np.exp(np.minimum(log_probs, np.log(0.5)))
  return np.where(log_probs < -1, -np.log1p(-small), -top - np.log(np.stack(sums, 1)))


@jax.jit
def _filled(logits, y):
  data = rfjax.Batch.from_arrays(jnp.zeros((y.size, 1)), y, num_classes=logits.shape[1])
  return data.fill(logits)


def filled(logits=LOGITS, y=Y):
  return _filled(logits, np.asarray(y))


def update(t, flow, epoch=0, key=KEY, step=0):
  state = t.init(flow, key=KEY, spec=None)
  return t.update(flow, state, None, key=key, step=step, epoch=epoch, forward=None)[0]


@functools.cache
def compiled(**settings):
  return jax.jit(functools.partial(update, losses.negative_learning(**settings)))


def updated(flow, epoch=0, key=KEY, **settings):
  """The rows after an update, by a program that calls with the same settings share."""
  return jax.device_get(compiled(**settings)(flow, epoch, key))


def test_the_cost_is_the_formula_for_every_label():
  out = updated(filled())
  np.testing.assert_allclose(out.cost, negative(LOGITS), rtol=1e-5)
  np.testing.assert_allclose(out.cost, -np.log1p(-np.exp(log_softmax(LOGITS))), rtol=1e-4)
  for name in ("keep", "weight", "penalty", "y"):
    np.testing.assert_array_equal(getattr(out, name), getattr(filled(), name))


@pytest.mark.parametrize("top", [5.0, 12.0, 20.0, 60.0, 300.0])
def test_the_cost_is_exact_where_the_probability_is_one(top):
  logits = np.array([[top, 0, 1, 0], [0, 0, 0, top]], np.float32)
  out = updated(filled(logits, [1, 1]))
  np.testing.assert_allclose(out.cost, negative(logits), rtol=2e-6, atol=1e-30)
  np.testing.assert_allclose(out.cost[1, 3], np.logaddexp(0, top - np.log(3)), rtol=2e-6)


def test_values_and_gradients_are_finite_at_far_logits():
  far = np.where(np.eye(CLASSES), 1e4, -1e4).astype(np.float32)
  far = np.concatenate([far, -far, RNG.choice([-1e4, 1e4], (2, CLASSES)).astype(np.float32)])

  def total(z, epoch=0):
    t = losses.negative_learning(selective_from=1, positive_from=2)
    out = update(t, filled(z), epoch)
    return out.risk + out.cost.sum(), out.cost

  slope = jax.jit(jax.grad(total, has_aux=True))
  for epoch in range(3):
    gradient, cost = slope(far, epoch)
    assert np.isfinite(cost).all() and np.isfinite(gradient).all()
    expected = negative(far) if epoch < 2 else -log_softmax(far)
    np.testing.assert_allclose(cost, expected, rtol=1e-5)


def test_the_gradient_is_that_of_the_formula():
  out = updated(filled())
  risk = lambda z: update(losses.negative_learning(), filled(z)).risk
  gradient = host.run(jax.grad(risk), LOGITS)
  target, p = np.asarray(out.target, float), np.exp(log_softmax(LOGITS))
  # d -log(1 - p_k) / d z_j = p_k ([j = k] - p_j) / (1 - p_k)
  odds = (target * p / (1 - p))[:, :, None]
  expected = (odds * (np.eye(CLASSES)[None] - p[:, None, :])).sum(1) / ROWS
  np.testing.assert_allclose(gradient, expected, atol=1e-6)


@functools.cache
def draws(num_labels, count, y=tuple(Y), classes=CLASSES):
  flow = filled(np.zeros((len(y), classes), np.float32), y)
  t = losses.negative_learning(num_labels=num_labels)
  one = lambda key: update(t, flow, key=key).target
  run = lambda seed: jax.vmap(one)(jax.random.split(jax.random.key(seed), count))
  return host.run(run, 5).astype(np.float64)


@pytest.mark.parametrize("num_labels", [1, 3])
def test_the_labels_are_uniform_among_the_others(num_labels):
  count = 4000
  found = draws(num_labels, count)
  counts = found * num_labels
  np.testing.assert_allclose(counts, counts.round(), atol=1e-5)
  np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
  assert not found[:, np.arange(ROWS), Y].any(), "the given label was drawn"
  share = 1 / (CLASSES - 1)
  error = 5 * np.sqrt(share * (1 - share) / (count * num_labels))
  expected = share * (1 - np.eye(CLASSES)[Y])
  assert (np.abs(found.mean(0) - expected) <= error * (expected > 0)).all()


def test_the_labels_of_a_row_and_those_of_two_rows_are_independent():
  count, share = 4000, 1 / (CLASSES - 1)
  error = 5 * np.sqrt(share * (1 - share) / count)
  both = draws(2, count)[:, 0].max(-1) == 1  # the two labels of row 0 are one
  assert abs(both.mean() - share) < error
  label = draws(1, count, y=(0,) * 4).argmax(-1)
  for row in (1, 2, 3):
    assert abs((label[:, 0] == label[:, row]).mean() - share) < error


def test_the_mean_loss_is_that_of_all_other_labels():
  count = 4000
  target = draws(1, count)
  cost = updated(filled()).cost.astype(np.float64)
  loss = (target * cost).sum(-1)
  others = 1 - np.eye(CLASSES)[Y]
  expected = (others * negative(LOGITS)).sum(1) / (CLASSES - 1)
  spread = np.sqrt((others * (cost - expected[:, None]) ** 2).sum(1) / (CLASSES - 1) / count)
  assert (np.abs(loss.mean(0) - expected) < 5 * spread + 1e-5).all()


def test_an_example_loses_the_sum_over_its_labels():
  # As in the authors' code, whose mean over rows and labels is multiplied by the number of labels.
  out = updated(filled(), num_labels=3)
  counts = 3 * np.asarray(out.target, np.float64)
  np.testing.assert_allclose(out.loss, (counts * negative(LOGITS)).sum(1), rtol=1e-5)


@pytest.mark.parametrize("num_labels", [1, 2])
def test_two_classes_are_cross_entropy(num_labels):
  rng = np.random.default_rng(1)
  logits, y = rng.normal(size=(6, 2)).astype(np.float32), np.array([0, 1, 1, 0, 1, 0])
  out = updated(filled(logits, y), num_labels=num_labels)
  np.testing.assert_array_equal(out.target, np.eye(2)[1 - y])
  expected = -num_labels * log_softmax(logits)[np.arange(6), y]
  np.testing.assert_allclose(out.loss, expected, rtol=1e-5)


@pytest.mark.parametrize("num_labels", [1, 2])
def test_labels_belong_to_the_row_and_change_with_the_key(num_labels):
  data = host.batch(np.zeros((40, 1)), np.arange(40) % 9)
  t, rng = losses.negative_learning(num_labels=num_labels), np.random.default_rng(2)
  run = jax.jit(lambda batch, key: update(t, batch.fill(jnp.zeros((40, 9))), key=key).target)
  target = lambda batch, key: np.asarray(run(batch, key))
  whole, order = target(data, KEY), rng.permutation(40)
  some = host.take(data, order[:30], np.full(10, 40))
  np.testing.assert_array_equal(target(some, KEY)[:30], whole[order[:30]])
  assert 25 < (target(data, jax.random.key(1)) != whole).any(1).sum()
  # More labels are others beside the first ones, or anew: never the given one.
  assert not target(data, jax.random.key(2))[np.arange(40), np.arange(40) % 9].any()


def flow_with_fields():
  rng = np.random.default_rng(3)
  target = rng.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
  keep = np.float32(0.5) * (np.arange(ROWS) % 5 != 0).astype(np.float32)
  return filled().replace(**jax.device_put({"target": target, "keep": keep}))


@pytest.mark.parametrize(
  "selective_from, positive_from",
  [(None, None), (0, None), (2, None), (None, 3), (1, 4)],
)
def test_the_phases_by_a_traced_epoch(selective_from, positive_from):
  flow, gamma = flow_with_fields(), 0.4
  t = losses.negative_learning(
    num_labels=2, selective_from=selective_from, positive_from=positive_from, gamma=gamma
  )
  run = lambda epochs: jax.lax.scan(lambda c, e: (c, update(t, flow, e)), (), epochs)[1]
  seen, drawn = host.run(lambda epochs: (run(epochs), update(t, filled(), -1).target), np.arange(6))
  given = np.exp(log_softmax(LOGITS))[np.arange(ROWS), Y]
  masks = {"selective": given > 1 / CLASSES, "positive": given > gamma}
  assert len({tuple(m) for m in masks.values()}) == 2 and all(
    0 < m.sum() < ROWS for m in masks.values()
  )
  keep = np.asarray(flow.keep)
  for epoch in range(6):
    if positive_from is not None and epoch >= positive_from:
      expected = (-log_softmax(LOGITS), flow.target, keep * masks["positive"])
    elif selective_from is not None and epoch >= selective_from:
      expected = (2 * negative(LOGITS), drawn, keep * masks["selective"])
    else:
      expected = (2 * negative(LOGITS), drawn, keep)
    for name, value in zip(("cost", "target", "keep"), expected, strict=True):
      np.testing.assert_allclose(getattr(seen, name)[epoch], value, rtol=1e-5, atol=1e-7)


def test_the_defaults_are_negative_for_ever_and_a_half():
  out = updated(flow_with_fields(), 10_000)
  np.testing.assert_array_equal(out.keep, flow_with_fields().keep)
  assert not out.target[np.arange(ROWS), Y].any()
  out = updated(filled(), positive_from=0)
  given = np.exp(log_softmax(LOGITS))[np.arange(ROWS), Y]
  np.testing.assert_array_equal(out.keep, given > 0.5)


def test_acts_in_update_only():
  t, flow = losses.negative_learning(selective_from=0), filled()

  def refresh(flow):
    state = t.init(flow, key=KEY, spec=None)
    return t.refresh(flow, state, None, key=KEY, step=0, epoch=0, forward=None)[0]

  seen = host.run(refresh, flow)
  for name in ("target", "keep", "weight"):
    np.testing.assert_array_equal(getattr(seen, name), getattr(flow, name))
  assert set(t.writes) == {"loss", "target", "keep"}


def test_traced_gammas_are_the_loop():
  run = lambda gamma: update(losses.negative_learning(positive_from=0, gamma=gamma), filled()).keep
  gammas = [0.0, 0.2, 0.6, 1.0]
  both = lambda many: (jax.vmap(run)(many), [run(gamma) for gamma in gammas])
  many, loop = host.run(both, np.float32(gammas))
  np.testing.assert_array_equal(many, loop)
  assert many[0].all() and not many[-1].any() and many[1].sum() > many[2].sum()


@pytest.mark.parametrize(
  "settings",
  [
    {"num_labels": 0},
    {"num_labels": 1.5},
    {"selective_from": -1},
    {"selective_from": 0.5},
    {"positive_from": -1},
    {"positive_from": "a"},
    {"gamma": -0.1},
    {"gamma": 1.1},
    {"gamma": float("nan")},
  ],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    losses.negative_learning(**settings)
