"""Weights of equal prevalence: a closed form, a general solver of quadratic programs, a shift."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

import rfjax
from rfjax import convergence, metrics
from rfjax.fairness import preprocessing

KEY = jax.random.key(0)


def rows(number, groups=2, classes=2, seed=0, soft=False, lean=0.3):
  """Rows whose label leans on the group, and the weights that they have."""
  rng = np.random.default_rng(seed)
  z = np.arange(number) % groups
  y = np.where(rng.random(number) < lean, z % classes, rng.integers(0, classes, number))
  every = np.arange(groups * classes)
  y[every] = every // groups  # every label in every group
  member = rng.dirichlet(np.ones(groups), number) if soft else np.eye(groups)[z]
  data = rfjax.Batch.from_arrays(
    np.zeros((number, 1)), y, member, num_classes=classes, num_groups=groups
  )
  with jax.enable_x64(True):
    return data.replace(
      group=jnp.asarray(member), weight=jnp.asarray(rng.exponential(size=number) + 0.01)
    )


@jax.jit
def solved(data):
  return tuple(
    convergence.prevalence_weights(nonnegative=flag).update(data, ())[0].weight
    for flag in (False, True)
  )


membership = jax.jit(lambda data: data.membership)


def single(data):
  """The same rows in float32."""
  narrow = lambda v: jnp.asarray(np.asarray(v, np.float32))
  return data.replace(weight=narrow(data.weight), group=narrow(data.group))


def prevalences(data, weight):
  """The weighted share of each label in each group, [G, C]."""
  counts = np.asarray(membership(data)).T @ (weight[:, None] * np.eye(data.num_classes)[data.y])
  return counts / counts.sum(1, keepdims=True)


def test_least_squares_are_the_closed_form():
  with jax.enable_x64(True):
    data = rows(60, groups=3)
    old, y, z = np.asarray(data.weight), np.asarray(data.y), np.asarray(data.group).argmax(1)
    pi = old @ y / old.sum()
    expected = old.copy()
    for g in range(3):
      mine = z == g
      apart = (old * (y - pi))[mine].sum() / ((y - pi) ** 2)[mine].sum()
      expected[mine] -= (y - pi)[mine] * apart
    found, kept = map(np.asarray, solved(data))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(prevalences(data, found)[:, 1], pi, rtol=1e-12)
    np.testing.assert_allclose(prevalences(data, kept)[:, 1], pi, rtol=1e-12)
    assert np.ptp(prevalences(data, old)[:, 1]) > 0.1 and found.min() < 0 <= kept.min()


@pytest.mark.parametrize(
  ("groups", "classes", "soft", "lean"), [(2, 2, False, 0.9), (3, 3, False, 0.7), (2, 3, True, 0.8)]
)
def test_no_weight_falls_below_0_at_the_least_change(groups, classes, soft, lean):
  """Against SLSQP, and the conditions of Karush, Kuhn and Tucker."""
  with jax.enable_x64(True):
    data = rows(36, groups, classes, 1, soft, lean)
    old, member = np.asarray(data.weight), np.asarray(data.group)
    label = np.eye(classes)[np.asarray(data.y)]
    pi = old @ label / old.sum()
    constraint = np.einsum("ng,nk->gkn", member, (label - pi)[:, 1:]).reshape(-1, 36)
    best = minimize(
      lambda w: 0.5 * np.sum((w - old) ** 2), old, jac=lambda w: w - old, method="SLSQP",
      bounds=[(0, None)] * 36, constraints={"type": "eq", "fun": lambda w: constraint @ w,
      "jac": lambda w: constraint}, options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    found = np.asarray(solved(data)[1])
    np.testing.assert_allclose(found, best.x, atol=1e-6)
    np.testing.assert_allclose(constraint @ found, 0, atol=1e-12)
    positive = found > 0
    assert (found >= 0).all() and 0 < (~positive).sum() < 30
    price = np.linalg.lstsq(constraint[:, positive].T, (old - found)[positive], rcond=None)[0]
    np.testing.assert_allclose((old - price @ constraint)[positive], found[positive], atol=1e-10)
    assert ((old - price @ constraint)[~positive] < 1e-10).all()


def test_many_rows_in_float32():
  data = single(rows(3000, groups=4, classes=3, lean=0.8))
  pi = np.asarray(data.weight) @ np.eye(3)[data.y] / np.asarray(data.weight).sum()
  for found in solved(data):
    np.testing.assert_allclose(prevalences(data, np.asarray(found)), np.tile(pi, (4, 1)), atol=5e-5)


def test_who_takes_no_part():
  data = single(rows(40, lean=0.6))
  order = np.append(np.arange(36), [40, 40])
  part = jax.tree.map(np.array, jax.jit(lambda data: data.take(order))(data))
  part.group[:4], part.weight[4:8], part.weight[36:] = 0, 0, 5
  given = part.weight
  for found in map(np.asarray, solved(part)):
    np.testing.assert_array_equal(found[:8], given[:8])  # of no group, or of weight 0
    np.testing.assert_array_equal(found[36:], given[36:])  # padding
    assert (found[8:36] != given[8:36]).all()
    pi = (given * part.y)[:36].sum() / given[:36].sum()
    weight = np.where((given > 0) & (np.arange(38) < 36), found, 0)
    np.testing.assert_allclose(prevalences(part, weight)[:, 1], pi, rtol=1e-5)


def test_equal_prevalences_stay_as_they_are_and_a_given_one_is_met():
  data = rfjax.Batch.from_arrays(np.zeros((12, 1)), np.arange(12) % 3 % 2, np.arange(12) // 6)
  data = data.replace(weight=np.ones(12, np.float32))
  for found in solved(data):
    np.testing.assert_allclose(found, 1, rtol=1e-6)
  evened = convergence.prevalence_weights(prevalence=[0.5, 0.5])
  half = jax.jit(lambda data: evened.update(data, ())[0].weight)(data)
  np.testing.assert_allclose(prevalences(data, np.asarray(half)), 0.5, rtol=1e-6)


def test_a_label_that_nobody_has_asks_for_nothing():
  data = rfjax.Batch.from_arrays(np.zeros((12, 1)), np.arange(12) % 3 // 2, np.arange(12) % 5 // 3)
  data, made = data.replace(weight=np.ones(12, np.float32)), convergence.prevalence_weights()
  of = lambda data, classes: made.update(data.replace(num_classes=classes), ())[0].weight
  found = np.asarray(jax.jit(lambda data: [of(data, 2), of(data, 3)])(data))
  np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
  assert np.ptp(found[0]) > 0.1


def test_a_group_without_a_label_is_refused_or_left_alone():
  y = np.arange(12) // 2 % 2 * (np.arange(12) % 2)  # group 0 has label 0
  data = single(rows(12)).replace(y=y.astype(np.int32))
  with pytest.raises(ValueError, match="must have rows of every label in every group"):
    convergence.prevalence_weights().update(data, ())
  weight = np.asarray(data.weight)
  for found in map(np.asarray, solved(data)):
    np.testing.assert_array_equal(found[::2], weight[::2])
    assert (found[1::2] != weight[1::2]).all()


def test_a_shift_of_normal_features_keeps_the_parity_of_the_target():
  """Weights of the source measure the target, and then have equal prevalences there."""
  rng = np.random.default_rng(5)
  number, shift = 4000, 0.8

  def draw(mean):
    x = rng.normal(mean, 1, (number, 1))
    z = rng.random(number) < 1 / (1 + np.exp(-1.5 * x[:, 0]))
    y = rng.random(number) < 1 / (1 + np.exp(-2 * x[:, 0]))
    return rfjax.Batch.from_arrays(x, y.astype(int), z.astype(int))

  source, target = draw(0.0), draw(shift)
  unseen = rfjax.Batch.from_arrays(target.x, np.zeros(number, int), num_classes=2)
  ratio = preprocessing.density_ratio_weights(l2=1e-3, steps=8)
  method = rfjax.chain(ratio, convergence.prevalence_weights())
  source = source.replace(trusted=unseen)
  # Both need the features of the target, but neither its labels nor its groups.
  weights = lambda method, data: rfjax.transform(method, data, key=KEY).weight
  moved, both = jax.jit(lambda data: (weights(ratio, data), weights(method, data)))(source)

  @jax.jit
  def rate(data, weight):
    said = jnp.asarray(data.x[:, 0] > 0.3, jnp.int32)
    return metrics.group_rates(
      "selection_rate", data.y, said, data.group, num_groups=2, num_classes=2, weight=weight
    ).value[:, 0]

  plain, source = np.ones(number, np.float32), source.replace(trusted=None)
  truth = np.asarray(rate(target, plain))
  np.testing.assert_allclose(rate(source, moved), truth, atol=0.03)
  assert np.abs(np.asarray(rate(source, plain)) - truth).max() > 0.1
  share = prevalences(source, np.asarray(both))[:, 1]
  np.testing.assert_allclose(share, np.mean(target.y), atol=0.03)
  assert np.ptp(share) < 1e-4
  assert np.ptp(prevalences(source, np.asarray(moved))[:, 1]) > 0.25
