"""Calibration by group against scikit-learn's isotonic regression and a minimiser of SciPy."""

import functools

import jax
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

import rfjax
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
FILL = jax.jit(rfjax.Batch.fill)


def said(seed, rows=120, classes=3, groups=2, sharp=2.5, digits=2):
  """Logits that are too sure of themselves, with ties, in groups of other temperatures."""
  rng = np.random.default_rng(seed)
  group = rng.integers(0, groups, rows)
  true = rng.normal(size=(rows, classes)) * 1.5
  y = (true + rng.gumbel(size=true.shape)).argmax(1)
  logits = np.round(true * np.where(group == 0, sharp, 0.5)[:, None], digits)
  logits[1::7] = logits[::7][: len(logits[1::7])]
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, np.eye(groups)[group], num_classes=classes)
  data = data.replace(weight=rng.integers(1, 4, rows).astype(float))
  return FILL(data, logits)


@functools.partial(jax.jit, static_argnums=2)
def apply(data, fitted_on, curve):
  method = postprocessing.group_calibration(curve)
  state = method.init(fitted_on, key=KEY, spec=None)
  return state, rfjax.transform(method, data, key=KEY, fitted_on=fitted_on).probs


def softmax(logits):
  odds = np.exp(logits - logits.max(1, keepdims=True))
  return odds / odds.sum(1, keepdims=True)


def test_temperatures_are_those_of_least_cross_entropy():
  with jax.enable_x64(True):
    data = said(0)
    state, fair = jax.device_get(apply(data, data, "temperature"))
    group, logits = np.asarray(data.group).argmax(1), np.asarray(data.logits)
    for g in range(2):
      mine = group == g

      def loss(inverse, mine=mine):
        p = softmax(logits[mine] * inverse)[np.arange(mine.sum()), np.asarray(data.y)[mine]]
        return -(np.asarray(data.weight)[mine] * np.log(p)).sum()

      best = minimize_scalar(loss, bounds=(0.01, 10), method="bounded", options={"xatol": 1e-10})
      np.testing.assert_allclose(1 / state.temperature[g], best.x, rtol=1e-6)
      np.testing.assert_allclose(fair[mine], softmax(logits[mine] * best.x), atol=1e-6)
    assert state.temperature[0] > 1.5 > 1.3 > state.temperature[1]


@pytest.mark.parametrize("classes", [2, 3])
def test_the_curves_are_those_of_scikit_learn(classes):
  with jax.enable_x64(True):
    data, new = said(1, classes=classes), said(2, classes=classes)
    _, fair = apply(new, data, "isotonic")
    of = lambda batch: (np.asarray(batch.group).argmax(1), np.exp(batch.log_probs))
    (group, p), (others, q) = of(data), of(new)
    expected = np.zeros((120, classes))
    for g in range(2):
      mine = group == g
      for c in range(classes):
        model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        model.fit(p[mine, c], np.asarray(data.y)[mine] == c, np.asarray(data.weight)[mine])
        expected[others == g, c] = model.predict(q[others == g, c])
    assert np.all(expected.sum(1) > 0)
    expected = expected / expected.sum(1, keepdims=True)
    np.testing.assert_allclose(fair, expected, atol=1e-9)


def test_scores_of_two_classes_are_right_on_average_in_each_group():
  with jax.enable_x64(True):
    data = said(1, classes=2)
    fair = np.asarray(apply(data, data, "isotonic")[1])
    for g in range(2):
      mine = np.asarray(data.group).argmax(1) == g
      mean = lambda values: np.average(
        np.asarray(values)[mine], weights=np.asarray(data.weight)[mine]
      )
      rate = mean(data.y)
      np.testing.assert_allclose(mean(fair[:, 1]), rate, atol=1e-12)
      assert abs(mean(np.exp(data.log_probs)[:, 1]) - rate) > 0.01


@pytest.mark.parametrize("curve", ["temperature", "isotonic"])
def test_scores_lose_less_and_groups_without_rows_stay(curve):
  with jax.enable_x64(True):
    data, new = jax.device_get((said(1), said(2)))
    _, fair = apply(data, data, curve)
    hit = lambda p: np.asarray(p)[np.arange(120), data.y]
    log_loss = lambda p: -(data.weight * np.log(np.maximum(hit(p), 1e-9))).sum()
    assert log_loss(fair) < log_loss(np.exp(data.log_probs)) - 5
    # The third group was never seen; a row of two groups is between them, and a missing one stays.
    wide = lambda batch: batch.replace(group=np.pad(batch.group, ((0, 0), (0, 1))), num_groups=3)
    soft = np.eye(3)[np.arange(120) % 3]
    soft[:3], soft[3:6] = 0, [0.5, 0.5, 0]
    serve = lambda group: np.asarray(apply(wide(new).replace(group=group), wide(data), curve)[1])
    mixed, before = serve(soft), np.exp(new.log_probs)
    for g in range(2):
      one, other = (serve(np.eye(3)[np.full(120, h)]) for h in (g, 1 - g))
      np.testing.assert_allclose(mixed[6 + g :: 3], one[6 + g :: 3], atol=1e-12)
      np.testing.assert_allclose(mixed[3:6], (one + other)[3:6] / 2, atol=1e-12)
    np.testing.assert_allclose(mixed[:3], before[:3], atol=1e-12)
    np.testing.assert_allclose(mixed[8::3], before[8::3], atol=1e-12)
