"""Multicalibration against a loop over rounds, cells and rows, and against its promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
ROUNDS, BINS, TOLERANCE, LEAST = 40, 5, 0.03, 0.02


def said(seed, rows=200, groups=3):
  """Scores that are wrong in other ways in each group; some rows have none."""
  rng = np.random.default_rng(seed)
  group = rng.integers(0, groups + 1, rows)
  true = rng.random(rows)
  score = np.clip(true ** (0.5 + 0.5 * group) + 0.1 * rng.normal(size=rows), 0.01, 0.99)
  soft = np.eye(groups + 1)[group][:, :groups]
  soft[::10] *= 0.5  # only half of them known
  y = (rng.random(rows) < true).astype(int)
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, soft)
  data = data.replace(weight=jnp.asarray(rng.integers(1, 3, rows).astype(float)))
  return data.fill(jnp.stack([jnp.log1p(-score), jnp.log(score)], axis=1))


def parts(data):
  """Membership in each group and among all, [N, G + 1], weights, labels, scores."""
  member = np.append(np.asarray(data.group), np.ones((data.num_rows, 1)), axis=1)
  return member, np.asarray(data.weight), np.asarray(data.y), np.asarray(data.probs)[:, 1]


def cells(member, weight, y, p):
  """How far the mean label of each cell is from its mean score, and how large the cell is."""
  gap, mass = np.zeros((2, member.shape[1], BINS))
  for s in range(member.shape[1]):
    for b in range(BINS):
      rows = [i for i in range(len(y)) if min(int(p[i] * BINS), BINS - 1) == b]
      mass[s, b] = sum(weight[i] * member[i, s] ** 2 for i in rows)
      excess = sum(weight[i] * member[i, s] * (y[i] - p[i]) for i in rows)
      gap[s, b] = excess / mass[s, b] if mass[s, b] > 0 else 0
  return gap, mass


def oracle(data):
  """The path of (set, bin, shift), and the scores after it."""
  member, weight, y, p = parts(data)
  p, path = p.copy(), []
  for _ in range(ROUNDS):
    gap, mass = cells(member, weight, y, p)
    gain = np.where((abs(gap) > TOLERANCE) & (mass >= LEAST * weight.sum()), mass * gap**2, 0)
    s, b = np.unravel_index(gain.argmax(), gain.shape)
    if gain[s, b] == 0:
      break
    inside = np.minimum((p * BINS).astype(int), BINS - 1) == b
    p[inside] = np.clip(p[inside] + member[inside, s] * gap[s, b], 0, 1)
    path.append((s, b, gap[s, b]))
  return path, p


@jax.jit
def apply(data, fitted_on, tolerance=TOLERANCE):
  method = postprocessing.multicalibration(tolerance, bins=BINS, rounds=ROUNDS, least_share=LEAST)
  state = method.init(fitted_on, key=KEY, spec=None)
  return state, rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).probs[:, 1]


def test_the_path_is_that_of_a_loop_and_every_cell_ends_within_the_tolerance():
  with jax.enable_x64(True):
    data = said(0)
    (state, fair), (path, expected) = apply(data, data), oracle(data)
    assert 5 < len(path) < ROUNDS
    found = np.stack([state.part, state.bin, state.shift], axis=1)
    np.testing.assert_allclose(found[: len(path)], path, atol=1e-9)
    np.testing.assert_array_equal(found[len(path) :, 2], 0)
    np.testing.assert_allclose(fair, expected, atol=1e-9)
    gap, mass = cells(*parts(data)[:3], np.asarray(fair))
    enough = mass >= LEAST * np.asarray(data.weight).sum()
    np.testing.assert_allclose(state.worst, abs(gap[enough]).max(), atol=1e-9)
    assert state.worst <= TOLERANCE
    assert abs(cells(*parts(data))[0][enough]).max() > 3 * TOLERANCE


def test_each_shift_lowers_the_squared_error_and_new_rows_take_the_same_path():
  with jax.enable_x64(True):
    data, new = said(0), said(1)
    state, fair = apply(new, data)
    member, _, _, p = parts(new)
    old, weight, y, q = parts(data)
    errors, p, q = [], p.copy(), q.copy()
    for s, b, shift in zip(state.part, state.bin, state.shift, strict=True):
      for scores, members in ((p, member), (q, old)):
        inside = np.minimum((scores * BINS).astype(int), BINS - 1) == int(b)
        move = members[inside, int(s)] * float(shift)
        scores[inside] = np.clip(scores[inside] + move, 0, 1)
      errors.append((weight * (y - q) ** 2).sum())
    np.testing.assert_allclose(fair, p, atol=1e-9)
    assert np.all(np.diff(errors) <= 1e-9) and errors[-1] < errors[0] - 0.5


def test_more_than_two_classes_are_refused():
  data = rfjax.Batch.from_arrays([[0.0]] * 3, [0, 1, 2], [0, 1, 0]).fill(jnp.zeros((3, 3)))
  with pytest.raises(ValueError, match="num_classes must be 2 for multicalibration"):
    postprocessing.multicalibration().init(data, key=KEY, spec=None)


def test_scores_stay_probabilities():
  data = rfjax.Batch.from_arrays(np.zeros((4, 1)), [1, 1, 0, 0], [0, 0, 1, 1])
  score = jnp.array([0.61, 0.79, 0.39, 0.21])  # the cells move by 0.3, beyond 1 and below 0
  data = data.fill(jnp.stack([jnp.log1p(-score), jnp.log(score)], axis=1))
  method = postprocessing.multicalibration(bins=5, rounds=2)
  state = method.init(data, key=KEY, spec=None)
  np.testing.assert_allclose(jnp.abs(state.shift), 0.3, rtol=1e-5)
  fair = rfjax.transform(method, data, key=KEY)
  np.testing.assert_allclose(jnp.exp(fair.logits[:, 1]), [0.91, 1, 0.09, 0], atol=1e-6)
