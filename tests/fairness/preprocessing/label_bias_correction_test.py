"""Label bias correction against the authors' formulas in a loop, and a planted bias."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.fairness import preprocessing

KEY, ROWS = jax.random.key(0), 80
CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds")


@functools.partial(jax.jit, static_argnames=("criterion", "every"))
def refresh(data, logits, multipliers, epoch, criterion, every=1):
  method = preprocessing.label_bias_correction(criterion, learning_rate=0.7, every=every)
  state = method.init(data)._replace(multipliers=multipliers)
  view, state = method.refresh(data.fill(logits), state, epoch=epoch)
  return view.weight, state.multipliers


def table(seed):
  """Rows of three groups, every other one of more than one."""
  rng = np.random.default_rng(seed)
  group = np.eye(3, dtype=np.float32)[rng.integers(0, 3, ROWS)]
  group[::2] = rng.dirichlet(np.ones(3), ROWS // 2)
  y, logits = rng.integers(0, 2, ROWS), rng.normal(size=(ROWS, 2)).astype(np.float32)
  return y, group, logits, rng.uniform(0, 2, ROWS).astype(np.float32)


def data_of(y, group, weight):
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, group, num_classes=2)
  return data.replace(weight=jnp.asarray(weight))


def violations(decided, y, group, weight, criterion):
  """mean(d) - mean(d of the group), over all, the positives, or each label in turn."""
  known = group.any(1)
  everyone = np.ones(ROWS, bool)
  parts = {
    "demographic_parity": [everyone],
    "equal_opportunity": [y == 1],
    "equalized_odds": [y == 1, y == 0],
  }
  mean = lambda part, share: np.average(decided[part], weights=(weight * share)[part])
  return np.array(
    [[mean(part, known) - mean(part, group[:, g]) for g in range(3)] for part in parts[criterion]]
  )


def authors_weights(y, group, m):
  """exp(e) / (exp(e) + exp(-e)) of the negatives and 1 less it of the positives, e = -m c."""
  out = []
  for label, member in zip(y, group, strict=True):
    e = -np.sum(m[0 if label == 1 else -1] * member)
    share = np.exp(e) / (np.exp(e) + np.exp(-e))
    out.append(1 - share if label == 1 else share)
  return np.array(out)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_step_is_the_authors(criterion):
  y, group, logits, given = table(0)
  group[3:6], given[6:9] = 0, 0
  m = np.random.default_rng(1).normal(size=(2 if criterion == "equalized_odds" else 1, 3))
  data = data_of(y, group, given)
  gap = violations(logits.argmax(1), y, group, given, criterion)
  for epoch, moved in ((0, m), (4, m + 0.7 * gap)):
    weight, new = refresh(data, logits, jnp.asarray(m, jnp.float32), epoch, criterion)
    np.testing.assert_allclose(new, moved, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weight, given * 2 * authors_weights(y, group, moved), rtol=1e-5)
  if criterion == "demographic_parity":
    for epoch, goes in ((1, False), (2, False), (3, True), (6, True)):
      new = refresh(data, logits, jnp.zeros((1, 3)), epoch, criterion, every=3)[1]
      assert np.any(new) == goes


def test_it_starts_at_1_and_positives_of_a_group_that_gets_too_few_count_more():
  y, group, _, _ = table(2)
  data = data_of(y, group, np.ones(ROWS))
  logits = np.stack([group[:, 0], 0.5 - group[:, 0]], axis=1)  # group 0 is never selected
  weight, m = refresh(data, logits, jnp.zeros((1, 3)), 0, "demographic_parity")
  np.testing.assert_array_equal(weight, 1)
  weight, m = refresh(data, logits, jnp.zeros((1, 3)), 1, "demographic_parity")
  alone = (group == [1, 0, 0]).all(1)
  assert m[0, 0] > 0 and alone.any()
  assert np.all(weight[alone & (y == 1)] > 1) and np.all(weight[alone & (y == 0)] < 1)


def test_a_group_without_rows_keeps_its_multiplier():
  y, group, logits, given = table(3)
  group[:, 2] = 0
  m = refresh(data_of(y, group, given), logits, jnp.full((1, 3), 0.5), 1, "equal_opportunity")[1]
  assert m[0, 2] == 0.5 and m[0, 0] != 0.5


PLANTED = np.array([0.5, -0.5])


def population():
  """x and two groups, with labels in their exact shares under a bias that divides odds by e^2m."""
  x = np.linspace(-3, 3, 151)
  x, group, y = (v.ravel() for v in np.meshgrid(x, [0, 1], [0, 1], indexing="ij"))
  odds = 2 * x - 2 * PLANTED[group]
  share = 1 / (1 + np.exp(np.where(y == 1, -odds, odds)))
  data = rfjax.Batch.from_arrays(np.stack([x, group], axis=1).astype(np.float32), y, group)
  return data.replace(weight=jnp.asarray(share, jnp.float32)), x


def test_a_planted_bias_is_found_and_the_decisions_are_those_of_clean_labels():
  data, x = population()
  net = architectures.logistic()

  @jax.jit
  def train(rate):
    method = preprocessing.label_bias_correction(learning_rate=rate)
    state, _ = rfjax.fit(net, method, optax.adam(0.05), data, key=KEY, epochs=500)
    return state.method.multipliers[0], rfjax.predict(net, state, data).logits.argmax(1)

  biased, (found, fair) = train(0.0)[1], train(0.05)
  right = lambda decided: np.mean(decided == (x > 0))
  # Decisions are hard, so that a bias below the distance 0.04 of two values of x is not seen.
  np.testing.assert_allclose(found, PLANTED, atol=0.06)
  assert right(biased) < 0.93 and right(fair) > 0.97
  share = lambda decided: [decided[data.group == g].mean() for g in range(2)]
  assert np.ptp(share(biased)) > 0.1 and np.ptp(share(fair)) < 0.02


def test_what_it_cannot_correct_is_refused():
  three = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 2], [0, 1, 0])
  for data, message in [
    (three, "num_classes must be 2"),
    (rfjax.Batch.from_arrays([[0.0]] * 2, [0, 1]), "label_bias_correction needs group"),
  ]:
    with pytest.raises(ValueError, match=message):
      preprocessing.label_bias_correction().init(data)
