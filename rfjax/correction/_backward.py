"""Backward correction: the loss is averaged back over the noise."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, pointwise


def backward(transition: ArrayLike, *, ridge: float = 0.0) -> Transform:
  r"""Backward correction by a known transition matrix.

  $$\mathrm{cost}_{\tilde y} \leftarrow \sum_j (T^{-1})_{\tilde y j}\, \mathrm{cost}_j$$

  whose mean over the noise is the cost of the true label, for any loss. It may be negative and has
  no lower bound. Put it behind the loss.

  Args:
    transition: T [C, C], rows of probabilities; may be traced.
    ridge: added to the diagonal of T before it is inverted, at least 0.

  Returns:
    The transform; it writes cost.

  Raises:
    ValueError: for a matrix that is not row-stochastic, singular, or not of the data set's classes.

  References:
    Patrini, Rozza, Krishna Menon, Nock, Qu, Making Deep Neural Networks Robust to Label Noise: a
    Loss Correction Approach, CVPR 2017.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import correction
    >>> batch = rfjax.Batch.from_arrays([[0.0]], [0]).fill(jnp.zeros((1, 2)))
    >>> batch = batch.replace(cost=jnp.array([[1.0, 3.0]]))
    >>> correction.backward([[0.8, 0.2], [0.2, 0.8]]).update(batch, ())[0].cost.round(3).tolist()
    [[0.33..., 3.66...]]
  """
  _check.number("ridge", ridge, 0.0, open_high=True)
  given = _check.transition("transition", transition)
  full = given + ridge * np.eye(given.shape[0])
  _check.invertible("transition", full, "pass ridge=")
  inverse = jnp.linalg.inv(jnp.asarray(full))

  def correct(batch: Batch, **unused: Any) -> Batch:
    del unused
    _check.classes("transition", inverse.shape[0], batch.require("cost", by="backward"))
    back = inverse.T.astype(batch.cost.dtype)
    return batch.replace(cost=jnp.matmul(batch.cost, back, precision="highest"))

  return pointwise(correct, writes=("cost",))
