"""Calibration within groups and balance, against loops, scikit-learn, and identities."""

import bisect

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import aif360_figures
import rfjax
from rfjax import metrics

BINNINGS = ("equal_width", "equal_mass")
SEEDS = aif360_figures.SEEDS


def errors_and_gap(y, score, group, weight, binning, num_bins, groups=5):
  """Of one program for both binnings."""
  sizes = {"num_groups": groups, "num_bins": num_bins}
  run = metric_programs.together(
    *((metrics.calibration_error, {"binning": b, **sizes}) for b in BINNINGS),
    *((metrics.calibration_gap, {"binning": b, **sizes}) for b in BINNINGS),
  )
  with jax.enable_x64(True):
    found = run(y, score, group, weight=weight)
  return found[BINNINGS.index(binning) :: 2]


def error_by_loops(y, score, weight, num_bins, binning):
  """The error of one group; None of no rows."""
  total = sum(weight)
  if total == 0:
    return None
  edges = [k / num_bins for k in range(1, num_bins)]
  residual = [0.0] * num_bins
  for i in range(len(y)):
    if binning == "equal_width":
      b = bisect.bisect_left(edges, score[i])
    else:
      less = sum(w for w, s in zip(weight, score, strict=True) if s < score[i])
      same = sum(w for w, s in zip(weight, score, strict=True) if s == score[i])
      b = min(int(num_bins * (less + same / 2) / total), num_bins - 1)
    residual[b] += weight[i] * (y[i] - score[i])
  return sum(map(abs, residual)) / total


def by_loops(y, probs, member, weight, num_bins, binning):
  """The errors [G][K] of groups and classes."""
  classes = probs.shape[1]
  return [
    [
      error_by_loops(y == k, probs[:, k], weight * member[:, g], num_bins, binning)
      for k in ([1] if classes == 2 else range(classes))
    ]
    for g in range(member.shape[1])
  ]


