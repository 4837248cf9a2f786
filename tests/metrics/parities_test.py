"""Predictive, accuracy and treatment parity, against loops, fairlearn, AIF360 and a table."""

import itertools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import aif360_figures
from rfjax import metrics

METHODS = ("between_groups", "to_overall")
# Numerator and denominator of a row, of its 0-1 label and the probability of the class.
PRECISION = lambda y, p: (p if y else 0, p)
OMISSION = lambda y, p: (1 - p if y else 0, 1 - p)
CASES = [
  ("predictive_parity", {}, [PRECISION]),
  ("predictive_parity", {"sufficiency": True}, [PRECISION, OMISSION]),
  ("predictive_parity", {"sufficiency": True, "agg": "mean"}, [PRECISION, OMISSION]),
  ("accuracy_parity", {}, None),
  ("treatment_equality", {}, [lambda y, p: (1 - p, 1 - p) if y else (0, p)]),
  ("treatment_equality", {"bounded": False}, [lambda y, p: (1 - p, 0) if y else (0, p)]),
]
SETTINGS = [
  (f"{name}_{kind}", options, parts)
  for name, options, parts in CASES
  for kind in (("difference",) if name == "treatment_equality" else ("difference", "ratio"))
]


def draw(seed, groups, classes=2, rows=80, soft=False):
  rng = np.random.default_rng(seed)
  y, group = rng.integers(classes, size=rows), rng.integers(groups, size=rows)
  y_pred = np.where(rng.random(rows) < 0.3 + 0.1 * group, y, rng.integers(classes, size=rows))
  if soft:
    y_pred = rng.dirichlet(np.ones(classes), size=rows)
  return y, y_pred, group, rng.uniform(0.1, 2, size=rows)


def fold(a, b):
  return 1.0 if a == b == 0 else min(a, b) / max(a, b)


def by_loops(kind, parts, y, probs, group, weight, groups, method, agg="worst_case"):
  """The definition: sums row by row, every pair of groups (or group and all), every class."""
  ratio, classes = kind.endswith("ratio"), probs.shape[1]
  worst, gaps = min if ratio else max, []
  compare = fold if ratio else lambda a, b: abs(a - b)
  columns = [None] if parts is None else [1] if classes == 2 else range(classes)
  for part, k in itertools.product(parts or [None], columns):
    sums = np.zeros((groups, 2))
    for i in range(len(y)):
      pair = (probs[i, y[i]], 1) if k is None else part(int(y[i] == k), probs[i, k])
      sums[group[i]] += weight[i] * np.array(pair)
    found = [hits / size for hits, size in sums if size > 0]
    pairs = list(itertools.combinations(found, 2))
    if method == "to_overall" and len(found) > 1:
      overall = sums[:, 0].sum() / sums[:, 1].sum()
      pairs = [(r, overall) for r in found]
    gaps.append(worst([compare(a, b) for a, b in pairs], default=float(ratio)))
  gaps = np.reshape(gaps, (len(parts or [None]), -1))
  return worst(np.mean(gaps, 0) if agg == "mean" else gaps.ravel())


def several(calls, **sizes):
  """The measures of these names and settings as one program."""
  return metric_programs.together(
    *((getattr(metrics, name), {**options, **sizes}) for name, options in calls)
  )


@pytest.mark.parametrize(("classes", "soft"), [(2, False), (2, True), (3, False), (3, True)])
def test_they_are_the_loops_of_their_definitions(classes, soft):
  seen, cells = set(), list(itertools.product(SETTINGS, METHODS))
  calls = [(name, {**options, "method": method}) for (name, options, _), method in cells]
  run = several(calls, num_groups=5, num_classes=classes)
  for groups, rows in ((2, 80), (4, 80), (5, 12)):
    y, y_pred, group, weight = draw(groups, groups, classes, rows, soft)
    weight[:2] = 0
    probs = y_pred if soft else np.eye(classes)[y_pred]
    # Rows of no weight fill the fewer ones up, that one program takes all.
    filled = [np.concatenate([v, v[np.zeros(80 - rows, int)]]) for v in (y, y_pred, group)]
    with jax.enable_x64(True):
      found = run(*filled, weight=np.append(weight, np.zeros(80 - rows)))
    for ((name, options, parts), method), got in zip(cells, found, strict=True):
      agg = {"agg": options.get("agg", "worst_case")}
      wanted = by_loops(name, parts, y, probs, group, weight, groups, method, **agg)
      np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=f"{name} {options} {method}")
      seen.add(float(got))
  assert len(seen) > 20


