"""Missing sensitive attributes: the three mechanisms by bins, soft groups, what is refused."""

import functools
import itertools

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.core import group_sum
from rfjax.noise import _group_missing as noise

KEY = jax.random.key(0)
DRAWS = 300_000


@functools.cache
def dataset(rows, groups=3, seed=0):
  rng = np.random.default_rng(seed)
  group = np.append(np.arange(groups), rng.integers(0, groups, rows - groups))
  x = rng.normal(size=(rows, 1)).astype(np.float32)
  return host.batch(x, rng.integers(0, 2, rows), group)


def by_x_and_y(batch):
  return jax.nn.sigmoid(2 * batch.x[:, 0] - batch.y)


def assert_rate(missing, rate):
  """Within five binomial standard errors of the mean rate."""
  rate = np.broadcast_to(rate, missing.shape)
  error = 5 * np.sqrt((rate * (1 - rate)).sum()) / rate.size
  assert abs(missing.mean() - rate.mean()) <= error + 1e-12


def missing_rows(noisy):
  """The rows of zeros; all others must be the one-hot code of the true group."""
  group = np.asarray(noisy.group)
  missing = (group == 0).all(1)
  one_hot = np.eye(noisy.num_groups)[np.asarray(noisy.truth.group)]
  np.testing.assert_array_equal(group[~missing], one_hot[~missing])
  return missing


RATES, BY_GROUP = [0.0, 0.3, 1.0], [0.0, 0.2, 1.0]


@functools.cache
def struck():
  """Noisy data of every mechanism, by one program."""
  makers = {str(rate): noise.group_missing(rate) for rate in RATES}
  makers |= {"group": noise.group_missing(BY_GROUP), "x": noise.group_missing(by_x_and_y)}
  run = lambda clean: {name: rfjax.transform(t, clean, key=KEY) for name, t in makers.items()}
  return host.run(run, dataset(DRAWS))


@pytest.mark.parametrize("rate", RATES)
def test_completely_at_random(rate):
  clean = dataset(DRAWS)
  missing = missing_rows(struck()[str(rate)])
  for mask in (clean.group == 0, clean.group == 2, clean.x[:, 0] > 0, clean.y == 1):
    assert_rate(missing[np.asarray(mask)], rate)


def test_not_at_random_by_the_value_itself():
  clean, missing = dataset(DRAWS), missing_rows(struck()["group"])
  for group, rate in enumerate(BY_GROUP):
    assert_rate(missing[np.asarray(clean.group) == group], rate)


def test_at_random_by_features_and_label():
  clean = dataset(DRAWS)
  missing = missing_rows(struck()["x"])
  x, y = np.asarray(clean.x[:, 0], np.float64), np.asarray(clean.y)
  rate = 1 / (1 + np.exp(-(2 * x - y)))
  edges = np.quantile(x, [0, 0.1, 0.3, 0.5, 0.7, 0.9, 1])
  for label, (low, high) in itertools.product((0, 1), itertools.pairwise(edges)):
    for group in range(3):
      rows = (y == label) & (x >= low) & (x < high) & (np.asarray(clean.group) == group)
      assert_rate(missing[rows], rate[rows])


def test_a_function_that_reads_the_group_is_not_at_random():
  rates = jnp.array(BY_GROUP)
  flips = noise.group_missing(lambda b: rates[b.group]), noise.group_missing(rates)
  run = lambda clean: [rfjax.transform(t, clean, key=KEY).group for t in flips]
  np.testing.assert_array_equal(*host.run(run, dataset(2000)))


def test_what_is_missing_counts_in_no_group_and_enters_again():
  clean = dataset(1000)

  def strike(clean):
    noisy = rfjax.transform(noise.group_missing(0.4), clean, key=KEY)
    return noisy, group_sum(jnp.ones(1000), noisy.membership)

  noisy, counts = host.run(strike, clean)
  missing = missing_rows(noisy)
  expected = np.bincount(np.asarray(clean.group)[~missing], minlength=3)
  np.testing.assert_array_equal(counts, expected)
  again = host.batch(noisy.x, noisy.y, noisy.group)
  np.testing.assert_array_equal(again.membership, noisy.group)
  assert noisy.num_groups == 3 and noisy.group.dtype == jnp.float32


def test_a_soft_group_keeps_its_memberships_or_loses_the_row():
  rng = np.random.default_rng(1)
  soft = rng.dirichlet(np.ones(2), DRAWS).astype(np.float32)
  soft[:1000] = 0
  clean = host.batch(np.zeros((DRAWS, 1), np.float32), np.zeros(DRAWS, int), soft)
  run = lambda clean: rfjax.transform(noise.group_missing([0.1, 0.9]), clean, key=KEY).group
  group = host.run(run, clean)
  np.testing.assert_array_equal(group[:1000], 0)
  missing = (group[1000:] == 0).all(1)
  np.testing.assert_array_equal(group[1000:][~missing], soft[1000:][~missing])
  rate = soft[1000:].astype(np.float64) @ [0.1, 0.9]
  for low in (0.1, 0.3, 0.5, 0.7):
    rows = (rate >= low) & (rate < low + 0.2)
    assert_rate(missing[rows], rate[rows])


