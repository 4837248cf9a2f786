"""Random perturbation: of many networks close to a trained one, the fairest or most accurate."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rfjax import metrics
from rfjax.core import Batch, Network, TrainState, _check, group_mean, predict
from rfjax.metrics._cells import STATISTICS


def random_perturbation(
  network: Network,
  state: TrainState,
  data: Batch,
  *,
  key: jax.Array,
  candidates: int = 101,
  scale: float | jax.Array = 0.1,
  statistics: str | Sequence[str] = "selection_rate",
  bound: float | jax.Array = 0.04,
) -> TrainState:
  r"""Takes the best of many random perturbations of a trained network, and of itself.

  $$\theta_j = \theta\, (1 + \sigma\, \varepsilon_j), \qquad \varepsilon_0 = 0, \qquad
  j^* = \arg\max_j \begin{cases} \mathrm{accuracy}_j & \text{if } \mathrm{gap}_j \le b \\
  -\mathrm{gap}_j & \text{else} \end{cases}$$

  with normal noise on every parameter, the balanced accuracy, which is the mean true positive rate
  of the classes, and the largest difference between groups of any of the statistics. Candidate 0 is
  the network itself, so that on this data the outcome is never worse than it. All candidates are
  evaluated side by side.

  The authors do not try the network itself, give every candidate outside of the bound the value 0,
  choose a threshold of scores with each candidate, and average over five bootstraps of the data;
  their bound is 0.05, of which a margin of 0.01 is kept.

  Args:
    network: the network.
    state: what `fit` returned.
    data: rows with groups to choose by, best held out from training; they count by their weights.
    key: a key from `jax.random.key`.
    candidates: how many networks there are, at least 1; static.
    scale: sigma, at least 0; may be traced.
    statistics: one or more names of `metrics.group_rates`, as in `inprocessing.gap`; static.
    bound: b in [0, 1], up to which a gap is fair; may be traced.

  Returns:
    The state with the parameters that were chosen.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Savani, White, Govindarajulu, Intra-processing methods for debiasing neural networks, NeurIPS
    2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> from rfjax.fairness import postprocessing
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1], [0, 1, 0, 1])
    >>> network, key = architectures.logistic(), jax.random.key(0)
    >>> state, log = rfjax.fit(network, rfjax.chain(), optax.adam(0.1), data, key=key, epochs=5)
    >>> tuned = postprocessing.random_perturbation(network, state, data, key=key, candidates=9)
    >>> tuned.params["kernel"].shape
    (1, 1)
  """
  _check.count("candidates", candidates)
  _check.number("scale", scale, 0.0, open_high=True)
  names = (statistics,) if isinstance(statistics, str) else tuple(statistics)
  for name in names:
    _check.choice("statistics", name, tuple(STATISTICS))
  _check.number("bound", bound, 0.0, 1.0)
  data.require("group", by="random_perturbation")

  weight = data.with_columns("weight").weight * data.valid

  def candidate(number: Any) -> TrainState:
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.fold_in(key, number), len(leaves))
    size = jnp.where(number == 0, 0, scale)
    noisy = [
      leaf * (1 + size * jax.random.normal(k, leaf.shape)).astype(leaf.dtype)
      for leaf, k in zip(leaves, keys, strict=True)
    ]
    return state._replace(params=jax.tree.unflatten(tree, noisy))

  def value(number: Any) -> jax.Array:
    said = predict(network, candidate(number), data)
    gap = metrics.difference(*(metrics.group_rates(n, said, weight=weight) for n in names))
    return jnp.where(gap <= bound, _balanced_accuracy(said, weight), -gap)

  return candidate(jnp.argmax(jax.vmap(value)(jnp.arange(candidates))))


def _balanced_accuracy(said: Batch, weight: jax.Array) -> jax.Array:
  """The mean over classes of how often a row of the class is recognised, []."""
  right = jnp.argmax(said.logits, axis=1) == said.y
  of_class = jax.nn.one_hot(said.y, said.num_classes) * weight[:, None]
  recall, rows = group_mean(right, of_class)
  return jnp.sum(recall) / jnp.maximum(jnp.sum(rows > 0), 1)
