"""Distances between the scores of groups against loops, traces and SciPy."""

import itertools

import jax
import jax.numpy as jnp
import metric_programs
import numpy as np
import pytest
from scipy import stats

import rfjax
from rfjax import metrics

GROUPS = 3


def draw(seed=0, classes=2, rows=40, soft=False):
  """Labels, probabilities, memberships and weights; two rows have no group, two no weight."""
  rng = np.random.default_rng(seed)
  y, codes = rng.integers(classes, size=rows), rng.integers(GROUPS, size=rows)
  probs = rng.dirichlet(np.ones(classes), size=rows)
  probs[5:8] = probs[4]  # ties
  member = np.eye(GROUPS)[codes]
  if soft:
    member = rng.dirichlet(np.ones(GROUPS), size=rows) * rng.uniform(0.5, 1, size=(rows, 1))
  member[:2] = 0
  weight = rng.integers(1, 4, size=rows).astype(float)
  weight[2:4] = 0
  return y, probs, member, weight


def laws(member, weight, method):
  """Pairs of laws, as weights of the rows with sum 1."""
  found = [column * weight / (column * weight).sum() for column in member.T]
  if method == "between_groups":
    return list(itertools.combinations(found, 2))
  every = member.sum(1) * weight
  return [(law, every / every.sum()) for law in found]


def gram(scores, kernel, width):
  apart = np.linalg.norm(scores[:, None] - scores[None], axis=2) / width
  return np.exp(-(apart**2) if kernel == "gaussian" else -apart)


def scores_of(probs):
  return probs[:, 1:] if probs.shape[1] == 2 else probs


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


MEASURES = (
  metrics.score_mmd,
  metrics.score_hsic,
  metrics.score_correlation,
  metrics.score_wasserstein,
)
AGGREGATES = ("worst_case", "mean")


def compiled(measure, **options):
  """A measure of y, probabilities, membership and weight; a width is traced."""
  traced = {name: options.pop(name) for name in ("width",) if name in options}
  of = metric_programs.program(measure, **options)
  return lambda y, p, m, w: of(y, p, m, weight=w, **traced)


def aggregated(measure, *arrays, **options):
  """Its aggregates, the worst case and the mean, of one program."""
  *data, weight = arrays
  traced = {name: options.pop(name) for name in ("width",) if name in options}
  calls = ((measure, {"agg": agg, **options}) for agg in AGGREGATES)
  return metric_programs.together(*calls)(*data, weight=weight, **traced)


def one_of_all(measure, **options):
  """A measure of one program for all of them."""
  run = metric_programs.together(*((each, options) for each in MEASURES))
  return lambda y, p, m, w: run(y, p, m, weight=w)[MEASURES.index(measure)]


@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
@pytest.mark.parametrize(
  ("classes", "kernel", "soft"),
  [(2, "gaussian", False), (2, "laplacian", True), (3, "gaussian", 1)],
)
def test_mmd_is_the_mean_of_kernel_blocks(classes, kernel, soft, method):
  y, probs, member, weight = draw(1, classes, soft=bool(soft))
  k = gram(scores_of(probs), kernel, 0.3)
  found = []
  for a, b in laws(member, weight, method):
    block = lambda u, v: sum(u[i] * v[j] * k[i, j] for i in range(40) for j in range(40))
    found.append(block(a, a) - 2 * block(a, b) + block(b, b))
  options = {"kernel": kernel, "width": 0.3, "method": method}
  got = aggregated(metrics.score_mmd, y, probs, member, weight, **options)
  np.testing.assert_allclose(got, (max(found), np.mean(found)), rtol=1e-11)


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian"])
@pytest.mark.parametrize("classes", [2, 3])
def test_hsic_is_the_trace_of_centred_matrices(classes, kernel):
  y, probs, member, weight = draw(2, classes)
  rows = np.repeat(np.arange(40), weight.astype(int) * member.sum(1).astype(int))
  scores, hard = scores_of(probs)[rows], member[rows]
  n = len(rows)
  h = np.eye(n) - 1 / n
  expected = np.trace(gram(scores, kernel, 0.4) @ h @ (hard @ hard.T) @ h) / n**2
  of = compiled(metrics.score_hsic, kernel=kernel, width=0.4)
  np.testing.assert_allclose(of(y, probs, member, weight), expected, rtol=1e-11)


def test_hsic_of_two_groups_is_mmd_and_a_share_of_that_with_a_kernel_of_codes():
  y, probs, member, _ = draw(3)
  code = member[2:, 2].astype(int)
  arrays = (y[2:], probs[2:], np.eye(2)[code], np.ones(38))
  mmd = compiled(metrics.score_mmd, width=1.0)(*arrays)
  hsic = compiled(metrics.score_hsic, width=1.0)(*arrays)
  p = code.mean()
  np.testing.assert_allclose(hsic, 2 * p**2 * (1 - p) ** 2 * mmd, rtol=1e-11)
  h = np.eye(38) - 1 / 38
  k, codes = gram(probs[2:, 1:], "gaussian", 1.0), gram(code[:, None], "gaussian", 1.0)
  np.testing.assert_allclose(
    np.trace(k @ h @ codes @ h) / 38**2, (1 - np.exp(-1)) * hsic, rtol=1e-11
  )


