"""The plug-in rule against every pair of thresholds, its two-line formula, and its promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)


def filled(score, group, weight=1.0):
  group = np.eye(2)[group] if group.ndim == 1 else group
  data = rfjax.Batch.from_arrays(np.zeros((len(score), 1)), np.zeros(len(score), int), group)
  data = data.replace(weight=jnp.broadcast_to(weight, len(score)))
  return data.fill(jnp.stack([jnp.log1p(-score), jnp.log(score)], axis=1))


def scores(seed, rows=300):
  rng = np.random.default_rng(seed)
  group = rng.integers(0, 2, rows)
  return np.clip(rng.beta(1 + 1.5 * group, 2.5 - group), 0.01, 0.99), group


@jax.jit
def run(data, fitted_on):
  method = postprocessing.plug_in_equal_opportunity()
  state = method.init(fitted_on, key=KEY, spec=None)
  return state, rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).logits.argmax(1)


def rates(score, group, said):
  """E[eta 1_said | g] / E[eta | g] of groups 0 and 1, and the error that eta expects."""
  true = [(score * said)[group == g].sum() / score[group == g].sum() for g in range(2)]
  return true, np.where(said, 1 - score, score).mean()


@pytest.mark.parametrize("seed", range(3))
def test_no_pair_of_thresholds_is_better_at_the_price_of_a_gap(seed):
  score, group = scores(seed)
  with jax.enable_x64(True):
    data = filled(score, group)
    state, said = run(data, data)
  true, error = rates(score, group, np.asarray(said))
  gap = abs(true[0] - true[1])
  plain, _ = rates(score, group, score > 0.5)
  atom = max((score[group == g] / score[group == g].sum()).max() for g in range(2))
  assert gap <= atom / 2 < 0.05 < abs(plain[0] - plain[1])
  np.testing.assert_allclose(state.difference, true[1] - true[0], atol=1e-12)
  # Rows above a threshold, group by group, for every pair of numbers of rows.
  tails = []
  for g in range(2):
    s = np.sort(score[group == g])[::-1]
    hits = np.append(0, np.cumsum(s))
    wrong = np.append(0, np.cumsum(1 - s)) + s.sum() - hits
    tails.append((hits / s.sum(), wrong))
  gaps = tails[1][0] - tails[0][0][:, None]
  errors = (tails[0][1][:, None] + tails[1][1]) / len(score)
  theta = float(state.theta)
  price = errors + theta * gaps
  np.testing.assert_allclose(error + theta * (true[1] - true[0]), price.min(), atol=1e-12)


def test_the_rule_is_the_formula_and_rows_without_a_group_meet_one_half():
  score, group = scores(3)
  with jax.enable_x64(True):
    data = filled(score, group)
    state, said = run(data, data)
    theta = float(state.theta)
    q = [(score * (group == g)).mean() for g in range(2)]
    np.testing.assert_allclose(state.positives, q, atol=1e-12)
    sign = np.where(group == 1, -1, 1)
    accepted = 1 <= score * (2 + sign * theta / np.array(q)[group])
    np.testing.assert_array_equal(said, accepted)
    assert abs(theta) > 0.01
    # No other theta parts the groups less: there is one between any two jumps of a row.
    jumps = np.sort(sign * np.array(q)[group] * (1 / score - 2))
    gaps = []
    for other in (jumps[1:] + jumps[:-1]) / 2:
      true, _ = rates(score, group, 1 <= score * (2 + sign * other / np.array(q)[group]))
      gaps.append(abs(true[1] - true[0]))
    np.testing.assert_allclose(abs(state.difference), min(gaps), atol=1e-12)
    soft = np.array([[0, 0], [0, 0], [0.5, 0.5], [0.5, 0.5]], float)
    middle = 2 + 0.5 * theta * (1 / q[0] - 1 / q[1])  # the rule of an unknown group
    new = filled(np.array([0.51, 0.49, 1.001 / middle, 0.999 / middle]), soft)
    np.testing.assert_array_equal(run(new, data)[1], [1, 0, 1, 0])


def test_weights_are_rows_and_soft_rows_are_parts_of_rows():
  score, group = scores(4)
  weight = np.repeat([1, 3, 0], [75, 75, 150])
  rows = np.repeat(np.arange(300), weight)
  with jax.enable_x64(True):
    heavy = filled(score, group, weight.astype(float))
    many = filled(score[rows], group[rows])
    one, other = run(heavy, heavy)[0], run(many, many)[0]
    np.testing.assert_allclose(one.theta, other.theta, atol=1e-12)
    np.testing.assert_allclose(one.difference, other.difference, atol=1e-12)
    soft = filled(score, np.stack([0.7 - 0.4 * group, 0.3 + 0.4 * group], axis=1))
    state, said = run(soft, soft)
    m, hits = np.asarray(soft.group), score * np.asarray(said)
    true = (m * hits[:, None]).sum(0) / (m * score[:, None]).sum(0)
    np.testing.assert_allclose(state.difference, true[1] - true[0], atol=1e-12)
    assert abs(state.difference) < 0.05


def test_three_groups_are_refused():
  data = filled(np.full(3, 0.5), np.eye(3))
  with pytest.raises(ValueError, match="num_groups must be 2"):
    run(data, data)
