"""What data are like before any model, against loops over pairs of groups and scipy."""

import itertools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

import rfjax
from rfjax import metrics

MEASURES = ("base_rate_difference", "base_rate_ratio", "class_imbalance", "label_divergence")
DIVERGENCES = {
  "kl": entropy,
  "js": lambda p, q: jensenshannon(p, q) ** 2,
  "tvd": lambda p, q: sum(abs(p - q)) / 2,
  "lp": lambda p, q: np.linalg.norm(p - q),
  "ks": lambda p, q: max(abs(p - q)),
}


def several(*calls, **sizes):
  """The measures of these names and settings as one program."""
  return metric_programs.together(
    *((getattr(metrics, name), {**options, **sizes}) for name, options in calls)
  )


def draw(classes, groups=3, rows=60):
  rng = np.random.default_rng(classes)
  y, group = rng.integers(classes, size=rows), rng.integers(groups, size=rows)
  return y, group, rng.uniform(size=rows) * (rng.random(rows) > 0.2)


def by_loop(y, member, weight, classes):
  """The size and the label distribution of each group."""
  sums = np.zeros((member.shape[1], classes))
  for i, k in enumerate(y):
    sums[:, k] += weight[i] * member[i]
  return sums.sum(1), sums / sums.sum(1, keepdims=True)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_they_are_loops_over_pairs_of_groups(classes, soft):
  y, group, weight = draw(classes)
  member = np.eye(3)[group]
  if soft:
    group = member = np.random.default_rng(1).dirichlet(np.ones(3), 60)
    member[:4] = 0
  size, shares = by_loop(y, member, weight, classes)
  pairs = list(itertools.permutations(range(3), 2))
  plain = [(name, {}) for name in MEASURES[:3]]
  off = ("base_rate_difference", {"method": "to_overall"})
  kinds = [("label_divergence", {"kind": kind}) for kind in DIVERGENCES]
  with jax.enable_x64(True):
    run = several(*plain, off, *kinds, num_groups=3, num_classes=classes)
    apart, ratio, imbalance, off, *divergences = run(y, group, weight=weight)
  of_class = shares[:, 1:] if classes == 2 else shares
  difference = max(max(abs(of_class[a] - of_class[b])) for a, b in pairs)
  np.testing.assert_allclose(apart, difference, rtol=1e-12)
  lowest = min(min(of_class[a] / of_class[b]) for a, b in pairs)
  np.testing.assert_allclose(ratio, lowest, rtol=1e-12)
  overall = (size @ of_class) / size.sum()
  np.testing.assert_allclose(off, abs(of_class - overall).max(), rtol=1e-12)
  wanted = max((size[a] - size[b]) / (size[a] + size[b]) for a, b in pairs)
  np.testing.assert_allclose(imbalance, wanted, rtol=1e-12)
  for got, of in zip(divergences, DIVERGENCES.values(), strict=True):
    expected = max(of(shares[a], shares[b]) for a, b in pairs)
    np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_a_class_that_a_group_lacks():
  y, group = [0, 1, 1, 1], [0, 0, 1, 1]
  found = {kind: float(metrics.label_divergence(y, group, kind=kind)) for kind in DIVERGENCES}
  assert found["kl"] == np.inf
  assert (found["tvd"], found["ks"]) == (0.5, 0.5)
  assert found["js"] == pytest.approx(jensenshannon([0.5, 0.5], [0, 1]) ** 2)
  assert float(metrics.label_divergence([0, 1, 0, 1], group)) == 0


def test_a_group_without_rows():
  y, group = [0, 1, 1, 1], [0, 0, 2, 2]
  for name, expected in zip(MEASURES, (0.5, 0.5, 1.0, np.inf), strict=True):
    with pytest.warns(UserWarning, match=f"{name}: no row in group 1 counts") as caught:
      assert float(getattr(metrics, name)(y, group)) == expected
    assert caught[0].filename == __file__
  with pytest.warns(UserWarning, match="no row"):
    assert float(metrics.label_divergence(y, group, kind="lp")) == pytest.approx(0.5**0.5)
  with pytest.warns(UserWarning, match="no row"):
    assert float(metrics.class_imbalance(y, group, weight=[0] * 4)) == 0


def test_a_batch_needs_no_network():
  y, group, _ = draw(4)
  data = rfjax.Batch.from_arrays(np.zeros((60, 1)), y, group, num_classes=4)
  padded = data.take(jnp.asarray([60, *range(60), 60]))
  weight = np.random.default_rng(0).uniform(size=62)
  calls = [(name, {}) for name in MEASURES]
  of_batch, of_arrays = several(*calls), several(*calls, num_groups=3, num_classes=4)
  expected = of_arrays(y, group, weight=weight[1:-1])
  np.testing.assert_allclose(of_batch(padded, weight=weight), expected, rtol=1e-5)
  np.testing.assert_allclose(of_batch(padded), of_arrays(y, group), rtol=1e-6)


@pytest.mark.parametrize(
  ("arguments", "options", "message"),
  [
    (([0, 1], [0, 1]), {"kind": "l1"}, "kind must be one of 'kl', 'js', 'tvd', 'lp', 'ks'"),
    (([0.0, 2.0], [0, 1]), {}, "y_true must hold integers, got dtype float64: remap"),
    (([0, 3], [0, 1]), {"num_classes": 3}, r"y_true must lie in \[0, 3\), got 3"),
    (([0, 1],), {}, "group is None: pass group="),
    (([0, 1], [0, 1, 1]), {}, "group has 3 rows but y_true has 2"),
  ],
)
def test_bad_arguments_are_refused(arguments, options, message):
  with pytest.raises(ValueError, match=message):
    metrics.label_divergence(*arguments, **options)


def test_bad_batches_and_what_jit_cannot_see():
  data = rfjax.Batch.from_arrays(np.zeros((2, 1)), [0, 1], [0, 1])
  with pytest.raises(ValueError, match="group is part of a Batch already: leave"):
    metrics.class_imbalance(data, [0, 1])
  with pytest.raises(ValueError, match=r"class_imbalance needs group.*: pass group="):
    metrics.class_imbalance(data.replace(group=None))
  with pytest.raises(ValueError, match="base_rate_ratio needs num_classes"):
    jax.jit(metrics.base_rate_ratio)(np.zeros(4, int), np.eye(4))
