"""The group surrogate loss: the loss is averaged back over the noise of labels in each group."""

from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.convergence._label_noise import (
  check_label_transition,
  check_label_transition_of,
  label_inverse,
)
from rfjax.core import Batch, Transform, pointwise

_NAME = "group_surrogate"


def group_surrogate(transition: ArrayLike) -> Transform:
  r"""Corrects the loss for label noise that hangs on the group, by known transition matrices.

  $$\mathrm{cost}_{i \tilde y} \leftarrow \sum_j (T_i^{-1})_{\tilde y j}\, \mathrm{cost}_{ij},
  \qquad T_i = \sum_g m_{ig}\, T^{(g)} + \Bigl(1 - \sum_g m_{ig}\Bigr) I$$

  whose mean over `noise.group_dependent` of the same matrices is the cost of the true label, for
  any loss. For two classes, with error rates e of a group by the true label, it is

  $$\tilde\ell(y) = \frac{(1 - e_{-y})\, \ell(y) - e_y\, \ell(-y)}{1 - e_+ - e_-}.$$

  A row without a group keeps its cost. The cost may be negative and has no lower bound. Put it
  behind the loss. The authors' code has another thing under this name: it drops the rows that
  confident learning takes for wrong, and weighs the others by 1 / P(given = true) of their class.

  Args:
    transition: T [G, C, C], rows of probabilities, invertible; or rates [G], which mean symmetric
      noise of that rate in each group, except (C - 1) / C. May be traced.

  Returns:
    The transform; it writes cost, and needs group in training only.

  Raises:
    ValueError: for matrices that are not row-stochastic, not invertible, or not of the data set's
      groups and classes; for a mixture of them, in a row of soft membership, that is singular,
      which no mixture is of matrices whose diagonals are above 1/2.

  References:
    Wang, Liu, Levy, Fair Classification with Group-Dependent Label Noise, FAccT 2021.
    Natarajan, Dhillon, Ravikumar, Tewari, Learning with Noisy Labels, NeurIPS 2013.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence, losses
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 1, 0, 1])
    >>> method = rfjax.chain(losses.gce(0.7), convergence.group_surrogate([0.0, 0.3]))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
  """
  given = check_label_transition(transition)

  def init(data: Batch, **unused: Any) -> tuple[()]:
    del unused
    check_label_transition_of(given, data, _NAME)
    return ()

  def correct(batch: Batch, **unused: Any) -> Batch:
    del unused
    cost = batch.require("cost", "group", by=_NAME).cost
    inverse = label_inverse(given, batch).astype(cost.dtype)
    return batch.replace(cost=jnp.einsum("bij,bj->bi", inverse, cost, precision="highest"))

  return pointwise(correct, writes=("cost",))._replace(init=init)
