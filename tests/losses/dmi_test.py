"""Determinant-based mutual information: the determinant in NumPy, its gradient, its invariance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import losses

ROWS, CLASSES = 9, 3
RNG = np.random.default_rng(4)
LOGITS = 2 * RNG.normal(size=(ROWS, CLASSES))
HARD = np.eye(CLASSES)[np.arange(ROWS) % CLASSES]
SOFT = RNG.dirichlet(np.ones(CLASSES), ROWS)
ALL, SOME, PARTS = np.ones(ROWS), (np.arange(ROWS) != 4).astype(float), RNG.uniform(0.2, 1, ROWS)


def joint(logits, target, keep):
  """U, row by row; complex for complex logits."""
  total, count = np.zeros((CLASSES, CLASSES), complex), 0.0
  for z, t, amount in zip(logits, target, keep, strict=True):
    p = np.exp(z) / np.exp(z).sum()
    total, count = total + amount * np.outer(t, p), count + amount
  return total / count


def value_and_slope(logits, target, keep):
  """-log|det U|, and its derivatives by complex steps."""
  slope = np.zeros(logits.shape)
  for i, j in np.ndindex(logits.shape):
    moved = logits.astype(complex)
    moved[i, j] += 1e-30j
    det = np.linalg.det(joint(moved, target, keep))
    slope[i, j] = -det.imag / det.real / 1e-30
  return -np.log(abs(np.linalg.det(joint(logits, target, keep)))), slope


@pytest.fixture(scope="module")
def run():
  """Risk and gradient of logits, targets and keep; the labels themselves are not read."""

  def risk(z, target, keep):
    flow = rfjax.Batch.from_arrays(
      np.zeros((len(z), 1)), np.zeros(len(z), int), num_classes=z.shape[1]
    )
    filled = flow.fill(z).replace(target=target, keep=keep)
    return losses.dmi().update(filled, (), (), key=None, step=0, epoch=0)[0].risk

  compiled = jax.jit(jax.value_and_grad(risk))
  return lambda z, target, keep: compiled(
    z, jnp.asarray(target, z.dtype), jnp.asarray(keep, z.dtype)
  )


def test_risk_and_gradient_are_those_of_the_log_determinant(run):
  for target, keep in ((HARD, ALL), (HARD, SOME), (SOFT, PARTS)):
    wanted, slope = value_and_slope(LOGITS, target, keep)
    with jax.enable_x64(True):
      value, gradient = run(jnp.asarray(LOGITS), target, keep)
    np.testing.assert_allclose(value, wanted, rtol=1e-10)
    np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-12)
    value, gradient = run(jnp.asarray(LOGITS, jnp.float32), target, keep)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    slack = 5e-7 * np.linalg.cond(joint(LOGITS, target, keep))
    np.testing.assert_allclose(gradient, slope, rtol=slack, atol=slack)
    assert np.abs(slope).max() > 0.05


def test_a_determinant_below_the_floats_still_counts(run):
  """At 40 classes det U is near 40^-40, which float32 does not have."""
  classes, rows = 40, 80
  y = np.arange(rows) % classes
  logits = 5 * np.eye(classes)[y] + np.random.default_rng(0).normal(size=(rows, classes))
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  log_det = np.linalg.slogdet(np.eye(classes)[y].T @ p / rows)[1]
  assert log_det < np.log(1e-45)
  value, gradient = run(jnp.asarray(logits, jnp.float32), np.eye(classes)[y], np.ones(rows))
  np.testing.assert_allclose(value, -log_det, rtol=1e-5)
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-4


def test_noise_changes_it_by_a_constant(check, run):
  """Labels through T, or predictions through T: -log|det T| more, and the gradient is the same."""
  t = np.array([[0.7, 0.2, 0.1], [0.05, 0.8, 0.15], [0.3, 0.1, 0.6]])
  more = -np.log(abs(np.linalg.det(t)))
  with jax.enable_x64(True):
    z = jnp.asarray(LOGITS)
    clean, gradient = run(z, HARD, ALL)
    noisy, same = run(z, HARD @ t, ALL)
    through = rfjax.pointwise(
      lambda b, **_: b.replace(log_probs=jnp.log(b.probs @ t)), writes=("log_probs",)
    )
    flow = check.batch(z, None, jnp.asarray(HARD))
    corrected = check.apply(rfjax.chain(through, losses.dmi()), flow).risk
  np.testing.assert_allclose(noisy - clean, more, rtol=1e-10)
  np.testing.assert_allclose(corrected - clean, more, rtol=1e-10)
  np.testing.assert_allclose(same, gradient, rtol=1e-9, atol=1e-12)


def test_a_class_without_labels_is_left_out_with_its_prediction(run):
  """Then it is the determinant of U without that row and column."""
  y = np.array([0, 2, 0, 2, 2, 0, 0, 2, 2])
  target, slope = np.eye(CLASSES)[y], np.zeros(LOGITS.shape)
  minor = lambda z: np.linalg.det(joint(z, target, ALL)[np.ix_([0, 2], [0, 2])])
  for i, j in np.ndindex(LOGITS.shape):
    moved = LOGITS.astype(complex)
    moved[i, j] += 1e-30j
    slope[i, j] = -minor(moved).imag / minor(moved).real / 1e-30
  with jax.enable_x64(True):
    value, gradient = run(jnp.asarray(LOGITS), target, ALL)
  np.testing.assert_allclose(value, -np.log(abs(minor(LOGITS))), rtol=1e-10)
  np.testing.assert_allclose(gradient, slope, rtol=1e-9, atol=1e-12)


def test_names_of_classes_do_not_matter(run):
  with jax.enable_x64(True):
    value, _ = run(jnp.asarray(LOGITS), HARD, ALL)
    renamed, _ = run(jnp.asarray(LOGITS), HARD[:, [2, 0, 1]], ALL)
  np.testing.assert_allclose(renamed, value, rtol=1e-12)


def test_is_a_loss(check):
  check.is_a_loss(losses.dmi())


def test_a_weight_acts_on_its_own_row(check):
  """The inverse counts as a constant: half the weight is half the pull of that row alone."""
  weight = np.where(np.arange(ROWS) == 2, 0.5, 1.0)
  with jax.enable_x64(True):
    z = jnp.asarray(LOGITS)
    risk = lambda z, w: check.apply(losses.dmi(), check.batch(z).replace(weight=w)).risk
    slope = jax.jit(jax.grad(risk))
    plain, halved = slope(z, jnp.ones(ROWS)), slope(z, jnp.asarray(weight))
  np.testing.assert_allclose(halved, weight[:, None] * np.asarray(plain), rtol=1e-10, atol=1e-13)


def test_a_step_downhill_goes_downhill(run):
  z = jnp.asarray(LOGITS, jnp.float32)
  value, gradient = run(z, HARD, ALL)
  assert run(z - 0.1 * gradient, HARD, ALL)[0] < value - 1e-4


def test_a_singular_batch_stays_finite(run):
  y = np.zeros(ROWS, int)
  cases = {
    "one label": (LOGITS, np.eye(CLASSES)[y], ALL),
    "one prediction": (np.tile(LOGITS[:1], (ROWS, 1)), HARD, ALL),
    "certain of one class": (np.tile([[1e4, -1e4, -1e4]], (ROWS, 1)), HARD, ALL),
    "certain": (1e4 * (2 * HARD - 1), HARD, ALL),
    "certain and wrong": (1e4 * (2 * HARD[:, [1, 2, 0]] - 1), HARD, ALL),
    "flat": (np.zeros((ROWS, CLASSES)), HARD, ALL),
    "nothing kept": (LOGITS, HARD, 0 * ALL),
    "fewer rows than classes": (LOGITS, HARD, (np.arange(ROWS) < 2).astype(float)),
  }
  for case, (logits, target, keep) in cases.items():
    value, gradient = run(jnp.asarray(logits, jnp.float32), target, keep)
    assert np.isfinite(value) and np.isfinite(gradient).all(), case
  certain, _ = run(jnp.asarray(1e4 * (2 * HARD - 1), jnp.float32), HARD, ALL)
  np.testing.assert_allclose(certain, 3 * np.log(3), rtol=1e-5)
