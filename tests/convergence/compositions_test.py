"""Robust halves and fair halves in one chain: who reads what, and what each half does in it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, convergence, losses, metrics, refurbishment, selection
from rfjax.core import identity
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
ROWS, EPOCHS, BATCH, NOISE = 240, 40, 40, 0.2
NETWORK = architectures.logistic()


@functools.cache
def train_set():
  """A fifth of the labels is wrong; the smaller group goes by another feature, and is negative."""
  rng = np.random.default_rng(0)
  group = (np.arange(ROWS) % 4 == 0).astype(int)
  y = (rng.random(ROWS) < np.where(group, 0.3, 0.6)).astype(int)
  x = rng.normal(size=(ROWS, 2))
  x[:, 0] += np.where(group, -0.5, 2.0) * (2 * y - 1)
  x[:, 1] += np.where(group, 2.0, 0.5) * (2 * y - 1)
  wrong = rng.permutation(ROWS) < NOISE * ROWS
  truth = rfjax.Truth(y, group)
  return rfjax.Batch.from_arrays(x, np.where(wrong, 1 - y, y), group, truth=truth)


RIGHT = np.asarray(train_set().y) == np.asarray(train_set().truth.y)


def train(*parts, peers=1):
  """The last state of a chain of parts, of which one more watches what was chosen."""
  return rfjax.fit(
    NETWORK, rfjax.chain(*parts, metrics.watch()), optax.adam(0.05), train_set(), key=KEY,
    epochs=EPOCHS, batch_size=BATCH, peers=peers,
  )[0]  # fmt: skip


def runs(make, *settings, **options):
  """The last states of the chains that `make` makes of settings, from one compiled program.

  What the compiler makes of two programs differs in last bits least where it changes least.
  """
  every = lambda s: jax.lax.map(lambda s: train(*make(*s), **options), s)
  run = jax.jit(every, compiler_options={"xla_backend_optimization_level": 0})
  states = run(jnp.asarray(settings, jnp.float32))
  return [jax.tree.map(lambda v, i=i: np.asarray(v[i]), states) for i in range(len(settings))]


def same(state, other, part=0, rtol=0.0):
  """Whether two runs have the same bits, but for the state of the half that only one has."""
  without = lambda s: (s.params, s.opt, s.method[:part], s.method[part + 1 :])
  equal = functools.partial(np.testing.assert_allclose, rtol=rtol)
  jax.tree.map(equal, without(state), without(other))


def shares_by_hand(data, kept, loss, shares, rate):
  """FairBatch's step for equalized odds of two groups, by the losses of some rows."""
  y, z, mean = np.asarray(data.y), np.asarray(data.group), np.zeros((2, 2))
  for a in (0, 1):
    for g in (0, 1):
      mean[a, g] = loss[kept & (y == a) & (z == g)].mean()
  a = np.argmax(np.abs(mean[:, 1] - mean[:, 0]))
  shares = shares.copy()
  shares[a, 1] = np.clip(shares[a, 1] + (rate if mean[a, 1] > mean[a, 0] else -rate), 0, 1)
  shares[a, 0] = 1 - shares[a, 1]
  return shares


def first_shares(method):
  return np.asarray(jax.jit(lambda data: method.init(data).shares)(train_set()))


def refreshes(parts, epochs=3, batch_size=BATCH, peers=1):
  """Refresh after refresh of a chain, whose updates saw all rows in one batch in between.

  Returns what is written and remembered, and the losses that the network had.
  """
  data, rng = train_set(), np.random.default_rng(1)
  method = rfjax.chain(*parts)
  logits = rng.normal(size=(epochs, ROWS, 2)).astype(np.float32)
  order = np.arange(ROWS).reshape(-1, batch_size)

  @jax.jit
  def run(data, logits):
    def epoch(state, at):
      number, logits = at
      extra = {"key": jax.random.fold_in(KEY, number), "step": 0, "epoch": number, "forward": None}
      seen = data.replace(order=order).fill(logits)
      view, state = method.refresh(seen, state, None, **extra)
      _, new = method.update(seen.replace(order=None, keep=view.keep), state, None, **extra)
      return new, (view.order, view.keep, state, seen.loss)

    start = method.init(data, key=KEY, spec=None)
    return jax.lax.scan(epoch, start, (jnp.arange(epochs), logits))[1]

  return jax.tree.map(np.asarray, run(data, logits))


