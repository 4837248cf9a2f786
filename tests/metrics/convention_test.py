"""Figures by other codes' conventions: fairlearn live, AIF360 as stored, three codes by hand."""

import itertools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import aif360_figures
from rfjax import metrics

SEEDS, EDGES = aif360_figures.SEEDS, aif360_figures.EDGES
METHODS, AGGREGATES = ("between_groups", "to_overall"), ("worst_case", "mean")
NOTIONS = ("demographic_parity", "equal_opportunity", "equalized_odds")
MEASURES = [*(f"{n}_{kind}" for n in NOTIONS for kind in ("difference", "ratio"))]
AIF360 = [
  ("demographic_parity_difference", {}, "statistical_parity_difference"),
  ("demographic_parity_ratio", {}, "disparate_impact"),
  ("disparate_impact", {}, "disparate_impact"),
  ("equal_opportunity_difference", {}, "equal_opportunity_difference"),
  ("equalized_odds_difference", {}, "equalized_odds_difference"),
  ("equalized_odds_difference", {"agg": "mean"}, "average_odds_difference"),
]


def several(*calls):
  """The measures of these names and settings as one program, of two classes."""
  return metric_programs.together(
    *((getattr(metrics, name), {"num_classes": 2, **options}) for name, options in calls)
  )


def settings(name):
  aggregates = AGGREGATES if "odds" in name else AGGREGATES[:1]
  for method, agg in itertools.product(METHODS, aggregates):
    yield {"method": method} | ({"agg": agg} if "odds" in name else {})


def small(seed):
  """Nine rows of three groups, of which some have one label, or one decision, alone."""
  rng = np.random.default_rng(seed)
  group, y = rng.permutation(np.arange(9) % 3), rng.integers(2, size=9)
  y_pred = rng.integers(2, size=9)
  if seed % 4 == 1:
    y_pred[:] = 0
  if seed % 4 == 2:
    y[:] = seed % 8 == 2
  if seed % 4 == 3:
    y[group == 0], y[group == 1] = 0, 1
  return y, y_pred, group, rng.uniform(0.1, 2, size=9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, for theirs that divide by 0
def test_fairlearn_agrees_also_where_cells_are_empty():
  fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
  cells = [(name, options) for name in MEASURES for options in settings(name)]
  given = {"num_groups": 4, "convention": "fairlearn"}
  of_all = several(*((name, {**options, **given}) for name, options in cells))
  met = set()
  for seed in range(12):
    rows = small(seed)
    with jax.enable_x64(True):
      found = of_all(*rows[:3], weight=rows[3])
    for at in range(seed // 4, len(cells), 3):  # each kind of rows meets each setting: it is slow
      (name, options), got = cells[at], found[at]
      *arrays, weight = rows
      more = {"sensitive_features": arrays.pop(), "sample_weight": weight}
      wanted = getattr(fairlearn, name)(*arrays, **more, **options)
      np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=f"{name} {options}")
      met.add("nan" if np.isnan(wanted) else "0" if wanted == 0 else "other")
  assert met == {"nan", "0", "other"}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_fairlearn_skips_a_group_of_no_weight():
  fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
  y, y_pred, group, weight = small(0)
  weight[group == 1] = 0
  for name, method in itertools.product(MEASURES[:2], METHODS):
    options = {"method": method}
    wanted = getattr(fairlearn, name)(
      y, y_pred, sensitive_features=group, sample_weight=weight, **options
    )
    of = several((name, {"num_groups": 3, "convention": "fairlearn", **options}))
    (got,) = of(y, y_pred, group, weight=weight)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


@pytest.mark.parametrize(("name", "options", "theirs"), AIF360)
def test_aif360_agrees_also_where_cells_are_empty(name, options, theirs):
  met, given = set(), {"num_groups": 2, "convention": "aif360"}
  cells = [(n, {**o, **given}) for n, o, _ in AIF360]
  for seed in (*SEEDS, *EDGES):
    data, wanted = aif360_figures.draw(seed), aif360_figures.figures()[str(seed)][theirs]
    with jax.enable_x64(True):
      found = several(*cells)(data.y, data.y_pred, (data.group > 0).astype(int), weight=data.weight)
    got = found[AIF360.index((name, options, theirs))]
    np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=f"{seed}")
    met |= {"negative"} if wanted < 0 else set()
    met |= {"undefined"} if not np.isfinite(wanted) else set()
  assert "undefined" in met or theirs == "statistical_parity_difference"
  assert "negative" in met or theirs in ("disparate_impact", "equalized_odds_difference")


def mean(values, rows):
  """A mean as NaN, not as an error, where there are no rows."""
  return np.mean(values[rows]) if rows.any() else np.nan


@pytest.mark.parametrize("seed", SEEDS)
def test_fairbatch_compares_with_all_groups(seed):
  data = aif360_figures.draw(seed)
  y, y_pred, group = data.y == 1, data.y_pred == 1, data.group
  off = lambda rows: max(
    abs(mean(y_pred, rows & (group == z)) - mean(y_pred, rows)) for z in range(group.max() + 1)
  )
  wanted = (off(y | True), off(y), max(off(y), off(~y)))
  given = {"num_groups": int(group.max()) + 1, "convention": "fairbatch"}
  run = several(*((f"{notion}_difference", given) for notion in NOTIONS))
  with jax.enable_x64(True):
    found = run(data.y, data.y_pred, group)
  np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_fairbatch_has_no_figure_without_rows():
  y, y_pred, group = [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 1, 1]
  options = {"convention": "fairbatch"}
  assert np.isnan(metrics.equal_opportunity_difference(y, y_pred, group, **options))
  assert np.isnan(metrics.equalized_odds_difference(y, y_pred, group, **options))
  assert np.isfinite(metrics.demographic_parity_difference(y, y_pred, group, **options))


