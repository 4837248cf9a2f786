"""Noise of three types: the closed form, its two marginal gradients, and the matrix by a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures

RNG = np.random.default_rng(0)
ROWS, CLASSES, WIDTH, LR = 9, 4, 5, 0.3
LOGITS = RNG.normal(size=(ROWS, CLASSES))
FEATURES = RNG.normal(size=(ROWS, WIDTH))
Y = np.arange(ROWS) % CLASSES
C = RNG.random((CLASSES, CLASSES)) * (1 - np.eye(CLASSES))
C[0] = [0, 1, 0, 0]
C /= C.sum(1, keepdims=True)
ESTIMATE = jax.jit(architectures.confusing_matrix, static_argnames="num_classes")
TYPES = jax.jit(architectures.noise_types)


def joint(p, s, y):
  """Of one row, the posterior of the true label and the type, [K, 3]."""
  result = np.zeros((CLASSES, 3))
  for i in range(CLASSES):
    given = [float(i == y), float(i != y) / (CLASSES - 1), C[i, y]]
    for n in range(3):
      result[i, n] = given[n] * p[i] * s[n]
  return result


def test_the_closed_form_and_the_two_marginals(check):
  """The type network is linear: its gradient by the bias is the sum of those by its logits."""
  kernel, bias = RNG.normal(size=(WIDTH, 3)), RNG.normal(size=3)
  p, s = check.softmax(LOGITS), check.softmax(FEATURES @ kernel + bias)
  posterior = np.stack([joint(*row) for row in zip(p, s, Y, strict=True)])
  loss = -np.log(posterior.sum((1, 2)))
  posterior /= posterior.sum((1, 2), keepdims=True)
  with jax.enable_x64(True):
    flow = check.filled(LOGITS, Y, FEATURES)
    t = architectures.probabilistic_noise(C, optax.sgd(LR))
    start = check.init(t, flow)
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    state = start._replace(params=params)

    @jax.jit
    def both(flow, state):
      return *check.update(t, flow, state), check.gradient(t, flow, state)

    out, after, slope = both(flow, state)
    np.testing.assert_allclose(out.loss, loss, atol=1e-12)
    closed = s[:, :1] * p + s[:, 1:2] * (1 - p) / (CLASSES - 1) + s[:, 2:] * (p @ C)
    np.testing.assert_allclose(np.exp(out.log_probs), closed, atol=1e-12)
    np.testing.assert_allclose(slope, p - posterior.sum(2), atol=1e-12)
    by_s = s - posterior.sum(1)
    np.testing.assert_allclose(after.params["bias"], bias - LR * by_s.mean(0), atol=1e-12)
    np.testing.assert_allclose(
      after.params["kernel"], kernel - LR * FEATURES.T @ by_s / ROWS, atol=1e-12
    )


def test_the_network_does_not_learn_through_the_types(check):
  t = architectures.probabilistic_noise(C)
  flow = check.filled(LOGITS.astype(np.float32), Y, FEATURES.astype(np.float32))
  state = check.init(t, flow)
  params = jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(0.3), state.params)
  state = state._replace(params=params)
  loss = lambda h: check.update(t, flow.replace(features=h), state)[0].risk
  np.testing.assert_array_equal(jax.jit(jax.grad(loss))(flow.features), 0)


def test_it_starts_at_the_prior_and_without_noise_it_is_cross_entropy(check):
  flow = check.filled(LOGITS, Y, FEATURES)
  p = check.softmax(LOGITS)
  methods = [architectures.probabilistic_noise(C, prior=s) for s in ([0.5, 0.2, 0.3], [1.0, 0, 0])]
  out, plain = jax.jit(lambda flow: [check.update(t, flow)[0] for t in methods])(flow)
  expected = 0.5 * p + 0.2 * (1 - p) / (CLASSES - 1) + 0.3 * p @ C
  np.testing.assert_allclose(np.exp(out.log_probs), expected, rtol=1e-5)
  np.testing.assert_allclose(plain.log_probs, np.log(p), rtol=1e-5)


def asked(network, key, x):
  params, _ = network.init(key, x)
  return params, network.apply(params, (), x, key=None, train=False)[0]


def test_the_types_may_have_a_network_of_their_own(check):
  network = architectures.mlp([3], 3)
  x = RNG.normal(size=(ROWS, 2)).astype(np.float32)
  data = rfjax.Batch.from_arrays(x, Y, num_classes=CLASSES)
  data = jax.jit(lambda data: data.fill(jnp.asarray(LOGITS)))(data)
  trained, said = jax.jit(lambda: asked(network, jax.random.key(5), x))()
  t = architectures.probabilistic_noise(C, optax.sgd(LR), types=network, params=trained)
  out, state = check.update(t, data)
  s = check.softmax(np.asarray(said))
  p = check.softmax(LOGITS)
  closed = s[:, :1] * p + s[:, 1:2] * (1 - p) / (CLASSES - 1) + s[:, 2:] * (p @ C)
  np.testing.assert_allclose(np.exp(out.log_probs), closed, rtol=1e-4)
  far = lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max())
  moved = jax.tree.map(far, state.params, trained)
  assert min(jax.tree.leaves(moved)) > 0
  another = architectures.probabilistic_noise(C, types=network)
  fresh = jax.eval_shape(lambda data: check.init(another, data), data)
  assert jax.tree.structure(fresh.params) == jax.tree.structure(trained)


def matrix_by_hand(true, given, classes):
  """The authors' rule, read from their script: the shares of the most frequent mistakes."""
  result = np.zeros((classes, classes))
  for i in range(classes):
    f = np.array([np.sum((true == i) & (given == j)) * (i != j) for j in range(classes)], float)
    if f.sum() == 0:
      result[i] = (np.arange(classes) != i) / (classes - 1)
      continue
    f /= f.sum()
    order = sorted(range(classes), key=lambda j: (f[j], j), reverse=True)
    best, chosen = -np.inf, 0
    for m in range(1, classes + 1):
      top = f[order[:m]]
      if top[-1] == 0:
        break
      fit = np.sum(top * np.log(top / top.sum())) - f[order[m:]].sum() * np.log(classes - 1)
      if fit >= best - 1e-12:
        best, chosen = fit, m
    result[i, order[:chosen]] = f[order[:chosen]]
  return result / result.sum(1, keepdims=True)


