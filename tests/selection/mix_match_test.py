"""What DivideMix is made of: its split, its batches, targets and mixtures, each against NumPy."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from oracles import lower_posterior
from rfjax.selection import _mix_match

KEY = jax.random.key(0)
ROWS, CLASSES = 12, 3
RNG = np.random.default_rng(0)


clean_probability = jax.jit(
  lambda loss, rows: _mix_match.clean_probability(_mix_match.unit(loss, rows), rows)
)
loaders = jax.jit(_mix_match.loaders)


def two_lumps(count=300, seed=0):
  rng = np.random.default_rng(seed)
  return np.abs(np.where(rng.random(count) < 0.3, 3.0, 0.2) + 0.4 * rng.normal(size=count))


def test_the_clean_probability_is_that_of_the_loops_and_of_scikit_learn():
  for seed in range(3):
    loss = two_lumps(seed=seed)
    x = ((loss - loss.min()) / (loss.max() - loss.min()))[:, None]
    start = {"means_init": [[0.0], [1.0]], "weights_init": [0.5, 0.5]}
    given = GaussianMixture(
      2,
      max_iter=10,
      tol=0,
      reg_covar=5e-4,
      precisions_init=np.full((2, 1, 1), 1 / x.var()),
      **start,
    )
    own_start = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      given.fit(x), own_start.fit(x)
    with jax.enable_x64(True):
      found = np.asarray(clean_probability(loss, np.ones(len(loss), bool)))
    np.testing.assert_allclose(found, lower_posterior(loss), atol=1e-9)
    low = given.means_.ravel().argmin()
    np.testing.assert_allclose(found, given.predict_proba(x)[:, low], atol=1e-9)
    theirs = own_start.predict_proba(x)[:, own_start.means_.ravel().argmin()]
    assert ((found > 0.5) == (theirs > 0.5)).mean() > 0.97


def test_rows_outside_do_not_count_and_equal_losses_are_undecided():
  loss, rows = two_lumps(50), np.arange(50) < 40
  loss[45], loss[46] = 1e6, -5.0
  split = lambda loss, rows: np.asarray(clean_probability(loss.astype(np.float32), rows))
  found = split(loss, rows)
  np.testing.assert_allclose(found[:40], lower_posterior(loss[:40]), atol=1e-4)
  assert np.isfinite(found).all()
  same = split(np.full(50, 0.7), rows)
  np.testing.assert_allclose(same, 0.5)
  assert np.isfinite(split(loss, np.zeros(50, bool))).all()


@pytest.mark.parametrize("labelled", [7, 12, 0, 3, 11])
@pytest.mark.parametrize("size", [6, 7, 2])
def test_the_two_loaders(labelled, size):
  half = size // 2
  chosen = np.isin(np.arange(ROWS), RNG.permutation(ROWS)[:labelled])
  rows = np.ones(ROWS, bool)
  order = np.zeros((-(-ROWS // size), size), np.int32)
  found, steps = jax.device_get(loaders(KEY, chosen, rows, order))
  assert found.shape == (-(-ROWS // half), size)
  first, second, rest = found[:, :half], found[:, half : 2 * half], found[:, 2 * half :]
  assert (rest == ROWS).all()
  passes = -(-labelled // half) or -(-(ROWS - labelled) // half)
  assert steps == passes
  assert (found[passes:] == ROWS).all() and (found[:passes] < ROWS).any(1).all()
  seen = first[first < ROWS]
  np.testing.assert_array_equal(np.sort(seen), np.flatnonzero(chosen))
  # The other half goes round and round through the rest, each time in whole batches.
  others = ROWS - labelled
  turns = -(-others // half)
  for t in range(passes):
    batch = second[t][second[t] < ROWS]
    assert len(batch) == (min(half, others - (t % turns) * half) if others else 0)
    if t >= turns > 0:
      np.testing.assert_array_equal(second[t], second[t - turns])
  once = second[: min(turns, passes)]
  once = once[once < ROWS]
  assert len(set(once)) == len(once) and not chosen[once].any()


def test_the_order_is_random_and_leaves_out_what_is_not_valid():
  rows = np.arange(ROWS) != 5
  chosen = np.arange(ROWS) % 2 == 0
  order = jnp.asarray(np.zeros((3, 4), np.int32))
  draw = lambda key: _mix_match.loaders(key, jnp.asarray(chosen & rows), jnp.asarray(rows), order)[
    0
  ]
  found = np.asarray(jax.jit(lambda: jax.vmap(draw)(jax.random.split(KEY, 400)))())
  assert not (found == 5).any()
  counts = np.bincount(found[:, 0, 0], minlength=ROWS)
  assert (counts[chosen] > 40).all() and counts.sum() == counts[chosen].sum()


def test_sharpening():
  p = RNG.dirichlet(np.ones(CLASSES), 5)
  sharpen = jax.jit(_mix_match.sharpen)
  for temperature in (0.5, 1.0, 2.0):
    powers = p ** (1 / temperature)
    found = sharpen(p.astype(np.float32), temperature)
    np.testing.assert_allclose(found, powers / powers.sum(1, keepdims=True), rtol=1e-4)
  hard = np.eye(5, CLASSES, dtype=np.float32)
  hard[3:, 0] = 1
  np.testing.assert_allclose(sharpen(hard, 0.5), hard, atol=1e-30)
  assert np.isfinite(sharpen(np.zeros((5, CLASSES), np.float32), 0.5)).all()


def test_two_views_are_one_row_of_the_same_loss():
  cost = RNG.exponential(size=(2, 5, CLASSES))
  target = RNG.dirichlet(np.ones(CLASSES), (2, 5))
  target[:, 0] = [1, 0, 0]  # classes that neither view has

  @jax.jit
  def merged(cost, target):
    merge = lambda c: _mix_match.merge_views(c, target)
    return *merge(cost), jax.grad(lambda c: jnp.sum(jnp.prod(jnp.stack(merge(c)), axis=0)))(cost)

  with jax.enable_x64(True):
    one_cost, one_target, slope = jax.device_get(merged(cost, target))
  np.testing.assert_allclose(one_target, target.mean(0), rtol=1e-12)
  loss = (one_cost * one_target).sum(1)
  np.testing.assert_allclose(loss, (cost * target).sum(2).mean(0), rtol=1e-12)
  np.testing.assert_allclose(slope, target / 2, rtol=1e-12)
  assert np.isfinite(one_cost).all()
