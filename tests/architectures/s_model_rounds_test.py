"""The s-model from its start, its two trainings one by one."""

import jax
import numpy as np
import optax
import pytest

import rfjax
from oracles import counting_network
from rfjax import architectures, losses, metrics

KEY, EPOCHS, FIRST = jax.random.key(2), 4, 2
NETWORK, TX = architectures.logistic(3), optax.sgd(0.5)
rng = np.random.default_rng(0)
DATA = rfjax.Batch.from_arrays(rng.normal(size=(18, 3)).astype(np.float32), np.arange(18) % 3)
DATA = jax.jit(lambda data: data.take(np.append(np.arange(18), [18, 18])))(DATA)
SHARED = {"epochs": EPOCHS, "batch_size": 10}


@pytest.mark.parametrize(("go_on", "hard"), [(False, True), (True, False)])
def test_the_second_training_starts_at_the_confusion_of_the_first(go_on, hard):
  @jax.jit
  def both():
    whole = architectures.s_model_rounds(
      NETWORK,
      TX,
      DATA,
      key=KEY,
      first_epochs=FIRST,
      hard=hard,
      go_on=go_on,
      channel_tx=optax.sgd(0.1),
      after=rfjax.chain(losses.gce(0.3), metrics.watch()),
      observe=lambda state, view: state.method[1].params,
      **SHARED,
    )
    once = SHARED | {"epochs": FIRST}
    first, _ = rfjax.fit(NETWORK, losses.gce(0.3), TX, DATA, key=KEY, **once)
    said = rfjax.predict(NETWORK, first, DATA)
    return whole, first, said.log_probs

  (state, log), first, log_probs = jax.device_get(both())
  joint = np.zeros((3, 3))
  for p, y, valid in zip(
    np.exp(log_probs), np.asarray(DATA.y), np.asarray(DATA.valid), strict=True
  ):
    if valid:
      joint[:, y] += np.eye(3)[p.argmax()] if hard else p
  said = joint.sum(1, keepdims=True)
  start = np.where(said > 0, joint / np.maximum(said, 1e-9), np.eye(3))

  @jax.jit
  def second():
    layer = architectures.s_model(start, optax.sgd(0.1))
    return rfjax.fit(
      NETWORK,
      rfjax.chain(layer, losses.gce(0.3)),
      TX,
      DATA,
      key=jax.random.fold_in(KEY, 1),
      params=first.params if go_on else None,
      observe=lambda state, view: state.method[0].params,
      **SHARED,
    )

  expected, expected_log = second()
  np.testing.assert_allclose(log.observed, expected_log.observed, rtol=1e-4, atol=1e-5)
  for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(expected.params), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_statistics_go_on_or_start_anew():
  network = counting_network(3, 3)
  run = lambda go_on: (
    architectures.s_model_rounds(
      network, TX, DATA, key=KEY, epochs=EPOCHS, first_epochs=FIRST, go_on=go_on
    )[0].stats
  )
  found = jax.jit(lambda: [run(go_on) for go_on in (True, False)])()
  assert [int(steps) for steps in found] == [FIRST + EPOCHS, EPOCHS]
