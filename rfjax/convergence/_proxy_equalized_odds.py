"""Proxy equalized odds: rates by the true labels, as mixtures of those by the given ones."""

from typing import get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax import metrics
from rfjax.convergence._label_noise import check_delta, check_delta_of
from rfjax.core import Batch, Transform, _check
from rfjax.fairness.inprocessing._elements import check_strength, penalty
from rfjax.metrics import Rate
from rfjax.metrics._gap import Method
from rfjax.noise._group_dependent import by_group, check_by_group

_NAME = "proxy_equalized_odds"


def proxy_equalized_odds(
  strength: float | jax.Array,
  transition: ArrayLike | None = None,
  *,
  delta: ArrayLike | None = None,
  method: Method = "between_groups",
  temperature: float | jax.Array = 1.0,
  official: bool = False,
) -> Transform:
  r"""Adds the gaps in true and false positive rates that the noise of labels by group lets expect.

  $$\mathrm{TPR}_a = (1 - e_{a1}) \widetilde{\mathrm{TPR}}_a + e_{a1} \widetilde{\mathrm{FPR}}_a,
  \quad \mathrm{FPR}_a = (1 - e_{a0}) \widetilde{\mathrm{FPR}}_a +
  e_{a0} \widetilde{\mathrm{TPR}}_a, \qquad e_{ay} = P_a(\tilde y \ne y \mid y)$$

  or, where Delta = 1 - e_0 - e_1 is all that is known and the labels of each group are balanced,
  $\bar y_a \pm \frac12 \Delta_a (\widetilde{\mathrm{TPR}}_a - \widetilde{\mathrm{FPR}}_a)$ with
  the mean decision of the group. Rates with a tilde are by the given labels.

  These are the rates by the true labels where a decision hangs on the true label through the given
  one alone, as that of a network that has memorized what it was given. Where noise hangs on label
  and group and not on features, and the network has not learned it, the rates of the given labels
  are themselves mixtures and have to be unmixed: take `corrected_labels`.

  Args:
    strength: lambda, at least 0; may be traced.
    transition: T [G, 2, 2], rows of probabilities, or rates [G] of symmetric noise, as in
      `noise.group_dependent`; may be traced.
    delta: Delta [G], in (0, 1], instead of the transition; may be traced. `group_noise_rates`
      estimates it.
    method: as in `metrics.difference`; "to_overall" is to the mean of the groups here, each of
      which counts once, as the authors' code has it.
    temperature: above 0; may be traced.
    official: the rates that the authors' code computes: e with the other label's index; and half of
      the mean decision of all rows in the place of the group's, so that only Delta tells groups
      apart. There they are constraints of a reduction, whose learner still has the costs of the
      rates by given labels.

  Returns:
    The transform of data with two classes; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, without one of transition and delta, where the group is
      missing, or for another number of groups or classes.

  References:
    Wang, Liu, Levy, Fair Classification with Group-Dependent Label Noise, FAccT 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 1, 0, 1])
    >>> method = convergence.proxy_equalized_odds(0.5, [0.0, 0.3])
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=5)
  """
  check_strength(strength)
  _check.choice("method", method, get_args(Method))
  _check.number("temperature", temperature, 0.0, open_low=True, open_high=True)
  if (transition is None) == (delta is None):
    raise ValueError("one of transition and delta must be given, and not both")
  given = None if transition is None else check_by_group("transition", transition)
  left = None if delta is None else check_delta(delta)

  def mixed(batch: Batch, one: jax.Array, zero: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The true and false positive rates [G], of those by the given labels."""
    if given is not None:
      errors = by_group("transition", given, batch)
      of_one, of_zero = errors[:, 1, 0], errors[:, 0, 1]
      of_one, of_zero = (of_zero, of_one) if official else (of_one, of_zero)
      return one + of_one * (zero - one), zero + of_zero * (one - zero)
    check_delta_of(left, batch)
    spread = jnp.asarray(left, one.dtype) * (one - zero) / 2
    # A mean of all rows, as in the authors' code, is in no difference between groups.
    mean = 0 if official else metrics.group_rates("selection_rate", batch, soft=True).value[:, 0]
    return mean + spread, mean - spread

  def apart(batch: Batch) -> jax.Array:
    if batch.require("logits", "group", by=_NAME).num_classes != 2:
      raise ValueError(
        f"num_classes must be 2 for {_NAME}, got {batch.num_classes}: make the labels binary"
      )
    batch = batch.replace(logits=batch.logits / temperature)
    names = ("true_positive_rate", "false_positive_rate")
    one, zero = (metrics.group_rates(name, batch, soft=True) for name in names)
    known = (one.valid & zero.valid).astype(one.value.dtype)
    true, false = mixed(batch, one.value[:, 0], zero.value[:, 0])
    gap = lambda rate: metrics.difference(Rate(rate[:, None] * known, known), method=method)
    return gap(true) + gap(false)

  return penalty(strength, apart)
