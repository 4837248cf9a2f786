"""Adversarial debiasing: decisions from which an adversary cannot tell the group."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Transform, _check
from rfjax.fairness.inprocessing import _adversary
from rfjax.fairness.inprocessing._cells import CRITERIA


def adversarial_debiasing(
  strength: float | jax.Array,
  criterion: str = "demographic_parity",
  *,
  tx: optax.GradientTransformation | None = None,
  steps: int = 1,
) -> Transform:
  r"""Adversarial debiasing: an adversary tells the group from what the model decides.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} - \alpha\, L_A, \qquad
  L_A = \overline{\ell\bigl(W^\top v + b,\ g\bigr)}, \qquad
  s = \mathrm{softmax}\bigl((1 + |c|)\, \mathrm{logits}\bigr)$$

  where the cross-entropy of groups is averaged over rows, and the adversary (W, b, c) descends on
  it. It sees the probabilities v = s of classes from 1 on, and for equalized odds
  (s, s [y = 0], s [y = 1], ...). For equal opportunity it sees rows with label 1 only.

  The published method is two parts, of which the other one acts on gradients:

      tx = optax.chain(inprocessing.project_against(), optax.adam(1e-3))

  Without `project_against` the model and the adversary play for risk - alpha L_A. A strength that
  grows with the steps, as in the paper, is `rfjax.scaled(schedule, adversarial_debiasing(1.0))`.

  Args:
    strength: alpha, at least 0; may be traced.
    criterion: "demographic_parity", "equalized_odds" or "equal_opportunity"; static.
    tx: optimizer of the adversary, Adam at 1e-3 by default.
    steps: of the adversary for one of the model, at least 1.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Zhang, Lemoine, Mitchell, Mitigating unwanted biases with adversarial learning, AIES 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1], [0, 0, 1, 1])
    >>> tx = optax.chain(inprocessing.project_against(), optax.adam(1e-3))
    >>> state, log = rfjax.fit(architectures.logistic(), inprocessing.adversarial_debiasing(0.1),
    ...                        tx, data, key=jax.random.key(0), epochs=5)
  """
  _check.choice("criterion", criterion, CRITERIA)
  odds = criterion == "equalized_odds"

  def start(data: Batch, key: jax.Array, spec: Any) -> dict[str, jax.Array]:
    del spec
    inputs = (data.num_classes - 1) * (1 + data.num_classes if odds else 1)
    shape = inputs, data.num_groups - 1
    limit = (6 / max(sum(shape), 1)) ** 0.5
    kernel = jax.random.uniform(key, shape, minval=-limit, maxval=limit)
    return {"scale": jnp.ones(()), "kernel": kernel, "bias": jnp.zeros(shape[1])}

  def look(batch: Batch) -> _adversary.Guess:
    return _adversary.guess(batch, batch.logits, criterion)

  def loss(params: dict[str, jax.Array], seen: _adversary.Guess) -> jax.Array:
    s = jax.nn.softmax((1 + jnp.abs(params["scale"])) * seen.inputs, axis=0)[1:]
    if odds:
      by_label = seen.label[:, None] * s
      s = jnp.concatenate([s, by_label.reshape(-1, s.shape[1])])
    return _adversary.entropy(params["kernel"].T @ s + params["bias"][:, None], seen)

  return _adversary.game("adversarial_debiasing", start, look, loss, strength, tx, steps)
