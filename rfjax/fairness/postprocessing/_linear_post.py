"""LinearPost: the decision is the least risk, shifted by what it says about the group."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, ratio, uniform
from rfjax.fairness.postprocessing._scores import with_probs

_BY = "linear_post"
_CRITERIA = ("demographic_parity", "equal_opportunity", "equalized_odds")
_COOLING, _STEPS = 60, 80  # Newton steps on the way to the temperature, and in all
_LENGTHS = 12


class LinearPostState(NamedTuple):
  """The state of `linear_post`.

  Attributes:
    psi: [C, K, G], what a decision for class y gains in the eyes of group g, under condition k; its
      sum over the groups is 0. Demographic parity has one condition, the others one a label.
    mass: [K, G], how likely condition and group are together.
  """

  psi: jax.Array
  mass: jax.Array


def linear_post(
  criterion: str = "demographic_parity",
  *,
  tolerance: float | jax.Array = 1e-3,
  temperature: float | jax.Array = 1e-3,
  joint: Callable[[Batch], jax.Array] | None = None,
  randomize: bool = False,
) -> Transform:
  r"""LinearPost: fair decisions for any number of classes, also where no group may be used.

  $$\mathrm{logits}_y = -\frac{1}{T} \Bigl(1 - P(y \mid x) - \sum_{k, g} \psi_{ykg}\,
  \gamma_{kg}(x)\Bigr), \qquad \gamma_{kg}(x) = \frac{P(k, g \mid x)}{P(k, g)}$$

  Of all rules $\pi(y \mid x)$ it has the least risk under

  $$\bigl|\mathbb{E}[\gamma_{kg}\, \pi(y \mid x)] - q_{yk}\bigr| \le \tfrac{1}{2}\alpha$$

  for some q: rates differ by at most alpha between groups. They are the share of each class for
  demographic parity, without a condition k; of each class among the rows of each label k for
  equalized odds; and among those of the same label, or of label 1 of two, for equal opportunity.
  The dual of this linear program,

  $$\max_\psi\; \mathbb{E} \min_y \bigl[1 - P(y \mid x) - \textstyle\sum \psi \gamma\bigr] -
  \tfrac{1}{2}\alpha \lVert \psi \rVert_1, \qquad \textstyle\sum_g \psi_{ykg} = 0,$$

  is solved by Newton's method with the minimum and the norm smoothed at a temperature that falls to
  T. Its solution is a rule that draws near ties and meets the constraints: measures with
  `soft=True` see it, and the likeliest class is the authors' deterministic rule.

  Where the group is given, the rule uses it; where `group` holds predicted probabilities, or
  `joint` predicts them, it does not. Labels are not read. All promises are as good as the
  probabilities.

  Args:
    criterion: "demographic_parity", "equal_opportunity" or "equalized_odds".
    tolerance: alpha in [0, 1]; may be traced.
    temperature: T, above 0; the risk is above the best by at most about T log C; may be traced.
    joint: a function of a filled batch that gives P(g, y | x), [B, G, C]; membership times
      probabilities when None, as if both were independent given x.
    randomize: draw each decision by lot, by the key of `rfjax.transform`.

  Returns:
    The transform of a filled data set, fitted on another; it writes logits, and needs group at
    prediction, known or predicted, unless `joint` does without.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Xian, Zhao, A unified post-processing framework for group fairness in classification,
    arXiv:2405.04025, 2024.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], [0, 0, 1, 1])
    >>> score = jnp.array([0.2, 0.4, 0.3, 0.9])
    >>> said = data.fill(jnp.log(jnp.stack([1 - score, score], axis=1)))
    >>> method = postprocessing.linear_post()
    >>> rfjax.transform(method, said, key=jax.random.key(0)).logits.argmax(1).tolist()
    [0, 1, 0, 1]
  """
  _check.choice("criterion", criterion, _CRITERIA)
  _check.number("tolerance", tolerance, 0.0, 1.0)
  _check.number("temperature", temperature, 0.0, open_low=True, open_high=True)

  def conditions(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The probabilities [B, C], and those of condition and group, [B, K, G]."""
    probs = jax.nn.softmax(batch.require("logits", by=_BY).logits)
    if joint is None:
      of_both = batch.require("group", by=_BY).membership[:, :, None] * probs[:, None]
    else:
      of_both = joint(batch)
    if criterion == "demographic_parity":
      of_both = jnp.sum(of_both, axis=2, keepdims=True)
    return probs, jnp.swapaxes(of_both, 1, 2)

  def init(data: Batch, **unused: Any) -> LinearPostState:
    del unused
    probs, parts = conditions(data)
    weight = data.valid * data.with_columns("weight").weight
    weight = ratio(weight, jnp.sum(weight)).astype(probs.dtype)
    mass = jnp.tensordot(weight, parts, 1, precision="highest")
    asked = jnp.ones((data.num_classes, len(mass)), bool)
    if criterion == "equal_opportunity":
      asked = jnp.eye(data.num_classes, dtype=bool)
      asked = asked.at[0, 0].set(data.num_classes > 2)
    psi = _solve(
      1 - probs, ratio(parts, mass), weight, asked[:, :, None] & (mass > 0), tolerance, temperature
    )
    return LinearPostState(psi, mass)

  def update(
    batch: Batch, state: LinearPostState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, LinearPostState]:
    del params, unused
    probs, parts = conditions(batch)
    logits = -_shifted(1 - probs, ratio(parts, state.mass), state.psi) / temperature
    if randomize:
      draws = jnp.maximum(uniform(key, batch, logits.shape[1:]), jnp.finfo(logits.dtype).tiny)
      drawn = jnp.argmax(logits - jnp.log(-jnp.log(draws)), axis=1)  # with Gumbel noise
      return with_probs(batch, jax.nn.one_hot(drawn, batch.num_classes, dtype=probs.dtype)), state
    return batch.replace(logits=logits.astype(batch.logits.dtype)), state

  return Transform(init, update, writes=("logits",))


