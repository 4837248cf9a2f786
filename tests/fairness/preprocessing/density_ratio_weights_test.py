"""Density ratio weights against counts, closed forms and scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import rfjax
from rfjax.fairness import preprocessing

KEY = jax.random.key(0)


def cell(batch):
  """Which group and label a row has, of two of each."""
  return jax.nn.one_hot(2 * batch.group + batch.y, 4)


def square(batch):
  return jnp.concatenate([batch.x, batch.x**2], axis=1)


def weights(data, basis=None, strength=1.0, l2=1.0):
  return applied(data, basis, strength, l2)


@functools.partial(jax.jit, static_argnums=1)
def applied(data, basis, strength, l2):
  method = preprocessing.density_ratio_weights(strength, basis=basis, l2=l2)
  return rfjax.transform(method, data, key=KEY).weight


def pair(x, reference, y=None, group=None):
  of = lambda v: np.zeros(len(v), int)
  trusted = rfjax.Batch.from_arrays(np.float32(reference), of(reference))
  y = of(x) if y is None else y
  return rfjax.Batch.from_arrays(np.float32(x), y, group, num_classes=2, trusted=trusted)


def cells_table(rng, rows, chance):
  drawn = np.append(np.arange(4), rng.choice(4, rows - 4, p=chance))
  return np.zeros((rows, 1)), drawn % 2, drawn // 2, np.bincount(drawn, minlength=4)


@pytest.fixture(scope="module")
def cells():
  """Data of 200 rows, a reference of 30, and how many of each group and label they have."""
  rng = np.random.default_rng(0)
  x, y, group, count = cells_table(rng, 200, [0.6, 0.2, 0.1, 0.1])
  reference = cells_table(rng, 30, [0.25] * 4)
  trusted = rfjax.Batch.from_arrays(*reference[:3])
  data = rfjax.Batch.from_arrays(x, y, group, trusted=trusted)
  return data, 2 * group + y, count, reference[3]


def test_groups_and_labels_get_the_shares_of_the_reference(cells):
  data, kind, count, wanted = cells
  factor = (wanted / 30) / (count / 200)
  np.testing.assert_allclose(weights(data, cell, 1.0, 1e-4), factor[kind], rtol=1e-3)
  np.testing.assert_allclose(weights(data, cell, 0.5, 1e-4), factor[kind] ** 0.5, rtol=1e-3)
  np.testing.assert_array_equal(weights(data, cell, 0.0, 1e-4), 1)


def test_a_weight_of_two_is_two_rows_and_padding_counts_for_nothing(cells):
  data, kind, *_ = cells
  rng = np.random.default_rng(1)
  copies, twice = rng.integers(0, 3, 200), rng.integers(1, 3, 30)
  more = data.trusted.replace(weight=np.float32(twice))
  given = data.replace(weight=np.float32(copies), trusted=more)
  count = np.bincount(kind, copies, 4)
  reference = 2 * np.asarray(data.trusted.group) + np.asarray(data.trusted.y)
  wanted = np.bincount(reference, twice, 4)
  factor = (wanted / wanted.sum()) / (count / count.sum())
  np.testing.assert_allclose(weights(given, cell, 1.0, 1e-4), copies * factor[kind], rtol=1e-3)
  rows, few = np.append(np.arange(100), [200] * 100), np.append(np.arange(20), [30] * 10)
  cut = jax.jit(lambda data: data.take(rows).replace(trusted=data.trusted.take(few)))
  count, wanted = np.bincount(kind[:100], minlength=4), np.bincount(reference[:20], minlength=4)
  factor = (wanted / 20) / (count / 100)
  np.testing.assert_allclose(
    np.asarray(weights(cut(data), cell, 1.0, 1e-4))[:100], factor[kind[:100]], rtol=1e-3
  )


def test_it_is_scikit_learns_classifier_on_standardised_features():
  rng = np.random.default_rng(2)
  x, reference = rng.normal([0, 50], [1, 9], (150, 2)), rng.normal([0.5, 55], [1, 9], (60, 2))
  both = np.concatenate([x, reference])
  z = (both - both.mean(0)) / both.std(0)
  fitted = LogisticRegression(C=1 / 3, tol=1e-10).fit(z, np.repeat([0, 1], [150, 60]))
  odds = np.exp(fitted.decision_function(z[:150]))
  np.testing.assert_allclose(
    weights(pair(x, reference), None, 1.0, 3.0), 150 / 60 * odds, rtol=1e-3
  )


def test_the_ratio_of_normal_distributions_is_found():
  rng = np.random.default_rng(3)
  x, reference = rng.normal(0.5, 1.0, (20000, 1)), rng.normal(0, 0.8, (10000, 1))
  log = lambda v, mean, sd: -(((v - mean) / sd) ** 2) / 2 - np.log(sd)
  exact = log(x, 0, 0.8) - log(x, 0.5, 1.0)
  seen = np.abs(x[:, 0]) < 2
  found = np.asarray(weights(pair(x, reference), square))
  # Three coefficients of 30,000 rows: standard errors of 0.02, at most 0.1 where x is 2.
  assert np.abs(np.log(found) - exact[:, 0])[seen].max() < 0.1
  np.testing.assert_allclose(np.average(x[:, 0], weights=found), 0, atol=0.04)
  np.testing.assert_allclose(found.mean(), 1, atol=0.03)


def test_a_mixture_gets_the_shares_of_the_reference_without_seeing_its_parts():
  rng = np.random.default_rng(4)
  draw = lambda share, rows: (rng.random(rows) < share).astype(int)
  part, fair = draw(0.1, 8000), draw(0.5, 800)
  at = lambda part: rng.normal(2.0 * (2 * part - 1), 0.5)[:, None]
  # Of the reference half are of part 1: the exact ratio is 5 there, and 5/9 in part 0.
  x, reference = at(part), at(fair)
  density = lambda v, share: (
    share * np.exp(-2 * (v - 2) ** 2) + (1 - share) * np.exp(-2 * (v + 2) ** 2)
  )
  exact = (density(x, 0.5) / density(x, 0.1))[:, 0]
  sign = lambda batch: jnp.sign(batch.x)
  found = np.asarray(weights(pair(x, reference), sign))
  np.testing.assert_allclose(found, exact, rtol=0.15)
  share = lambda w: np.average(part, weights=w)
  assert share(np.ones(8000)) < 0.12 and abs(share(found) - fair.mean()) < 0.01


def test_a_row_of_weight_0_stays_0_wherever_it_is():
  x = np.append(np.linspace(0, 1, 20), [1e4])[:, None]
  data = pair(x, np.linspace(0.5, 1.5, 10)[:, None])
  found = np.asarray(weights(data.replace(weight=np.float32(np.arange(21) < 20)), None, 1.0, 1e-2))
  assert np.all(np.isfinite(found)) and found[20] == 0 and found[:20].std() > 0.1


def test_it_needs_a_reference():
  with pytest.raises(ValueError, match="density_ratio_weights needs trusted"):
    weights(rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1], num_classes=2))
