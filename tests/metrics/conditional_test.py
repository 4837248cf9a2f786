"""Conditional demographic parity and disparity, against loops, fairlearn, AIF360 and identities."""

import itertools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import aif360_figures
import rfjax
from rfjax import metrics

SEEDS = aif360_figures.SEEDS
parity = metrics.conditional_demographic_parity_difference
disparity = metrics.conditional_demographic_disparity
SETTINGS = list(itertools.product(("between_groups", "to_overall"), ("worst_case", "mean")))


def measured(groups, controls, classes):
  """The parity of each setting, and the disparity: a list of five, of one program."""
  sizes = {"num_groups": groups, "num_controls": controls, "num_classes": classes}
  return metric_programs.together(
    *((parity, {"method": method, "agg": agg, **sizes}) for method, agg in SETTINGS),
    (disparity, sizes),
  )


def draw(seed, rows, classes, soft):
  rng = np.random.default_rng(seed)
  group, control = rng.integers(3, size=rows), rng.integers(4, size=rows)
  probs = rng.dirichlet(np.ones(classes), size=rows)
  if not soft:
    probs = np.eye(classes)[rng.integers(classes, size=rows)]
  member = rng.dirichlet(np.ones(3), size=rows) if soft else np.eye(3)[group]
  if soft:
    member[:3] = 0
  return probs, member, group, control, rng.uniform(0.1, 2, size=rows)


def masses(p, member, control, weight, strata):
  """The weights that are accepted, and all, of each stratum and group, by a loop over rows."""
  sums = np.zeros((2, strata, member.shape[1]))
  for i, c in enumerate(control):
    for g in range(member.shape[1]):
      sums[:, c, g] += weight[i] * member[i, g] * np.array([p[i], 1])
  return sums


def parity_by_loops(p, member, control, weight, strata, method, agg):
  gaps, sizes = [], []
  for accepted, size in zip(*masses(p, member, control, weight, strata), strict=True):
    rates = accepted[size > 0] / size[size > 0]
    if len(rates) < 2:
      continue
    overall = accepted.sum() / size.sum()
    between = rates.max() - rates.min()
    gaps.append(between if method == "between_groups" else np.abs(rates - overall).max())
    sizes.append(size.sum())
  if not gaps:
    return 0
  return max(gaps) if agg == "worst_case" else np.average(gaps, weights=sizes)


def disparity_by_loops(p, member, control, weight, strata):
  accepted, size = masses(p, member, control, weight, strata)
  found = np.zeros(member.shape[1])
  for taken, everybody in zip(accepted, size, strict=True):
    left = everybody - taken
    if taken.sum() > 0 and left.sum() > 1e-12:
      found += everybody.sum() / size.sum() * (left / left.sum() - taken / taken.sum())
  return found


@pytest.mark.filterwarnings("ignore:.* counts; such a rate")
@pytest.mark.parametrize(("classes", "soft"), [(2, False), (2, True), (3, False), (3, True)])
def test_they_are_the_loops_of_their_definitions(classes, soft):
  seen = set()
  for seed, rows in ((0, 90), (1, 14)):
    probs, member, group, control, weight = draw(seed, rows, classes, soft)
    given = (np.zeros(rows, int), probs if soft else probs.argmax(1), member if soft else group)
    # Rows of no weight fill the fewer ones up, that one program takes both.
    filled = [np.concatenate([v, v[np.zeros(90 - rows, int)]]) for v in (*given, control)]
    columns = [1] if classes == 2 else range(classes)
    with jax.enable_x64(True):
      *gaps, found = measured(3, 5, classes)(
        *filled[:3], control=filled[3], weight=np.append(weight, np.zeros(90 - rows))
      )
    for (method, agg), got in zip(SETTINGS, gaps, strict=True):
      wanted = max(
        parity_by_loops(probs[:, k], member, control, weight, 5, method, agg) for k in columns
      )
      np.testing.assert_allclose(got, wanted, atol=1e-12)
      seen.add(float(got))
    found = found.reshape(3, -1)
    for column, k in enumerate(columns):
      wanted = disparity_by_loops(probs[:, k], member, control, weight, 5)
      np.testing.assert_allclose(found[:, column], wanted, atol=1e-12)
  assert len(seen) > 5


