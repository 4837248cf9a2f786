"""Co-teaching+: the rows that networks choose for each other against a loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, selection

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 12, 3
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
Y = RNG.integers(0, CLASSES, ROWS)
RATES = np.array([0.0, 0.2, 0.25, 0.5, 0.75, 0.95], np.float32)


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


@jax.jit
def served(rows, keep):
  return dataset().take(rows).replace(keep=keep)


@jax.jit
def lanes(flow, logits, epoch):
  """keep [rates, 2, B] of both networks, whose logits are [2, B, C]."""

  def one(rate, z):
    extra = {"key": KEY, "step": 0, "epoch": epoch, "forward": None}
    method = selection.co_teaching_plus(rate, warmup=2)
    return method.update(flow.fill(z), (), (), **extra)[0].keep

  both = jax.vmap(one, (None, 0), axis_name="peer")
  return jax.vmap(both, (0, None))(jnp.asarray(RATES), logits)


def losses(logits, y):
  z = logits.astype(np.float64)
  return np.log(np.exp(z).sum(-1)) - z[np.arange(len(y)), y]


def oracle(logits, y, index, keep, rate, warm):
  """keep of both networks, by sorted lists."""
  rows = [i for i in range(len(y)) if keep[i] > 0]
  differ = [i for i in rows if np.argmax(logits[0, i]) != np.argmax(logits[1, i])]
  pool = rows if warm else differ
  if not pool:
    return np.stack([keep, keep])
  chosen = []
  for z in logits:
    ranked = sorted(pool, key=lambda i, z=z: (round(losses(z, y)[i], 9), index[i]))
    number = int(np.floor((1 - np.float64(rate)) * len(pool) + 1e-6))
    chosen.append(ranked[:number] or ranked)
  return np.stack([np.isin(np.arange(len(y)), rows) * keep for rows in reversed(chosen)])


def test_each_network_gets_the_small_losses_of_the_other_among_disagreements():
  rng, differences = np.random.default_rng(1), set()
  for trial in range(40):
    rows = rng.permutation(np.append(rng.permutation(ROWS)[:8], [ROWS] * 2))
    y = np.where(rows < ROWS, Y[np.minimum(rows, ROWS - 1)], 0)
    keep = rng.choice([0.0, 0.5, 1.0, 1.0], 10) * (rows < ROWS)
    logits = rng.integers(-3, 4, size=(2, 10, CLASSES)).astype(np.float32)
    agree = rng.random(10) < (1.0, 0.8, 0.5, 0.0)[trial % 4]
    logits[1] = np.where(agree[:, None], 2 * logits[0], logits[1])
    flow = served(rows, keep.astype(np.float32))
    for epoch in (1, 2):
      found = np.asarray(lanes(flow, logits, epoch))
      for rate, both in zip(RATES, found, strict=True):
        wanted = oracle(logits, y, rows, keep, rate, epoch < 2)
        np.testing.assert_array_equal(both, wanted, f"{trial} {rate} {epoch}")
    differences.add(int(((np.argmax(logits[0], 1) != np.argmax(logits[1], 1)) & (keep > 0)).sum()))
  assert {0, 1, 2} <= differences and max(differences) >= 5


def test_at_rate_0_both_learn_from_all_disagreements_as_decoupling():
  logits = RNG.normal(size=(2, ROWS, CLASSES)).astype(np.float32)
  differ = np.argmax(logits[0], 1) != np.argmax(logits[1], 1)
  assert 0 < differ.sum() < ROWS
  found = np.asarray(lanes(dataset(), logits, 5))
  np.testing.assert_array_equal(found[0], np.stack([differ, differ]))


@functools.partial(jax.jit, static_argnums=0)
def train(make, rate, warmup):
  method = rfjax.chain(make(rate, warmup))
  run = functools.partial(rfjax.fit, architectures.logistic(CLASSES), method, optax.sgd(0.5))
  return run(dataset(), key=KEY, epochs=3, batch_size=8, peers=2)


def plus(rate, warmup):
  return selection.co_teaching_plus(rate, warmup=warmup)


def plain(rate, warmup):
  del warmup
  return selection.co_teaching(rate)


def test_the_warm_up_is_co_teaching():
  jax.tree.map(np.testing.assert_array_equal, train(plus, 0.4, 3)[0], train(plain, 0.4, 3)[0])
  later, other = train(plus, 0.4, 1)[0].params, train(plain, 0.4, 3)[0].params
  assert not all(jax.tree.leaves(jax.tree.map(np.array_equal, later, other)))


def test_the_rate_may_be_a_function_of_the_epoch():
  logits = RNG.normal(size=(2, ROWS, CLASSES)).astype(np.float32)

  def one(z, epoch):
    extra = {"key": KEY, "step": 0, "epoch": epoch, "forward": None}
    method = selection.co_teaching_plus(selection.ramp_up(0.75, 4))
    return method.update(dataset().fill(z), (), (), **extra)[0].keep

  run = jax.jit(jax.vmap(one, (0, None), axis_name="peer"))
  wanted = np.asarray(lanes(dataset(), logits, 5))
  for epoch, place in ((0, 0), (1, 2), (3, 4)):  # rates 0, 0.25, 0.75
    np.testing.assert_array_equal(run(logits, epoch), wanted[place])


def test_it_needs_peers_and_settings_in_range():
  with pytest.raises(ValueError, match="co_teaching_plus needs peers=2"):
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
    act = lambda z: selection.co_teaching_plus(0.2).update(dataset().fill(z), (), (), **extra)
    jax.eval_shape(act, np.zeros((ROWS, CLASSES), np.float32))
  for arguments in ((1.0, 0), (-0.1, 0), ("a", 0), (0.1, -1), (0.1, float("nan"))):
    with pytest.raises(ValueError, match="must"):
      plus(*arguments)
  assert selection.co_teaching_plus(0.2).writes == ("keep",)
