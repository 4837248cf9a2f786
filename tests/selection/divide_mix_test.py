"""DivideMix: each of its parts against NumPy, a whole step with the draws read off, and runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import lower_posterior
from rfjax import architectures, correction, selection
from rfjax.selection import _divide_mix, _mix_match

KEY = jax.random.key(0)
ROWS, CLASSES = 12, 3
RNG = np.random.default_rng(0)
Y = np.arange(ROWS) % CLASSES


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def lane(t, data, logits, epoch=3):
  """Refreshes of two peers in successive epochs, by logits of their own, [2, epochs, N, C]."""

  def one(z):
    def turn(state, at):
      logits, i = at
      arguments = {"key": KEY, "step": 7 * (epoch + i), "epoch": epoch + i, "forward": None}
      view, state = t.refresh(data.fill(logits), state, None, **arguments)
      return state, view.order

    state, orders = jax.lax.scan(turn, t.init(data, key=KEY, spec=None), (z, jnp.arange(len(z))))
    return None if orders is None else orders[-1], state

  return jax.device_get(jax.jit(jax.vmap(one, axis_name="peer"))(jnp.asarray(logits, jnp.float32)))


def loss_of(z):
  return -np.log(softmax(z)[np.arange(len(z)), np.arange(len(z)) % CLASSES])


def test_each_network_gets_the_split_of_the_other():
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 2)), Y, num_classes=CLASSES)
  z = 2 * RNG.normal(size=(2, 1, ROWS, CLASSES))
  _, state = lane(selection.divide_mix(warmup=3), data, z)
  np.testing.assert_allclose(state.clean[0], lower_posterior(loss_of(z[1, 0])), atol=2e-4)
  np.testing.assert_allclose(state.clean[1], lower_posterior(loss_of(z[0, 0])), atol=2e-4)
  assert not np.allclose(state.clean[0], state.clean[1], atol=0.05)
  _, state = lane(selection.divide_mix(warmup=4), data, z)
  np.testing.assert_array_equal(state.clean, 1)


def test_losses_are_averaged_over_the_last_epochs():
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 2)), Y, num_classes=CLASSES)
  z = 2 * RNG.normal(size=(2, 6, ROWS, CLASSES))
  unit = lambda v: (v - v.min()) / (v.max() - v.min())
  probability = jax.jit(_mix_match.clean_probability)
  for rounds, warmup in ((6, 4), (4, 5)):
    t = selection.divide_mix(warmup=warmup, average=3)
    _, state = lane(t, data, z[:, :rounds])
    last = range(max(warmup - 3, rounds - 3), rounds)
    mean = np.mean([unit(loss_of(z[1, i])) for i in last], axis=0)
    # The mean of scaled losses is not scaled again, but means and variances follow any scale.
    scaled = probability(mean.astype(np.float32), np.ones(ROWS, bool))
    np.testing.assert_allclose(state.clean[0], scaled, atol=2e-4)


def test_warm_up_keeps_the_batches_and_full_batches_stay():
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 2)), Y, num_classes=CLASSES)
  z = RNG.normal(size=(2, 1, ROWS, CLASSES))
  order = jnp.asarray(RNG.permutation(ROWS).reshape(3, 4), jnp.int32)
  ordered = data.replace(order=order)
  found, state = lane(selection.divide_mix(warmup=4), ordered, z)
  np.testing.assert_array_equal(found[0, :3], order)
  assert found.shape == (2, 6, 4) and (found[:, 3:] == ROWS).all()
  assert (state.steps == 3).all() and (state.first == 21).all()
  assert lane(selection.divide_mix(warmup=3), data, z)[0] is None
  found, _ = lane(selection.divide_mix(warmup=3, paired=False), ordered, z)
  np.testing.assert_array_equal(found, np.stack([order, order]))
  with pytest.raises(ValueError, match="batch_size must"):
    lane(selection.divide_mix(warmup=3), data.replace(order=order.reshape(12, 1)), z)


class Watch:
  """A linear network that remembers what it was shown."""

  def __init__(self):
    self.seen = []

  def __call__(self, params, batch, key=None):
    del key
    self.seen.append((params, batch.x))
    return batch.fill(batch.x @ params)


def augment(x, key):
  """Marks a view in the last column, so that a mixture tells of its parts."""
  return x.at[:, -1].set(jax.random.uniform(key, minval=0.5, maxval=1.5))


def whole_step(monkeypatch, steps, **settings):
  """Updates, and what the network was shown, with other weights in the place of the peer's."""
  mine, other = RNG.normal(size=(2, ROWS + 1, CLASSES))
  monkeypatch.setattr(
    _divide_mix, "peer", lambda tree, by: jax.lax.stop_gradient(jnp.asarray(other))
  )
  x = np.c_[np.eye(ROWS), np.zeros(ROWS)]
  data = rfjax.Batch.from_arrays(x, Y, num_classes=CLASSES)
  t = selection.divide_mix(augment, warmup=2, **settings)
  w = RNG.random(ROWS)
  w[:2] = 0.9, 0.1
  rows, logits = np.array([0, 3, ROWS, 1, 8, 10, 6, ROWS]), RNG.normal(size=(8, CLASSES))

  monkeypatch.setattr(jax.lax, "cond", lambda predicate, yes, no: no())  # it is no warm-up

  @jax.jit
  def run(params, step):
    state = t.init(data, key=KEY, spec=None)._replace(
      clean=jnp.asarray(w), first=jnp.asarray(20, jnp.int32), steps=jnp.asarray(4, jnp.int32)
    )
    flow = data.take(rows).fill(jnp.asarray(logits)).replace(penalty=jnp.asarray(0.25))

    def objective(params):
      watch = Watch()
      out, _ = t.update(flow, state, params, key=KEY, step=step, epoch=5, forward=watch)
      found = {"risk": out.risk, "penalty": out.penalty, "keep": out.keep, "target": out.target}
      return out.objective, (found, watch.seen)

    return jax.grad(objective, has_aux=True)(params)

  runs = [jax.tree.map(np.asarray, run(jnp.asarray(mine), step)) for step in steps]
  return mine, other, w, rows, runs