@pytest.mark.parametrize("seed", aif360_figures.SEEDS)
def test_fairlearn_and_scikit_learn_agree(seed):
  fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
  from sklearn import metrics as sk

  data = aif360_figures.draw(seed)
  given = (data.y, data.y_pred, data.group)
  omission = lambda y, p, sample_weight: (
    1 - sk.precision_score(y, p, pos_label=0, sample_weight=sample_weight)
  )
  frame = fairlearn.MetricFrame(
    metrics={"accuracy": sk.accuracy_score, "ppv": sk.precision_score, "for": omission},
    y_true=data.y,
    y_pred=data.y_pred,
    sensitive_features=data.group,
    sample_params={n: {"sample_weight": data.weight} for n in ("accuracy", "ppv", "for")},
  )
  measured = (
    ("accuracy_parity", {}),
    ("predictive_parity", {}),
    ("predictive_parity", {"sufficiency": True}),
  )
  calls, wanted = [], []
  for kind, worst in (("difference", max), ("ratio", min)):
    for method in METHODS:
      theirs = getattr(frame, kind)(method=method)
      calls += [(f"{name}_{kind}", {"method": method, **more}) for name, more in measured]
      wanted += [theirs["accuracy"], theirs["ppv"], worst(theirs["ppv"], theirs["for"])]
  with jax.enable_x64(True):
    found = several(calls, num_groups=5, num_classes=2)(*given, weight=data.weight)
  np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("seed", aif360_figures.SEEDS)
def test_aif360_agrees_on_two_groups(seed):
  data, theirs = aif360_figures.draw(seed), aif360_figures.figures()[str(seed)]
  given = (data.y, data.y_pred, (data.group > 0).astype(int))
  calls = (
    ("accuracy_parity_difference", {}),
    ("predictive_parity_difference", {}),
    ("predictive_parity_difference", {"sufficiency": True, "agg": "mean"}),
  )
  with jax.enable_x64(True):
    run = several(calls, num_groups=2, num_classes=2)
    accuracy, precision, both = run(*given, weight=data.weight)
  discovery = abs(theirs["false_discovery_rate_difference"])
  omission = abs(theirs["false_omission_rate_difference"])
  np.testing.assert_allclose(accuracy, abs(theirs["error_rate_difference"]), atol=1e-12)
  np.testing.assert_allclose(precision, discovery, atol=1e-12)
  np.testing.assert_allclose(both, (discovery + omission) / 2, atol=1e-12)


@pytest.mark.parametrize(
  ("name", "options", "wanted"),
  [
    ("predictive_parity_difference", {}, 1 / 3),
    ("predictive_parity_difference", {"method": "to_overall"}, 1 - 8 / 11),
    ("predictive_parity_difference", {"sufficiency": True}, 1 / 3),
    ("predictive_parity_difference", {"sufficiency": True, "agg": "mean"}, 1 / 3),
    ("predictive_parity_ratio", {}, 2 / 3),
    ("predictive_parity_ratio", {"sufficiency": True}, 0),
    ("accuracy_parity_difference", {}, 0),
    ("accuracy_parity_ratio", {}, 1),
    ("treatment_equality_difference", {}, 1),
    ("treatment_equality_difference", {"method": "to_overall"}, 3 / 5),
  ],
)
def test_a_table_by_hand(name, options, wanted):
  # (group, y, prediction): count. Group 0 has TP 6, FP 3, TN 3; group 1 TP 2, FN 2, TN 4.
  table = {(0, 1, 1): 6, (0, 0, 1): 3, (0, 0, 0): 3, (1, 1, 1): 2, (1, 1, 0): 2, (1, 0, 0): 4}
  cells, counts = np.array(list(table)), list(table.values())
  got = getattr(metrics, name)(cells[:, 1], cells[:, 2], cells[:, 0], weight=counts, **options)
  np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_a_group_that_has_no_rate_is_named_and_left_out():
  y, y_pred, group = [1, 0, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 2, 2]
  with pytest.warns(UserWarning, match="no row predicted to be 1 in group 2 counts") as caught:
    assert float(metrics.predictive_parity_difference(y, y_pred, group)) == 0.5
  assert caught[0].filename == __file__
  with pytest.warns(UserWarning, match="no false positive of class 1 in group 1"):
    got = metrics.treatment_equality_difference(y, y_pred, group, bounded=False)
  assert float(got) == 0


def test_in_jit_and_vmap_they_are_the_same_and_their_slopes_finite():
  y, y_pred, group, weight = draw(7, 3, soft=True)
  many = np.stack([y_pred, y_pred[:, ::-1]])

  def measure(p, weight):
    options = {"num_groups": 4, "weight": weight}
    return jnp.stack([getattr(metrics, n)(y, p, group, **o, **options) for n, o, _ in SETTINGS])

  in_jit = jax.jit(jax.vmap(measure, (0, None)))(many, weight)
  with pytest.warns(UserWarning, match="in group 3"):
    np.testing.assert_allclose(in_jit[0], measure(y_pred, weight), rtol=1e-5)
  slope = jax.jit(jax.grad(lambda p, w: jnp.sum(measure(p, w))))
  for probs in (y_pred, np.eye(2)[y], np.eye(2)[0 * y]):
    assert np.isfinite(slope(jnp.asarray(probs, jnp.float32), weight)).all()
  assert not slope(jnp.asarray(y_pred, jnp.float32), 0 * weight).any()
