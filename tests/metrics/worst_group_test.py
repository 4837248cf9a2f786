"""The worst group's accuracy and losses over a bound, against loops, fairlearn and scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest

import aif360_figures
import rfjax
from rfjax import metrics

LOSSES = {
  "log": lambda p: -np.log(p),
  "square": lambda p: (1 - p) ** 2,
  "zero_one": lambda p: 1 - p,
}


def means(values, keys, weight):
  """The weighted mean of each key, by a loop over rows."""
  sums = {}
  for key, value, w in zip(keys, values, weight, strict=True):
    total, size = sums.get(key, (0.0, 0.0))
    sums[key] = (total + w * value, size + w)
  return [total / size for total, size in sums.values() if size > 0]


AGGREGATES = ("worst_case", "sum")


@functools.cache
def measured(classes, losses):
  """The worst group, its worst class, and violations [loss, aggregate, bound], as one program."""

  @jax.jit
  def run(y, said, group, weight, bounds):
    options = {"num_groups": 4, "num_classes": classes, "weight": weight}
    violation = lambda bound, **how: metrics.bounded_group_loss_violation(
      y, said, group, bound=bound, **how, **options
    )
    worst = metrics.worst_group_accuracy(y, said, group, **options)
    each = metrics.worst_group_accuracy(y, said, group, **options, per_class=True)
    return (
      worst,
      each,
      [
        [jax.vmap(functools.partial(violation, loss=loss, agg=agg))(b) for agg in AGGREGATES]
        for loss, b in zip(losses, bounds, strict=True)
      ],
    )

  return run


@pytest.mark.parametrize(("classes", "soft"), [(2, False), (2, True), (3, False), (3, True)])
def test_they_are_the_loops_of_their_definitions(classes, soft):
  for seed, rows in ((0, 60), (1, 9)):
    rng = np.random.default_rng(seed)
    y, group = rng.integers(classes, size=rows), rng.integers(3, size=rows)
    hard, weight = rng.integers(classes, size=rows), rng.uniform(size=rows)
    weight[:3] = 0
    probs = rng.dirichlet(np.ones(classes), rows) if soft else np.eye(classes)[hard]
    said, of_label = probs if soft else hard, probs[np.arange(rows), y]
    kinds = tuple(LOSSES) if soft else ("square", "zero_one")
    losses = [np.array(means(LOSSES[loss](of_label), group, weight)) for loss in kinds]
    bounds = np.array([(0, np.median(found), 9) for found in losses])
    # Rows of no weight fill the fewer ones up, that one program takes both.
    filled = [np.concatenate([v, v[np.zeros(60 - rows, int)]]) for v in (y, said, group)]
    filled.append(np.append(weight, np.zeros(60 - rows)))
    with jax.enable_x64(True):
      worst, each, found = jax.device_get(measured(classes, kinds)(*filled, bounds))
    np.testing.assert_allclose(worst, min(means(of_label, group, weight)), atol=1e-12)
    cells = list(zip(group, y, strict=True))
    np.testing.assert_allclose(each, min(means(of_label, cells, weight)), atol=1e-12)
    for of_group, limits, (largest, total) in zip(losses, bounds, found, strict=True):
      excess = np.maximum(of_group - limits[:, None], 0)
      np.testing.assert_allclose(largest, excess.max(1), atol=1e-12)
      np.testing.assert_allclose(total, excess.sum(1), atol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas, which fairlearn calls
@pytest.mark.parametrize("seed", aif360_figures.SEEDS)
def test_fairlearn_and_scikit_learn_agree(seed):
  fairlearn = pytest.importorskip("fairlearn", reason="fairlearn is not installed")
  from fairlearn.metrics import MetricFrame
  from fairlearn.reductions import BoundedGroupLoss, SquareLoss
  from sklearn.metrics import accuracy_score, log_loss

  assert fairlearn
  data = aif360_figures.draw(seed)
  group, score = data.group, data.score.clip(0.01, 0.99)
  weights = {"sample_params": {"sample_weight": data.weight}, "sensitive_features": group}
  accuracy = MetricFrame(metrics=accuracy_score, y_true=data.y, y_pred=data.y_pred, **weights)
  losses = MetricFrame(metrics=log_loss, y_true=data.y, y_pred=score, **weights)
  moment = BoundedGroupLoss(SquareLoss(0, 1), upper_bound=0.2)
  moment.load_data(data.x, data.y, sensitive_features=group)
  square = np.asarray(moment.gamma(lambda x: score))
  violation, sizes = metrics.bounded_group_loss_violation, {"num_groups": 5, "num_classes": 2}
  of_rows = metric_programs.program(metrics.worst_group_accuracy, **sizes)
  of_losses = metric_programs.program(violation, bound=0, **sizes)
  of_squares = metric_programs.program(violation, bound=0.2, loss="square", **sizes)
  with jax.enable_x64(True):
    got = of_rows(data.y, data.y_pred, group, weight=data.weight)
    np.testing.assert_allclose(got, accuracy.group_min(), atol=1e-12)
    got = of_losses(data.y, score, group, weight=data.weight)
    np.testing.assert_allclose(got, losses.group_max(), atol=1e-12)
    got = of_squares(data.y, score, group)
    np.testing.assert_allclose(got, max((square - 0.2).max(), 0), atol=1e-12)


def test_a_batch_is_its_softmax_for_losses_and_its_largest_logit_for_errors():
  data = aif360_figures.draw(1)
  flow = rfjax.Batch.from_arrays(data.x, data.y, data.group).fill(jnp.asarray(data.x[:, :2]))
  said, group = jax.nn.softmax(flow.logits), data.group
  violation = metrics.bounded_group_loss_violation
  *found, none_bound, lowest = metric_programs.together(
    *((violation, {"bound": 0.1, "loss": loss}) for loss in LOSSES),
    (violation, {"bound": 0, "loss": "zero_one"}),
    (metrics.worst_group_accuracy, {}),
  )(flow)
  sizes = {"bound": 0.1, "num_groups": flow.num_groups, "num_classes": 2}
  for got, loss, p in zip(found, LOSSES, (said, said, np.asarray(said).argmax(1)), strict=True):
    wanted = metric_programs.program(violation, loss=loss, **sizes)(data.y, p, group)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
  np.testing.assert_allclose(none_bound, 1 - float(lowest), rtol=1e-5)


def test_empty_groups_are_named_and_left_out():
  y, y_pred, group = [1, 0, 1, 0], [1, 0, 1, 1], [0, 0, 2, 2]
  with pytest.warns(UserWarning, match="worst_group_accuracy: no row in group 1 counts") as caught:
    assert float(metrics.worst_group_accuracy(y, y_pred, group)) == 0.5
  assert caught[0].filename == __file__
  with pytest.warns(
    UserWarning, match="no row in group 0, no row in group 1, no row in group 2 counts"
  ):
    assert float(metrics.worst_group_accuracy(y, y_pred, group, weight=[0, 0, 0, 0])) == 0
  with pytest.warns(UserWarning, match="bounded_group_loss_violation: no row in group 1 counts"):
    got = metrics.bounded_group_loss_violation(
      y, y_pred, group, bound=0.25, loss="zero_one", agg="sum"
    )
  assert float(got) == 0.25


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"bound": 0.1}, "loss must not be 'log' for classes, .*: pass probabilities"),
    ({"bound": -1, "loss": "square"}, r"bound must lie in \[0, inf\], got -1"),
    ({"bound": 0.1, "loss": "hinge"}, "loss must be one of 'log', 'square', 'zero_one', got"),
    ({"bound": 0.1, "agg": "mean"}, "agg must be one of 'worst_case', 'sum', got 'mean'"),
  ],
)
def test_bad_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    metrics.bounded_group_loss_violation([1, 0], [1, 0], [0, 1], **options)


def test_in_jit_and_vmap_they_are_the_same_and_their_slopes_finite():
  data = aif360_figures.draw(2)
  score, group = jnp.asarray(data.score), data.group

  def measure(bound, p, weight):
    options = {"num_groups": 4, "weight": weight}
    violation = lambda loss, agg: metrics.bounded_group_loss_violation(
      data.y, p, group, bound=bound, loss=loss, agg=agg, **options
    )
    found = [violation("log", "worst_case"), violation("square", "sum")]
    found.append(metrics.worst_group_accuracy(data.y, p, group, **options))
    return sum(found), jnp.stack(found)

  weight = jnp.asarray(data.weight)
  bounds, scores = (
    jnp.array([0.1, 0.3, 0.1, 0.1]),
    jnp.stack([score, 0 * score, 0 * score + 1, score]),
  )
  weights = jnp.stack([weight, weight, weight, 0 * weight])
  run = jax.jit(jax.vmap(jax.value_and_grad(measure, 1, has_aux=True)))
  (_, found), slopes = run(bounds, scores, weights)
  np.testing.assert_allclose(found[0], measure(bounds[0], score, weight)[1], rtol=1e-5)
  assert np.isfinite(slopes).all() and slopes[0].any() and not slopes[3].any()