def test_a_whole_step_is_that_of_the_loops(monkeypatch):
  steps = (21, 999)
  with jax.enable_x64(True):
    mine, other, w, rows, runs = whole_step(
      monkeypatch, steps, strength=30.0, prior=0.8, ramp_epochs=8.0, temperature=0.6
    )
  for step, (slope, (out, seen)) in zip(steps, runs, strict=True):
    follows_the_loops(mine, other, w, rows, step, slope, out, seen)


@jax.jit
@jax.grad
def slope_of_constants(params, x, target, sure, ramp):
  probs = jax.nn.softmax(x @ params)
  cross, squares = -jnp.sum(target * jnp.log(probs), 1), jnp.mean((probs - target) ** 2, 1)
  divergence = -jnp.mean(jnp.log(jnp.mean(probs, 0)))
  supervised, consistency = cross @ sure / jnp.sum(sure), squares @ ~sure / jnp.sum(~sure)
  return supervised + 30.0 * ramp * consistency + 0.8 * divergence


def follows_the_loops(mine, other, w, rows, step, slope, out, seen):
  views = [np.asarray(x) for p, x in seen if np.array_equal(p, mine) and len(x) == 8]
  shown = [np.asarray(x) for p, x in seen if np.array_equal(p, other)]
  [mixed] = [np.asarray(x) for p, x in seen if len(x) == 16]
  assert len(views) == 2 and views[0][0, -1] != views[1][0, -1]
  for a, b in zip(views, shown, strict=True):
    np.testing.assert_array_equal(a, b)
  real = np.flatnonzero(rows < ROWS)

  # Targets, one row after the other.
  targets = {}
  for r in real:
    own = [softmax(v[r] @ mine) for v in views]
    theirs = [softmax(v[r] @ other) for v in views]
    if w[rows[r]] > 0.5:
      mean = w[rows[r]] * np.eye(CLASSES)[Y[rows[r]]] + (1 - w[rows[r]]) * sum(own) / 2
    else:
      mean = (sum(own) + sum(theirs)) / 4
    powers = mean ** (1 / 0.6)
    targets[r] = powers / powers.sum()

  # The share and the partners of the mixture, read off the unit rows.
  pairs = [(v, r) for v in range(2) for r in real]
  at = lambda v, r: mixed[8 * v + r]
  share = min(at(v, r)[rows[r]] for v, r in pairs)
  assert 0.5 <= share < 1
  partner = {}
  for v, r in pairs:
    rest = at(v, r) - share * views[v][r]
    [found] = [(b, q) for b, q in pairs if np.allclose(rest, (1 - share) * views[b][q])]
    partner[v, r] = found
  assert sorted(partner.values()) == sorted(pairs)
  assert any(v != b for (v, _), (b, _) in partner.items())

  # The loss.
  supervised, consistency, mean, count = [], [], 0.0, 0
  for v, r in pairs:
    p = softmax(at(v, r) @ mine)
    target = share * targets[r] + (1 - share) * targets[partner[v, r][1]]
    if w[rows[r]] > 0.5:
      supervised.append(-(target * np.log(p)).sum())
    else:
      consistency.append(((p - target) ** 2).mean())
    mean, count = mean + p, count + 1
  assert len(supervised) > 2 and len(consistency) > 2
  ramp = min((5 + (step - 20) / 4 - 2) / 8, 1.0)
  divergence = sum(np.log(1 / CLASSES / q) / CLASSES for q in mean / count)
  np.testing.assert_allclose(out["risk"], np.mean(supervised), rtol=1e-9)
  expected = 0.25 + 30.0 * ramp * np.mean(consistency) + 0.8 * divergence
  np.testing.assert_allclose(out["penalty"], expected, rtol=1e-9)
  np.testing.assert_array_equal(out["keep"], [r < ROWS and w[min(r, ROWS - 1)] > 0.5 for r in rows])
  np.testing.assert_allclose(out["target"].sum(1), 1, rtol=1e-9)

  # The gradient of the same, with targets and mixtures as constants.
  x = np.stack([at(*pair) for pair in pairs])
  target = np.stack(
    [share * targets[r] + (1 - share) * targets[partner[v, r][1]] for v, r in pairs]
  )
  sure = np.array([w[rows[r]] > 0.5 for _, r in pairs])
  with jax.enable_x64(True):
    wanted = slope_of_constants(mine, x, target, sure, ramp)
  np.testing.assert_allclose(slope, wanted, rtol=1e-7, atol=1e-9)


