"""T-revision: weights and joint steps by hand in float64, its limits, and its recipe."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import counting_network, slopes
from rfjax import architectures, correction, losses, reweighting

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
ROWS = 8
Y = np.arange(ROWS) % 3
T = np.array([[0.7, 0.3, 0.0], [0.05, 0.8, 0.15], [0.3, 0.1, 0.6]])
LOGITS = 2 * RNG.normal(size=(ROWS, 3))


def weights(slack, logits, y, largest=100.0):
  """min(p_y / (p (T + dT))_y, largest), and largest where the denominator is not above 0."""
  result = []
  for z, label in zip(logits, y, strict=True):
    p = np.exp(z) / np.exp(z).sum()
    below = sum(p[k] * (T[k, label] + slack[k, label]) for k in range(3))
    result.append(min(p[label] / below, largest) if below > 0 else largest)
  return np.array(result)


def risk(slack, logits, y, keep, outer, largest=100.0, fixed=None):
  w = weights(slack, logits, y, largest) if fixed is None else fixed
  total = 0.0
  for i, z in enumerate(logits):
    total += keep[i] * outer[i] * w[i] * (np.log(np.exp(z).sum()) - z[y[i]])
  return total / max(sum(keep), 1)


def dataset():
  return rfjax.Batch.from_arrays(np.zeros((ROWS, 1), np.float32), Y, num_classes=3)


def update(method, flow, state=None):
  state = method.init(dataset(), key=KEY, spec=None) if state is None else state
  return method.update(flow, state, None, key=KEY, step=0, epoch=0, forward=None)


@pytest.mark.parametrize("differentiable", [False, True])
def test_steps_follow_the_risk_by_hand(differentiable):
  rng = np.random.default_rng(1)
  rows, keep = np.array([2, 5, ROWS, 1, 7]), np.array([1.0, 0.5, 0.0, 1.0, 1.0])
  y, outer, slack = np.append(Y, 0)[rows], rng.uniform(0.5, 2.0, 5), np.zeros((3, 3))
  with jax.enable_x64(True):
    method = correction.t_revision(T, optax.sgd(0.02), largest=1.3, differentiable=differentiable)
    state = method.init(dataset(), key=KEY, spec=None)
    np.testing.assert_array_equal(state.transition, T)
    np.testing.assert_array_equal(state.revision.params, 0)

    def objective(z, flow, state):
      out, new = update(method, flow.fill(z), state)
      return out.objective, (out.weight, new)

    act = jax.jit(jax.value_and_grad(objective, has_aux=True))
    cut = 0
    for _ in range(4):
      logits = 2 * rng.normal(size=(5, 3))
      flow = dataset().take(jnp.asarray(rows))
      flow = flow.replace(keep=jnp.asarray(keep), weight=jnp.asarray(outer))
      (value, (weight, new)), gradient = act(jnp.asarray(logits), flow, state)
      w = weights(slack, logits, y, 1.3)
      cut += (w == 1.3).sum()
      np.testing.assert_allclose(weight, outer * w, rtol=1e-10)
      np.testing.assert_allclose(value, risk(slack, logits, y, keep, outer, 1.3), rtol=1e-10)
      fixed = None if differentiable else w
      of_logits = slopes(lambda z, s=slack, f=fixed: risk(s, z, y, keep, outer, 1.3, f), logits)
      np.testing.assert_allclose(gradient, of_logits, atol=1e-8)
      of_slack = slopes(lambda s, z=logits: risk(s, z, y, keep, outer, 1.3), slack)
      assert (of_slack <= 1e-9).all()  # so plain gradient steps let every entry grow
      np.testing.assert_allclose(new.revision.params, slack - 0.02 * of_slack, atol=1e-8)
      np.testing.assert_array_equal(new.transition, T)
      state, slack = new, np.asarray(new.revision.params)
  assert 0 < cut < 20 and slack.max() > 0.05 and slack[0, 2] > 0


def of_risk(method):
  """The objective of a batch and its slope, by logits."""
  return jax.value_and_grad(lambda z: update(method, dataset().fill(z))[0].objective)


def test_without_a_step_it_is_importance_reweighting():
  logits = LOGITS.astype(np.float32)
  every = np.stack([logits, 12 * logits, np.tile(np.float32([-80, 80, 80]), (ROWS, 1))])
  for flag in (False, True):
    frozen = correction.t_revision(T, optax.sgd(0.0), differentiable=flag)
    plain = reweighting.importance(T, differentiable=flag)
    slopes = jax.jit(jax.vmap(lambda z: (of_risk(frozen)(z), of_risk(plain)(z))))
    (ones, gs), (twos, hs) = slopes(every)
    np.testing.assert_allclose(ones, twos, rtol=2e-5)
    np.testing.assert_allclose(gs, hs, atol=1e-5)
    assert np.isfinite(gs).all()
  state = jax.jit(lambda z: update(frozen, dataset().fill(z))[1])(logits)
  np.testing.assert_array_equal(state.revision.params, 0)


def test_negative_entries_give_no_negative_weight():
  slack = np.array([[-0.5, 0.0, -0.4], [-0.6, -1.0, 0.3], [0.1, -0.7, -0.5]])
  method = correction.t_revision(T, largest=7.0)

  @jax.jit
  def weighed(z, slack):
    state = method.init(dataset(), key=KEY, spec=None)
    state = state._replace(revision=state.revision._replace(params=slack))
    out, new = update(method, dataset().fill(z), state)
    return out.weight, new.revision.params

  weight, revised = weighed(LOGITS.astype(np.float32), slack.astype(np.float32))
  expected = weights(slack, LOGITS, Y, 7.0)
  np.testing.assert_allclose(weight, expected, rtol=1e-4)
  assert (expected == 7).any() and (expected < 7).any()
  assert np.isfinite(revised).all()


def test_the_identity_is_cross_entropy_whatever_flows():
  logits = LOGITS.astype(np.float32)
  methods = [*(correction.t_revision(np.eye(3), differentiable=f) for f in (False, True))]
  every = jax.jit(lambda z: [of_risk(m)(z) for m in (rfjax.chain(), *methods)])
  plain, *found = every(logits)
  for one in found:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one, plain)


def test_the_optimizer_of_the_authors_is_the_default():
  method = correction.t_revision(T)
  state = jax.jit(lambda z: update(method, dataset().fill(z))[1])(LOGITS.astype(np.float32))
  np.testing.assert_allclose(np.max(state.revision.params), 5e-7, rtol=1e-3)
  assert correction.t_revision(T).writes == ("weight",)


NETWORK = architectures.logistic(3)
PHASES = {"estimate_epochs": 6, "epochs": 4, "revision_epochs": 3, "batch_size": 20}
TX, SLOW = optax.adam(0.1), optax.adam(0.01)


def clouds():
  rng = np.random.default_rng(1)
  clean = np.arange(60) % 3
  x = 2.0 * np.eye(3)[clean] + 0.4 * rng.normal(size=(60, 3))
  y = (rng.random(60)[:, None] > T[clean].cumsum(1)).sum(1)
  return rfjax.Batch.from_arrays(x.astype(np.float32), y, num_classes=3)


def test_the_recipe_is_its_three_trainings():
  data, before = clouds(), losses.gce(0.5)

  @jax.jit
  def recipe(data):
    return correction.t_revision_rounds(
      NETWORK, TX, data, key=KEY, before=before, revision_tx=SLOW, percentile=90,
      observe=lambda state, view: state.method[1].revision.params, **PHASES
    )  # fmt: skip

  @jax.jit
  def by_hand(data):
    fit = lambda method, tx, i, epochs, params: rfjax.fit(
      NETWORK, rfjax.chain(before, method), tx, data, key=jax.random.fold_in(KEY, i) if i else KEY,
      epochs=epochs, batch_size=20, params=params,
    )  # fmt: skip
    first, _ = fit(rfjax.chain(), TX, 0, 6, None)
    probs = jax.nn.softmax(rfjax.predict(NETWORK, first, data).logits)
    matrix = correction.anchor_transition(probs, percentile=90)
    second, _ = fit(reweighting.importance(matrix), TX, 1, 4, first.params)
    third, log = fit(correction.t_revision(matrix, SLOW), SLOW, 2, 3, second.params)
    return matrix, third, log.risk

  (state, log), (matrix, third, risks) = recipe(data), by_hand(data)
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
  close(state.method[1].transition, matrix)
  close(state.method[1].revision.params, third.method[1].revision.params)
  jax.tree.map(close, state.params, third.params)
  close(log.risk, risks)
  assert log.observed.shape == (3, 3, 3) and np.abs(log.observed[-1]).max() > 0.01


def test_statistics_go_on():
  network = counting_network(3, 3)
  epochs = {"epochs": 3, "estimate_epochs": 5, "revision_epochs": 2}
  run = jax.jit(lambda d: correction.t_revision_rounds(network, TX, d, key=KEY, **epochs)[0])
  assert np.asarray(run(clouds()).stats) == 10


@pytest.mark.parametrize(
  ("arguments", "settings", "what"),
  [
    (([[0.5, 0.6], [0.0, 1.0]],), {}, "transition must"),
    ((T,), {"largest": 0.0}, "largest must"),
    ((T,), {"largest": float("nan")}, "largest must"),
  ],
)
def test_bad_arguments_are_refused(arguments, settings, what):
  with pytest.raises(ValueError, match=what):
    correction.t_revision(*arguments, **settings)


def test_what_does_not_fit_is_refused():
  with pytest.raises(ValueError, match="transition is of 2 classes"):
    correction.t_revision(np.eye(2)).init(dataset(), key=KEY, spec=None)
  for name in ("estimate_epochs", "revision_epochs", "percentile", "largest"):
    with pytest.raises(ValueError, match=f"{name} must"):
      correction.t_revision_rounds(NETWORK, TX, clouds(), key=KEY, epochs=1, **{name: -1})
