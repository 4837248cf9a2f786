"""Differential fairness against loops over pairs of groups and outcomes, and AIF360's figure."""

import itertools
import math
import os

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import rfjax
from rfjax import data, metrics


def draw(seed, classes=2, groups=4, rows=60):
  rng = np.random.default_rng(seed)
  y, said = rng.integers(classes, size=(2, rows))
  return y, said, rng.integers(groups, size=rows), rng.uniform(0, 2, size=rows)


def epsilon(probs, member, weight, concentration):
  """The largest log ratio of smoothed rates, over ordered pairs of groups and over outcomes."""
  classes, found = probs.shape[1], 0.0
  rates = []
  for g in range(member.shape[1]):
    size = sum(weight * member[:, g])
    if size > 0:
      counts = [sum(weight * member[:, g] * probs[:, k]) for k in range(classes)]
      rates.append([(n + concentration / classes) / (size + concentration) for n in counts])
  for a, b in itertools.permutations(rates, 2):
    found = max(found, *(math.log(p / q) for p, q in zip(a, b, strict=True)))
  return found


@pytest.mark.parametrize("concentration", [1.0, 0.3, 7.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_the_loop_over_pairs(classes, concentration):
  sizes = {"num_groups": 4, "num_classes": classes}
  with jax.enable_x64(True):
    for seed in range(3):
      y, said, group, weight = draw(seed, classes)
      options = {"weight": weight, "concentration": concentration}
      found, grown = metric_programs.together(
        (metrics.differential_fairness, sizes),
        (metrics.differential_fairness_bias_amplification, sizes),
      )(y, said, group, **options)
      of = lambda codes: epsilon(np.eye(classes)[codes], np.eye(4)[group], weight, concentration)
      np.testing.assert_allclose(found, of(said), rtol=1e-12)
      np.testing.assert_allclose(grown, of(said) - of(y), rtol=1e-12, atol=1e-12)


def test_soft_predictions_and_groups_are_expected_counts():
  rng = np.random.default_rng(3)
  probs, member = rng.dirichlet(np.ones(3), 40), rng.dirichlet(np.ones(4), 40)
  member[:5] = 0
  y = rng.integers(3, size=40)
  with jax.enable_x64(True):
    found = metrics.differential_fairness(y, probs, member)
    first = metrics.differential_fairness(y % 2, probs[:, 0], member)
  np.testing.assert_allclose(found, epsilon(probs, member, np.ones(40), 1.0), rtol=1e-12)
  two = np.stack([1 - probs[:, 0], probs[:, 0]], 1)
  np.testing.assert_allclose(first, epsilon(two, member, np.ones(40), 1.0), rtol=1e-12)


def test_a_group_without_rows_is_left_out():
  y, said, group, weight = draw(5)
  whole = metrics.differential_fairness(y, said, group, weight=weight)
  with pytest.warns(UserWarning, match="no row in group 4 counts"):
    more = metrics.differential_fairness(y, said, group, weight=weight, num_groups=5)
  np.testing.assert_allclose(more, whole, rtol=1e-6)
  with pytest.warns(UserWarning, match="no row in group 1 counts"):
    equal = metrics.differential_fairness([1] * 8, [1] * 8, [0, 2] * 4)
  assert float(equal) == 0 == float(metrics.differential_fairness(y, said, np.zeros(60, int)))


def test_without_smoothing_it_is_infinite_where_a_group_never_has_an_outcome():
  group = [0, 0, 0, 1, 1, 1]
  found = metrics.differential_fairness([0] * 6, [1, 0, 0, 1, 1, 0], group, concentration=0.0)
  np.testing.assert_allclose(found, math.log(2), rtol=1e-6)
  assert (
    metrics.differential_fairness([0] * 6, [0, 0, 0, 1, 0, 0], group, concentration=0) == np.inf
  )
  assert metrics.differential_fairness([0] * 6, [0] * 6, group, concentration=0) == 0


def test_a_batch_a_traced_concentration_and_gradients():
  y, _, group, _ = draw(7, 3)
  logits = jnp.asarray(np.random.default_rng(0).normal(size=(60, 3)), jnp.float32)
  flow = rfjax.Batch.from_arrays(np.zeros((60, 1)), y, group, num_classes=3).fill(logits)
  padded = flow.take(jnp.asarray([60, *range(60), 60]))

  @jax.jit
  def measured(flow, c):
    hard = metrics.differential_fairness(flow, concentration=c)
    grown = metrics.differential_fairness_bias_amplification(flow, concentration=c)
    return hard, grown, metrics.differential_fairness(flow, concentration=c, soft=True)

  hard, grown, soft = measured(padded, 2.0)
  said, probs = np.asarray(logits).argmax(1), np.asarray(jax.nn.softmax(logits), np.float64)
  of = lambda probs: epsilon(probs, np.eye(4)[group], np.ones(60), 2.0)
  np.testing.assert_allclose(hard, of(np.eye(3)[said]), rtol=1e-5)
  np.testing.assert_allclose(grown, of(np.eye(3)[said]) - of(np.eye(3)[y]), rtol=1e-4)
  np.testing.assert_allclose(soft, of(probs), rtol=1e-5)
  slope = jax.jit(jax.grad(lambda z: measured(padded.fill(z), 2.0)[2]))(padded.logits)
  assert np.isfinite(slope).all() and not slope[0].any() and slope[1:-1].any()


def test_bad_arguments_are_refused():
  with pytest.raises(ValueError, match=r"concentration must lie in \[0, inf\), got -1"):
    metrics.differential_fairness([0, 1], [0, 1], [0, 1], concentration=-1.0)
  with pytest.raises(
    ValueError, match="differential_fairness_bias_amplification needs num_classes"
  ):
    jax.jit(metrics.differential_fairness_bias_amplification)(
      jnp.zeros(4, int), jnp.zeros(4, int), jnp.eye(4)
    )


@pytest.mark.skipif(not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set")
def test_adult_by_sex_and_race():
  """AIF360 documents 1.7547611985549287, of the incomes of the 45,222 complete rows."""
  parts = data.columns("adult").values()
  column = lambda name: np.concatenate([part[name] for part in parts])
  known = np.all([column(n) != "?" for n in ("workclass", "occupation", "native-country")], axis=0)
  rich = column("income")[known] == ">50K"
  assert len(rich) == 45_222
  _, sex = np.unique(column("sex")[known], return_inverse=True)
  _, race = np.unique(column("race")[known], return_inverse=True)
  group = sex * 5 + race
  with jax.enable_x64(True):
    found = metrics.differential_fairness(rich.astype(int), rich.astype(int), group, num_groups=10)
  assert float(found) == pytest.approx(1.7547611985549287, rel=1e-15)


def test_the_bound_of_intersections_holds_for_each_attribute():
  for seed in range(3):
    y, said, group, weight = draw(seed)
    run = metric_programs.program(metrics.differential_fairness, num_groups=4, num_classes=2)
    of = lambda group: run(y, said, group, weight=weight, concentration=0.0)
    assert of(group // 2) <= of(group) and of(group % 2) <= of(group)
