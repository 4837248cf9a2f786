"""Every statistic by group against a loop over rows, and how groups are compared."""

import functools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import rfjax
from rfjax import metrics

# Numerator and denominator of a row, of its 0-1 label and the probability of the class.
PARTS = {
  "selection_rate": lambda y, p: (p, 1),
  "true_positive_rate": lambda y, p: (p if y else 0, y),
  "false_negative_rate": lambda y, p: (1 - p if y else 0, y),
  "false_positive_rate": lambda y, p: (0 if y else p, 1 - y),
  "true_negative_rate": lambda y, p: (0 if y else 1 - p, 1 - y),
  "precision": lambda y, p: (p if y else 0, p),
  "false_discovery_rate": lambda y, p: (0 if y else p, p),
  "negative_predictive_value": lambda y, p: (0 if y else 1 - p, 1 - p),
  "false_omission_rate": lambda y, p: (1 - p if y else 0, 1 - p),
  "false_negatives_per_false_positive": lambda y, p: (1 - p if y else 0, 0 if y else p),
  "false_negative_share": lambda y, p: (1 - p if y else 0, 1 - p if y else p),
}
OF_LABEL = {"accuracy": lambda p: p, "error_rate": lambda p: 1 - p}
STATISTICS = (*PARTS, *OF_LABEL)


def draw(seed, classes, groups, soft):
  """Labels, predictions, memberships and weights; the last group has no row of class 1."""
  rng = np.random.default_rng(seed)
  rows = 80
  y, codes = rng.integers(classes, size=rows), rng.integers(groups, size=rows)
  codes[0] = groups - 1
  y[codes == groups - 1] = 0
  hard = rng.integers(classes, size=rows)
  probs = rng.dirichlet(np.ones(classes), size=rows) if soft else np.eye(classes)[hard]
  member = np.eye(groups)[codes]
  if soft:
    member[5], member[6] = 0, np.eye(groups)[0] / 4 + np.eye(groups)[1] / 2
  return y, probs, hard, member, codes, rng.uniform(0, 2, size=rows)


def by_loop(statistic, y, probs, member, weight):
  """Numerators and denominators [G, K], row by row."""
  classes, groups = probs.shape[1], member.shape[1]
  of_label = statistic in OF_LABEL
  kept = [None] if of_label else [1] if classes == 2 else range(classes)
  sums = np.zeros((2, groups, len(kept)))
  for i in range(len(y)):
    for column, k in enumerate(kept):
      if of_label:
        part = OF_LABEL[statistic](probs[i, y[i]]), 1
      else:
        part = PARTS[statistic](int(y[i] == k), probs[i, k])
      for g in range(groups):
        sums[:, g, column] += np.multiply(part, weight[i] * member[i, g])
  return sums


def test_the_names_are_those_of_the_table():
  for name in STATISTICS:
    assert name in metrics.group_rates.__doc__
  with pytest.raises(ValueError, match="statistic must be one of") as error:
    metrics.group_rates("kindness", [0, 1], [0, 1], [0, 1])
  assert all(repr(name) in str(error.value) for name in STATISTICS)


