"""Mixup: the law of its strength and of its partners, and what it leaves alone."""

import functools

import host
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import rfjax
from rfjax import architectures, correction, losses, refurbishment

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def forward(params, batch):
  """A network that says what it sees."""
  logits = batch.x if params is None else batch.x @ params
  return batch.fill(logits, features=2 * batch.x)


def update(t, flow, params=None, key=KEY, forward=forward):
  state = t.init(flow, key=KEY, spec=None)
  return t.update(flow, state, params, key=key, step=0, epoch=0, forward=forward)[0]


def named(rows):
  """Rows that are told apart by their label as by their features."""
  return rfjax.Batch.from_arrays(np.eye(rows, dtype=np.float32), np.arange(rows))


def updates(make, seeds):
  """Rows, and on a leading axis what becomes of them with keys 0, 1, ..., as one program."""

  def run(seeds):
    flow, t = make(), losses.mixup(1.0)
    one = lambda seed: update(t, flow, key=jax.random.key(seed))
    return flow, jax.vmap(one)(seeds)

  return host.run(run, np.arange(seeds))


@functools.cache
def draws(alpha, larger=False, valid=8, count=10_000):
  """Strengths [count] and partners [count, valid] of rows, in batches of 8; the fixed ones too."""
  rows = np.minimum(np.random.default_rng(valid).permutation(8), valid)

  def run(seed):
    flow = forward(None, named(valid).take(jnp.asarray(rows)))
    t, keys = losses.mixup(alpha, larger=larger), jax.random.split(jax.random.key(seed), count)
    return jax.vmap(lambda key: update(t, flow, key=key).logits)(keys)

  mixed = host.run(run, 3).astype(np.float64)
  mixed = mixed[:, np.argsort(rows)[:valid]]
  others = mixed * (1 - np.eye(valid))
  partner = np.where(others.max(-1) > 0, others.argmax(-1), np.arange(valid))
  strength = np.diagonal(mixed, axis1=1, axis2=2).min(1)
  return strength, partner


@pytest.mark.parametrize("alpha", [0.2, 0.4, 1.0, 4.0, 32.0])
def test_the_strength_is_beta(alpha):
  strength, _ = draws(alpha)
  law = stats.beta(alpha, alpha)
  assert stats.kstest(strength, law.cdf).pvalue > 1e-3
  count = len(strength)
  for edge in (0.01, 0.05, 0.3, 0.5, 0.7, 0.95, 0.99):
    share = law.cdf(edge)
    error = 5 * np.sqrt(share * (1 - share) / count) + 2 / count
    assert abs((strength < edge).mean() - share) < error, edge
  np.testing.assert_allclose(strength.var(), law.var(), rtol=0.06)


@pytest.mark.parametrize("alpha", [0.2, 4.0])
def test_the_larger_one_is_folded(alpha):
  plain, partner = draws(alpha)
  folded, same = draws(alpha, larger=True)
  np.testing.assert_allclose(folded, np.maximum(plain, 1 - plain), atol=1e-6)
  told = folded < 1 - 1e-6  # else the partner leaves no trace
  np.testing.assert_array_equal(partner[told], same[told])
  assert folded.min() >= 0.5 and plain.min() < 0.45


def test_partners_are_a_uniform_permutation_of_the_valid_rows():
  _, partner = draws(1.0, valid=4)
  np.testing.assert_array_equal(np.sort(partner, 1), np.broadcast_to(np.arange(4), partner.shape))
  _, counts = np.unique(partner, axis=0, return_counts=True)
  assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3


