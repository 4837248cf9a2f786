"""Labels that are biased against groups and then noisy: both are taken back, in their order."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.convergence._corrected_labels import label_copies
from rfjax.convergence._label_noise import (
  check_label_transition,
  check_label_transition_of,
  label_inverse,
)
from rfjax.core import Batch, Transform
from rfjax.fairness.preprocessing._label_bias_correction import (
  LabelBiasCorrectionState,
  label_bias_correction,
  label_factors,
)

_NAME = "bias_and_noise_correction"


def bias_and_noise_correction(
  transition: ArrayLike,
  criterion: str = "demographic_parity",
  *,
  learning_rate: float | jax.Array = 1.0,
  every: int = 1,
) -> Transform:
  r"""Label bias correction where noise by group has struck the biased labels.

  $$\mathrm{cost}_{i \tilde y} \leftarrow \sum_j (T_i^{-1})_{\tilde y j}\, w_{ij}\,
  \mathrm{cost}_{ij}, \qquad w_{ij} = 2\, \sigma\Bigl(2 s_j \sum_g m_g c_{ig}\Bigr)$$

  with the weights w of `preprocessing.label_bias_correction` for a biased label j, and T_i as in
  `group_surrogate`. Multipliers m move by the violations of the criterion among biased labels,
  which for two of the criteria are read from `label_copies`. So in the mean over the noise it is
  label bias correction on the labels as they were before.

  A chain of `group_surrogate` and `label_bias_correction` is another thing: it weighs by the given
  label, of which some are wrong. For demographic parity its decisions come near those of unbiased
  labels where groups have the same noise, and less near where they do not; its multipliers say
  nothing of the bias. Without any correction for noise, decisions are as fair, but at a rate that
  the noise may have moved. Put it behind the loss.

  Args:
    transition: T [G, 2, 2] or rates [G], as in `group_surrogate`; may be traced.
    criterion: as in `preprocessing.label_bias_correction`.
    learning_rate: likewise; may be traced.
    every: likewise.

  Returns:
    The transform of data with two classes; it writes cost, and needs group in training only.

  Raises:
    ValueError: for values out of range, matrices that are not row-stochastic or not invertible,
      more than two classes, or where the group is missing.

  References:
    Jiang, Nachum, Identifying and correcting label bias in machine learning, AISTATS 2020.
    Wang, Liu, Levy, Fair Classification with Group-Dependent Label Noise, FAccT 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 0, 1, 1])
    >>> method = convergence.bias_and_noise_correction([0.0, 0.2])
    >>> state, _ = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                      key=jax.random.key(0), epochs=3)
    >>> state.method.multipliers.shape
    (1, 2)
  """
  given = check_label_transition(transition)
  bias = label_bias_correction(criterion, learning_rate=learning_rate, every=every)

  def init(data: Batch, **extra: Any) -> LabelBiasCorrectionState:
    state = bias.init(data, **extra)
    check_label_transition_of(given, data, _NAME)
    return state

  def update(
    batch: Batch, state: LabelBiasCorrectionState, params: Any = None, **unused: Any
  ) -> tuple[Batch, LabelBiasCorrectionState]:
    del params, unused
    cost = batch.require("cost", "group", by=_NAME).cost
    factor = label_factors(batch.membership, state.multipliers)
    back = jnp.einsum("bij,bj->bi", label_inverse(given, batch), factor * cost, precision="highest")
    return batch.replace(cost=back.astype(cost.dtype)), state

  def refresh(
    data: Batch, state: LabelBiasCorrectionState, params: Any = None, **extra: Any
  ) -> tuple[Batch, LabelBiasCorrectionState]:
    _, state = bias.refresh(label_copies(data, given), state, params, **extra)
    return update(data, state)

  return Transform(init, update, refresh, writes=("cost",))
