"""Rates, by group and overall, and what every measure reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

import rfjax
from rfjax import metrics

RATES = ("accuracy", "selection_rate", "true_positive_rate", "false_positive_rate")
GAPS = (
  "demographic_parity_difference",
  "demographic_parity_ratio",
  "disparate_impact",
  "equal_opportunity_difference",
  "equal_opportunity_ratio",
  "equalized_odds_difference",
  "equalized_odds_ratio",
)


def probability(y_pred, i, k):
  if y_pred.ndim == 2:
    return y_pred[i, k]
  if y_pred.dtype.kind == "i":
    return float(y_pred[i] == k)
  return y_pred[i] if k == 1 else 1 - y_pred[i]


def loop(name, y, y_pred, membership, weight, g, k):
  """Numerator and denominator of a rate of group g and class k, row by row."""
  hits = size = 0.0
  for i in range(len(y)):
    mass = weight[i] * membership[i, g]
    if name == "accuracy":
      hits, size = hits + mass * probability(y_pred, i, y[i]), size + mass
    elif name == "selection_rate":
      hits, size = hits + mass * probability(y_pred, i, k), size + mass
    elif (y[i] == k) == (name == "true_positive_rate"):
      hits, size = hits + mass * probability(y_pred, i, k), size + mass
  return hits, size


def draw(seed, classes=2, groups=3, rows=40, kind="hard"):
  rng = np.random.default_rng(seed)
  y = rng.integers(classes, size=rows)
  y_pred = {
    "hard": lambda: rng.integers(classes, size=rows),
    "first": lambda: rng.uniform(size=rows),
    "all": lambda: rng.dirichlet(np.ones(classes), size=rows),
  }[kind]()
  return (
    y,
    y_pred,
    rng.integers(groups, size=rows),
    rng.uniform(size=rows) * (rng.random(rows) > 0.2),
  )


@pytest.mark.parametrize("soft_group", [False, True])
@pytest.mark.parametrize(
  "kind, classes", [("hard", 2), ("hard", 3), ("first", 2), ("all", 2), ("all", 3)]
)
def test_by_group_is_the_loop_over_rows(kind, classes, soft_group):
  y, y_pred, group, weight = draw(classes, classes, kind=kind)
  membership = np.eye(3)[group]
  if soft_group:
    membership = np.random.default_rng(9).dirichlet(np.ones(3), size=len(y))
    membership[:4] = 0
    group = membership
  with jax.enable_x64(True):
    rates = metrics.by_group(y, y_pred, group, weight=weight)
    for name in RATES:
      rate = getattr(rates, name)
      shown = [1] if classes == 2 or name == "accuracy" else range(classes)
      assert rate.value.shape == ((3,) if len(shown) == 1 else (3, classes))
      for g in range(3):
        for column, k in enumerate(shown):
          hits, size = loop(name, y, y_pred, membership, weight, g, k)
          at = g if len(shown) == 1 else (g, column)
          np.testing.assert_allclose(rate.value[at], hits / size, atol=1e-12)
          np.testing.assert_allclose(rate.size[at], size, atol=1e-12)
      assert bool(rate.valid.all())


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("classes", [2, 3])
def test_overall_is_the_loop_over_rows(name, classes):
  y, y_pred, _, weight = draw(5, classes)
  with jax.enable_x64(True):
    got = getattr(metrics, name)(y, y_pred, weight=weight)
  shown = [1] if classes == 2 or name == "accuracy" else range(classes)
  sums = [loop(name, y, y_pred, np.ones((len(y), 1)), weight, 0, k) for k in shown]
  expected = [hits / size for hits, size in sums]
  np.testing.assert_allclose(got, expected if len(shown) > 1 else expected[0], atol=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
def test_overall_is_scikit_learn(classes):
  y, y_pred, _, weight = draw(11, classes, rows=100)
  with jax.enable_x64(True):
    accuracy = metrics.accuracy(y, y_pred, weight=weight)
    rates = [
      getattr(metrics, name)(y, y_pred, weight=weight)
      for name in ("true_positive_rate", "false_positive_rate", "selection_rate")
    ]
  np.testing.assert_allclose(accuracy, accuracy_score(y, y_pred, sample_weight=weight), atol=1e-12)
  m = confusion_matrix(y, y_pred, sample_weight=weight)
  hit, said, is_k = np.diag(m), m.sum(0), m.sum(1)
  expected = [hit / is_k, (said - hit) / (m.sum() - is_k), said / m.sum()]
  for got, wanted in zip(rates, expected, strict=True):
    np.testing.assert_allclose(got, wanted if classes > 2 else wanted[1], atol=1e-12)


def test_hand_table():
  y, y_pred, group = [1, 1, 0, 0, 1, 0, 0], [1, 0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1]
  rates = metrics.by_group(y, y_pred, group)
  np.testing.assert_allclose(rates.accuracy.value, [0.5, 1])
  np.testing.assert_allclose(rates.selection_rate.value, [0.5, 1 / 3])
  np.testing.assert_allclose(rates.true_positive_rate.value, [0.5, 1])
  np.testing.assert_allclose(rates.false_positive_rate.value, [0.5, 0])
  np.testing.assert_array_equal(rates.accuracy.size, [4, 3])
  np.testing.assert_array_equal(rates.true_positive_rate.size, [2, 1])
  np.testing.assert_array_equal(rates.false_positive_rate.size, [2, 2])


def test_kinds_of_predictions_agree():
  y, y_pred, group, weight = draw(2)
  kinds = (y_pred, y_pred.astype(bool), y_pred.astype(float), np.eye(2)[y_pred])
  first, *others = (metrics.by_group(y, kind, group, weight=weight) for kind in kinds)
  for other in others:
    jax.tree.map(np.testing.assert_array_equal, first, other)


def test_kinds_of_groups_agree():
  y, y_pred, group, weight = draw(2)
  hard = metrics.by_group(y, y_pred, group, weight=weight)
  soft = metrics.by_group(y, y_pred, np.eye(3)[group], weight=weight)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), hard, soft)


def test_low_precision_is_summed_in_float32():
  y = jnp.arange(1000) % 2
  rate = metrics.by_group(y, y.astype(jnp.bfloat16), jnp.zeros(1000, int)).accuracy
  assert rate.size.dtype == jnp.float32
  assert (rate.hits.tolist(), rate.size.tolist()) == ([1000.0], [1000.0])


def test_padding_rows_do_not_count():
  y, y_pred, group, weight = draw(3)
  padded = [np.append(v, [v[0]] * 5, axis=0) for v in (y, 1 - y_pred, group)]
  padded[1][: len(y)] = y_pred
  padded_weight = np.append(weight, np.zeros(5))
  for name in GAPS:
    measure = getattr(metrics, name)
    expected = measure(y, y_pred, group, weight=weight)
    np.testing.assert_allclose(measure(*padded, weight=padded_weight), expected, rtol=1e-6)


# A Batch


def filled(classes=2, rows=30):
  rng = np.random.default_rng(7)
  y, group = np.arange(rows) % classes, np.arange(rows) // classes % 3
  data = rfjax.Batch.from_arrays(rng.normal(size=(rows, 2)), y, group)
  return data.fill(jnp.asarray(rng.normal(size=(rows, classes)), jnp.float32)), y, group


@pytest.mark.parametrize("classes", [2, 3])
def test_batch_is_its_arrays(classes):
  batch, y, group = filled(classes)
  hard, soft = np.asarray(batch.logits).argmax(1), np.asarray(jax.nn.softmax(batch.logits))
  for name in RATES:
    measure = getattr(metrics, name)
    np.testing.assert_allclose(measure(batch), measure(y, hard))
    np.testing.assert_allclose(measure(batch, soft=True), measure(y, soft))
  for name in GAPS:
    measure = getattr(metrics, name)
    np.testing.assert_allclose(measure(batch), measure(y, hard, group))
    np.testing.assert_allclose(measure(batch, soft=True), measure(y, soft, group))


def test_batch_counts_valid_rows_and_weights():
  batch, y, group = filled()
  weight = np.linspace(0, 1, 30)
  hard = np.asarray(batch.logits).argmax(1)
  rows = np.array([*range(25), 30, 30])
  padded = batch.take(rows)
  for name in GAPS:
    measure = getattr(metrics, name)
    np.testing.assert_allclose(measure(padded), measure(y[:25], hard[:25], group[:25]), rtol=1e-6)
    padded_weight = np.append(weight[:25], [1, 1])
    expected = measure(y[:25], hard[:25], group[:25], weight=weight[:25])
    np.testing.assert_allclose(measure(padded, weight=padded_weight), expected, rtol=1e-6)


def test_batch_works_inside_jit_and_without_a_group():
  batch, y, _ = filled(3)
  hard = np.asarray(batch.logits).argmax(1)
  got = jax.jit(lambda b: (metrics.accuracy(b), metrics.equalized_odds_difference(b)))(batch)
  np.testing.assert_allclose(got[0], np.mean(hard == y), rtol=1e-6)
  np.testing.assert_allclose(got[1], metrics.equalized_odds_difference(batch), rtol=1e-6)
  np.testing.assert_allclose(metrics.accuracy(batch.replace(group=None)), got[0], rtol=1e-6)


def test_a_network_is_measured_in_one_line():
  data = rfjax.Batch.from_arrays([[-1.0], [2.0], [3.0]], [0, 1, 0], [0, 1, 1])
  network = rfjax.architectures.logistic()
  params = {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}
  batch = rfjax.predict(network, rfjax.TrainState(params, (), (), ()), data)
  np.testing.assert_allclose(metrics.accuracy(batch), 2 / 3, rtol=1e-6)
  np.testing.assert_allclose(metrics.demographic_parity_difference(batch), 1.0)


# Transformations


def test_accuracy_of_traced_classes_needs_no_number_of_classes():
  y, y_pred, _, weight = draw(4, classes=5)
  got = jax.jit(metrics.accuracy)(y, y_pred, weight=weight)
  np.testing.assert_allclose(got, metrics.accuracy(y, y_pred, weight=weight), rtol=1e-6)


def test_by_group_is_the_same_inside_jit_and_vmap():
  y, _, group, weight = draw(6, classes=3, rows=60)
  y_pred = np.random.default_rng(0).integers(3, size=(4, len(y)))
  run = lambda p, y: (
    metrics.by_group(y, p, group, num_groups=3, num_classes=3, weight=weight).true_positive_rate
  )
  many = jax.jit(jax.vmap(run, (0, None)))(y_pred, y)
  for i in range(4):
    one = run(y_pred[i], y)
    np.testing.assert_allclose(many.value[i], one.value, rtol=1e-6)
    np.testing.assert_allclose(many.size[i], one.size, rtol=1e-6)


def test_sums_of_parts_add_up():
  y, y_pred, group, weight = draw(8, rows=60)
  whole = metrics.by_group(y, y_pred, group, num_groups=3, weight=weight)
  parts = [
    metrics.by_group(y[s], y_pred[s], group[s], num_groups=3, weight=weight[s])
    for s in (slice(0, 30), slice(30, 60))
  ]
  total = jax.tree.map(jnp.add, *parts)
  for name in RATES:
    np.testing.assert_allclose(
      getattr(total, name).value, getattr(whole, name).value, rtol=1e-6, atol=1e-7
    )


# Empty cells


def test_empty_cells_are_named_masked_and_flat():
  y, y_pred, group = [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 2, 2]
  with pytest.warns(UserWarning) as caught:
    rates = metrics.by_group(y, y_pred, group)
  text = [str(w.message) for w in caught]
  assert any("by_group: no row in group 1 counts" in t for t in text)
  assert any("no row of class 1 in group 1, no row of class 1 in group 2 counts" in t for t in text)
  assert {w.filename for w in caught} == {__file__}
  assert rates.accuracy.valid.tolist() == [True, False, True]
  assert rates.true_positive_rate.valid.tolist() == [True, False, False]
  assert rates.true_positive_rate.value.tolist() == [1, 0, 0]


def test_an_empty_overall_rate_is_named_and_zero():
  with pytest.warns(UserWarning, match="true_positive_rate: no row of class 1 counts") as caught:
    assert float(metrics.true_positive_rate([0, 0], [1, 0])) == 0
  assert caught[0].filename == __file__
  with pytest.warns(
    UserWarning, match=r"no row of class 2, no row of class 3, .* and 2 more counts"
  ):
    metrics.true_positive_rate([0, 1], [0, 1], num_classes=7)
  with pytest.warns(UserWarning, match="accuracy: no row counts"):
    assert float(metrics.accuracy([0, 0], [1, 0], weight=[0, 0])) == 0


# Bad input

Y, P, A = [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1]


@pytest.mark.parametrize(
  "arguments, options, message",
  [
    ((Y, P), {}, "group is None: pass group="),
    ((Y,), {}, "y_pred is None: pass y_pred="),
    ((Y, P[:3], A), {}, "y_pred has 3 rows but y_true has 4: pass"),
    ((Y, P, A[:3]), {}, "group has 3 rows but y_true has 4: pass"),
    ((Y, P, A), {"weight": [1, 1]}, "weight has 2 rows but y_true has 4: pass"),
    (([], [], []), {}, "y_true is empty: pass"),
    ((["a"] * 4, P, A), {}, "y_true must hold numbers, got dtype <U1: encode"),
    (([0.0, 1, 1, 0], P, A), {}, "y_true must hold integers, got dtype float64: remap"),
    (([0, 1, -1, 0], P, A), {}, r"y_true must lie in \[0, 2\), got -1 .*: remap"),
    ((Y, [0, 1, -1, 0], A), {}, r"y_pred must lie in \[0, 2\), got -1 .*: remap"),
    ((Y, [0, 3, 1, 0], A), {"num_classes": 3}, r"y_pred must lie in \[0, 3\), got 3 .*: remap"),
    (([0, 1, 2, 0], [0.1] * 4, A), {}, r"y_true must lie in \[0, 2\), got 2 .*: remap"),
    ((Y, [0.1, 1.5, 0.2, 0.3], A), {}, r"y_pred must lie in \[0, 1\], got 1.5 .*: pass classes"),
    ((Y, [0.1, np.nan, 0.2, 0.3], A), {}, r"y_pred must lie in \[0, 1\], got nan .*: pass classes"),
    ((Y, np.full((4, 3), 1 / 3), A), {"num_classes": 2}, "num_classes is 2 but .* 3: leave it"),
    ((Y, np.ones((4, 1)), A), {}, r"y_pred has shape \(4, 1\): pass"),
    ((Y, np.ones((4, 2), int), A), {}, r"y_pred must have one axis, .* \(4, 2\): pass"),
    ((Y, np.ones((4, 2, 1)), A), {}, r"y_pred must not have shape \(4, 2, 1\): pass"),
    ((Y, P, [0, 1, -1, 0]), {}, r"group must lie in \[0, 2\), got -1 .*: remap"),
    ((Y, P, [0, 1, 2, 0]), {"num_groups": 2}, r"group must lie in \[0, 2\), got 2 .*: remap"),
    ((Y, P, [0.0, 1.0, 0.0, 1.0]), {}, "group must hold integers, got dtype float64: remap"),
    ((Y, P, np.eye(4)), {"num_groups": 2}, "num_groups is 2 but group has 4 columns: leave it"),
    ((Y, P, 2 * np.eye(4)), {}, "group must hold memberships .*: normalise"),
    ((Y, P, A), {"weight": [1, -2, 1, 1]}, "weight must be .*, got -2 .*: give padding"),
    ((Y, P, A), {"weight": [1, np.nan, 1, 1]}, "weight must be .*, got nan .*: give padding"),
    ((Y, P, A), {"soft": True}, "soft is True without a Batch: pass"),
    ((Y, P, A), {"method": "pairs"}, "method must be one of 'between_groups', 'to_overall', got"),
    ((Y, P, A), {"agg": "sum"}, "agg must be one of 'worst_case', 'mean', got 'sum'"),
  ],
)
def test_bad_arguments_are_refused(arguments, options, message):
  with pytest.raises(ValueError, match=message):
    metrics.equalized_odds_difference(*arguments, **options)


def test_bad_batches_are_refused():
  batch, _, _ = filled()
  with pytest.raises(ValueError, match=r"disparate_impact needs logits.*: it is filled"):
    metrics.disparate_impact(batch.replace(logits=None))
  with pytest.raises(ValueError, match=r"disparate_impact needs group.*: pass group="):
    metrics.disparate_impact(batch.replace(group=None))
  with pytest.raises(ValueError, match="group is part of a Batch already: leave"):
    metrics.disparate_impact(batch, group=A)
  with pytest.raises(ValueError, match="weight has 4 rows but"):
    metrics.disparate_impact(batch, weight=np.ones(4))
  with pytest.raises(ValueError, match=r"logits must be numbers, got nan .1 of 30 rows"):
    metrics.accuracy(batch.replace(logits=batch.logits.at[3, 1].set(jnp.nan)))


@pytest.mark.parametrize(
  "arguments, message",
  [
    ((Y, P, A), "num_groups is None and a traced group .*: pass num_groups="),
    ((Y, P, np.eye(4)), "needs num_classes, .*: pass num_classes="),
    ((np.ones(4), np.ones(4), np.eye(4)), r"y_true must hold integers \[N\], got float32 \[4\]"),
    ((np.ones(4), np.ones(3), np.eye(4)), "y_pred has 3 rows but y_true has 4"),
  ],
)
def test_what_jit_cannot_see_is_asked_for(arguments, message):
  with pytest.raises(ValueError, match=message):
    jax.jit(metrics.demographic_parity_difference)(*map(jnp.asarray, arguments))


def test_padding_of_a_taken_batch_counts_nowhere():
  logits = jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
  data = rfjax.Batch.from_arrays(np.zeros((4, 1)), [1, 0, 1, 0], [0, 0, 1, 1]).fill(logits)
  padded = data.take(jnp.array([0, 4, 1, 2, 3, 4]))
  for measure in (metrics.accuracy, metrics.disparate_impact, metrics.equalized_odds_difference):
    assert measure(padded) == measure(data)
