"""Gaps between groups, against loops, fairlearn, tables by hand, and their symmetries."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import metrics

METHODS = ("between_groups", "to_overall")
AGGREGATES = ("worst_case", "mean")
DIFFERENCES = (
  "demographic_parity_difference",
  "equal_opportunity_difference",
  "equalized_odds_difference",
)
RATIOS = tuple(name.replace("difference", "ratio") for name in DIFFERENCES)
SETTINGS = [
  (name, {"method": method} | ({"agg": agg} if "odds" in name else {}))
  for name in DIFFERENCES + RATIOS
  for method in METHODS
  for agg in (AGGREGATES if "odds" in name else AGGREGATES[:1])
]


def draw(seed, groups, classes=2, rows=60, soft=False):
  rng = np.random.default_rng(seed)
  y, group = rng.integers(classes, size=rows), rng.integers(groups, size=rows)
  share = rng.dirichlet(np.ones(classes), size=groups)
  y_pred = np.array([rng.choice(classes, p=share[g]) for g in group])
  if soft:
    y_pred = rng.dirichlet(np.ones(classes), size=rows)
  return y, y_pred, group, rng.uniform(0.1, 2, size=rows)


def rate(rows, weight, y_pred, k):
  """Weighted mean probability of class k over rows; None of no rows."""
  hits = size = 0.0
  for i in rows:
    p = y_pred[i, k] if y_pred.ndim == 2 else float(y_pred[i] == k)
    hits, size = hits + weight[i] * p, size + weight[i]
  return hits / size if size > 0 else None


def fold(a, b):
  return 1.0 if a == b == 0 else min(a, b) / max(a, b)


def gap_of_rates(by_group, overall, ratio, method):
  found = [r for r in by_group if r is not None]
  if len(found) < 2:
    return 1.0 if ratio else 0.0
  pairs = (
    list(itertools.combinations(found, 2))
    if method == "between_groups"
    else [(r, overall) for r in found]
  )
  if ratio:
    return min(fold(a, b) for a, b in pairs)
  return max(abs(a - b) for a, b in pairs)


def gap_by_loops(name, y, y_pred, group, weight, groups, classes, method, agg="worst_case"):
  """The definition: every pair of groups (or group and all), every label, every class."""
  ratio = name.endswith("ratio")
  worst = min if ratio else max
  gaps = []
  for k in [1] if classes == 2 else range(classes):
    conditions = [lambda i, k=k: y[i] == k]
    if "odds" in name:
      conditions.append(lambda i, k=k: y[i] != k)
    if "parity" in name:
      conditions = [lambda i: True]
    parts = []
    for condition in conditions:
      rows = [i for i in range(len(y)) if condition(i)]
      by_group = [
        rate([i for i in rows if group[i] == g], weight, y_pred, k) for g in range(groups)
      ]
      parts.append(gap_of_rates(by_group, rate(rows, weight, y_pred, k), ratio, method))
    gaps.append(worst(parts) if agg == "worst_case" else sum(parts) / len(parts))
  return worst(gaps)


@pytest.mark.parametrize("classes, soft", [(2, False), (2, True), (3, False), (3, True)])
def test_gaps_are_the_loops_of_their_definitions(classes, soft):
  for groups in (2, 4):
    y, y_pred, group, weight = draw(groups, groups, classes, soft=soft)
    for name, options in SETTINGS:
      with jax.enable_x64(True):
        got = getattr(metrics, name)(y, y_pred, group, weight=weight, **options)
      wanted = gap_by_loops(name, y, y_pred, group, weight, groups, classes, **options)
      np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=f"{name} {options}")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("classes", [2, 3])
def test_gaps_with_empty_cells_are_the_loops_of_their_definitions(classes):
  met = set()
  for seed in range(6):
    y, y_pred, group, weight = draw(seed, 4, classes, rows=10)
    weight[seed] = 0
    for name, options in SETTINGS:
      with jax.enable_x64(True):
        got = getattr(metrics, name)(y, y_pred, group, num_groups=5, weight=weight, **options)
      wanted = gap_by_loops(name, y, y_pred, group, weight, 5, classes, **options)
      np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=f"{name} {options} {seed}")
      met.add(float(got))
  assert len(met) > 20


@pytest.mark.parametrize("seed", range(10))
def test_fairlearn_agrees(seed):
  fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
  y, y_pred, group, weight = draw(seed, 2 + seed % 4, rows=200)
  for name, options in SETTINGS:
    for w in (weight, None) if seed == 0 else (weight,):
      wanted = getattr(fairlearn, name)(
        y, y_pred, sensitive_features=group, sample_weight=w, **options
      )
      with jax.enable_x64(True):
        got = getattr(metrics, name)(y, y_pred, group, weight=w, **options)
      np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=f"{name} {options}")


@pytest.mark.parametrize(
  "name, options, wanted",
  [
    ("demographic_parity_difference", {}, 1 / 2),
    ("demographic_parity_difference", {"method": "to_overall"}, 3 / 10),
    ("demographic_parity_ratio", {}, 1 / 3),
    ("demographic_parity_ratio", {"method": "to_overall"}, (1 / 4) / (11 / 20)),
    ("disparate_impact", {}, 1 / 3),
    ("equal_opportunity_difference", {}, 1 / 2),
    ("equal_opportunity_difference", {"method": "to_overall"}, 3 / 10),
    ("equal_opportunity_ratio", {}, 1 / 2),
    ("equal_opportunity_ratio", {"method": "to_overall"}, 5 / 8),
    ("equalized_odds_difference", {}, 1 / 2),
    ("equalized_odds_difference", {"agg": "mean"}, 1 / 2),
    ("equalized_odds_ratio", {}, 0),
    ("equalized_odds_ratio", {"agg": "mean"}, 1 / 4),
  ],
)
def test_gaps_of_a_table_by_hand(name, options, wanted):
  # (group, y, prediction): count. Group 0 selects 9 of 12, TPR 6/6, FPR 3/6; group 1 selects 2 of
  # 8, TPR 2/4, FPR 0/4; all: 11 of 20, TPR 8/10, FPR 3/10.
  table = {(0, 1, 1): 6, (0, 0, 1): 3, (0, 0, 0): 3, (1, 1, 1): 2, (1, 1, 0): 2, (1, 0, 0): 4}
  group, y, y_pred = np.array([cell for cell, n in table.items() for _ in range(n)]).T
  np.testing.assert_allclose(getattr(metrics, name)(y, y_pred, group, **options), wanted, rtol=1e-6)
  cells, counts = np.array(list(table)), list(table.values())
  got = getattr(metrics, name)(cells[:, 1], cells[:, 2], cells[:, 0], weight=counts, **options)
  np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_one_minus_class_is_the_same_gap_for_two_columns():
  y, y_pred, group, weight = draw(1, 3, soft=True)
  for name in DIFFERENCES[::2]:
    measure = getattr(metrics, name)
    a = measure(y, y_pred, group, weight=weight)
    b = measure(1 - y, y_pred[:, ::-1], group, weight=weight)
    np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_rows_and_names_of_groups_and_classes_do_not_matter(classes):
  y, y_pred, group, weight = draw(5, 4, classes)
  rng = np.random.default_rng(1)
  rows, groups = rng.permutation(len(y)), rng.permutation(4)
  names = rng.permutation(classes) if classes > 2 else np.arange(2)
  for name, options in SETTINGS:
    measure = getattr(metrics, name)
    a = measure(y, y_pred, group, weight=weight, **options)
    renamed = names[y][rows], names[y_pred][rows], groups[group][rows]
    b = measure(*renamed, weight=weight[rows], **options)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_equal_groups_are_fair(classes):
  y, y_pred, _, weight = draw(6, 2, classes)
  y, y_pred, weight = (np.tile(v, 3) for v in (y, y_pred, weight))
  group = np.repeat(np.arange(3), len(y) // 3)
  for name, options in SETTINGS:
    got = getattr(metrics, name)(y, y_pred, group, weight=weight, **options)
    np.testing.assert_allclose(got, float(name in RATIOS), atol=1e-6)


def test_the_most_unfair_classifier():
  y, y_pred, group = [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 1, 1]
  for name in DIFFERENCES:
    assert float(getattr(metrics, name)(y, y_pred, group)) == 1
  for name in RATIOS:
    assert float(getattr(metrics, name)(y, y_pred, group)) == 0


def test_disparate_impact_is_the_ratio_between_groups():
  for seed in range(3):
    y, y_pred, group, weight = draw(seed, 3)
    assert metrics.disparate_impact(y, y_pred, group, weight=weight) == (
      metrics.demographic_parity_ratio(y, y_pred, group, weight=weight)
    )


# Edges


@pytest.mark.parametrize("method", METHODS)
def test_zero_over_zero_is_fair(method):
  y, y_pred, group = [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 1]
  for name in RATIOS:
    assert float(getattr(metrics, name)(y, y_pred, group, method=method)) == 1
  for name in DIFFERENCES:
    assert float(getattr(metrics, name)(y, y_pred, group, method=method)) == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_group_without_positives_is_left_out(method):
  y, y_pred, group = [1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 0], [0, 0, 1, 1, 2, 2]
  warning = "equal_opportunity_{}: no row of class 1 in group 2 counts"
  with pytest.warns(UserWarning, match=warning.format("difference")) as caught:
    got = metrics.equal_opportunity_difference(y, y_pred, group, method=method)
  assert caught[0].filename == __file__
  assert float(got) == (0.5 if method == "between_groups" else 0.25)
  with pytest.warns(UserWarning, match=warning.format("ratio")):
    got = metrics.equal_opportunity_ratio(y, y_pred, group, method=method)
  np.testing.assert_allclose(got, 1 / 2 if method == "between_groups" else 2 / 3, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("weight", [[1, 1, 0, 0], [0, 0, 0, 0]])
def test_fewer_than_two_groups_are_fair(weight):
  y, y_pred, group = [1, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1]
  for name, options in SETTINGS:
    got = getattr(metrics, name)(y, y_pred, group, weight=weight, **options)
    assert float(got) == float(name in RATIOS)


def test_missing_membership_leaves_the_groups_and_the_overall_rate():
  y, y_pred, group, weight = draw(3, 3)
  soft = np.eye(3)[group]
  soft[:20] = 0
  for name, options in SETTINGS:
    measure = getattr(metrics, name)
    a = measure(y, y_pred, soft, weight=weight, **options)
    b = measure(y[20:], y_pred[20:], group[20:], weight=weight[20:], **options)
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# Transformations


def all_gaps(y, y_pred, group, weight):
  given = {"num_groups": 4, "num_classes": 3, "weight": weight}
  return [
    getattr(metrics, name)(y, y_pred, group, **given, **options) for name, options in SETTINGS
  ]


def test_jit_and_vmap_change_nothing():
  y, _, group, weight = draw(2, 4, classes=3)
  many = np.random.default_rng(2).integers(3, size=(3, len(y)))
  in_jit = jax.jit(jax.vmap(all_gaps, (None, 0, None, None)))(y, many, group, weight)
  for i in range(3):
    one = all_gaps(y, many[i], group, weight)
    np.testing.assert_allclose([m[i] for m in in_jit], one, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_finite_differences():
  y, y_pred, group, weight = draw(4, 4, classes=3, soft=True)
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    logits, direction = jnp.log(y_pred), jnp.asarray(rng.normal(size=y_pred.shape))
    at = jax.jit(lambda z: jnp.stack(all_gaps(y, jax.nn.softmax(z), group, weight)))
    step = 1e-6 * direction
    numeric = (at(logits + step) - at(logits - step)) / 2e-6
    slope = jnp.sum(jax.jacrev(at)(logits) * direction, axis=(1, 2))
  np.testing.assert_allclose(slope, numeric, atol=1e-7)
  assert np.all(np.abs(slope) > 1e-4)


def test_gradients_are_finite_at_the_edges():
  def total(p, weight, y, group):
    given = {"num_groups": 3, "weight": weight}
    return sum(getattr(metrics, name)(y, p, group, **given, **o) for name, o in SETTINGS)

  slopes = jax.jit(jax.grad(total, (0, 1)))
  p, ones, zeros = jnp.linspace(0.1, 0.9, 8), jnp.ones(8), jnp.zeros(8)
  y, group = jnp.tile(jnp.array([0, 1]), 4), jnp.repeat(jnp.array([0, 2]), 4)
  edges = {
    "empty group": (p, ones, y, group),
    "no positives": (p, ones, jnp.zeros(8, int), group),
    "one group": (p, ones, y, jnp.zeros(8, int)),
    "all rates 0": (zeros, ones, y, group),
    "all rates 1": (ones, ones, y, group),
    "nobody counts": (p, zeros, y, group),
  }
  for case, arguments in edges.items():
    assert all(np.all(np.isfinite(slope)) for slope in slopes(*arguments)), case
  for case in ("one group", "nobody counts"):
    assert not np.any(slopes(*edges[case])[0]), case


@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
def test_a_compiled_slope_is_finite_and_that_of_the_formula(method):
  """The rates may be computed twice in a compiled program, and differ in their last bits."""
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    size = jnp.asarray(rng.integers(50, 150, (4, 3, 2)), float)
    hits = size * jnp.asarray(rng.uniform(size=(4, 3, 2)))

    def apart(hits, size):
      one, other = (metrics.Rate(hits[:, k, None], size[:, k, None]) for k in range(2))
      return metrics.difference(one, other, method=method)

    for h, s in zip(hits, size, strict=True):
      slope = jax.jit(jax.grad(lambda h, s=s: apart(h, s)))(h)
      step = lambda i, j: jnp.zeros((3, 2)).at[i, j].set(1e-6)
      wanted = [
        [float(apart(h + step(i, j), s) - apart(h - step(i, j), s)) / 2e-6 for j in range(2)]
        for i in range(3)
      ]
      np.testing.assert_allclose(slope, wanted, atol=1e-8)