def _shifted(risk: jax.Array, gamma: jax.Array, psi: jax.Array) -> jax.Array:
  """The risk [B, C] less what each decision gains by gamma [B, K, G]."""
  return risk - jnp.einsum("ykg,bkg->by", psi, gamma, precision="highest")


def _solve(
  risk: jax.Array,
  gamma: jax.Array,
  weight: jax.Array,
  free: jax.Array,
  tolerance: Any,
  temperature: Any,
) -> jax.Array:
  """The psi [C, K, G] that solves the smoothed dual, zero where it is not free, and of sum zero."""
  number = jnp.sum(free, axis=-1, keepdims=True)

  def centred(flat: jax.Array) -> jax.Array:
    psi = jnp.where(free, flat.reshape(free.shape), 0)
    return jnp.where(free, psi - ratio(jnp.sum(psi, axis=-1, keepdims=True), number), 0)

  def loss(flat: jax.Array, t: jax.Array) -> jax.Array:
    psi = centred(flat)
    least = -t * jax.nn.logsumexp(-_shifted(risk, gamma, psi) / t, axis=1)
    size = t * jnp.logaddexp(psi / t, -psi / t)  # |psi|, smooth
    return tolerance / 2 * jnp.sum(size) - jnp.dot(weight, least, precision="highest")

  slope = jax.grad(loss)

  def newton(step: Any, flat: jax.Array) -> jax.Array:
    t = jnp.asarray(temperature, flat.dtype) ** jnp.minimum(step / _COOLING, 1)
    gradient, hessian = slope(flat, t), jax.hessian(loss)(flat, t)
    # Shifts that change no decision have no curvature either: a ridge keeps them where they are.
    ridge = jnp.sqrt(jnp.finfo(flat.dtype).eps) * (jnp.trace(hessian) / flat.size + 1e-3)
    direction = -jnp.linalg.solve(hessian + ridge * jnp.eye(flat.size), gradient)
    lengths = 0.5 ** jnp.arange(_LENGTHS, dtype=flat.dtype)
    along = jax.vmap(lambda length: jnp.dot(slope(flat + length * direction, t), direction))
    return flat + lengths[jnp.argmin(jnp.abs(along(lengths)))] * direction

  return centred(jax.lax.fori_loop(0, _STEPS, newton, jnp.zeros(free.size, risk.dtype)))