MAKERS = {
  "number": noise.group_missing,
  "by_group": lambda rate: noise.group_missing(jnp.full(3, rate)),
  "function": lambda rate: noise.group_missing(lambda batch: jnp.full(batch.num_rows, rate)),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_higher_rate_strikes_the_same_rows_and_some_more(make):
  clean = dataset(2000)
  known, rates = host.on_device(clean), np.linspace(0, 1, 11, dtype=np.float32)
  run = lambda rate: rfjax.transform(make(rate), known, key=KEY).group
  loop = lambda: [run(float(rate)) for rate in rates[[0, 3, 10]]]
  groups, singles = host.run(lambda many: (jax.vmap(run)(many), loop()), rates)
  missing = groups.sum(-1) == 0
  assert (missing[1:] >= missing[:-1]).all()
  np.testing.assert_array_equal(missing[[0, 3, 10]], np.stack(singles).sum(-1) == 0)
  counts = missing.sum(1)
  assert (np.diff(counts) > 0).all() and counts[0] == 0 and counts[-1] == 2000


@pytest.mark.parametrize("rate", [0.5, [0.2, 0.5, 0.8], by_x_and_y], ids=["number", "group", "x"])
def test_rows_take_their_noise_along(rate):
  clean = dataset(300)
  order = np.random.default_rng(3).permutation(300)
  padded = host.take(clean, np.arange(300), np.full(40, 300))
  run = lambda *batches: [
    rfjax.transform(noise.group_missing(rate), data, key=KEY) for data in batches
  ]
  noisy, moved, with_padding = host.run(run, clean, host.take(clean, order), padded)
  np.testing.assert_array_equal(moved.group, noisy.group[order])
  np.testing.assert_array_equal(with_padding.group[:300], noisy.group)
  np.testing.assert_array_equal(with_padding.group[300:], 0)


def test_only_the_group_changes_and_the_first_truth_stays():
  clean = dataset(3000)
  half = noise.group_missing(0.5)
  (twice,) = host.transform(rfjax.chain(half, half), clean, key=KEY)
  np.testing.assert_array_equal(twice.truth.group, clean.group)
  assert twice.truth.y is None and twice.truth.group.dtype == jnp.int32
  np.testing.assert_array_equal(twice.x, clean.x)
  np.testing.assert_array_equal(twice.y, clean.y)
  assert_rate(missing_rows(twice), 0.75)
  assert half.writes == ("group",)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), "a", [0.2, 1.1]])
def test_a_rate_out_of_range_is_refused(rate):
  with pytest.raises(ValueError, match="rate must"):
    noise.group_missing(rate)


def test_rates_of_another_shape_are_refused():
  with pytest.raises(ValueError, match=r"a number, or one a group, got shape \(1, 3\)"):
    noise.group_missing([[0.1, 0.2, 0.3]])
  with pytest.raises(ValueError, match="rate must have rows of equal length"):
    noise.group_missing([0.1, [0.2, 0.3]])
  with pytest.raises(ValueError, match="rate must hold numbers, got dtype <U3"):
    noise.group_missing(["0.1", "0.2", "0.3"])
  with pytest.raises(ValueError, match=r"rate is of 2 groups, but .* num_groups 3"):
    host.refuse(rfjax.transform, noise.group_missing([0.1, 0.2]), dataset(10), key=KEY)


@pytest.mark.parametrize(
  ("function", "message"),
  [
    (lambda batch: 0.5, r"shape \(10,\), got \(\)"),
    (lambda batch: batch.x, r"shape \(10,\), got \(10, 1\)"),
    (lambda batch: ["0.5"] * 10, "what rate returns must hold numbers"),
    (lambda batch: 2.0 * (batch.index < 3), "got 2 for 3 rows"),
    (lambda batch: jnp.where(batch.index == 4, jnp.nan, 0.5), "got nan for 1 rows"),
  ],
)
def test_a_function_of_no_probabilities_is_refused(function, message):
  with pytest.raises(ValueError, match=message):
    rfjax.transform(noise.group_missing(function), host.on_device(dataset(10)), key=KEY)


def test_padding_rows_may_have_any_probability():
  padded = host.on_device(host.take(dataset(10), np.arange(10), np.full(3, 10)))
  nan = noise.group_missing(lambda batch: jnp.where(batch.valid, 1.0, jnp.nan))
  np.testing.assert_array_equal(rfjax.transform(nan, padded, key=KEY).group, 0)


def test_no_groups_are_refused():
  without = host.batch([[0.0]] * 4, [0, 1, 0, 1])
  with pytest.raises(ValueError, match="group_missing needs group"):
    host.refuse(rfjax.transform, noise.group_missing(0.5), without, key=KEY)
