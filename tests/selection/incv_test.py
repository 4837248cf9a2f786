"""INCV: its bookkeeping by sets as in the authors' code, its batches, and what it finds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, selection
from rfjax.selection._incv import advance, uses_best

ROWS, CLASSES = 40, 3


def authors(selected, candidates, rate, halves, log_probs, y, symmetric):
  """One iteration on lists of row numbers, from what both networks say of their held-out rows."""
  chosen, dropped = [], []
  for half, said in zip(halves, log_probs, strict=True):
    agree = [i for i in half if np.argmax(said[i]) == y[i]]
    number = int(min(2, rate / (1 - rate)) * len(agree))
    by_loss = sorted(half, key=lambda i: -said[i][y[i]])
    dropped += by_loss[max(len(by_loss) - number, 0) :] if number else []
    chosen += agree
  selected, candidates = selected.copy(), candidates.copy()
  selected[chosen] = True
  candidates[chosen] = False
  if symmetric:
    candidates[dropped] = False
  return selected, candidates


def by_scan(accuracy):
  """The rate by the authors' search."""
  rate = 0.001
  while (1 - rate) ** 2 + rate**2 / (CLASSES - 1) > accuracy and rate < 1 - 1 / CLASSES:
    rate += 0.001
  return rate


@functools.partial(jax.jit, static_argnames="symmetric")
def ours(selected, candidates, rate, estimated, held, log_probs, y, symmetric):
  found = selection.Incv(selected, candidates, rate)
  return advance(found, estimated, held, log_probs, y, symmetric)


