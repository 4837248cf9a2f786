"""Gradient reversal: features that help to tell the label and hinder telling the group."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Transform, _check
from rfjax.fairness.inprocessing import _adversary
from rfjax.fairness.inprocessing._cells import CRITERIA

INPUTS = ("features", "logits")


def gradient_reversal(
  strength: float | jax.Array,
  criterion: str = "demographic_parity",
  *,
  inputs: str = "features",
  hidden: tuple[int, ...] = (100,),
  tx: optax.GradientTransformation | None = None,
  steps: int = 1,
) -> Transform:
  r"""Domain-adversarial training against the sensitive attribute.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} - \lambda\, L_D, \qquad
  L_D = \overline{\ell\bigl(D(v_i),\ g_i\bigr)}$$

  with the cross-entropy of groups of a perceptron D of the network's features v, or of its logits
  relative to class 0. D descends on L_D itself and the network on -lambda L_D: the layer of the
  paper, which multiplies gradients by -lambda on their way back from D to v, is this game. For
  equalized odds D also sees the label, and for equal opportunity only rows with label 1.

  The paper lets the strength grow from 0 to lambda over training:
  `rfjax.scaled(reversal_schedule(steps), gradient_reversal(1.0))`.

  Args:
    strength: lambda, at least 0; may be traced.
    criterion: "demographic_parity", "equalized_odds" or "equal_opportunity"; static.
    inputs: "features", or "logits" as Wadsworth et al. have it; static.
    hidden: widths of the hidden layers of D; () makes it linear.
    tx: optimizer of D, Adam at 1e-3 by default.
    steps: of D for one of the network, at least 1.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group or the features are missing.

  References:
    Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand, Lempitsky,
    Domain-adversarial training of neural networks, Journal of Machine Learning Research, 2016.
    Wadsworth, Vera, Piech, Achieving fairness through adversarial learning: an application to
    recidivism prediction, FAT/ML workshop 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1], [0, 0, 1, 1])
    >>> method = inprocessing.gradient_reversal(0.5, hidden=(8,))
    >>> state, log = rfjax.fit(architectures.mlp([4]), method, optax.adam(1e-3), data,
    ...                        key=jax.random.key(0), epochs=5)
  """
  _check.choice("criterion", criterion, CRITERIA)
  _check.choice("inputs", inputs, INPUTS)
  hidden = tuple(_check.count("hidden", width) for width in hidden)
  odds = criterion == "equalized_odds"

  def start(data: Batch, key: jax.Array, spec: Any) -> list[Any]:
    width = _adversary.width_of(inputs, data, spec, "gradient_reversal")
    seen = width + (data.num_classes - 1 if odds else 0)
    return _adversary.layers(key, (seen, *hidden, data.num_groups - 1))

  def look(batch: Batch) -> _adversary.Guess:
    batch.require(inputs, by="gradient_reversal")
    seen = batch.features if inputs == "features" else batch.margin
    return _adversary.guess(batch, seen, criterion)

  def loss(params: list[Any], seen: _adversary.Guess) -> jax.Array:
    view = jnp.concatenate([seen.inputs, seen.label[1:]]) if odds else seen.inputs
    return _adversary.entropy(_adversary.scores(params, view), seen)

  return _adversary.game("gradient_reversal", start, look, loss, strength, tx, steps)


def reversal_schedule(steps: int, sharpness: float | jax.Array = 10.0) -> Any:
  r"""The strength of gradient reversal over training, from 0 to almost 1.

  $$\lambda(t) = \frac{2}{1 + e^{-\gamma t / T}} - 1$$

  Args:
    steps: T, the steps of the whole training.
    sharpness: gamma, above 0; may be traced.

  Returns:
    A function of the step, for `rfjax.scaled`.

  Raises:
    ValueError: for values out of range.

  Examples:
    >>> from rfjax.fairness import inprocessing
    >>> schedule = inprocessing.reversal_schedule(1000)
    >>> float(schedule(0)), round(float(schedule(1000)), 4)
    (0.0, 0.9999)
  """
  steps = _check.count("steps", steps)
  _check.number("sharpness", sharpness, 0.0, open_low=True, open_high=True)
  return lambda step: jnp.tanh(0.5 * sharpness * step / steps)