@pytest.mark.parametrize("seed", SEEDS)
def test_fairlearn_agrees(seed):
  fairlearn = pytest.importorskip("fairlearn.metrics", reason="fairlearn is not installed")
  data = aif360_figures.draw(seed)
  frame = fairlearn.MetricFrame(
    metrics=fairlearn.selection_rate,
    y_true=data.y,
    y_pred=data.y_pred,
    sensitive_features=data.group,
    control_features=data.control,
    sample_params={"sample_weight": data.weight},
  )
  shares = np.bincount(data.control, weights=data.weight)
  with jax.enable_x64(True):
    found = measured(5, 3, 2)(
      *(data.y, data.y_pred, data.group), control=data.control, weight=data.weight
    )
  for (method, agg), got in zip(SETTINGS, found[:-1], strict=True):
    theirs = np.asarray(frame.difference(method=method))
    wanted = theirs.max() if agg == "worst_case" else np.average(theirs, weights=shares)
    np.testing.assert_allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_aif360_weighs_the_disparities_of_one_stratum_by_group(seed):
  data = aif360_figures.draw(seed)
  given, weight = (data.y, data.y_pred, data.group), data.weight
  with jax.enable_x64(True):
    *_, found = measured(5, 3, 2)(*given, control=0 * data.y, weight=weight)
  shares = np.bincount(data.group, weights=weight, minlength=5) / weight.sum()
  theirs = aif360_figures.figures()[str(seed)]
  wanted = theirs["conditional_demographic_disparity, each group as a stratum"]
  np.testing.assert_allclose(shares @ found, wanted, atol=1e-12)


def test_one_stratum_is_demographic_parity_and_disparities_sum_to_zero():
  data = aif360_figures.draw(3)
  given = (data.y, data.y_pred, data.group)
  of = metric_programs.program(metrics.demographic_parity_difference, num_groups=5, num_classes=2)
  plain = of(*given)
  run = measured(5, 3, 2)
  np.testing.assert_allclose(run(*given, control=0 * data.y)[:2], [plain, plain], rtol=1e-6)
  *_, found = run(*given, control=data.control)
  np.testing.assert_allclose(np.sum(found), 0, atol=1e-6)
  assert np.abs(found).max() > 0.01


def test_what_the_control_feature_explains_is_fair():
  # (stratum, group, decision): weight. Stratum 0 takes 3 in 4 of both groups; stratum 1, in which
  # group 1 more often is, 1 in 4.
  table = {(0, 0, 1): 6, (0, 0, 0): 2, (0, 1, 1): 1.5, (0, 1, 0): 0.5} | {
    **{(1, 0, 1): 0.5, (1, 0, 0): 1.5, (1, 1, 1): 2, (1, 1, 0): 6}
  }
  control, group, y_pred = np.array(list(table)).T
  weight = np.array(list(table.values()))
  y = 0 * group
  gap, *_, found = measured(2, 2, 2)(y, y_pred, group, control=control, weight=weight)
  np.testing.assert_allclose(gap, 0, atol=1e-6)
  np.testing.assert_allclose(found, [0, 0], atol=1e-6)
  assert float(metrics.demographic_parity_difference(y, y_pred, group, weight=weight)) > 0.25


def test_a_batch_is_its_arrays_and_padding_counts_nowhere():
  data = aif360_figures.draw(1)
  flow = rfjax.Batch.from_arrays(data.x, data.y, data.group).fill(jnp.asarray(data.x[:, :2]))
  rows = np.array([*range(200), 200, 200])
  said, control = np.asarray(flow.logits).argmax(1), data.control[rows % 200]
  gap, *_, wanted = measured(5, 3, 2)(data.y, said, data.group, control=data.control)
  of_batch = metric_programs.together(*((m, {"num_controls": 3}) for m in (parity, disparity)))
  found = of_batch(flow.take(rows), control=control)
  np.testing.assert_allclose(found[0], gap, atol=1e-6)
  groups = flow.num_groups
  np.testing.assert_allclose(found[1], wanted[:groups], atol=1e-6)


