"""Webly supervised learning: the graph by a loop, both forms of the second stage, the recipe."""

import functools

import jax
import numpy as np
import optax
import pytest

import rfjax
from oracles import counting_network
from rfjax import architectures

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 10, 3
LOGITS = RNG.normal(size=(ROWS, CLASSES))
Y = np.array([0, 0, 1, 1, 1, 2, 2, 0, 1, 2])
NETWORK = architectures.mlp([4], CLASSES)
TX = optax.sgd(0.3)
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
HARD = rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)
EASY = rfjax.Batch.from_arrays(2 * X[:6], Y[:6], num_classes=CLASSES)


def by_hand(p, y, classes=CLASSES):
  """Of the rows with label i, the mean probability of j."""
  graph = np.eye(classes)
  for i in range(classes):
    if (y == i).any():
      graph[i] = p[y == i].mean(0)
  return graph


def test_the_graph_is_the_loop(check):
  p = check.softmax(LOGITS)
  valid, of = Y != 1, architectures.relationship_graph
  whole, graph = jax.jit(lambda said: (of(said, Y), of(said, Y, valid)))(np.log(p))
  np.testing.assert_allclose(whole, by_hand(p, Y), rtol=1e-5)
  np.testing.assert_allclose(graph, by_hand(p[valid], Y[valid]), rtol=1e-5)
  np.testing.assert_array_equal(np.asarray(graph)[1], [0, 1, 0])


def test_the_gradient_is_the_softmax_minus_the_row_of_the_label(check):
  graph = check.stochastic(RNG, CLASSES)
  with jax.enable_x64(True):
    flow, t = check.filled(LOGITS, Y), architectures.webly(graph)

    @jax.jit
    def everything(flow, soft):
      mixed, _ = check.update(t, flow.replace(target=soft))
      return check.gradient(t, flow), *check.update(t, flow), mixed

    slopes, out, state, mixed = everything(flow, check.softmax(LOGITS))
  np.testing.assert_allclose(slopes, check.softmax(LOGITS) - graph[Y], atol=1e-12)
  np.testing.assert_allclose(out.target, graph[Y], atol=1e-12)
  np.testing.assert_allclose(mixed.target, check.softmax(LOGITS) @ graph, atol=1e-12)
  np.testing.assert_array_equal(state.graph, graph)


def recipe(form, rate=0.0):
  return jax.device_get(_recipe(form, rate))


@functools.partial(jax.jit, static_argnums=0)
def _recipe(form, rate):
  return architectures.webly_rounds(
    NETWORK, TX, HARD, easy=EASY, key=KEY, epochs=5, fine_tune_epochs=3, batch_size=4, form=form,
    channel_tx=optax.sgd(rate),
  )  # fmt: skip


confusion = jax.jit(architectures.confusion)


@functools.cache
def first_stage():
  @jax.jit
  def run(key):
    state, log = rfjax.fit(NETWORK, rfjax.chain(), TX, EASY, key=key, epochs=5, batch_size=4)
    return state, log, rfjax.predict(NETWORK, state, HARD).log_probs

  return jax.device_get(run(jax.random.split(KEY)[0]))


def test_the_second_stage_starts_from_what_the_first_says_of_the_hard_rows():
  state, log = recipe("target")
  _, first, said = first_stage()
  np.testing.assert_allclose(log.risk[:5], first.risk, rtol=1e-4)
  assert log.risk.shape == (8,)
  np.testing.assert_allclose(state.method.graph, by_hand(np.exp(said), Y), rtol=1e-4)


def test_the_channel_starts_as_the_confusion_of_the_hard_rows(check):
  state, _ = recipe("channel")
  _, _, said = first_stage()
  np.testing.assert_allclose(check.softmax(state.method.params), confusion(said, Y), rtol=1e-4)
  moved = recipe("channel", 0.5)[0].method.params
  assert np.abs(moved - state.method.params).max() > 1e-3


@pytest.mark.parametrize("form", ["target", "channel"])
def test_the_fine_tuning_goes_on_from_the_first_network(form):
  state, log = recipe(form)
  start, _, said = first_stage()
  graph = by_hand(np.exp(said), Y)
  method = architectures.webly(graph)
  if form == "channel":
    method = architectures.s_model(confusion(said, Y), optax.sgd(0.0))
  settings = {"key": jax.random.split(KEY)[1], "epochs": 3, "batch_size": 4}
  again = lambda params: rfjax.fit(NETWORK, method, TX, HARD, params=params, **settings)
  state_again, log_again = jax.device_get(jax.jit(again)(start.params))
  np.testing.assert_allclose(log.risk[5:], log_again.risk, rtol=1e-4)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
  jax.tree.map(close, state.params, state_again.params)


def test_statistics_of_the_first_stage_stay():
  network = counting_network(2, CLASSES)
  run = lambda: architectures.webly_rounds(network, TX, HARD, easy=EASY, key=KEY, epochs=5)
  state, _ = jax.jit(run)()
  assert state.stats == 10


@pytest.mark.parametrize(
  "settings", [{"form": "graph"}, {"epochs": -1}, {"fine_tune_epochs": -1}, {"easy": None}]
)
def test_bad_settings_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    architectures.webly_rounds(
      NETWORK, TX, HARD, **({"easy": EASY, "key": KEY, "epochs": 1} | settings)
    )


def test_bad_graphs_are_refused(check):
  with pytest.raises(ValueError, match="graph must"):
    architectures.webly([[0.5, 0.6], [0.0, 1.0]])
  with pytest.raises(ValueError, match="graph is of 2 classes"):
    check.init(architectures.webly(np.eye(2)), check.filled(LOGITS, Y))
