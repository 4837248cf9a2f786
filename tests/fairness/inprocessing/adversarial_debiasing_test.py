"""Adversarial debiasing and its projection against NumPy runs, algebra, and a known toy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
CRITERIA = ("demographic_parity", "equalized_odds", "equal_opportunity")
ROWS, STEPS, RATE, ALPHA = 30, 6, 0.3, 0.7


@functools.cache
def make_data(groups=2, classes=2):
  rng = np.random.default_rng(0)
  y, group = rng.integers(0, classes, ROWS), rng.integers(0, groups, ROWS)
  x = np.stack([rng.normal(size=ROWS) + y, rng.normal(size=ROWS) + group], 1)
  return rfjax.Batch.from_arrays(x, y, group, num_classes=classes, num_groups=groups)


def soft(z):
  e = np.exp(z - z.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def views(s, y, criterion):
  """The adversary's inputs for probabilities s [B, K] of the classes from 1 on."""
  if criterion != "equalized_odds":
    return s
  return np.concatenate([s, *(s * (y == k)[:, None] for k in range(s.shape[1] + 1))], 1)


def adversary_loss(weights, kernel, bias, c, data, criterion):
  """L_A of a linear model of logits, by its formula."""
  x, y, group = (np.asarray(v, np.float64) for v in (data.x, data.y, data.group))
  logits = np.concatenate([np.zeros((ROWS, 1)), x @ weights[:-1] + weights[-1]], 1)
  v = views(soft((1 + abs(c)) * logits)[:, 1:], y, criterion)
  scores = np.concatenate([np.zeros((ROWS, 1)), v @ kernel + bias], 1)
  rows = y == 1 if criterion == "equal_opportunity" else y > -1
  return -np.log(soft(scores)[np.arange(ROWS), group.astype(int)])[rows].mean()


def risk(weights, data):
  x, y = np.asarray(data.x, np.float64), np.asarray(data.y)
  logits = np.concatenate([np.zeros((ROWS, 1)), x @ weights[:-1] + weights[-1]], 1)
  return -np.log(soft(logits)[np.arange(ROWS), y]).mean()


def slope(function, at, h=1e-6):
  found = np.zeros_like(at)
  for i in np.ndindex(at.shape):
    move = np.zeros_like(at)
    move[i] = h
    found[i] = (function(at + move) - function(at - move)) / (2 * h)
  return found


def by_hand(data, weights, kernel, bias, c, criterion, project):
  """Steps of gradient descent of both players at once, with differences for derivatives."""
  c = np.array(c)
  for _ in range(STEPS):
    of = lambda w, k, b, c: adversary_loss(w, k, b, c, data, criterion)
    p = slope(lambda w: risk(w, data), weights)
    a = slope(lambda w: of(w, kernel, bias, c), weights)
    way = p - ALPHA * a
    if project == "whole":
      way = way - (p * a).sum() / (a * a).sum() * a
    if project == "leaf":  # kernel and bias by themselves
      for part in (slice(0, -1), slice(-1, None)):
        way[part] -= (p[part] * a[part]).sum() / (a[part] ** 2).sum() * a[part]
    moves = (
      slope(lambda k: of(weights, k, bias, c), kernel),
      slope(lambda b: of(weights, kernel, b, c), bias),
      slope(lambda c: of(weights, kernel, bias, c), c),
    )
    weights = weights - 0.5 * way
    kernel, bias, c = (v - RATE * m for v, m in zip((kernel, bias, c), moves, strict=True))
  return weights, kernel, bias, c


@pytest.mark.parametrize(
  ("criterion", "project", "groups", "classes"),
  [
    ("demographic_parity", "whole", 2, 2),
    ("equalized_odds", "whole", 2, 2),
    ("equal_opportunity", "leaf", 2, 2),
    ("equalized_odds", "none", 3, 3),
  ],
)
def test_a_run_is_the_one_in_numpy(criterion, project, groups, classes):
  data = make_data(groups, classes)
  method = inprocessing.adversarial_debiasing(ALPHA, criterion, tx=optax.sgd(RATE))
  links = {"none": [], "whole": [{}], "leaf": [{"per_leaf": True}]}[project]
  tx = optax.chain(*(inprocessing.project_against(**link) for link in links), optax.sgd(0.5))
  network = architectures.logistic(classes)

  @jax.jit
  def run(data):
    step = rfjax.train_step(network, method, tx)
    params, _ = network.init(KEY, data.x)
    first = step.init(params, data, key=KEY)
    body = lambda i, state: step.update(state, data, key=KEY, step=i, epoch=i)[0]
    return first, jax.lax.fori_loop(0, STEPS, body, first)

  first, last = jax.device_get(run(data))
  read = lambda s: (
    np.concatenate([s.params["kernel"], s.params["bias"][None]]).astype(np.float64),
    *(np.asarray(s.method.adversary.params[k], np.float64) for k in ("kernel", "bias", "scale")),
  )
  expected = by_hand(data, *read(first), criterion, project)
  for found, value, before in zip(read(last), expected, read(first), strict=True):
    np.testing.assert_allclose(found, value, atol=2e-5)
    assert np.abs(value - before).max() > 1e-3


