"""Determinant-based mutual information: a loss that no class-conditional noise can turn around."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, pointwise


def _joint(batch: Batch) -> jax.Array:
  """Joint distribution of given label and prediction, [C, C]."""
  shares = batch.keep / jnp.maximum(jnp.sum(batch.keep), 1)
  return jnp.matmul((shares[:, None] * batch.target).T, batch.probs, precision="highest")


def _inverse(joint: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The inverse of U over the classes that occur, and log |det U| less their number, []."""
  classes = joint.shape[0]
  occurs = jnp.sum(joint, axis=1, keepdims=True) > 0
  one = jnp.eye(classes, dtype=joint.dtype)
  # The diagonal keeps a U of rank below C, where all rows look alike, from dividing by 0.
  matrix = jnp.where(occurs, joint, one) + jnp.finfo(joint.dtype).eps * one
  return jnp.linalg.inv(matrix), jnp.linalg.slogdet(matrix)[1] - jnp.sum(occurs)


def dmi() -> Transform:
  r"""The negative logarithm of the determinant of the joint distribution of label and prediction.

  $$\mathcal{L} = -\log |\det U|, \qquad
  U_{kl} = \frac{\sum_i \mathrm{keep}_i\, \mathrm{target}_{ik}\, p_{il}}{\sum_i \mathrm{keep}_i}$$

  Labels that go through a transition matrix T make it the loss of the clean ones less log |det T|,
  so that its minimiser stays. It knows the classes only up to their names: start from a network
  that was trained by cross-entropy. It is one number for the whole batch, written as the cost

  $$\mathrm{cost}_{ik} = -(p_i U^{-1})_k + C - \log |\det U|$$

  with U^-1 and the constants taken as such, whose risk has the same value and the same gradient
  where all weights are 1. Classes that are missing from a batch are left out of U there, with their
  predictions.

  Use batches of at least C squared rows, and a far lower learning rate than cross-entropy's, since
  the gradient grows with the inverse of U: on Fashion-MNIST with 40 % wrong labels a hundredth of
  it trained, and a tenth diverged. The authors' code has log(|det U| + 0.001), which takes most of
  the gradient away where there are ten classes.

  Returns:
    The loss; it writes cost.

  Raises:
    ValueError: when applied to a batch that no network has filled.

  References:
    Xu, Cao, Kong, Wang, L_DMI: A Novel Information-theoretic Loss Function for Training Deep Nets
    Robust to Label Noise, NeurIPS 2019.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import losses
    >>> batch = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
    >>> sure = batch.fill(jnp.array([[9.0, -9.0], [-9.0, 9.0]]))
    >>> out, _ = losses.dmi().update(sure, ())
    >>> round(float(out.risk), 4)  # twice log 2
    1.3863
  """

  def apply(batch: Batch, **unused: Any) -> Batch:
    del unused
    batch.require("log_probs", "target", "keep", by="dmi")
    inverse, excess = _inverse(jax.lax.stop_gradient(_joint(batch)))
    gain = jnp.matmul(batch.probs, inverse, precision="highest")
    return batch.replace(cost=-excess - gain)

  return pointwise(apply, writes=("loss",))