@pytest.mark.parametrize("name", ["fairbatch", "fairbatch_reweight"])
def test_shares_follow_the_losses_of_the_rows_that_were_kept(name):
  """Small losses of a batch are chosen in its step, which is after the shares have moved."""
  fair = getattr(inprocessing, name)("equalized_odds", 0.01)
  _, _, (_, states), loss = refreshes([selection.small_loss(0.5), fair])
  data, shares = train_set(), None
  for epoch in range(3):
    kept = np.ones(ROWS, bool)
    if epoch:
      ranked = np.argsort(loss[epoch - 1], kind="stable")
      kept = np.isin(np.arange(ROWS), ranked[: ROWS // 2])
    if epoch == 0:
      shares = first_shares(fair)
    shares = shares_by_hand(data, kept, loss[epoch], shares, 0.01)
    np.testing.assert_allclose(states.shares[epoch], shares, atol=1e-6)
    if name == "fairbatch_reweight":
      y, z = np.asarray(data.y), np.asarray(data.group)
      cell = [[kept & (y == a) & (z == g) for g in (0, 1)] for a in (0, 1)]
      own = np.array(cell).sum(-1) / np.array(cell).sum((-1, 1))[:, None]
      np.testing.assert_allclose(states.factor[epoch], shares / own, rtol=1e-5)


def test_a_sampler_draws_of_the_rows_that_itlm_keeps():
  fair = inprocessing.fairbatch("equalized_odds", 0.01)
  order, keep, (states, fairs), loss = refreshes([selection.itlm(0.3), fair])
  data, shares = train_set(), first_shares(fair)
  for epoch in range(3):
    kept = states.kept[epoch]
    assert kept.sum() == (168 if epoch else ROWS)
    np.testing.assert_array_equal(keep[epoch], kept)
    served = order[epoch][order[epoch] < ROWS]
    assert kept[served].all() and len(np.unique(served)) > 100
    shares = shares_by_hand(data, kept, loss[epoch], shares, 0.01)
    np.testing.assert_allclose(fairs.shares[epoch], shares, atol=1e-6)


@pytest.mark.parametrize("name", ["fairbatch", "fair_robust", "selfie"])
def test_peers_share_the_batches_of_a_sampler(name):
  """Co-teaching hands a selection over row by row, so both networks must see the same rows."""
  sampler = {
    "fairbatch": lambda: inprocessing.fairbatch("equalized_odds", 0.05),
    "fair_robust": lambda: convergence.fair_robust(NOISE, rate=0.05, warm_start=0),
    "selfie": lambda: refurbishment.selfie(NOISE, independent_batches=True),
  }[name]()
  data, order = train_set(), np.arange(ROWS).reshape(-1, BATCH)

  @jax.jit
  def run(logits):
    def peer(logits, lane):
      key = jax.random.fold_in(KEY, lane)
      seen, state = data.replace(order=order).fill(logits), sampler.init(data, key=key)
      view, state = sampler.refresh(seen, state, None, key=key, step=0, epoch=1, forward=None)
      return view.order, state

    return jax.vmap(peer, axis_name="peer")(logits, jnp.arange(2))

  said = np.random.default_rng(5).normal(size=(2, ROWS, 2))
  order, state = jax.tree.map(np.asarray, run(said.astype(np.float32)))
  np.testing.assert_array_equal(order[0], order[1])
  if name != "selfie":
    np.testing.assert_array_equal(state.shares[0], state.shares[1])
  if name == "fair_robust":
    np.testing.assert_array_equal(state.selected[0], state.selected[1])


def fair(rate):
  return inprocessing.fairbatch("equalized_odds", rate)


def precision(kept):
  return RIGHT[np.asarray(kept) > 0].mean()


def only_if(use, t):
  """A transform whose batches are used, or left as they were, in one program for both."""

  def update(batch, state, params=None, **extra):
    new, state = t.update(batch, state, params, **extra)
    return jax.tree.map(lambda a, b: jnp.where(use > 0, a, b), new, batch), state

  return t._replace(update=update)


def test_co_teaching_and_fairbatch():
  make = lambda forget, use, rate: (only_if(use, selection.co_teaching(forget)), fair(rate))
  settings = (NOISE, 1, 0.005), (0.0, 1, 0.005), (0.0, 0, 0.005)
  both, all_kept, alone = runs(make, *settings, peers=2)
  same(all_kept, alone)
  _, state, watched = both.method
  np.testing.assert_array_equal(state.kept, watched.kept > 0)
  np.testing.assert_array_equal(state.shares[0], state.shares[1])
  for kept in watched.kept:
    assert 0.78 < np.mean(kept) < 0.83 and precision(kept) > RIGHT.mean() + 0.1
  assert (state.shares != alone.method[1].shares).any()  # by other losses


def test_morph_and_fairbatch():
  def make(transition, rate):
    method = selection.morph(rate=NOISE, length=5, min_epochs=transition, max_epochs=transition)
    return method, fair(rate)

  both, first_phase = runs(make, (10, 0.005), (1000, 0.005))
  (alone,) = runs(lambda rate: (identity, fair(rate)), (0.005,))
  same(first_phase, alone, rtol=1e-5)
  np.testing.assert_array_equal(first_phase.method[1].shares, alone.method[1].shares)
  robust, state, watched = both.method
  assert robust.stopped == 10
  np.testing.assert_array_equal(watched.kept > 0, robust.safe)
  np.testing.assert_array_equal(state.kept, robust.safe)
  assert precision(robust.safe) > RIGHT.mean() + 0.1
  assert (state.shares != alone.method[1].shares).any()


def test_itlm_in_rounds_and_fairbatch():
  """Each round draws of the rows that the last one has left, in FairBatch's shares."""
  cell = np.append(2 * np.asarray(train_set().y) + np.asarray(train_set().group), 4)

  @jax.jit
  def run(rate):
    return selection.itlm_rounds(
      NETWORK, optax.adam(0.05), train_set(), rate=rate, key=KEY, epochs=EPOCHS,
      batch_size=BATCH, rounds=2, after=fair(0.005),
      observe=lambda state, view: (state.method[1].kept, state.method[2].shares, view.order),
    )  # fmt: skip

  state, log = run(NOISE)
  kept, shares, order = map(np.asarray, log.observed)
  assert kept[0].all() and (kept[1] == state.method[1].kept).all()
  assert kept[1, 0].sum() == 192 and precision(kept[1, 0]) > RIGHT.mean() + 0.12
  assert np.append(kept[1, 0], True)[order[1]].all()
  size = np.bincount(cell[:-1][kept[1, 0]]).reshape(2, 2).sum(1, keepdims=True) * BATCH / 192
  for epoch in (0, 20, -1):
    served = [(cell[order[1, epoch]] == c).sum(-1) for c in range(4)]
    sizes = np.round(shares[1, epoch] * size).ravel()
    np.testing.assert_array_equal(np.stack(served, -1), np.tile(sizes, (6, 1)))
  # Where nothing is trimmed each round is the fair half alone.
  nothing, other = run(0.0)
  (alone,) = runs(lambda rate: (identity, identity, fair(rate)), (0.005,))
  np.testing.assert_array_equal(other.observed[1][0, -1], alone.method[2].shares)
  np.testing.assert_array_equal(other.observed[2][0], order[0])
  assert nothing.method[1].kept.all()


def test_gce_and_a_penalty():
  make = lambda q, strength: (losses.gce(q), inprocessing.gap(strength))
  both, plain, unfair = runs(make, (0.7, 2.0), (0.0, 2.0), (0.7, 0.0))
  penalty, robust = jax.jit(
    lambda: (train(identity, inprocessing.gap(2.0)), train(losses.gce(0.7), identity))
  )()
  same(plain, penalty, rtol=1e-5)  # compiled differently, equal but for the last place
  same(unfair, robust, part=1, rtol=1e-5)

  @jax.jit
  def measured(state):
    said = rfjax.predict(NETWORK, state, train_set())
    return metrics.demographic_parity_difference(said), said.probs

  gaps, probs = zip(*[map(np.asarray, measured(state)) for state in (both, unfair)], strict=True)
  assert gaps[0] < 0.5 * gaps[1] and gaps[1] > 0.15
  # What GCE makes a row count, p of its label to the power q, is less for wrong labels.
  counts = probs[0][np.arange(ROWS), np.asarray(train_set().y)] ** 0.7
  assert counts[~RIGHT].mean() < 0.6 * counts[RIGHT].mean()


def once(parts, data, logits, epoch=3):
  """One update of a chain on all rows."""

  @jax.jit
  def act(logits):
    method = rfjax.chain(*parts)
    extra = {"key": KEY, "step": 0, "epoch": epoch, "forward": None}
    out, state = method.update(data.fill(logits), method.init(data, key=KEY), None, **extra)
    return out, out.risk, state

  return act(jnp.asarray(logits, jnp.float32))


def test_the_penalty_does_not_hang_on_the_loss():
  data, logits = train_set(), np.random.default_rng(2).normal(size=(ROWS, 2))
  out, risk, _ = once([losses.gce(0.7), inprocessing.gap(2.0)], data, logits)
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  rate = [p[np.asarray(data.group) == g, 1].mean() for g in (0, 1)]
  np.testing.assert_allclose(out.penalty, 2 * abs(rate[0] - rate[1]), rtol=1e-4)
  own = p[np.arange(ROWS), np.asarray(data.y)]
  np.testing.assert_allclose(risk, np.mean((1 - own**0.7) / 0.7), rtol=1e-5)


def test_selfie_and_group_dro():
  def make(rate, threshold):
    robust = refurbishment.selfie(rate, threshold=threshold, length=5, warmup=8)
    return robust, inprocessing.group_dro(0.05)

  both, nothing = runs(make, (NOISE, 0.05), (0.0, -1.0))
  (alone,) = runs(lambda step: (identity, inprocessing.group_dro(step)), (0.05,))
  same(nothing, alone)
  robust, adversary, watched = both.method
  changed, truth = robust.refurbished >= 0, np.asarray(train_set().truth.y)
  assert (watched.label != np.asarray(train_set().y)).sum() > 20
  assert np.mean(robust.refurbished[changed] == truth[changed]) > RIGHT.mean() + 0.08
  kept = watched.kept > 0
  assert np.mean(watched.label[kept] == truth[kept]) > RIGHT.mean() + 0.08
  assert np.abs(adversary.log_q - alone.method[1].log_q).max() > 0.02  # it saw other losses


def test_the_adversary_reads_refurbished_labels_and_what_is_kept():
  data, rng = train_set(), np.random.default_rng(3)
  labels = jnp.asarray(np.where(rng.random(ROWS) < 0.5, -1, rng.integers(0, 2, ROWS)))
  logits = rng.normal(size=(ROWS, 2))
  robust = refurbishment.selfie(0.5, refurbished=labels, warmup=0)
  out, risk, (_, state) = once([robust, inprocessing.group_dro(0.3)], data, logits)
  kept, target, group = (np.asarray(v) for v in (out.keep, out.target, data.group))
  kept = kept > 0
  assert 0.6 < kept.mean() < 0.9 and (target.argmax(1) != np.asarray(data.y))[kept].sum() > 20
  loss = np.log(np.exp(logits).sum(1)) - (target * logits).sum(1)
  mean = np.array([loss[kept & (group == g)].mean() for g in (0, 1)])
  q = np.exp(0.3 * mean) / np.exp(0.3 * mean).sum()
  np.testing.assert_allclose(np.exp(state.log_q), q, rtol=1e-5)
  # The weighted risk is that of the groups, as the adversary weighs them.
  np.testing.assert_allclose(risk, q @ mean, rtol=1e-5)