@pytest.mark.parametrize("per_leaf", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e-28])
def test_the_projection(per_leaf, size):
  rng = np.random.default_rng(0)
  draw = lambda scale: {
    "a": np.float32(scale * rng.normal(size=(3, 2))),
    "b": np.float32(scale * rng.normal(size=4)),
  }
  g_r, g_p, decay = draw(1.0), draw(size), draw(1.0)
  grad_of = lambda risk=1.0, penalty=0.0: jax.tree.map(
    lambda a, b: risk * a + penalty * b, g_r, g_p
  )
  tx = inprocessing.project_against(per_leaf=per_leaf)

  @jax.jit
  def project():
    given = jax.tree.map(jnp.add, grad_of(1.0, 1.0), decay)
    return tx.update(given, tx.init(None), None, grad_of=grad_of, unknown=0)[0]

  out = jax.device_get(project())
  rest = jax.tree.map(lambda o, p, d: np.asarray(o - p - d, np.float64), out, g_p, decay)
  dots = {k: float(np.sum(rest[k] * np.asarray(g_p[k]) / size)) for k in rest}
  np.testing.assert_allclose(list(dots.values()) if per_leaf else sum(dots.values()), 0, atol=1e-5)
  # It is the projection, not only something orthogonal: what was taken away lies along g_p.
  gone = {k: (np.asarray(g_r[k]) - rest[k]) / (np.asarray(g_p[k]) / size) for k in rest}
  for v in gone.values():
    np.testing.assert_allclose(v, v.flat[0], rtol=2e-2)


def test_without_a_penalty_it_does_nothing():
  g = {"a": jnp.array([1.0, 2.0])}
  grad_of = lambda risk=1.0, penalty=0.0: {"a": risk * g["a"]}
  for per_leaf in (False, True):
    tx = inprocessing.project_against(per_leaf=per_leaf)
    np.testing.assert_array_equal(tx.update(g, tx.init(None), grad_of=grad_of)[0]["a"], g["a"])
  with pytest.raises(ValueError, match="needs grad_of"):
    tx.update(g, tx.init(None))


def test_the_toy_of_the_paper_forgets_the_group():
  """x = (r, u) with u, w ~ N(v, 1), v ~ N(r, 1), y = [w > 0]: fair weights of r and u add to 0."""
  rng = np.random.default_rng(0)
  r = np.arange(2000) % 2
  v = rng.normal(r, 1)
  u, w = rng.normal(v, 1), rng.normal(v, 1)
  data = rfjax.Batch.from_arrays(np.stack([r, u], 1), (w > 0).astype(int), r)
  network = architectures.logistic()

  @jax.jit
  def kernels(data):
    fair = inprocessing.adversarial_debiasing(1.0, tx=optax.sgd(1.0))
    grown = rfjax.scaled(lambda step: jnp.sqrt(1.0 + step), fair)
    rate = lambda step: 1.0 / (1.0 + 0.05 * step)
    found = []
    for method, links in ((rfjax.chain(), []), (grown, [inprocessing.project_against()])):
      tx = optax.chain(*links, optax.sgd(rate))
      found.append(rfjax.fit(network, method, tx, data, key=KEY, epochs=1500)[0].params["kernel"])
    return jnp.stack(found)[..., 0]

  plain, fair = kernels(data)
  np.testing.assert_allclose(plain, [0.66, 0.66], atol=0.12)  # probit of (u + r) / sqrt(6)
  assert fair[1] > 0.3 and abs(fair.sum()) < 0.1


def test_soft_groups_missing_ones_and_padding():
  data = make_data()
  member = np.eye(2, dtype=np.float32)[data.group]
  member[:5] = 0
  soft_data = data.replace(group=member)
  made = inprocessing.adversarial_debiasing(1.0, "equalized_odds")
  logits, rows = np.random.default_rng(2).normal(size=(ROWS, 2)), np.arange(5, ROWS)

  @jax.jit
  def run(data, soft_data):
    state, z = made.init(data, key=KEY), jnp.asarray(logits)
    flows = [soft_data.fill(z), data.take(rows).fill(z[rows])]
    flows.append(soft_data.replace(group=jnp.zeros((ROWS, 2))).fill(z))
    return [made.update(flow, state) for flow in flows]

  (a, after), (b, other), (none, still) = jax.device_get(run(data, soft_data))
  np.testing.assert_allclose(a.penalty, b.penalty, rtol=1e-6)
  np.testing.assert_allclose(after.adversary.params["kernel"], other.adversary.params["kernel"])
  assert none.penalty == 0 and np.isfinite(still.adversary.params["kernel"]).all()


def test_steps_of_the_adversary():
  data = make_data()
  logits = np.random.default_rng(2).normal(size=(ROWS, 2))
  once, thrice = (
    inprocessing.adversarial_debiasing(1.0, tx=optax.sgd(0.5), steps=k) for k in (1, 3)
  )

  @jax.jit
  def run(data):
    flow = data.fill(jnp.asarray(logits))
    state = first = once.init(data, key=KEY)
    outs = []
    for _ in range(3):
      out, state = once.update(flow, state)
      outs.append(out.penalty)
    two, other = thrice.update(flow, first)
    kernels = [s.adversary.params["kernel"] for s in (state, other)]
    return kernels, two.penalty, outs

  (kernel, other), two, outs = jax.device_get(run(data))
  np.testing.assert_allclose(kernel, other)
  np.testing.assert_allclose(two, outs[0])
  assert outs[2] > two  # the adversary has become better


def test_it_needs_a_group():
  data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
  with pytest.raises(ValueError, match="adversarial_debiasing needs group"):
    inprocessing.adversarial_debiasing(1.0).init(data, key=KEY)
