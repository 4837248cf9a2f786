"""Gradient reversal against the reversing layer of the paper, whose derivative is defined anew."""

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
ROWS, STEPS, RATE, STRENGTH = 40, 5, 0.2, 0.6


@functools.cache
def make_data(groups, classes):
  rng = np.random.default_rng(0)
  y, group = rng.integers(0, classes, ROWS), rng.integers(0, groups, ROWS)
  x = np.stack([rng.normal(size=ROWS) + y, rng.normal(size=ROWS) + group], 1)
  return rfjax.Batch.from_arrays(x, y, group, num_classes=classes, num_groups=groups)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def reverse(features, strength):
  return features


reverse.defvjp(lambda v, strength: (v, None), lambda strength, _, slope: (-strength * slope,))


def perceptron(layers, x):
  for layer in layers[:-1]:
    x = jnp.maximum(x @ layer["kernel"] + layer["bias"], 0)
  return x @ layers[-1]["kernel"] + layers[-1]["bias"]


def paper_loss(players, data, network, criterion, inputs):
  """The sum of both losses, with the layer in front of the adversary."""
  params, adversary = players
  logits, features, _ = network.apply(params, (), data.x, key=KEY, train=True)
  label_loss = -jax.nn.log_softmax(logits)[jnp.arange(ROWS), data.y].mean()
  seen = features if inputs == "features" else logits[:, 1:] - logits[:, :1]
  seen = reverse(seen, STRENGTH)
  if criterion == "equalized_odds":
    seen = jnp.concatenate([seen, jax.nn.one_hot(data.y, data.num_classes)[:, 1:]], 1)
  scores = jnp.concatenate([jnp.zeros((ROWS, 1)), perceptron(adversary, seen)], 1)
  losses = -jax.nn.log_softmax(scores)[jnp.arange(ROWS), data.group]
  where = data.y == 1 if criterion == "equal_opportunity" else data.y >= 0
  return label_loss + jnp.mean(losses, where=where)


@pytest.mark.parametrize(
  ("criterion", "inputs", "groups", "classes"),
  [
    ("demographic_parity", "features", 2, 2),
    ("equalized_odds", "features", 3, 3),
    ("equal_opportunity", "logits", 2, 2),
  ],
)
def test_the_game_is_the_reversing_layer(criterion, inputs, groups, classes):
  data, network = make_data(groups, classes), architectures.mlp([5], classes)
  method = inprocessing.gradient_reversal(
    STRENGTH, criterion, inputs=inputs, hidden=(4,), tx=optax.sgd(RATE)
  )

  @jax.jit
  def both(data):
    step = rfjax.train_step(network, method, optax.sgd(RATE))
    first = step.init(network.init(KEY, data.x)[0], data, key=KEY)
    body = lambda i, state: step.update(state, data, key=KEY, step=i, epoch=i)[0]
    last = jax.lax.fori_loop(0, STEPS, body, first)
    slope = jax.grad(lambda p: paper_loss(p, data, network, criterion, inputs))
    descend = lambda _, p: jax.tree.map(lambda v, g: v - RATE * g, p, slope(p))
    start = (first.params, first.method.adversary.params)
    return (
      start,
      (last.params, last.method.adversary.params),
      jax.lax.fori_loop(0, STEPS, descend, start),
    )

  start, found, expected = both(data)
  for a, b, c in zip(*map(jax.tree.leaves, (found, expected, start)), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-6)
    assert np.abs(b - c).max() > 1e-4 or not c.any()


def test_the_schedule_is_the_papers():
  schedule = inprocessing.reversal_schedule(200)
  rate = jax.jit(schedule)
  for t in (0, 1, 50, 200):
    expected = 2 / (1 + np.exp(-10 * t / 200)) - 1
    np.testing.assert_allclose(rate(t), expected, atol=1e-6)
  data = make_data(2, 2)
  plain = inprocessing.gradient_reversal(1.0, inputs="logits")
  grown = rfjax.scaled(schedule, plain)

  @jax.jit
  def run(data, step):
    flow = data.fill(jnp.ones((ROWS, 2)).at[:, 1].set(data.group))
    state = plain.init(flow, key=KEY)
    whole, part = plain.update(flow, state), grown.update(flow, state, step=step)
    return whole[0].penalty, part[0].penalty

  whole, part = jax.device_get(run(data, 50))
  np.testing.assert_allclose(part, np.asarray(rate(50)) * whole, rtol=1e-6)


def test_what_is_wrong_is_refused():
  data = make_data(2, 2)
  with pytest.raises(ValueError, match="gradient_reversal needs features"):
    inprocessing.gradient_reversal(1.0).init(data, key=KEY, spec=None)
  with pytest.raises(ValueError, match="steps must be an integer of at least 1"):
    inprocessing.reversal_schedule(0)