def test_warm_up_is_cross_entropy_of_an_augmented_view_with_negative_entropy(monkeypatch):
  monkeypatch.setattr(_divide_mix, "peer", lambda tree, by: tree)
  data = rfjax.Batch.from_arrays(np.c_[np.eye(ROWS), np.zeros(ROWS)], Y, num_classes=CLASSES)
  params = RNG.normal(size=(ROWS + 1, CLASSES)).astype(np.float32)
  for turned, strength in ((augment, 0.7), (None, 0.7), (None, 0.0)):
    t = selection.divide_mix(turned, warmup=6, neg_entropy=strength)

    @jax.jit
    def run(params, t=t):
      flow, watch = data.fill(data.x @ params), Watch()
      state = t.init(data, key=KEY, spec=None)
      out, _ = t.update(flow, state, params, key=KEY, step=3, epoch=5, forward=watch)
      return out, [x for _, x in watch.seen]

    with monkeypatch.context() as patch:
      patch.setattr(jax.lax, "cond", lambda predicate, yes, no: yes())
      out, seen = run(params)
    assert len(seen) == (turned is not None)
    view = np.asarray(seen[0] if seen else data.x)
    p = softmax(view @ params)
    np.testing.assert_allclose(out.risk, -np.log(p[np.arange(ROWS), Y]).mean(), rtol=1e-5)
    expected = strength * (p * np.log(p)).sum(1).mean()
    np.testing.assert_allclose(out.penalty, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(out.target, np.eye(CLASSES)[Y])
    np.testing.assert_array_equal(out.keep, 1)


@functools.cache
def noisy():
  rng = np.random.default_rng(2)
  true = np.arange(80) % 2
  x = np.c_[4.0 * true - 2, np.ones(80)] + 0.4 * rng.normal(size=(80, 2))
  wrong = rng.random(80) < 0.3
  return rfjax.Batch.from_arrays(x, np.where(wrong, 1 - true, true)), wrong, true


@functools.cache
def runner():
  shake = lambda x, key: x + 0.1 * jax.random.normal(key, x.shape)
  t = selection.divide_mix(shake, warmup=3, strength=1.0, ramp_epochs=4.0)
  network = architectures.logistic()

  @jax.jit
  def run(data):
    state, log = rfjax.fit(
      network, rfjax.chain(t), optax.sgd(0.3), data, key=KEY, epochs=8, batch_size=16, peers=2,
      observe=lambda state, view: view.order,
    )  # fmt: skip
    return state, log, rfjax.predict(network, state, data).logits

  return lambda data: jax.device_get(run(data))


def test_a_run_tells_wrong_labels_and_learns_the_right_ones():
  data, wrong, true = noisy()
  state, log, logits = runner()(data)
  for own in range(2):
    assert ((state.method[0].clean[own] <= 0.5) == wrong).mean() > 0.95
  assert (logits.argmax(1) == true).all()
  assert np.isfinite(log.risk).all() and np.isfinite(log.penalty).all()
  used = np.asarray(log.observed)[:, 3:]
  assert used.shape == (2, 5, 10, 16)
  assert not np.array_equal(used[0], used[1])


def test_splits_with_one_side_are_finite():
  data, _, _ = noisy()
  x = np.zeros(data.x.shape, np.float32)  # all losses of a class are equal
  alike = data.replace(x=jnp.asarray(x), y=jnp.asarray(np.zeros(data.y.shape, np.int32)))
  state, log, _ = runner()(alike)
  assert (state.method[0].clean == 0.5).all()
  for leaf in jax.tree.leaves((state.params, log.risk, log.penalty)):
    assert np.isfinite(leaf).all()
  assert (log.risk[:, 3:] == 0).all()  # nobody is believed
  far = data.replace(x=jnp.asarray(np.float32(1e4) * np.asarray(data.x)))
  state, log, _ = runner()(far)
  for leaf in jax.tree.leaves((state.params, log.risk, log.penalty)):
    assert np.isfinite(leaf).all()


def test_it_needs_peers():
  data, _, _ = noisy()
  with pytest.raises(ValueError, match="divide_mix needs peers=2"):
    rfjax.fit(
      architectures.logistic(), selection.divide_mix(), optax.sgd(0.1), data, key=KEY, epochs=1
    )


@pytest.mark.parametrize(
  "settings",
  [
    {"warmup": -1},
    {"strength": -1.0},
    {"alpha": -1.0},
    {"temperature": 0.0},
    {"threshold": 1.5},
    {"ramp_epochs": 0.0},
    {"average": 0},
    {"neg_entropy": -1.0},
    {"prior": -1.0},
  ],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    selection.divide_mix(**settings)


def test_a_correction_in_front_is_refused():
  correct = correction.forward(np.full((2, 2), 0.5))
  with pytest.raises(ValueError, match="decides anew after the logits have been read"):
    rfjax.chain(correct, selection.divide_mix(None, warmup=1))