@pytest.mark.parametrize("seed", range(6))
def test_the_confusing_matrix_is_the_loop(seed):
  rng = np.random.default_rng(seed)
  true = rng.integers(0, CLASSES, 60)
  weights = rng.dirichlet(np.full(CLASSES, 0.5), CLASSES)
  given = np.array([rng.choice(CLASSES, p=weights[i]) for i in true])
  if seed == 0:
    given[true == 2] = 2
  found = ESTIMATE(true, given, num_classes=CLASSES)
  np.testing.assert_allclose(found, matrix_by_hand(true, given, CLASSES), atol=1e-6)
  np.testing.assert_array_equal(np.diag(found), 0)
  found = np.asarray(found)
  types = np.asarray(TYPES(true, given, found))
  for i, j, n in zip(true, given, types, strict=True):
    assert n == (0 if i == j else 1 if found[i, j] < 1 / (CLASSES - 1) else 2)
  assert seed or (1 in types and 2 in types)


def test_of_equally_good_numbers_the_largest_is_kept():
  """Three mistakes in equal shares: one of four and two of four are equally likely."""
  found = np.asarray(ESTIMATE(np.zeros(3, int), np.arange(1, 4), num_classes=5))
  np.testing.assert_allclose(found[0], [0, 0, 0.5, 0.5, 0], atol=1e-6)
  np.testing.assert_allclose(found, matrix_by_hand(np.zeros(3, int), np.arange(1, 4), 5), atol=1e-6)


def test_rows_that_do_not_count_change_nothing():
  true, given = np.array([0, 0, 1, 1, 2]), np.array([1, 2, 0, 0, 1])
  valid = np.array([True, False, True, True, True])
  found = ESTIMATE(true, given, num_classes=3, valid=valid)
  np.testing.assert_allclose(found, matrix_by_hand(true[valid], given[valid], 3), atol=1e-6)


@pytest.mark.parametrize(
  "arguments, message",
  [
    (([[0.5, 0.6], [0.0, 1.0]],), "confusing must"),
    ((np.eye(3),), "confusing must"),
    ((C, None, [0.5, 0.5]), "prior must"),
    ((C, None, [0.5, 0.6, 0.2]), "prior must"),
  ],
)
def test_bad_settings_are_refused(arguments, message):
  matrix, tx, *prior = (*arguments, None)[:3] if len(arguments) < 3 else arguments
  with pytest.raises(ValueError, match=message):
    architectures.probabilistic_noise(matrix, tx, **({"prior": prior[0]} if prior else {}))


def test_what_it_needs_is_said(check):
  t = architectures.probabilistic_noise(C)
  with pytest.raises(ValueError, match="probabilistic_noise needs features"):
    check.init(t, check.filled(LOGITS, Y))
  with pytest.raises(ValueError, match="confusing is of 4 classes"):
    check.init(t, check.filled(LOGITS[:, :3], Y % 3, FEATURES))
  stateful = architectures.mlp([3], 3)._replace(init=lambda key, x: ({}, jnp.zeros(2)))
  with pytest.raises(ValueError, match="types must"):
    check.init(architectures.probabilistic_noise(C, types=stateful), check.filled(LOGITS, Y))


def test_the_linear_types_start_where_they_are_told(check):
  first = {"kernel": np.full((WIDTH, 3), 7.0), "bias": np.full(3, 7.0)}
  t = architectures.probabilistic_noise(C, params=first)
  state = check.init(t, check.filled(LOGITS, Y, FEATURES))
  jax.tree.map(np.testing.assert_array_equal, state.params, first)


BAD_LABELS = [([0, -1], [1, 0]), ([0, 1], [1, 3]), ([0, 1, 2], [1]), ([0.5, 1], [0, 1])]


@pytest.mark.parametrize(("y", "given"), BAD_LABELS)
def test_labels_that_are_none_are_refused(y, given):
  with pytest.raises(ValueError, match=r"(y|given) must"):
    architectures.confusing_matrix(y, given, num_classes=3)
  with pytest.raises(ValueError, match=r"(y|given) must"):
    architectures.noise_types(y, given, [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