@pytest.mark.parametrize("symmetric", [True, False])
def test_four_iterations_are_the_sets_of_the_authors(symmetric):
  for seed in range(6):
    rng = np.random.default_rng(seed)
    y, rate = rng.integers(CLASSES, size=ROWS), 0.8 if seed == 5 else None
    mine = (np.zeros(ROWS, bool), np.ones(ROWS, bool), np.float32(rate or 0))
    theirs = mine[:2]
    for turn in range(4):
      rows = rng.permutation(np.flatnonzero(theirs[1]))
      halves = rows[len(rows) // 2 :], rows[: len(rows) // 2]
      said = rng.normal(size=(2, ROWS, CLASSES)) + 0.7 * (seed < 5) * np.eye(CLASSES)[y]
      said = said - np.log(np.exp(said).sum(-1, keepdims=True))
      held = np.zeros((2, ROWS), bool)
      held[0, halves[0]], held[1, halves[1]] = True, True
      found = ours(
        *mine, turn == 0 and rate is None, held, jnp.asarray(said, jnp.float32), y, symmetric
      )
      mine = tuple(found)
      if rate is None:
        agree = np.mean(said[0][halves[0]].argmax(1) == y[halves[0]])
        np.testing.assert_allclose(found.noise_rate, by_scan(agree), atol=1.1e-3)
        rate = float(found.noise_rate)  # between two steps of the scan
      theirs = authors(*theirs, rate, halves, said, y, symmetric)
      np.testing.assert_array_equal(found.selected, theirs[0])
      np.testing.assert_array_equal(found.candidates, theirs[1])
    assert 0 < theirs[0].sum() < ROWS and float(found.noise_rate) == np.float32(rate)


def test_no_row_is_discarded_where_the_share_is_less_than_one_row():
  """The authors' slice of the last 0 rows would be all of them."""
  y, held = np.zeros(ROWS, int), np.arange(ROWS) < np.array([[20], [0]])
  said = np.log(np.tile([0.6, 0.3, 0.1], (2, ROWS, 1)))
  found = ours(np.zeros(ROWS, bool), np.ones(ROWS, bool), 0.5, True, held, said, y, True)
  assert found.noise_rate == 0 and found.selected.sum() == 20
  np.testing.assert_array_equal(found.candidates, ~found.selected)


def test_which_iterations_stop_early_is_the_rule_of_the_authors():
  cases = [(0.2, True, 4), (0.4, True, 2), (0.7, True, 1), (0.2, False, 1)]
  use = lambda rate, symmetric: [uses_best(i, jnp.float32(rate), symmetric) for i in range(4)]
  found = jax.device_get(jax.jit(lambda: [use(*case[:2]) for case in cases])())
  for uses, (_, _, limit) in zip(found, cases, strict=True):
    assert [bool(best) for best in uses] == [i < limit for i in range(4)]


@functools.cache
def problem(noise=0.25, rows=120):
  rng = np.random.default_rng(1)
  truth = rng.integers(CLASSES, size=rows)
  x = 4 * np.eye(CLASSES)[truth] + rng.normal(size=(rows, CLASSES))
  other = (truth + rng.integers(1, CLASSES, size=rows)) % CLASSES
  y = np.where(rng.random(rows) < noise, other, truth)
  return rfjax.Batch.from_arrays(x.astype(np.float32), y), truth


def find(data, seed=0, **settings):
  return selection.incv(
    architectures.logistic(CLASSES), optax.adam(0.1), data, key=jax.random.key(seed), epochs=5,
    batch_size=16, iterations=2, **settings,
  )  # fmt: skip


_searched = jax.jit(find)


def searched(data):
  return jax.device_get(_searched(data))


def test_selected_rows_are_mostly_right():
  data, truth = problem()
  found = searched(data)
  right = np.asarray(data.y) == truth
  assert right[found.selected].mean() > right.mean() + 0.1
  assert found.selected[right].mean() > 0.8
  assert not np.any(found.selected & found.candidates)
  np.testing.assert_allclose(found.noise_rate, 1 - right.mean(), atol=0.15)
  left = found.noise_rate**2 / (found.noise_rate**2 + 2 * (1 - found.noise_rate) ** 2)
  np.testing.assert_allclose(found.remaining_rate(CLASSES), left, rtol=1e-6)
  np.testing.assert_allclose(
    found.remaining_rate(CLASSES, symmetric=False),
    found.noise_rate**2 / (found.noise_rate**2 + (1 - found.noise_rate) ** 2),
    rtol=1e-6,
  )


def test_networks_are_asked_of_rows_that_they_have_not_learned():
  """Labels of pure chance are learned by heart, and not told when held out."""
  rng = np.random.default_rng(0)
  data = rfjax.Batch.from_arrays(
    rng.normal(size=(120, 80)).astype(np.float32), rng.integers(CLASSES, size=120)
  )
  found = searched(data)
  assert found.noise_rate > 0.5 and found.selected.mean() < 0.6


def test_padding_is_never_selected():
  data, _ = problem()
  found = searched(data.replace(valid=jnp.arange(120) > 9))
  assert not np.any(found.selected[:10]) and not np.any(found.candidates[:10])
  assert np.any(found.selected)


def test_the_best_epoch_is_found_on_the_held_out_rows():
  """With an optimizer that climbs in the last epoch, the ones before agree more often."""
  tx = optax.sgd(lambda step: jnp.where(step < 4, 0.3, -9.0))
  run = lambda data, early: selection.incv(
    architectures.logistic(CLASSES), tx, data, key=jax.random.key(0), epochs=3, batch_size=16,
    iterations=1, early=early,
  )  # fmt: skip
  agree = jax.jit(lambda data: [run(data, e).selected.sum() for e in (True, False)])(problem()[0])
  assert int(agree[0]) > int(agree[1]) + 10


def test_rounds_train_a_new_network_on_what_was_found():
  data, truth = problem()
  network, tx = architectures.logistic(CLASSES), optax.adam(0.1)
  settings = {"key": jax.random.key(0), "epochs": 5, "batch_size": 16, "iterations": 2}
  seen = []

  def method(found):
    seen.append(found.noise_rate)
    forget = selection.ramp_up(found.remaining_rate(CLASSES), 3)
    return selection.co_teaching(forget)

  @jax.jit
  def run(data):
    state, log = selection.incv_rounds(
      network, tx, data, method=method, final_epochs=6, peers=2, **settings
    )
    return state, log, rfjax.predict(network, state, data).logits

  state, log, logits = jax.device_get(run(data))
  assert log.risk.shape == (2, 6) and len(seen) == 1
  mask = state.method[1].mask
  np.testing.assert_array_equal(mask[0], mask[1])
  right = np.asarray(data.y) == truth
  assert right[mask[0]].mean() > right.mean() + 0.1
  predicted = logits.argmax(-1)
  assert (predicted == truth).mean() > 0.9


def test_packed_batches_hold_each_kept_row_once():
  data, _ = problem()
  keep = (np.random.default_rng(0).random(120) < 0.4).astype(np.float32)
  data = data.replace(keep=jnp.asarray(keep))

  @jax.jit
  def packed(data):
    order = rfjax.core.random_order(jax.random.key(0), 120, 16)
    return order, selection.packed().refresh(data.replace(order=order), ())[0]

  order, view = jax.device_get(packed(data))
  kept, rows = np.flatnonzero(data.keep), np.asarray(view.order).ravel()
  assert view.order.shape == order.shape
  np.testing.assert_array_equal(rows[: len(kept)], [i for i in order.ravel() if i in kept])
  assert (rows[len(kept) :] == 120).all()
  with pytest.raises(ValueError, match="packed needs batches"):
    selection.packed().refresh(data, ())


def test_training_on_selected_rows_is_training_without_the_others():
  data, _ = problem()
  mask = np.random.default_rng(0).random(120) < 0.4
  network, key = architectures.logistic(CLASSES), jax.random.key(0)
  train = lambda method, data: (
    rfjax.fit(network, method, optax.adam(0.1), data, key=key, epochs=4)[0].params
  )

  @jax.jit
  def trained(data):
    chosen = rfjax.transform(selection.selected(mask), data, key=key)
    alone = train(rfjax.chain(), data.subset(np.flatnonzero(mask)))
    return chosen.keep, alone, train(selection.selected(mask), data), train(rfjax.chain(), chosen)

  keep, alone, *others = jax.device_get(trained(data))
  np.testing.assert_array_equal(keep, mask)
  for found in others:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, alone)


@pytest.mark.parametrize(
  "call, name",
  [
    (lambda: selection.selected([[True]]), "mask"),
    (lambda: selection.selected([0.5, 0.2]), "mask"),
    (
      lambda: rfjax.transform(selection.selected([True]), problem()[0], key=jax.random.key(0)),
      "mask",
    ),
    (lambda: find(problem()[0], rate=1.0), "rate"),
    (lambda: selection.incv(*[None] * 3, key=None, epochs=1, iterations=0), "iterations"),
  ],
)
def test_bad_arguments_are_refused(call, name):
  with pytest.raises(ValueError, match=f"{name} must"):
    call()


def test_sweeps_of_it_may_have_checkpoints(tmp_path):
  data, network = problem()[0], architectures.logistic(CLASSES)

  def train(seed):
    _, log = selection.incv_rounds(
      network, optax.sgd(0.5), data, key=jax.random.key(seed), epochs=2, iterations=1, rate=0.2
    )
    return {"risk": log.risk}

  options = {"lanes": 1, "progress": False}
  whole = jax.jit(train)(0)
  cut = rfjax.sweep(train, {"seed": [0]}, store=tmp_path, checkpoint_every=1, **options)
  np.testing.assert_allclose(cut.risk[0], whole["risk"], rtol=1e-5)
