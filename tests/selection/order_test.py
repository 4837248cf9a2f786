"""Data sets in another order: a row keeps its address, and so what a method knows of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, selection
from rfjax.selection._elements import refresh_after

RNG = np.random.default_rng(0)
ROWS, CLASSES = 12, 3
LOGITS = 2 * RNG.normal(size=(ROWS, CLASSES)).astype(np.float32)
DATA = rfjax.Batch.from_arrays(LOGITS, RNG.integers(0, CLASSES, ROWS), num_classes=CLASSES)
ORDER = RNG.permutation(ROWS)
# A network that says what it sees, and learns nothing.
NETWORK = architectures.from_function(lambda key, x: jnp.zeros(()), lambda params, x: x + params)

PROBS = jnp.asarray(np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True))
METHODS = {
  "prestopping": (lambda order: selection.prestopping(stop=1), "safe"),
  "prestopping of a rate": (lambda order: selection.prestopping(rate=0.9), "safe"),
  "morph": (lambda order: selection.morph(min_epochs=1, max_epochs=1), "safe"),
  "confident_learning": (lambda order: selection.confident_learning(PROBS[order]), "issues"),
}


def same_by_address(known):
  known = jax.jit(known)
  plain, other = jax.device_get((known(np.arange(ROWS)), known(ORDER)))
  np.testing.assert_allclose(other, plain, rtol=1e-5)
  assert 0 < plain.sum() < plain.size


@pytest.mark.parametrize("name", METHODS)
def test_what_a_refresh_finds_out_hangs_on_the_address(name):
  make, field = METHODS[name]

  def known(order):
    data, method = DATA.take(order), make(order)
    run = (NETWORK, method, optax.sgd(0.0))
    state, _ = rfjax.fit(*run, data, key=jax.random.key(0), epochs=1)
    return getattr(refresh_after(*run, state, data, key=jax.random.key(0), epoch=1), field)

  same_by_address(known)


def test_peers_find_it_out_by_address_too():
  method = selection.divide_mix(None, warmup=1, paired=False)

  def known(order):
    data = DATA.take(order)
    state, _ = rfjax.fit(
      NETWORK, method, optax.sgd(0.0), data, key=jax.random.key(0), epochs=3, peers=2
    )
    return state.method.clean

  same_by_address(known)


def test_peers_have_one_order_whatever_they_keep():
  def train(key):
    method = rfjax.chain(selection.itlm(0.5), selection.co_teaching(0.25), selection.packed())
    network = architectures.mlp([4], CLASSES)
    return rfjax.fit(
      network, method, optax.sgd(0.5), DATA, key=key, epochs=3, batch_size=4, peers=2,
      observe=lambda state, view: (view.order, view.keep),
    )[1].observed  # fmt: skip

  orders, keep = map(np.asarray, jax.jit(train)(jax.random.key(0)))
  np.testing.assert_array_equal(orders[0], orders[1])
  assert (keep[0] != keep[1]).any()
