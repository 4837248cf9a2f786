"""Group statistics against NumPy float64, and their safety where a group is empty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax.core import group_mean, group_sum, ratio
from rfjax.core._groups import mix_groups

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=8).astype(np.float32)
CODES = np.array([0, 2, 2, 0, 2, 0, 0, 2])
SOFT = RNG.dirichlet(np.ones(4), 8)[:, :3].astype(np.float32)


def test_codes_and_one_hot_agree_with_numpy():
  sums = [VALUES[CODES == g].astype(np.float64).sum() for g in range(3)]
  np.testing.assert_allclose(group_sum(VALUES, jnp.asarray(CODES), 3), sums, rtol=1e-5)
  np.testing.assert_allclose(group_sum(VALUES, jnp.eye(3)[CODES]), sums, rtol=1e-5)
  for group in (jnp.asarray(CODES), jnp.eye(3)[CODES]):
    mean, size = group_mean(VALUES, group, 3)
    np.testing.assert_array_equal(size, [4, 0, 4])
    np.testing.assert_allclose(mean, [sums[0] / 4, 0, sums[2] / 4], rtol=1e-5)


def test_soft_membership_weighs_the_rows():
  mean, size = group_mean(VALUES, SOFT)
  np.testing.assert_allclose(size, SOFT.sum(0), rtol=1e-6)
  np.testing.assert_allclose(mean, np.average([VALUES] * 3, 1, SOFT.T), rtol=1e-4)


def test_a_row_gets_the_mean_over_its_groups():
  part = jnp.asarray(np.vstack([0.5 * SOFT, np.zeros((1, 3))]), jnp.float32)
  for shape in ((), (2,)):
    each = RNG.normal(size=(9, 3, *shape)).astype(np.float32)
    wanted = [np.average(v, 0, m) for v, m in zip(each, SOFT, strict=False)] + [np.full(shape, 7.0)]
    np.testing.assert_allclose(mix_groups(part, each, 7.0, rows=True), wanted, rtol=1e-5, atol=1e-6)
    wanted = [np.average(each[0], 0, m) for m in SOFT] + [np.full(shape, 7.0)]
    np.testing.assert_allclose(mix_groups(part, each[0], 7.0), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("group", [CODES, np.eye(3)[CODES]], ids=["codes", "membership"])
def test_values_may_have_more_axes(group):
  group = jnp.asarray(group, jnp.int32 if group.ndim == 1 else jnp.float32)
  values = RNG.normal(size=(8, 2, 2)).astype(np.float32)
  mean, _ = group_mean(values, group, 3)
  assert mean.shape == (3, 2, 2)
  np.testing.assert_allclose(mean[2], values[CODES == 2].mean(0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("group", [CODES, np.eye(3)[CODES]], ids=["codes", "membership"])
def test_an_empty_group_has_value_and_gradient_zero(group):
  group = jnp.asarray(group, jnp.int32 if group.ndim == 1 else jnp.float32)
  jacobian = np.asarray(jax.jacobian(lambda v: group_mean(v, group, 3)[0])(VALUES))
  np.testing.assert_allclose(jacobian, np.eye(3)[CODES].T * [[0.25], [0], [0.25]])


def test_no_rows_at_all_stay_finite():
  loss = lambda v: jnp.sum(group_mean(v, jnp.zeros((8, 3)))[0] ** 2)
  value, gradient = jax.value_and_grad(loss)(VALUES)
  assert value == 0 and not np.any(gradient)


def test_codes_out_of_range_are_left_out():
  np.testing.assert_array_equal(group_sum(jnp.arange(1.0, 5), jnp.array([-1, 0, 1, 2]), 2), [2, 3])


def test_low_precision_values_are_counted_exactly():
  values = jnp.asarray(np.arange(4096) % 8, jnp.bfloat16)
  for group in (jnp.zeros(4096, jnp.int32), jnp.ones((4096, 1), jnp.bfloat16)):
    mean, size = group_mean(values, group, 1)
    np.testing.assert_allclose(np.float32(mean), 3.5, rtol=0.01)
    np.testing.assert_allclose(np.float32(size), 4096)


def test_ratio_divides_and_is_safe():
  top, bottom = jnp.array([1.0, 1.0, -3.0]), jnp.array([4.0, 0.0, -2.0])
  np.testing.assert_allclose(ratio(top, bottom), [0.25, 0, 1.5])
  np.testing.assert_allclose(ratio(top, bottom, empty=1.0), [0.25, 1, 1.5])
  by_top, by_bottom = jax.grad(lambda a, b: ratio(a, b).sum(), (0, 1))(top, bottom)
  np.testing.assert_allclose(by_top, [0.25, 0, -0.5])
  np.testing.assert_allclose(by_bottom, [-1 / 16, 0, 0.75])