def test_a_full_batch_has_uniform_partners_too_apart_from_the_strength():
  strength, partner = draws(1.0)
  np.testing.assert_array_equal(np.sort(partner, 1), np.broadcast_to(np.arange(8), partner.shape))
  for row in range(8):
    assert stats.chisquare(np.bincount(partner[:, row], minlength=8)).pvalue > 1e-4
  pair = np.bincount(8 * partner[:, 0] + partner[:, 1], minlength=64).reshape(8, 8)
  assert not np.diagonal(pair).any()
  assert stats.chisquare(pair[~np.eye(8, dtype=bool)]).pvalue > 1e-3
  for row in (0, 5):
    some = [strength[partner[:, row] == other] for other in range(8)]
    assert stats.kruskal(*some).pvalue > 1e-3


def test_one_strength_a_batch_mixes_features_and_target_alike():
  rows, classes = 9, 9

  def run(seed):
    flow = forward(None, named(rows))
    out = update(losses.mixup(1.0), flow, key=jax.random.key(seed))
    return out.target, out.logits, out.x if out.x is not flow.x else out.logits

  for target, logits, mixed in zip(*host.run(jax.vmap(run), np.arange(4)), strict=True):
    mixed = mixed.astype(np.float64)
    np.testing.assert_allclose(target, logits, rtol=1e-6)
    moved = np.diagonal(mixed)[np.diagonal(mixed) < 1 - 1e-6]
    assert len(moved) > 1
    np.testing.assert_allclose(moved, moved[0], rtol=1e-6)
    np.testing.assert_allclose(mixed.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed.sum(0), 1, rtol=1e-6)
    assert target.shape == (rows, classes)


def test_all_that_the_network_says_is_new_and_the_rest_stays():
  x = RNG.normal(size=(6, 6)).astype(np.float32)

  def run():
    data = rfjax.Batch.from_arrays(x, np.arange(6), np.arange(6) % 2)
    weight, keep = jnp.arange(6.0), jnp.array([1.0, 0, 1, 0.5, 1, 1])
    flow = forward(None, data.replace(weight=weight, keep=keep))
    flow = flow.replace(penalty=jnp.asarray(2.5), features=0 * flow.features)
    return flow, update(losses.mixup(1.0), flow)

  flow, out = host.run(run)
  target = np.asarray(out.target, np.float64)
  mixed = target @ x
  assert (target.max(1) < 1).any()
  np.testing.assert_allclose(out.logits, mixed, atol=1e-6)
  np.testing.assert_allclose(out.features, 2 * mixed, atol=1e-6)
  log_probs = mixed - np.log(np.exp(mixed).sum(1, keepdims=True))
  np.testing.assert_allclose(out.log_probs, log_probs, atol=1e-6)
  np.testing.assert_allclose(out.cost, -log_probs, atol=1e-6)
  for name in ("y", "group", "index", "valid", "keep", "weight", "penalty"):
    np.testing.assert_array_equal(getattr(out, name), getattr(flow, name), err_msg=name)
  assert set(losses.mixup().writes) == {"logits", "log_probs", "target"}


def test_a_soft_target_is_mixed_linearly():
  soft = RNG.dirichlet(np.ones(5), 5)

  def run():
    flow, t = forward(None, named(5)), losses.mixup(1.0)
    given = flow.replace(target=jnp.asarray(soft, jnp.float32))
    return update(t, flow).target, update(t, given).target

  mixing, mixed = host.run(run)
  np.testing.assert_allclose(mixed, mixing.astype(np.float64) @ soft, rtol=1e-5)


