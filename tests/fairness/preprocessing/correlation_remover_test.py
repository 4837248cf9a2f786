"""The correlation remover against fairlearn's, and against least squares with weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fairlearn.preprocessing import CorrelationRemover

import rfjax
from rfjax.fairness import preprocessing

KEY, ROWS = jax.random.key(0), 50


@jax.jit
def by_group(data, fitted_on, alpha):
  method = preprocessing.correlation_remover(alpha)
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).x


@jax.jit
def by_columns(data, fitted_on, alpha):
  method = preprocessing.correlation_remover(alpha, columns=[1, 4])
  return rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).x


@jax.jit
def by_four(data, fitted_on, alpha):
  """By column 4 alone, and without column 1."""
  method = preprocessing.correlation_remover(alpha, columns=[4])
  return jnp.delete(rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).x, 1, axis=1)


def table(seed, groups=3):
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, ROWS - groups))
  x = rng.normal(size=(ROWS, 6)) * [1, 100, 1, 1e-3, 1, 1] + 5
  x += rng.normal(size=(groups, 6))[group] + 0.1 * x[:, 1:2]
  return x, group


def data_of(x, group, groups=3):
  return rfjax.Batch.from_arrays(x, np.zeros(len(x), int), group, num_classes=2, num_groups=groups)


@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_it_is_fairlearns_for_groups_and_for_columns(alpha):
  with jax.enable_x64(True):
    (x, group), (other, other_group) = table(0), table(1)
    wide = lambda x, group: np.hstack([x, np.eye(3)[group]])
    peer = CorrelationRemover(sensitive_feature_ids=[6, 7, 8], alpha=alpha).fit(wide(x, group))
    data, test = data_of(x, group), data_of(other, other_group)
    for got, rows in [
      (by_group(data, data, alpha), wide(x, group)),
      (by_group(test, data, alpha), wide(other, other_group)),
    ]:
      np.testing.assert_allclose(got, peer.transform(rows), rtol=1e-10, atol=1e-10)
    peer = CorrelationRemover(sensitive_feature_ids=[1, 4], alpha=alpha).fit(x)
    np.testing.assert_allclose(
      by_columns(data, data, alpha), peer.transform(x), rtol=1e-10, atol=1e-10
    )
    np.testing.assert_allclose(
      by_columns(test, data, alpha), peer.transform(other), rtol=1e-10, atol=1e-10
    )


def test_no_correlation_is_left_and_alpha_0_is_the_identity():
  x, group = table(2)
  data = data_of(x.astype(np.float32), group)
  fair = np.asarray(by_group(data, data, 1.0), np.float64)
  left = np.corrcoef(np.eye(3)[group].T, fair.T)[:3, 3:]
  assert np.abs(left).max() < 1e-5 < 0.05 < np.abs(np.corrcoef(group, x.T)[0, 1:]).max()
  np.testing.assert_array_equal(by_group(data, data, 0.0), data.x)


def test_weights_count_as_in_weighted_least_squares_and_what_is_missing_does_not():
  with jax.enable_x64(True):
    x, _ = table(3)
    rng = np.random.default_rng(3)
    soft = rng.uniform(0, 1 / 3, (ROWS, 3)).astype(np.float32)  # as a batch has it
    soft[:4] = 0
    weight = rng.uniform(0, 2, ROWS)
    weight[4:8] = 0
    data = data_of(x, soft).replace(weight=weight)
    got = np.asarray(by_group(data, data, 1.0))
    w = weight[4:] / weight[4:].sum()
    s = soft[4:] - w @ soft[4:]
    root = np.sqrt(w)[:, None]
    beta = np.linalg.lstsq(root * s, root * (x[4:] - w @ x[4:]), rcond=None)[0]
    np.testing.assert_allclose(got[4:], x[4:] - s @ beta, rtol=1e-9)
    np.testing.assert_array_equal(got[:4], x[:4])


def test_a_group_without_rows_is_no_trouble():
  x, group = table(4, 2)
  data = data_of(x.astype(np.float32), np.eye(3)[group])
  fair = np.asarray(by_group(data, data, 1.0))
  mean = lambda v: np.array([v[group == g].mean(0) for g in range(2)])
  overall = np.broadcast_to(x.mean(0), (2, 6))
  np.testing.assert_allclose(mean(fair), overall, rtol=1e-4, atol=1e-4)


def test_what_is_missing_is_refused():
  x, group = table(0)
  bare = rfjax.Batch.from_arrays(x, np.zeros(ROWS, int), num_classes=2)
  with pytest.raises(ValueError, match="correlation_remover needs group"):
    by_group(bare, bare, 1.0)
  for columns, message in [([6], r"must lie in \[0, 6\)"), (range(6), "must leave a column")]:
    with pytest.raises(ValueError, match=message):
      method = preprocessing.correlation_remover(columns=columns)
      rfjax.transform(method, data_of(x, group), key=KEY)


@pytest.mark.parametrize("weighted", [False, True])
def test_what_is_constant_in_the_fit_takes_nothing_away_elsewhere(weighted):
  (x, _), (other, other_group) = table(5), table(6)
  fit = data_of(x, np.eye(3)[np.full(ROWS, 1)])
  if weighted:
    fit = fit.replace(weight=np.float32(np.random.default_rng(5).uniform(0, 2, ROWS)))
  test = data_of(other, other_group)
  np.testing.assert_array_equal(by_group(test, fit, 1.0), test.x)
  for constant in (0.1, 123.456, -1e-3):
    constant_column = np.array(fit.x)
    constant_column[:, 1] = constant
    two = by_columns(test, fit.replace(x=constant_column), 1.0)
    four = by_four(test, fit.replace(x=constant_column), 1.0)
    np.testing.assert_allclose(two, four, rtol=1e-5, atol=1e-5)
