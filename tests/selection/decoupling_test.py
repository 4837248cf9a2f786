"""Decoupling: the rows it keeps against a loop, and networks that agree."""

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
ROWS, CLASSES = 9, 3
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
Y = np.arange(ROWS) % CLASSES


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


@functools.partial(jax.jit, static_argnums=0)
def lanes(make, setting, flow, logits, epoch):
  """The batches of both networks, whose logits are [2, B, C]."""

  def one(z):
    extra = {"key": KEY, "step": 0, "epoch": epoch, "forward": None}
    return make(setting).update(flow.fill(z), (), (), **extra)[0]

  return jax.vmap(one, axis_name="peer")(logits)


def by_warmup(warmup):
  return selection.decoupling(warmup=warmup)


def test_keeps_the_rows_on_which_the_predictions_differ():
  rng = np.random.default_rng(1)
  for trial in range(12):
    rows = rng.permutation(np.append(rng.permutation(ROWS)[:7], [ROWS] * 2))
    keep = rng.choice([0.0, 0.5, 1.0], 9) * (rows < ROWS)
    logits = rng.integers(-2, 3, size=(2, 9, CLASSES)).astype(np.float32)  # with ties
    flow = dataset().take(jnp.asarray(rows)).replace(keep=jnp.asarray(keep, jnp.float32))
    out = lanes(by_warmup, 3, flow, jnp.asarray(logits), 3 + trial % 2)
    for lane in range(2):
      total, mass = 0.0, 0.0
      for i in range(9):
        differ = int(np.argmax(logits[0, i])) != int(np.argmax(logits[1, i]))
        assert out.keep[lane, i] == keep[i] * differ
        z = logits[lane, i].astype(float)
        loss = np.log(np.exp(z).sum()) - z[Y[rows[i]] if rows[i] < ROWS else 0]
        total, mass = total + keep[i] * differ * loss, mass + keep[i] * differ
      risk = jax.tree.map(lambda leaf, lane=lane: leaf[lane], out).risk
      np.testing.assert_allclose(risk, total / max(mass, 1.0), rtol=1e-5, atol=1e-7)


def test_all_rows_are_kept_in_the_warm_up():
  logits = jnp.asarray(RNG.normal(size=(2, ROWS, CLASSES)), jnp.float32)
  for epoch, all_rows in ((0, True), (2, True), (3, False)):
    out = lanes(by_warmup, 3, dataset(), logits, epoch)
    assert bool((out.keep == 1).all()) == all_rows


def train(params, warmup):
  return rfjax.fit(
    architectures.logistic(CLASSES), rfjax.chain(selection.decoupling(warmup=warmup)),
    optax.sgd(0.5), dataset(), key=KEY, epochs=3, batch_size=4, params=params, peers=2,
  )  # fmt: skip


def test_identical_networks_do_not_move_and_others_do():
  kernel = jnp.asarray(RNG.normal(size=(2, 2, 2)), jnp.float32)
  run = jax.jit(train)
  same = {"kernel": kernel[:1].repeat(2, 0), "bias": jnp.zeros((2, 2))}
  state, log = run(same, 0)
  jax.tree.map(np.testing.assert_array_equal, state.params, same)
  np.testing.assert_array_equal(log.risk, 0)
  state, log = run(same | {"kernel": kernel}, 0)
  assert (state.params["kernel"] != kernel).any() and (log.risk[:, 0] > 0).all()
  state, _ = run(same, 1)  # both move alike in the warm-up, and then no more
  assert (state.params["kernel"] != same["kernel"]).any()
  np.testing.assert_array_equal(state.params["kernel"][0], state.params["kernel"][1])


def test_it_needs_peers_and_a_warm_up_in_range():
  with pytest.raises(ValueError, match="decoupling needs peers=2"):
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
    selection.decoupling().update(dataset().fill(jnp.zeros((ROWS, CLASSES))), (), (), **extra)
  for warmup in (-1, float("nan"), "a"):
    with pytest.raises(ValueError, match="warmup must"):
      selection.decoupling(warmup=warmup)
  assert selection.decoupling().writes == ("keep",)