@pytest.mark.parametrize("name", ["demographic_parity_ratio", "disparate_impact"])
def test_fr_train_folds_the_ratio_and_zafar_takes_percent(name):
  measure, turned = getattr(metrics, name), set()
  run = several(*((name, {"num_groups": 2, "convention": c}) for c in ("fr_train", "zafar")))
  for seed in SEEDS:
    data = aif360_figures.draw(seed)
    given = (data.y, data.y_pred, (data.group > 0).astype(int))
    if seed % 2:
      given = (*given[:2], 1 - given[2])
    protected, other = (np.mean(data.y_pred[given[2] == z]) for z in (0, 1))
    with jax.enable_x64(True):
      folded, percent = run(*given)
    lower, higher = sorted((protected, other))
    np.testing.assert_allclose(folded, lower / higher, atol=1e-12)
    np.testing.assert_allclose(percent, protected / other * 100, atol=1e-10)
    turned.add(float(percent) > 100)
  assert turned == {True, False}
  nobody = ([0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 1])
  for convention in ("fr_train", "zafar", "aif360"):
    assert np.isnan(measure(*nobody, convention=convention))
  assert measure([0, 1], [1, 0], [0, 1], convention="zafar") == np.inf


def test_ours_is_the_convention_without_one():
  data = aif360_figures.draw(3)
  plain, theirs = {"num_groups": 5}, {"num_groups": 5, "convention": "fairlearn"}
  names = (*MEASURES, "disparate_impact")
  by_method = [(name, {"method": method}) for name in MEASURES for method in METHODS]
  run = several(
    *((name, plain) for name in names),
    *((name, {**plain, "convention": "rfjax"}) for name in names),
    *((name, {**options, **plain}) for name, options in by_method),
    *((name, {**options, **theirs}) for name, options in by_method),
  )
  assert data.group.max() == 4
  found, split = run(data.y, data.y_pred, data.group), 2 * len(names)
  np.testing.assert_array_equal(found[: len(names)], found[len(names) : split])
  ours, others = found[split : split + len(by_method)], found[split + len(by_method) :]
  np.testing.assert_allclose(ours, others, rtol=1e-6)


def test_in_jit_and_vmap_conventions_are_the_same():
  rows = np.array([small(seed)[:2] for seed in range(4)])
  group = np.arange(9) % 2
  have = [
    ("demographic_parity_difference", ("fairlearn", "aif360", "fairbatch")),
    ("disparate_impact", ("aif360", "fr_train", "zafar")),
    ("equalized_odds_ratio", ("fairlearn",)),
    ("equalized_odds_difference", ("fairlearn", "aif360", "fairbatch")),
  ]

  def measure(y, y_pred):
    given = {"num_groups": 2, "num_classes": 2}
    return jnp.stack(
      [
        getattr(metrics, name)(y, y_pred, group, convention=convention, **given)
        for name, conventions in have
        for convention in conventions
      ]
    )

  found = jax.jit(jax.vmap(measure))(rows[:, 0], rows[:, 1])
  for i in (1, 2):
    np.testing.assert_allclose(found[i], measure(*rows[i]), rtol=1e-6)
  assert np.isnan(found).any() and np.isfinite(found).any()


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("disparate_impact", {"convention": "ffb"}, "convention must be one of 'rfjax', 'fairlearn', "),
    (
      "disparate_impact",
      {"convention": "fairlearn"},
      "one of 'rfjax', 'aif360', 'fr_train', 'zafar' for disparate_impact, got 'fairlearn', which",
    ),
    ("equalized_odds_ratio", {"convention": "aif360"}, "one of 'rfjax', 'fairlearn' for equalized"),
    ("demographic_parity_ratio", {"convention": "fairbatch"}, "got 'fairbatch', which has no such"),
    ("equal_opportunity_ratio", {"convention": "fr_train"}, "got 'fr_train', which has no such"),
    (
      "demographic_parity_difference",
      {"convention": "fairbatch", "method": "between_groups"},
      "method of the convention 'fairbatch' must be one of 'to_overall', got 'between_groups'",
    ),
    (
      "equalized_odds_difference",
      {"convention": "fairbatch", "agg": "mean"},
      "agg of the convention 'fairbatch' must be one of 'worst_case', got 'mean'",
    ),
    (
      "demographic_parity_ratio",
      {"convention": "zafar", "num_groups": 3},
      "'zafar' compares group 0 .unprivileged. with group 1 .*num_groups must be 2, got 3: merge",
    ),
    (
      "demographic_parity_ratio",
      {"convention": "fairlearn", "num_classes": 3},
      "convention must be 'rfjax' for more than two classes, got 'fairlearn' and num_classes 3",
    ),
  ],
)
def test_what_a_convention_lacks_is_refused(name, options, message):
  with pytest.raises(ValueError, match=message):
    getattr(metrics, name)([0, 1], [1, 0], [0, 1], **options)