def test_an_empty_cell_is_named_and_left_out():
  y, y_pred, group, control = [0] * 5, [1, 0, 1, 1, 0], [0, 1, 0, 0, 0], [1, 1, 0, 0, 0]
  message = "no row in group 1 of stratum 0 counts"
  for agg in ("worst_case", "mean"):
    with pytest.warns(UserWarning, match=message) as caught:
      assert float(parity(y, y_pred, group, control=control, agg=agg)) == 1
    assert caught[0].filename == __file__
  # Stratum 0 has two sorts of decision, but no comparison; the group's share of 0 is one.
  np.testing.assert_allclose(disparity(y, y_pred, group, control=control), [-0.4, 0.4], atol=1e-6)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"control": [0, 1]}, "control has 2 rows but y_true has 3"),
    ({"control": None}, "control is None: pass control="),
    ({"control": [0, 1, -1]}, r"control must lie in \[0, 2\), got -1"),
    ({"control": [0, 1, 1], "num_controls": 1}, r"control must lie in \[0, 1\), got 1"),
    ({"control": [0, 1, 1], "num_controls": 0}, "num_controls must be an integer of at least 1"),
    ({"control": [0, 1, 1], "agg": "sum"}, "agg must be one of 'worst_case', 'mean'"),
    ({"control": [0, 1, 1], "method": "pairs"}, "method must be one of 'between_groups'"),
  ],
)
def test_bad_strata_and_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    parity([1, 0, 0], [1, 0, 1], [0, 1, 0], **options)


def test_in_jit_and_vmap_they_are_the_same_and_their_slopes_finite():
  data = aif360_figures.draw(2)
  score, weight = jnp.asarray(data.score), jnp.asarray(data.weight)

  def measure(p, weight, control):
    given, options = (data.y, p, data.group), {"num_groups": 4, "num_controls": 3}
    options |= {"control": control, "weight": weight}
    found = [parity(*given, agg=agg, **options) for agg in ("worst_case", "mean")]
    found = jnp.append(jnp.stack(found), disparity(*given, **options))
    return jnp.sum(found * jnp.arange(6)), found

  scores = jnp.stack([score, 0 * score, 0 * score + 1, score])
  weights = jnp.stack([weight, weight, weight, 0 * weight])
  run = jax.jit(jax.vmap(jax.value_and_grad(measure, has_aux=True), (0, 0, None)))
  (_, found), slopes = run(scores, weights, data.control)
  np.testing.assert_allclose(found[0], measure(score, weight, data.control)[1], atol=1e-6)
  assert np.isfinite(slopes).all() and slopes[0].any() and not slopes[3].any()
  with pytest.raises(ValueError, match="num_controls is None and a traced control does not"):
    jax.jit(lambda c: parity(data.y, score, data.group, control=c))(data.control)


def test_traced_codes_of_no_group_are_not_of_the_next_stratum():
  y_pred, control = np.array([1, 0, 1, 1, 0, 1]), np.array([0, 0, 1, 1, 0, 0])
  group = np.array([0, 1, 0, 1, 2, 2])  # of 2: the last two are of no group
  measure = jax.jit(lambda g: parity(y_pred, y_pred, g, control=control, num_groups=2, agg="mean"))
  of = metric_programs.program(parity, num_groups=2, num_controls=2, num_classes=2, agg="mean")
  without = of(y_pred[:4], y_pred[:4], group[:4], control=control[:4])
  # Strata are weighed by their rows that have a group.
  np.testing.assert_allclose(measure(group), without, rtol=1e-6)