@pytest.mark.parametrize("binning", BINNINGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_errors_and_gaps_are_the_loops_of_their_definitions(seed, binning):
  data = aif360_figures.draw(seed)
  groups = data.group.max() + 1
  member = np.eye(groups)[data.group]
  if seed % 2:
    member = np.random.default_rng(seed).dirichlet(np.ones(member.shape[1]), size=len(data.y))
    member[:5] = 0
  padded = np.pad(member, ((0, 0), (0, 5 - groups))) if seed % 2 else data.group
  # Edges of 10 bins are scores that occur.
  errors, gap = errors_and_gap(data.y, data.score, padded, data.weight, binning, 10)
  two = np.stack([1 - data.score, data.score], 1)
  wanted = np.array(by_loops(data.y, two, member, data.weight, 10, binning))[:, 0]
  np.testing.assert_allclose(errors[:groups], wanted, atol=1e-12)
  assert not errors[groups:].any()
  np.testing.assert_allclose(gap, wanted.max() - wanted.min(), atol=1e-12)
  assert 0.001 < wanted.min() < wanted.max() < 0.5


@pytest.mark.parametrize("binning", BINNINGS)
def test_three_classes_are_one_against_the_rest(binning):
  rng = np.random.default_rng(0)
  y, group, probs = rng.integers(3, size=60), rng.integers(2, size=60), rng.dirichlet([1] * 3, 60)
  errors, gap = errors_and_gap(y, probs, group, np.ones(60), binning, 5, groups=2)
  wanted = np.array(by_loops(y, probs, np.eye(2)[group], np.ones(60), 5, binning))
  np.testing.assert_allclose(errors, wanted, atol=1e-12)
  np.testing.assert_allclose(gap, np.abs(wanted[0] - wanted[1]).max(), atol=1e-12)


@pytest.mark.parametrize("binning", BINNINGS)
def test_scikit_learn_agrees_on_the_curve(binning):
  calibration = pytest.importorskip("sklearn.calibration", reason="scikit-learn is not installed")
  for seed in SEEDS[:4]:
    data, rng = aif360_figures.draw(seed), np.random.default_rng(seed)
    # Its quantiles cut through equal scores: of the same number of scores a bin there are none.
    score = data.score if binning == "equal_width" else rng.permutation(200) / 200
    strategy = {"equal_width": "uniform", "equal_mass": "quantile"}[binning]
    true, said = calibration.calibration_curve(data.y, score, n_bins=10, strategy=strategy)
    size = np.full(10, 20)
    if binning == "equal_width":
      size = np.bincount(np.ceil(np.round(score * 10, 9)).clip(1).astype(int) - 1)
      size = size[size > 0]
    got, _ = errors_and_gap(data.y, score, 0 * data.y, np.ones(200), binning, 10)
    np.testing.assert_allclose(got[:1], [np.sum(size / 200 * np.abs(true - said))], atol=1e-12)


def test_what_the_error_sees():
  y, score, group = [1, 0, 1, 0], [0.5, 0.5, 1.0, 0.0], [0, 0, 1, 1]
  np.testing.assert_allclose(metrics.calibration_error(y, score, group), [0, 0], atol=1e-7)
  sure = metrics.calibration_error([1, 0, 1, 0], [1, 1, 1, 0], group, num_bins=2)
  np.testing.assert_allclose(sure, [0.5, 0], atol=1e-7)
  # One bin sees no more than the difference of the means; each split of bins sees no less.
  data, rows = aif360_figures.draw(0), np.random.default_rng(0).permutation(200)
  data = data._replace(score=1 - data.score)
  for binning in BINNINGS:
    run = metric_programs.together(
      *(
        (metrics.calibration_error, {"num_bins": b, "binning": binning, "num_groups": 1})
        for b in (1, 3, 9)
      )
    )
    seen = [error[0] for error in run(data.y, data.score, 0 * data.y)]
    np.testing.assert_allclose(seen[0], abs(np.mean(data.y - data.score)), rtol=1e-5)
    assert (np.diff(seen) > -1e-6).all() and seen[2] > seen[0] + 0.1
    *_, moved = run(data.y[rows], data.score[rows], 0 * data.y)
    np.testing.assert_allclose(moved, [seen[2]], atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_balance_is_the_gap_of_mean_scores(seed):
  data = aif360_figures.draw(seed)
  gaps, off = {}, {}
  for name, label in (("negative", 0), ("positive", 1)):
    rows = data.y == label
    means = [
      np.average(data.score[m], weights=data.weight[m])
      for g in np.unique(data.group)
      for m in [rows & (data.group == g)]
    ]
    gaps[name] = max(means) - min(means)
    off[name] = np.abs(means - np.average(data.score[rows], weights=data.weight[rows])).max()
  run = metric_programs.together(
    *((metrics.balance_difference, {"label": k, "num_groups": 5}) for k in (*gaps, "both")),
    (metrics.balance_difference, {"agg": "mean", "method": "to_overall", "num_groups": 5}),
    (metrics.balance_difference, {"num_groups": 5}),
    (metrics.equalized_odds_difference, {"num_groups": 5}),
  )
  with jax.enable_x64(True):
    *found, off_overall, plain, odds = run(data.y, data.score, data.group, weight=data.weight)
  np.testing.assert_allclose(found, [*gaps.values(), max(gaps.values())], atol=1e-12)
  np.testing.assert_allclose(off_overall, np.mean(list(off.values())), atol=1e-12)
  np.testing.assert_allclose(plain, odds)


def test_a_batch_is_its_softmax():
  data = aif360_figures.draw(1)
  flow = rfjax.Batch.from_arrays(data.x, data.y, data.group).fill(jnp.asarray(data.x[:, :2]))
  said = jax.nn.softmax(flow.logits)
  measures = (metrics.calibration_error, metrics.calibration_gap, metrics.balance_difference)
  found = metric_programs.together(*((m, {}) for m in measures))(flow)
  run = metric_programs.together(*((m, {"num_groups": flow.num_groups}) for m in measures))
  for got, wanted in zip(found, run(data.y, said, data.group), strict=True):
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_empty_groups_are_named_and_left_out():
  y, score, group = [1, 0, 1, 0], [0.5, 0.5, 0.75, 0.25], [0, 0, 2, 2]
  with pytest.warns(UserWarning, match="calibration_error: no row in group 1 counts") as caught:
    assert metrics.calibration_error(y, score, group).tolist() == [0, 0, 0.25]
  assert caught[0].filename == __file__
  with pytest.warns(UserWarning, match="calibration_gap: no row in group 1 counts"):
    assert float(metrics.calibration_gap(y, score, group)) == 0.25
  with pytest.warns(
    UserWarning, match="balance_difference: no row of class 1 in group 1"
  ) as caught:
    metrics.balance_difference(y, score, group, label="positive")
  assert caught[0].filename == __file__


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("calibration_error", {"num_bins": 0}, "num_bins must be an integer of at least 1, got 0"),
    ("calibration_gap", {"binning": "log"}, "binning must be one of 'equal_width', 'equal_mass'"),
    ("balance_difference", {"label": 1}, "label must be one of 'both', 'positive', 'negative'"),
  ],
)
def test_bad_options_are_refused(name, options, message):
  with pytest.raises(ValueError, match=message):
    getattr(metrics, name)([1, 0], [0.5, 0.1], [0, 1], **options)


def test_in_jit_and_vmap_they_are_the_same_and_their_slopes_finite():
  data = aif360_figures.draw(2)
  score, weight = jnp.asarray(data.score), jnp.asarray(data.weight)

  def measure(p, weight):
    options = {"num_groups": 4, "weight": weight}
    found = [
      metrics.calibration_gap(data.y, p, data.group, num_bins=7, binning=binning, **options)
      for binning in BINNINGS
    ]
    found = [*found, metrics.balance_difference(data.y, p, data.group, **options)]
    return sum(found), jnp.stack(found)

  scores = jnp.stack([score, 0 * score, 0 * score + 1, score])
  weights = jnp.stack([weight, weight, weight, 0 * weight])
  (_, found), slopes = jax.jit(jax.vmap(jax.value_and_grad(measure, has_aux=True)))(scores, weights)
  np.testing.assert_allclose(found[0], measure(score, weight)[1], rtol=1e-5)
  assert np.isfinite(slopes).all() and slopes[0].any() and not slopes[3].any()
