"""Labels that are biased and then noisy: both are taken back, in a population with both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, convergence
from rfjax.fairness import preprocessing

KEY = jax.random.key(0)
EXTRA = {"key": KEY, "step": 4, "epoch": 4, "forward": None}
CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds")
T = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]])
NONE = np.stack([np.eye(2)] * 2)


def table(copies=10, rows=12):
  """Copies of each row, of which each given label has its share: (noisy, clean), filled."""
  rng = np.random.default_rng(0)
  y, group, given = np.arange(rows) % 2, rng.integers(0, 2, rows), []
  for label, a in zip(y, group, strict=True):
    ones = round(copies * T[a, label, 1])
    given += [0] * (copies - ones) + [1] * ones
  many = lambda v: np.repeat(v, copies, axis=0)
  logits, weight = rng.normal(size=(rows, 2)), rng.uniform(0.5, 2, rows)
  make = lambda y: filled(
    rfjax.Batch.from_arrays(np.zeros((rows * copies, 1)), y, many(group)).replace(
      weight=jnp.asarray(many(weight))
    ),
    jnp.asarray(many(logits)),
  )
  return make(np.array(given)), make(many(y))


filled = jax.jit(lambda data, logits: data.fill(logits))


def start(method, flow, criterion):
  m = np.random.default_rng(1).normal(size=(2 if criterion == "equalized_odds" else 1, 2))
  return method.init(flow)._replace(multipliers=jnp.asarray(m))


@pytest.mark.parametrize("criterion", CRITERIA)
def test_its_mean_over_the_noise_is_label_bias_correction_on_biased_labels(criterion):
  with jax.enable_x64(True):
    noisy, clean = table()
    both = convergence.bias_and_noise_correction(T, criterion, learning_rate=0.7)
    bias = preprocessing.label_bias_correction(criterion, learning_rate=0.7)

    @jax.jit
    def run(noisy, clean):
      view, wanted = bias.refresh(clean, start(bias, clean, criterion), None, **EXTRA)
      seen, state = both.refresh(noisy, start(both, noisy, criterion), None, **EXTRA)
      out, _ = both.update(noisy, state, None, **EXTRA)
      chained = convergence.group_surrogate(T).update(noisy, (), None, **EXTRA)[0]
      weight = bias.refresh(noisy, start(bias, noisy, criterion), None, **EXTRA)[0].weight
      chained = chained.replace(weight=weight)
      multipliers, costs = (state.multipliers, wanted.multipliers), (seen.cost, out.cost)
      return multipliers, costs, (out.risk, view.risk, chained.risk)

    found = jax.tree.map(np.asarray, run(noisy, clean))
    multipliers, costs, (risk, wanted, chained) = found
    np.testing.assert_allclose(*multipliers, rtol=1e-11)
    np.testing.assert_array_equal(*costs)
    np.testing.assert_allclose(risk, wanted, rtol=1e-11)
    # The two methods in a chain have another mean.
    assert abs(chained - wanted) > 1e-2


def test_without_noise_it_is_label_bias_correction():
  both = convergence.bias_and_noise_correction(NONE, every=2)
  bias = preprocessing.label_bias_correction(every=2)

  @jax.jit
  def run(noisy, epoch):
    extra = EXTRA | {"epoch": epoch}
    view, wanted = bias.refresh(noisy, start(bias, noisy, CRITERIA[0]), None, **extra)
    _, state = both.refresh(noisy, start(both, noisy, CRITERIA[0]), None, **extra)
    risk = both.update(noisy, state, None)[0].risk
    return (state.multipliers, wanted.multipliers), (risk, view.risk)

  with jax.enable_x64(True):
    noisy, _ = table()
    for epoch in (2, 3):
      for pair in run(noisy, epoch):
        np.testing.assert_allclose(*pair, rtol=1e-6)


PLANTED = np.array([0.5, -0.5])
LATE = np.array([[[1.0, 0.0], [0.4, 0.6]], [[0.95, 0.05], [0.05, 0.95]]])


@functools.cache
def biased_and_noisy():
  """x and two groups, with labels in their exact shares: a bias that divides odds, then noise."""
  x, group, y = (v.ravel() for v in np.meshgrid(np.linspace(-3, 3, 151), [0, 1], [0, 1]))
  group, y = group.astype(int), y.astype(int)
  biased = 1 / (1 + np.exp(2 * PLANTED[group] - 2 * x))
  given = LATE[group, 1, 1] * biased + LATE[group, 0, 1] * (1 - biased)
  data = rfjax.Batch.from_arrays(np.stack([x, group], axis=1).astype(np.float32), y, group)
  return data.replace(weight=np.where(y == 1, given, 1 - given).astype(np.float32)), x


def test_a_planted_bias_is_found_under_noise_and_decisions_are_those_of_clean_labels():
  data, x = biased_and_noisy()
  network = architectures.logistic()

  def train(method, data):
    state, _ = rfjax.fit(network, method, optax.adam(0.05), data, key=KEY, epochs=500)
    return jax.tree.leaves(state.method)[0][0], rfjax.predict(network, state, data).logits

  run = jax.jit(lambda t, d: train(convergence.bias_and_noise_correction(t, learning_rate=0.05), d))
  chain = rfjax.chain(
    convergence.group_surrogate(LATE), preprocessing.label_bias_correction(learning_rate=0.05)
  )
  found = {
    "both": run(LATE, data),
    "bias alone": run(NONE, data),
    "a chain": jax.jit(lambda d: train(chain, d))(data),
  }
  found = jax.tree.map(np.asarray, found)
  off = {k: np.abs(m - PLANTED).max() for k, (m, _) in found.items()}
  wrong = {k: np.mean(z.argmax(1) != (x > 0)) for k, (_, z) in found.items()}
  # Decisions are hard, so that a bias below the distance 0.04 of two values of x is not seen.
  assert off["both"] < 0.06 and wrong["both"] < 0.01
  assert off["bias alone"] > 0.1 and wrong["bias alone"] > 0.05
  assert off["a chain"] > 0.2 and 0.01 < wrong["a chain"] < wrong["bias alone"]


def test_refusals_name_the_remedy():
  with pytest.raises(ValueError, match="criterion must be one of"):
    convergence.bias_and_noise_correction(T, "kindness")
  with pytest.raises(ValueError, match="transition must be invertible"):
    convergence.bias_and_noise_correction(np.full((2, 2, 2), 0.5))
  three = rfjax.Batch.from_arrays(np.zeros((3, 1)), [0, 1, 2], [0, 1, 0])
  with pytest.raises(ValueError, match="num_classes must be 2"):
    jax.eval_shape(convergence.bias_and_noise_correction([0.1, 0.1]).init, three)