@functools.cache
def drawn_and_measured(classes, groups, soft):
  """What is drawn, and each statistic of it with its values and whether they are valid."""
  y, probs, hard, member, codes, weight = draw(classes + groups, classes, groups, soft)
  said, group = (probs, member) if soft else (hard, codes)

  @jax.jit
  def measured(y, said, group, weight):
    options = {"num_classes": classes, "num_groups": groups, "weight": weight}
    found = {name: metrics.group_rates(name, y, said, group, **options) for name in STATISTICS}
    return {name: (*rate, rate.value, rate.valid) for name, rate in found.items()}

  with jax.enable_x64(True):
    found = jax.device_get(measured(y, said, group, weight))
  return (y, probs, member, weight), found


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (2, 4), (3, 3)])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_sums_are_those_of_a_loop(statistic, classes, groups, soft):
  drawn, found = drawn_and_measured(classes, groups, soft)
  hits, size, value, valid = found[statistic]
  wanted_hits, wanted_size = by_loop(statistic, *drawn)
  np.testing.assert_allclose(hits, wanted_hits, rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(size, wanted_size, rtol=1e-12, atol=1e-12)
  known = wanted_size > 0
  np.testing.assert_array_equal(valid, known)
  np.testing.assert_allclose(value[known], wanted_hits[known] / wanted_size[known], rtol=1e-12)
  assert (value[~known] == 0).all()


@pytest.mark.filterwarnings("ignore:.* counts; such a rate")
@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
def test_differences_and_ratios_of_several_rates(method):
  with jax.enable_x64(True):
    y, probs, _, member, _, weight = draw(1, 2, 4, True)
    names = ("true_positive_rate", "precision")
    run = metric_programs.together(*((metrics.group_rates, {"statistic": n}) for n in names))
    rates = run(y_true=y, y_pred=probs, group=member, weight=weight)
    apart, folded = [], []
    for name in names:
      hits, size = by_loop(name, y, probs, member, weight)
      known = (hits / np.where(size > 0, size, 1))[size > 0]
      overall = hits.sum() / size.sum()
      if method == "between_groups":
        apart.append(known.max() - known.min())
        folded.append(known.min() / known.max())
      else:
        apart.append(max(abs(known - overall)))
        folded.append(min(min(r / overall, overall / r) if r > 0 else 0 for r in known))
    for measure, found, worst in (
      (metrics.difference, apart, max),
      (metrics.ratio, folded, min),
    ):
      for agg, expected in (("worst_case", worst(found)), ("mean", np.mean(found))):
        got = measure(*rates, method=method, agg=agg)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_sums_of_rows_on_four_devices_are_those_of_one():
  y, probs, _, member, _, weight = draw(3, 2, 3, True)
  mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  spread = jax.NamedSharding(mesh, jax.P("data"))

  @jax.jit
  def apart(y, probs, member, weight):
    rates = metrics.group_rates("true_positive_rate", y, probs, member, weight=weight)
    hard = [jnp.argmax(v, axis=1) for v in (probs, member)]
    counts = metrics.group_rates("precision", y, *hard, num_groups=3, num_classes=2)
    return rates, metrics.difference(rates), counts

  arrays = [jnp.asarray(v) for v in (y.astype(np.int32), probs, member, weight)]
  single = apart(*arrays)
  shared = apart(*(jax.device_put(v, spread) for v in arrays))
  for a, b in zip(jax.tree.leaves(shared), jax.tree.leaves(single), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_batch_and_its_arrays_agree():
  y, probs, _, _, codes, _ = draw(4, 3, 3, True)
  data = rfjax.Batch.from_arrays(np.zeros((len(y), 1)), y, codes, num_classes=3)
  flow = data.fill(jnp.log(jnp.asarray(probs, jnp.float32)))
  for soft, said in ((True, probs.astype(np.float32)), (False, probs.argmax(1))):
    rate, sizes = {"statistic": "selection_rate"}, {"num_classes": 3, "num_groups": 3}
    a = metric_programs.program(metrics.group_rates, **rate, soft=soft)(y_true=flow)
    b = metric_programs.program(metrics.group_rates, **rate, **sizes)(
      y_true=y, y_pred=said, group=codes
    )
    np.testing.assert_allclose(a.value, b.value, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.* counts; such a rate")
@pytest.mark.parametrize(("classes", "groups"), [(2, 4), (3, 3)])
def test_counts_by_cell_are_the_sums_over_rows(classes, groups):
  """Rows that count whole are summed by cell; with weights of 1 they are summed row by row."""
  rng = np.random.default_rng(0)
  y, said, group = (rng.integers(k, size=300) for k in (classes, classes, groups))
  # Traced codes that are out of range are of no class, and of no group.
  y[:3], said[2:5], group[9:12] = classes, -1, -1
  y[0], said[4], group[20:22] = classes + 3, -5, groups

  @jax.jit
  def both(y, said, group, *weight):
    options = {"num_groups": groups, "num_classes": classes}
    return [
      [metrics.group_rates(name, y, said, group, weight=w, **options) for name in STATISTICS]
      for w in (None, *weight)
    ]

  by_cell, by_row = both(y, said, group, jnp.ones(300))
  jax.tree.map(np.testing.assert_array_equal, by_cell, by_row)


def test_more_rows_are_counted_than_float32_counts_one_by_one():
  rows = 2**24 + 100_000
  y, y_pred = np.zeros(rows, np.int8), np.ones(rows, np.int8)
  run = metric_programs.program(
    metrics.group_rates, statistic="selection_rate", num_groups=1, num_classes=2
  )
  rate = run(y_true=y, y_pred=y_pred, group=y, weight=np.ones(rows, bool))
  np.testing.assert_allclose(rate.size, rows, rtol=1e-6)


def test_new_rows_compile_one_program_whatever_is_measured():
  """Outside of jit: they are counted, and all that follows is of the same few counts."""
  programs = []
  listen = lambda event, duration, **_: programs.append(event)
  measures = (metrics.demographic_parity_difference, metrics.equalized_odds_ratio)

  def compiled(rows):
    y, group = np.arange(rows) % 2, np.arange(rows) // 2 % 2
    programs.clear()
    for measure in measures:
      measure(y, 1 - y, group)
    return sum("backend_compile" in event for event in programs)

  compiled(500)
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    assert compiled(500) == 0
    assert compiled(501) == 1
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