def test_the_loss_and_its_gradient_are_those_of_both_labels():
  rows, classes = 6, 6
  x, w = RNG.normal(size=(rows, 4)), RNG.normal(size=(4, classes))
  with jax.enable_x64(True):
    t = losses.mixup(1.0)

    def risk(params):
      data = rfjax.Batch.from_arrays(x, np.arange(rows))
      out = update(t, forward(params, data), params)
      return out.risk, out.target

    (value, target), gradient = host.run(jax.value_and_grad(risk, has_aux=True), w)
  own = np.diagonal(target)
  strength = own.min()
  partner = np.where(own < 1, (target - np.diag(own)).argmax(1), np.arange(rows))
  assert 0 < strength < 1 and (partner != np.arange(rows)).sum() > 2
  z = (strength * x + (1 - strength) * x[partner]) @ w
  log_probs = z - np.log(np.exp(z).sum(1, keepdims=True))
  entropy = lambda y: -log_probs[np.arange(rows), y]
  both = strength * entropy(np.arange(rows)) + (1 - strength) * entropy(partner)
  np.testing.assert_allclose(value, both.mean(), rtol=1e-7)
  slope = np.exp(log_probs) - strength * np.eye(rows) - (1 - strength) * np.eye(rows)[partner]
  mixed = strength * x + (1 - strength) * x[partner]
  np.testing.assert_allclose(gradient, mixed.T @ slope / rows, atol=1e-7)


@pytest.mark.parametrize("larger", [False, True])
def test_alpha_zero_is_cross_entropy(larger):
  rng = np.random.default_rng(1)
  for x in (rng.normal(size=(6, 6)).astype(np.float32), rng.integers(0, 256, (6, 6), np.uint8)):

    def run(x=x):
      data = rfjax.Batch.from_arrays(x, np.arange(6))
      network = architectures.logistic(6)
      params, _ = network.init(KEY, data.x)
      apply = lambda p, b: b.fill(network.apply(p, (), b.x, key=KEY, train=True)[0])
      flow = apply(params, data)
      out = update(losses.mixup(0.0, larger=larger), flow, params, forward=apply)
      return flow, out, flow.objective, out.objective

    flow, out, before, after = host.run(run)
    np.testing.assert_array_equal(out.target, flow.target)
    np.testing.assert_allclose(out.logits, flow.logits, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_bytes_are_mixed_as_pixels():
  x = np.random.default_rng(2).integers(0, 256, (6, 2, 3, 1), np.uint8)
  flat = lambda v: v.reshape(len(v), -1)
  seen = []

  def look(params, batch):
    seen.append(batch.x)
    return batch.fill(flat(batch.x))

  def run():
    flow = rfjax.Batch.from_arrays(x, np.arange(6)).fill(jnp.zeros((6, 6)))
    return update(losses.mixup(1.0), flow, forward=look), seen

  out, [mixed] = host.run(run)
  assert jnp.issubdtype(mixed.dtype, jnp.floating) and mixed.shape == x.shape
  target = np.asarray(out.target, np.float64)
  assert (target.max(1) < 1).any()
  np.testing.assert_allclose(flat(mixed), target @ flat(x / 255.0), atol=1e-6)


def test_a_permuted_batch_gives_the_permuted_result():
  order = np.random.default_rng(4).permutation(8)
  _, plain = updates(lambda: forward(None, named(8)), 3)
  _, moved = updates(lambda: forward(None, named(8).take(jnp.asarray(order))), 3)
  np.testing.assert_allclose(moved.target, plain.target[:, order], rtol=1e-6)
  np.testing.assert_allclose(moved.logits, plain.logits[:, order], rtol=1e-6)
  assert (plain.target.max(2) < 1).any(1).all()


def test_padding_mixes_with_nobody():
  order = np.random.default_rng(5).permutation(8)
  rows = np.where(order < 5, order, 5)

  def padded():
    batch = named(5).take(jnp.asarray(rows))
    return forward(None, batch.replace(x=jnp.where((rows < 5)[:, None], batch.x, jnp.nan)))

  _, plain = updates(lambda: forward(None, named(5)), 3)
  _, out = updates(padded, 3)
  np.testing.assert_allclose(out.target[:, rows < 5], plain.target[:, rows[rows < 5]], rtol=1e-6)
  np.testing.assert_allclose(out.logits[:, rows < 5], plain.logits[:, rows[rows < 5]], rtol=1e-6)
  np.testing.assert_array_equal(out.keep, np.tile(rows < 5, (3, 1)))


def test_a_batch_of_padding_is_harmless():
  def run():
    out = update(losses.mixup(1.0), forward(None, named(5).take(jnp.full(4, 5))))
    return out, out.risk

  out, risk = host.run(run)
  assert risk == 0 and np.isfinite(out.logits).all() and np.isfinite(out.target).all()


def test_acts_in_update_only():
  def run():
    t, flow = losses.mixup(1.0), forward(None, named(5))
    state = t.init(flow, key=KEY, spec=None)
    return flow, t.refresh(flow, state, None, key=KEY, step=0, epoch=0, forward=forward)[0]

  flow, seen = host.run(run)
  for name in ("x", "logits", "log_probs", "target"):
    np.testing.assert_array_equal(getattr(seen, name), getattr(flow, name))


def test_gradients_are_finite_at_far_logits():
  far = np.where(np.eye(5), 1e4, -1e4).astype(np.float32)

  def objective(w):
    data = rfjax.Batch.from_arrays(far, np.roll(np.arange(5), 1))
    return update(losses.mixup(1.0), forward(w, data), w).objective

  value, gradient = host.run(jax.value_and_grad(objective), np.eye(5, dtype=np.float32))
  assert np.isfinite(value) and np.isfinite(gradient).all()


def test_trains_and_leaves_the_data_alone():
  x = np.r_[RNG.normal(-2, 0.3, (20, 1)), RNG.normal(2, 0.3, (20, 1))]
  data = host.batch(x, np.repeat([0, 1], 20))
  network = architectures.logistic()
  state, log = rfjax.fit(
    network, rfjax.chain(losses.mixup(1.0)), optax.sgd(0.5), data, key=KEY, epochs=15,
    batch_size=16, observe=lambda state, view: view.x,
  )  # fmt: skip
  predict = lambda state: rfjax.predict(network, state, host.on_device(data)).logits
  logits = host.run(predict, state)
  risk = np.asarray(log.risk)
  assert (logits.argmax(1) == data.y).all() and np.isfinite(risk).all() and risk[-1] > 0.1
  for view in np.asarray(log.observed):
    np.testing.assert_array_equal(view, data.x)


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), "a"])
def test_an_alpha_out_of_range_is_refused(alpha):
  with pytest.raises(ValueError, match="alpha must"):
    losses.mixup(alpha)


