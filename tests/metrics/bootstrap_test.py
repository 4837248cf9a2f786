"""Bootstrap intervals against rows drawn by a loop, the normal law and fairlearn."""

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest
from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate
from sklearn.metrics import accuracy_score

import rfjax
from rfjax import metrics

KEY = jax.random.key(0)


def bootstrapped(measure, **settings):
  """Its intervals as one program."""
  of = lambda *data, **traced: metrics.bootstrap(measure, *data, **traced, **settings)
  return metric_programs.program(of)


def draw(seed, rows=400, groups=3):
  rng = np.random.default_rng(seed)
  y, group = rng.integers(2, size=rows), rng.integers(groups, size=rows)
  said = np.where(rng.random(rows) < 0.6 + 0.1 * group, y, 1 - y)
  return y, said, group


def test_each_draw_is_the_measure_of_its_rows():
  """The weights are whole numbers that sum to the rows, and give what rows drawn so often give."""
  y, said, _ = draw(0, rows=30)
  seen = lambda *data, weight: (weight, metrics.accuracy(*data, weight=weight))
  found = bootstrapped(seen, draws=40, block=7)(y, said, key=KEY)
  counts, accuracies = (np.asarray(leaf) for leaf in found.draws)
  assert (counts == np.round(counts)).all() and (counts.sum(1) == 30).all()
  assert len({tuple(c) for c in counts}) == 40
  right = [np.mean(np.repeat(y == said, c.astype(int))) for c in counts]
  np.testing.assert_allclose(accuracies, right, rtol=1e-6)
  ends = np.quantile(accuracies, [0.025, 0.975])
  np.testing.assert_allclose((found.low[1], found.high[1]), ends, rtol=1e-6)
  np.testing.assert_allclose(found.estimate[1], np.mean(y == said), rtol=1e-6)


def test_counts_are_multinomial():
  weight = np.array([1.0, 0, 1, 1, 1])
  seen = lambda x, weight: weight
  found = bootstrapped(seen, draws=4000)(weight, key=KEY, weight=weight).draws
  assert not found[:, 1].any() and (found.sum(1) == 4).all()
  kept = found[:, weight > 0]
  # Mean 1, variance n p (1 - p) = 3/4, covariance - n p p = -1/4; four standard errors.
  np.testing.assert_allclose(kept.mean(0), 1, atol=4 * np.sqrt(0.75 / 4000))
  np.testing.assert_allclose(np.cov(kept.T), np.eye(4) - 0.25, atol=4 * 1.5 / np.sqrt(4000))


def test_the_interval_of_a_mean_is_the_normal_one():
  y, said, _ = draw(1, rows=2000)
  found = metrics.bootstrap(metrics.accuracy, y, said, key=KEY, draws=2000, confidence=0.9)
  p = np.mean(y == said)
  half = 1.645 * np.sqrt(p * (1 - p) / 2000)
  # The error of a quantile of 2,000 draws is some 0.05 of their deviation; four of them.
  np.testing.assert_allclose((found.low, found.high), (p - half, p + half), atol=0.13 * half)


def test_quantiles_are_fairlearns():
  y, said, group = draw(2)
  measures = {"sel": selection_rate, "tpr": true_positive_rate, "acc": accuracy_score}
  frame = MetricFrame(
    metrics=measures,
    y_true=y,
    y_pred=said,
    sensitive_features=group,
    n_boot=40,
    ci_quantiles=[0.1, 0.9],
    random_state=0,
  )
  sizes = {"num_groups": 3, "num_classes": 2}
  run = lambda *data, weight: metrics.by_group(*data, **sizes, weight=weight)
  found = bootstrapped(run, draws=1000, confidence=0.8)(y, said, group, key=KEY)
  names = ("selection_rate", "true_positive_rate", "accuracy")
  for end, theirs in zip((found.low, found.high), frame.by_group_ci, strict=True):
    for name, column in zip(names, measures, strict=True):
      spread = np.std(getattr(found.draws, name), axis=0)
      # An 80 % quantile of n draws errs by 1.71 deviations over the root of n; four of them.
      error = 4 * 1.71 * spread * np.sqrt(1 / 40 + 1 / 1000)
      assert (abs(getattr(end, name) - theirs[column].to_numpy()) < error).all()


def test_draws_without_a_cell_do_not_count():
  data = np.array([[1, 1, 1, 0, 0, 1], [1, 0, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1]])
  sizes = {"num_groups": 2, "num_classes": 2}
  run = lambda *data, weight: metrics.by_group(*data, **sizes, weight=weight)
  found = bootstrapped(run, draws=400)(*data, key=KEY)
  rates = np.asarray(found.draws.true_positive_rate)
  assert np.isnan(rates[:, 1]).any() and not np.isnan(rates[:, 1]).all()
  assert found.low.true_positive_rate[1] == found.high.true_positive_rate[1] == 1


def test_a_permuted_and_padded_batch_in_jit():
  y, said, group = draw(3, rows=40)
  logits = jnp.asarray(np.eye(2)[said], jnp.float32)
  flow = rfjax.Batch.from_arrays(np.zeros((40, 1)), y, group).fill(logits)
  order = np.random.default_rng(0).permutation(40)
  padded = flow.take(jnp.asarray([40, *order, 40]))

  bootstrap = bootstrapped(metrics.equalized_odds_difference, draws=50)
  run = lambda flow, confidence: bootstrap(flow, key=KEY, confidence=confidence)

  one, other = run(flow, 0.9), run(padded, 0.9)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)
  wide = run(flow, 0.99)
  assert wide.low <= one.low < one.estimate < one.high <= wide.high


@pytest.mark.parametrize(
  ("data", "options", "message"),
  [
    (([0, 1], [0, 1]), {"draws": 1}, "draws must be an integer of at least 2"),
    (([0, 1], [0, 1]), {"confidence": 1.0}, r"confidence must lie in \(0, 1\)"),
    (([0, 1], [0, 1]), {"weight": [1.0]}, "weight has 1 rows but"),
    ((), {}, "data must hold what the measure reads"),
  ],
)
def test_bad_arguments_are_refused(data, options, message):
  with pytest.raises(ValueError, match=message):
    metrics.bootstrap(metrics.accuracy, *data, key=KEY, **options)