@pytest.mark.parametrize("classes", [2, 3])
def test_correlation_is_that_of_repeated_rows(classes):
  y, probs, member, weight = draw(4, classes)
  rows = np.repeat(np.arange(40), weight.astype(int) * member.sum(1).astype(int))
  scores, hard = scores_of(probs)[rows], member[rows]
  found = [abs(np.corrcoef(s, m)[0, 1]) for s in scores.T for m in hard.T]
  got = aggregated(metrics.score_correlation, y, probs, member, weight)
  np.testing.assert_allclose(got, (max(found), np.mean(found)), rtol=1e-11)


@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
@pytest.mark.parametrize(("classes", "soft"), [(2, True), (3, False)])
def test_wasserstein_is_that_of_scipy(classes, soft, method):
  y, probs, member, weight = draw(5, classes, soft=soft)
  found = [
    stats.wasserstein_distance(s, s, a, b)
    for s in scores_of(probs).T
    for a, b in laws(member, weight, method)
  ]
  got = aggregated(metrics.score_wasserstein, y, probs, member, weight, method=method)
  np.testing.assert_allclose(got, (max(found), np.mean(found)), rtol=1e-11)


def test_wasserstein_is_the_mean_parity_gap_over_thresholds():
  y, probs, member, _ = draw(6)
  code = member[2:, 0].astype(int)
  scores, cuts = probs[2:, 1], (np.arange(4000) + 0.5) / 4000
  gaps = [abs((scores[code == 0] > t).mean() - (scores[code == 1] > t).mean()) for t in cuts]
  of = metric_programs.program(metrics.score_wasserstein, num_groups=2)
  got = of(y[2:], scores, code)
  np.testing.assert_allclose(got, np.mean(gaps), atol=1e-3)


@pytest.mark.parametrize("measure", MEASURES)
def test_of_one_label_the_others_do_not_count(measure):
  y, probs, member, weight = draw(7)
  of = one_of_all(measure, label=1)
  expected = one_of_all(measure)(y, probs, member, weight * (y == 1))
  np.testing.assert_allclose(of(y, probs, member, weight), expected, rtol=1e-12)
  assert abs(expected - one_of_all(measure)(y, probs, member, weight)) > 1e-4
  with pytest.raises(ValueError, match=r"label must lie in \[0, 2\), got 2"):
    measure(y, probs, member, label=2)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_group_without_rows_is_left_out_and_one_alone_is_fair(measure):
  y, probs, member, weight = draw(8)
  lone = np.zeros_like(member)
  lone[:, 1] = 1
  assert one_of_all(measure)(y, probs, lone, weight) == 0
  two = np.eye(3)[np.arange(40) % 2]  # the third group is empty
  fewer = one_of_all(measure)(y, probs, two[:, :2], weight)
  np.testing.assert_allclose(one_of_all(measure)(y, probs, two, weight), fewer, rtol=1e-12)
  equal = np.full_like(probs, 0.5)
  np.testing.assert_allclose(one_of_all(measure)(y, equal, member, weight), 0, atol=1e-15)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_batch_and_its_arrays_agree(measure):
  y, probs, member, _ = draw(9, 3)
  data = rfjax.Batch.from_arrays(np.zeros((40, 1)), y, member, num_classes=3)
  flow = data.fill(jnp.log(jnp.asarray(probs)))
  weight = np.arange(40) != 7
  flow = flow.replace(valid=jnp.asarray(weight))
  found = metric_programs.together(*((each, {}) for each in MEASURES))(flow)
  wanted = one_of_all(measure)(y, probs, member, weight)
  np.testing.assert_allclose(found[MEASURES.index(measure)], wanted, rtol=1e-6)


def test_many_rows_are_taken_in_blocks():
  rng = np.random.default_rng(10)
  scores, code = rng.uniform(size=1100), np.arange(1100) % 2
  k = gram(scores[:, None], "gaussian", 0.1)
  signed = np.where(code, 1 / 550, -1 / 550)
  got = jax.jit(metrics.score_mmd, static_argnames="num_groups")(code, scores, code, num_groups=2)
  np.testing.assert_allclose(got, signed @ k @ signed, rtol=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_an_empty_group_is_named_outside_jit(measure):
  y, probs, _, weight = draw(10)
  two = np.eye(3)[np.arange(40) % 2]
  with pytest.warns(UserWarning, match=r"no row in group 2 counts"):
    measure(y, probs, two, weight=weight)