def test_dropped_rows_are_nobodys_partners():
  keep = np.float32([1, 1, 1, 1, 0, 0, 0, 0])
  _, out = updates(lambda: forward(None, named(8)).replace(keep=jnp.asarray(keep)), 3)
  for target in out.target:
    np.testing.assert_array_equal(target[:4, 4:], 0)
    np.testing.assert_array_equal(target[4:], np.eye(8)[4:])
    assert (target[:4].max(1) < 1).any()


ANEW = {
  "mixup": lambda: losses.mixup(0.4),
  "selfie": lambda: refurbishment.selfie(0.2, ask_again=True),
  "dynamic_bootstrap": lambda: refurbishment.dynamic_bootstrap(alpha=0.4),
  "dynamic_bootstrap of a NumPy number": lambda: refurbishment.dynamic_bootstrap(
    alpha=np.float32(0.4)
  ),
}


@pytest.mark.parametrize("name", ANEW)
@pytest.mark.parametrize(
  "first", [lambda: correction.forward(np.full((2, 2), 0.5)), lambda: losses.gce(0.7)]
)
def test_what_would_be_lost_in_front_is_refused(name, first):
  with pytest.raises(ValueError, match="transform 1 of the chain"):
    rfjax.chain(first(), ANEW[name]())


def test_alpha_may_be_a_number_of_jax_inside_of_jit():
  value = jnp.float32(0.4)
  for make in (losses.mixup, lambda a: refurbishment.dynamic_bootstrap(alpha=a)):
    writes = []
    jax.jit(lambda z, make=make, writes=writes: (writes.append(make(value).writes), z)[1])(1.0)
    assert "logits" in writes[0]
