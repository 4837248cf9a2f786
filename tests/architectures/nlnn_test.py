"""NLNN: expectation and maximisation against loops in float64, and what EM promises."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 12, 3
LOGITS = RNG.normal(size=(ROWS, CLASSES))
Y = np.arange(ROWS) % CLASSES
Q0 = np.array([[0.7, 0.2, 0.1], [0.05, 0.9, 0.05], [0.3, 0.3, 0.4]])


def expect(theta, p, y):
  c = np.zeros_like(p)
  for t in range(len(y)):
    for i in range(p.shape[1]):
      c[t, i] = theta[i, y[t]] * p[t, i]
    c[t] /= c[t].sum()
  return c


def maximise(c, y, classes):
  theta = np.zeros((classes, classes))
  for t in range(len(y)):
    theta[:, y[t]] += c[t]
  return theta / c.sum(0)[:, None]


def likelihood(theta, p, y):
  return sum(np.log(p[t] @ theta[:, y[t]]) for t in range(len(y)))


def refresh(t, flow, state, epoch):
  return t.refresh(flow, state, None, key=KEY, step=0, epoch=epoch, forward=None)[1]


def test_em_is_the_loop_and_never_loses_likelihood(check):
  """Rows of five kinds; the network is a table, whose best step is the mean of the labels."""
  rng, kinds = np.random.default_rng(1), 5
  kind = np.repeat(np.arange(kinds), 8)
  y = rng.integers(0, CLASSES, len(kind))
  table = rng.dirichlet(np.ones(CLASSES), kinds)
  with jax.enable_x64(True):
    t, flow = architectures.nlnn(Q0), check.filled(np.log(table)[kind], y)
    state = check.init(t, flow)
    np.testing.assert_array_equal(state.posterior, np.eye(CLASSES)[y])
    turn = jax.jit(lambda z, state, epoch: refresh(t, flow.fill(z), state, epoch))
    theta, reached = Q0, [likelihood(Q0, table[kind], y)]
    for epoch in range(30):
      state = jax.device_get(turn(np.log(table)[kind], state, epoch))
      c = expect(theta, table[kind], y)
      theta = maximise(c, y, CLASSES)
      np.testing.assert_allclose(state.posterior, c, rtol=1e-8, atol=1e-12)
      np.testing.assert_allclose(state.transition, theta, rtol=1e-8, atol=1e-12)
      table = np.stack([np.asarray(state.posterior)[kind == k].mean(0) for k in range(kinds)])
      reached.append(likelihood(theta, table[kind], y))
  assert (np.diff(reached) >= -1e-10).all() and reached[-1] > reached[0] + 0.5


def test_one_gradient_step_is_one_of_the_s_model(check):
  with jax.enable_x64(True):
    flow, t = check.filled(LOGITS, Y), architectures.nlnn(Q0)

    @jax.jit
    def everything(flow):
      state = refresh(t, flow, check.init(t, flow), 0)
      return state, check.gradient(t, flow, state), check.gradient(architectures.s_model(Q0), flow)

    state, mine, wanted = jax.device_get(everything(flow))
    np.testing.assert_allclose(mine, wanted, atol=1e-12)
    np.testing.assert_allclose(mine, check.softmax(LOGITS) - state.posterior, atol=1e-12)


def test_it_waits_and_then_runs_every_so_often(check):
  flow, t = check.filled(LOGITS, Y), architectures.nlnn(warmup=2, every=3)
  turn = jax.jit(lambda state, epoch: refresh(t, flow, state, epoch))
  states = [jax.device_get(check.init(t, flow))]
  for epoch in range(8):
    states.append(jax.device_get(turn(states[-1], epoch)))
  same = [bool((a.posterior == b.posterior).all()) for a, b in itertools.pairwise(states)]
  assert same == [True, True, False, True, True, False, True, True]
  np.testing.assert_array_equal(states[2].posterior, np.eye(CLASSES)[Y])
  p = check.softmax(LOGITS)
  theta = maximise(p, Y, CLASSES)  # the confusion of the network, where no matrix is given
  for state in (states[3], states[6]):
    c = expect(theta, p, Y)
    theta = maximise(c, Y, CLASSES)
    np.testing.assert_allclose(state.posterior, c, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.transition, theta, rtol=1e-4, atol=1e-6)


def test_targets_are_read_by_index_and_padding_keeps_its_own(check):
  flow, t = check.filled(LOGITS, Y), architectures.nlnn(Q0)

  @jax.jit
  def everything(flow):
    state = refresh(t, flow, check.init(t, flow), 0)
    rows = flow.take(jnp.array([7, ROWS, 2])).replace(target=None).fill(flow.logits[:3])
    return state, *check.update(t, rows, state)

  state, out, after = jax.device_get(everything(flow))
  c = expect(Q0, check.softmax(LOGITS), Y)
  np.testing.assert_allclose(out.target[::2], c[[7, 2]], rtol=1e-4)
  assert out.target[1].tolist() == [1, 0, 0]
  jax.tree.map(np.testing.assert_array_equal, after, state)


def test_rows_that_are_not_valid_do_not_count(check):
  flow, t = check.filled(LOGITS, Y), architectures.nlnn(Q0)
  run = jax.jit(lambda flow, valid: refresh(t, flow.replace(valid=valid), check.init(t, flow), 0))
  state = run(flow, np.arange(ROWS) < 9)
  c = expect(Q0, check.softmax(LOGITS), Y)
  np.testing.assert_allclose(state.transition, maximise(c[:9], Y[:9], CLASSES), rtol=1e-4)


def test_rounds_are_runs_of_new_networks_on_the_soft_labels(check):
  x = np.random.default_rng(2).normal(size=(ROWS, 2)).astype(np.float32)
  data = rfjax.Batch.from_arrays(x, Y, num_classes=CLASSES)
  network, tx = architectures.logistic(CLASSES), optax.sgd(0.5)
  settings = {"key": KEY, "epochs": 4, "batch_size": 5}
  run = jax.jit(lambda: architectures.nlnn_rounds(network, tx, data, restarts=2, **settings))
  state, log = jax.device_get(run())
  assert log.risk.shape == (3, 4)
  c, theta, risks = np.eye(CLASSES)[Y], None, []
  run = jax.jit(lambda c, key: _soft_run(network, tx, data, c, key, settings))
  for i in range(3):
    own = KEY if i == 0 else jax.random.fold_in(KEY, i)
    params, p, risk = jax.device_get(run(c.astype(np.float32), own))
    p = np.asarray(p, float)
    theta = maximise(p, Y, CLASSES) if theta is None else theta
    c = expect(theta, p, Y)
    theta = maximise(c, Y, CLASSES)
    risks.append(risk)
  np.testing.assert_allclose(log.risk, risks, rtol=1e-4)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
               state.params, params)  # fmt: skip
  np.testing.assert_allclose(state.method.transition, theta, rtol=1e-3, atol=1e-5)
  np.testing.assert_allclose(state.method.posterior, c, rtol=1e-3, atol=1e-5)


def _soft_run(network, tx, data, c, key, settings):
  soft = rfjax.stateless(lambda batch, **_: batch.replace(target=c[batch.index]))
  state, log = rfjax.fit(network, soft, tx, data, **(settings | {"key": key}))
  return state.params, rfjax.predict(network, state, data).probs, log.risk


@pytest.mark.parametrize(
  "settings",
  [{"initial": [[0.5, 0.6], [0.0, 1.0]]}, {"every": 0}, {"warmup": -1}, {"warmup": 0}],
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    architectures.nlnn(**settings)


def test_a_matrix_of_other_classes_and_no_rounds_are_refused(check):
  with pytest.raises(ValueError, match="initial is of 2 classes"):
    check.init(architectures.nlnn(np.eye(2)), check.filled(LOGITS, Y))
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  with pytest.raises(ValueError, match="restarts must"):
    architectures.nlnn_rounds(
      architectures.logistic(), optax.sgd(0.1), data, restarts=-1, key=KEY, epochs=1
    )
