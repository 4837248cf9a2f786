"""Groups perturbed far from a boundary, against an oracle in NumPy that goes row by row."""

import functools

import host
import jax
import numpy as np
import pytest

import rfjax
from rfjax import noise
from rfjax.core import logistic_regression

KEY = jax.random.key(0)


@functools.cache
def dataset(rows=60, groups=2, classes=2, seed=0):
  rng = np.random.default_rng(seed)
  y = rng.integers(0, classes, rows)
  x = (rng.normal(size=(rows, 2)) + np.stack([y, -y], axis=1)).astype(np.float32)
  return host.batch(x, y, rng.integers(0, groups, rows))


def oracle(data, logits, count, source, target, label, predicted):
  """The surest rows first, one after the other."""
  logits, group = np.asarray(logits, float), np.array(data.group)
  ordered = np.sort(logits, axis=1)
  sure = ordered[:, -1] - ordered[:, -2]
  for row in sorted(range(len(group)), key=lambda i: (-sure[i], i)):
    struck = group[row] == source and (label is None or int(data.y[row]) == label)
    struck = struck and (predicted is None or logits[row].argmax() == predicted)
    if struck and count > 0:
      group[row], count = target, count - 1
  return group


@jax.jit
def regression(x, y, l2):
  return logistic_regression(x, y, l2=l2)


def by_regression(data, l2=1.0):
  kernel, intercept = map(np.asarray, regression(data.x, data.y, l2))
  score = np.asarray(data.x) @ kernel + intercept
  return np.stack([0 * score, score], axis=1)


@pytest.mark.parametrize(("label", "predicted"), [(0, 0), (1, 0), (None, 1), (None, None)])
def test_the_surest_rows_of_the_cell_are_struck(label, predicted):
  data = dataset()
  attack = noise.group_far_from_boundary(0.1, 1, label=label, predicted=predicted, l2=100.0)
  (noisy,) = host.transform(attack, data, key=KEY)
  logits = by_regression(data, 100.0)
  expected = oracle(data, logits, 6, 1, 0, label, predicted)
  np.testing.assert_array_equal(noisy.group, expected)
  assert 0 < (expected != np.asarray(data.group)).sum() <= 6
  np.testing.assert_array_equal(noisy.truth.group, data.group)
  np.testing.assert_array_equal(noisy.x, data.x)
  assert noisy.group.dtype == data.group.dtype


def test_a_rate_is_a_share_of_all_rows_and_strikes_no_more_than_there_are():
  data = dataset()
  known, rates = host.on_device(data), (0.0, 1 / 60, 0.049, 0.05, 1.0)
  attacks = [noise.group_far_from_boundary(rate, 0, label=1, predicted=1) for rate in rates]
  run = lambda key: [rfjax.transform(attack, known, key=key).group for attack in attacks]
  counts = [int((group != data.group).sum()) for group in host.run(run, KEY)]
  sure = by_regression(data)[:, 1] > 0
  there = (np.asarray(data.group) == 0) & (np.asarray(data.y) == 1) & sure
  assert counts == [0, 1, 2, 3, there.sum()]


def test_what_a_network_said_may_be_the_classifier_and_groups_may_be_many():
  data = dataset(groups=3, classes=3)
  logits = np.random.default_rng(1).integers(-2, 3, (60, 3)).astype(np.float32)
  attack = noise.group_far_from_boundary(0.1, 2, 1, label=None, predicted=0, score="logits")
  noisy = host.run(lambda z: rfjax.transform(attack, data.fill(z), key=KEY), logits)
  expected = oracle(data, logits, 6, 2, 1, None, 0)
  np.testing.assert_array_equal(noisy.group, expected)
  assert (expected != np.asarray(data.group)).sum() == 6


@pytest.mark.parametrize(("score", "rate"), [("regression", 0.9), ("logits", 0.1)])
def test_padding_neither_counts_nor_fits_and_order_does_not_matter(score, rate):
  data = dataset()
  tied = np.random.default_rng(1).integers(-1, 2, (60, 2)).astype(np.float32)
  attack = noise.group_far_from_boundary(rate, 1, label=None, predicted=1, score=score)
  order = np.random.default_rng(3).permutation(60)
  moved = host.take(data, order, np.full(300, 60))
  said = np.concatenate([tied[order], np.tile(np.float32([9, 0]), (300, 1))])
  batches = host.on_device([data, moved])
  run = lambda *logits: [
    rfjax.transform(attack, batch.fill(z), key=KEY)
    for batch, z in zip(batches, logits, strict=True)
  ]
  plain, noisy = host.run(run, tied, said)
  np.testing.assert_array_equal(noisy.group[:60], plain.group[order])
  np.testing.assert_array_equal(noisy.group[60:], moved.group[60:])
  assert (plain.group != data.group).sum() >= 6


def test_traced_rates_and_a_classifier_of_other_rows():
  data, clean = host.on_device((dataset(), dataset(seed=1)))
  make = lambda rate: noise.group_far_from_boundary(rate, 1, label=None, predicted=0)
  run = lambda rate: rfjax.transform(make(rate), data, key=KEY, fitted_on=clean).group
  rates = np.float32([0.0, 0.05, 0.1])
  swept = host.run(jax.vmap(run), rates)
  kernel, intercept = map(np.asarray, regression(clean.x, clean.y, 1.0))
  score = np.asarray(data.x) @ kernel + intercept
  for count, found in zip((0, 3, 6), swept, strict=True):
    expected = oracle(data, np.stack([0 * score, score], 1), count, 1, 0, None, 0)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  "bad",
  [
    {"rate": 1.1},
    {"source": -1},
    {"target": 1},
    {"label": -1},
    {"predicted": 0.5},
    {"score": "oracle"},
    {"l2": 0.0},
  ],
)
def test_the_factory_refuses_values_out_of_range(bad):
  with pytest.raises(ValueError, match=f"{next(iter(bad))} must"):
    noise.group_far_from_boundary(**{"rate": 0.1, "source": 1} | bad)


def test_data_of_another_kind_are_refused():
  data = dataset()
  strike = lambda data, **more: host.refuse(
    rfjax.transform, noise.group_far_from_boundary(0.1, 1, **more), data, key=KEY
  )
  with pytest.raises(ValueError, match="group_far_from_boundary needs one group a row"):
    strike(data.replace(group=np.eye(2, dtype=np.float32)[data.group]))
  with pytest.raises(ValueError, match="group_far_from_boundary needs group"):
    strike(data.replace(group=None))
  with pytest.raises(ValueError, match=r"target must be given .* num_groups 3"):
    strike(dataset(groups=3))
  with pytest.raises(ValueError, match=r"target must lie in \[0, 2\), got 4"):
    strike(data, target=4)
  with pytest.raises(ValueError, match=r"predicted must lie in \[0, 2\), got 2"):
    strike(data, predicted=2)
  with pytest.raises(ValueError, match=r"score must be 'logits' .* num_classes 3"):
    strike(dataset(classes=3))
  with pytest.raises(ValueError, match="group_far_from_boundary needs logits"):
    strike(data, score="logits")
