"""Parity moments against fairlearn's, and where it has none, against loops and repeated rows."""

import functools

import jax
import numpy as np
import pytest
import scipy.optimize

import rfjax
from rfjax.fairness import inprocessing
from rfjax.fairness.inprocessing._parity_moments import CONSTRAINTS

reductions = pytest.importorskip("fairlearn.reductions")
PEERS = {
  "demographic_parity": "DemographicParity",
  "equalized_odds": "EqualizedOdds",
  "true_positive_rate_parity": "TruePositiveRateParity",
  "false_positive_rate_parity": "FalsePositiveRateParity",
  "error_rate_parity": "ErrorRateParity",
}


def rows(seed=0, count=50, groups=3):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(count, 2)), rng.integers(0, 2, count), rng.integers(0, groups, count)


def peer(constraint, x, y, group, **bound):
  made = getattr(reductions, PEERS[constraint])(**bound)
  made.load_data(x, y, sensitive_features=group)
  return made


@functools.partial(jax.jit, static_argnames=("constraint", "ratio"))
def compiled(data, constraint, decision, multipliers, ratio=1.0):
  moments = inprocessing.parity_moments(data, constraint, ratio_bound=ratio)
  return {
    "matrix": moments.matrix,
    "gamma": moments.gamma(decision),
    "error": moments.error(decision),
    "costs": moments.costs(multipliers),
    "projected": moments.project(multipliers),
    "total": moments.total,
    "valid": moments.valid,
  }


def ours(*arguments):
  return jax.tree.map(np.asarray, compiled(*arguments))


@pytest.mark.filterwarnings("ignore:Setting a")  # fairlearn's own
@pytest.mark.parametrize("ratio", [1.0, 0.8])
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_they_are_those_of_fairlearn(constraint, ratio):
  x, y, group = rows()
  made = peer(constraint, x, y, group, **({"ratio_bound": ratio} if ratio < 1 else {}))
  objective = made.default_objective()
  objective.load_data(x, y, sensitive_features=group)
  rng = np.random.default_rng(1)
  series = made.bound() * 0.0
  with jax.enable_x64(True):
    data = rfjax.Batch.from_arrays(x, y, group)
    for _ in range(3):
      decision, multipliers = rng.integers(0, 2, len(y)), rng.exponential(size=len(series)) * 5
      series.loc[["+", "-"]] = multipliers
      found = ours(data, constraint, decision, multipliers.reshape(2, -1, 3), ratio)
      expected = {
        "matrix": made.U,
        "gamma": made.gamma(lambda _, d=decision: d).loc[["+", "-"]],
        "error": objective.gamma(lambda _, d=decision: d),
        "costs": objective.signed_weights() + made.signed_weights(series),
        "projected": made.project_lambda(series).loc[["+", "-"]],
      }
      for name, value in expected.items():
        value = np.asarray(value)
        np.testing.assert_allclose(found[name].reshape(value.shape), value, atol=1e-12)


def test_the_projection_says_the_same_with_the_least_sum():
  x, y, group = rows(2)
  multipliers = np.random.default_rng(3).exponential(size=(2, 2, 3))
  with jax.enable_x64(True):
    data = rfjax.Batch.from_arrays(x, y, group)
    found = ours(data, "equalized_odds", y * 1.0, multipliers)
    after = ours(data, "equalized_odds", y * 1.0, found["projected"])
  np.testing.assert_allclose(after["costs"], found["costs"], atol=1e-12)
  table = np.asarray(found["matrix"]).reshape(len(y), -1)
  best = scipy.optimize.linprog(np.ones(12), A_eq=table, b_eq=table @ multipliers.ravel())
  np.testing.assert_allclose(found["projected"].sum(), best.fun, rtol=1e-8)


@pytest.mark.parametrize("constraint", ["equalized_odds", "error_rate_parity"])
def test_weights_are_repeated_rows_and_soft_groups_are_parts_of_rows(constraint):
  x, y, group = rows(4, 20, 2)
  rng = np.random.default_rng(5)
  times, decision = rng.integers(0, 4, 20), rng.integers(0, 2, 20) * 1.0
  multipliers = rng.exponential(size=(2, 2 if constraint == "equalized_odds" else 1, 2))
  data = rfjax.Batch.from_arrays(x, y, group).replace(weight=np.float32(times))
  one = ours(data, constraint, decision, multipliers)
  repeated = rfjax.Batch.from_arrays(*(np.repeat(v, times, axis=0) for v in (x, y, group)))
  other = ours(repeated, constraint, np.repeat(decision, times), multipliers)
  for name in ("gamma", "error", "projected", "total"):
    np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(np.repeat(one["costs"], times), other["costs"], rtol=1e-5)

  share = rng.random(20)
  soft = rfjax.Batch.from_arrays(x, y, np.stack([share, 1 - share], axis=1))
  parts = rfjax.Batch.from_arrays(np.tile(x, (2, 1)), np.tile(y, 2), np.arange(40) // 20)
  parts = parts.replace(weight=np.float32(np.concatenate([share, 1 - share])))
  one = ours(soft, constraint, decision, multipliers)
  other = ours(parts, constraint, np.tile(decision, 2), multipliers)
  for name in ("gamma", "error", "projected", "total"):
    np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-6)
  gains = other["costs"] * parts.weight
  np.testing.assert_allclose(one["costs"], gains[:20] + gains[20:], rtol=1e-5, atol=1e-5)


def test_padding_and_rows_without_a_group_move_no_moment():
  x, y, group = rows(6, 20, 2)
  data = rfjax.Batch.from_arrays(x, y, group)
  padded = jax.jit(rfjax.Batch.take)(data, np.append(np.arange(20), [20] * 4))
  known = np.eye(3, 2, dtype=np.float32)[np.append(group, [2] * 4)]
  missing = padded.replace(group=known, valid=np.arange(24) <= 20)
  multipliers = np.random.default_rng(7).exponential(size=(2, 2, 2))
  decision = np.arange(24) % 2.0
  plain = ours(data, "equalized_odds", decision[:20], multipliers)
  for other, total in ((padded, 20), (missing, 21)):
    found = ours(other, "equalized_odds", decision, multipliers)
    np.testing.assert_allclose(found["gamma"], plain["gamma"], atol=1e-6)
    assert found["total"] == total and np.isfinite(found["costs"]).all()
    np.testing.assert_allclose(found["costs"][20:], -1)  # the label of padding is 0
  no_one = data.replace(group=np.zeros_like(data.group))  # is of group 1
  found = ours(no_one, "equalized_odds", decision[:20], multipliers)
  assert (found["gamma"] == 0).all() and (found["valid"] == [True, False]).all()
  assert np.isfinite(found["projected"]).all()
  np.testing.assert_allclose(found["costs"], 2 * y - 1, atol=1e-5)


def test_bad_settings_are_refused():
  x, y, group = rows(8, 20, 2)
  data = rfjax.Batch.from_arrays(x, y, group)
  for arguments, settings, word in (
    ((data, "kindness"), {}, "constraint must"),
    ((data, "equalized_odds"), {"ratio_bound": 0.0}, "ratio_bound must"),
    ((rfjax.Batch.from_arrays(x, y), "equalized_odds"), {}, "parity_moments needs group"),
    ((rfjax.Batch.from_arrays(x, y, group, num_classes=3), "equalized_odds"), {}, "must be 2"),
  ):
    with pytest.raises(ValueError, match=word):
      inprocessing.parity_moments(*arguments, **settings)
