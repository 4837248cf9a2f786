"""Decision stumps: one threshold on one feature, the weak learner of boosting."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.architectures._dense import flatten
from rfjax.core import Batch, ratio


class Learner(NamedTuple):
  """A classifier that learns from weighted rows, for boosting.

  Attributes:
    fit: `fit(data, weight, key) -> params`, of weights [N] and a pytree of arrays.
    probs: `probs(params, data) -> [N, C]`, probabilities of the classes.
  """

  fit: Callable[[Batch, jax.Array, jax.Array], Any]
  probs: Callable[[Any, Batch], jax.Array]


class Stump(NamedTuple):
  """The parameters of a stump.

  Attributes:
    feature: int32 [], which feature is compared.
    threshold: [], rows up to it go left.
    leaves: [2, C], probabilities of the classes on the left and on the right.
  """

  feature: jax.Array
  threshold: jax.Array
  leaves: jax.Array


def stump() -> Learner:
  r"""A decision stump, which splits rows where the Gini impurity falls the most.

  $$\max_{j, t}\; \sum_{\text{sides}} \frac{\sum_k n_k^2}{\sum_k n_k}, \qquad
  n_k = \sum_{i\ \text{on the side}} w_i\, [y_i = k]$$

  over all features j and all thresholds t halfway between neighbouring values; the probabilities of
  a side are its weighted shares of classes. It is scikit-learn's DecisionTreeClassifier with
  max_depth=1, but for ties, where the first threshold of the first feature is taken.

  Returns:
    The learner, of two rows or more; where all features are constant it says the weighted shares
    of all rows.

  References:
    Breiman, Friedman, Olshen, Stone, Classification and regression trees, Wadsworth, 1984.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import inprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0], [1.0], [4.0], [6.0]], [0, 0, 1, 1])
    >>> found = inprocessing.stump().fit(data, jnp.ones(4), jax.random.key(0))
    >>> float(found.threshold), found.leaves.tolist()
    (2.5, [[1.0, 0.0], [0.0, 1.0]])
  """

  def fit(data: Batch, weight: jax.Array, key: jax.Array) -> Stump:
    del key
    x, weight = flatten(data.x), weight * data.valid
    # Padding goes to the end, behind the last threshold.
    x = jnp.where(data.valid[:, None], x, jnp.inf)
    labels = jax.nn.one_hot(data.y, data.num_classes) * weight[:, None]
    order = jnp.argsort(x, axis=0)
    ordered = jnp.take_along_axis(x, order, axis=0)
    left = jnp.cumsum(labels[order], axis=0)  # [N, d, C]
    whole = jnp.sum(labels, axis=0)
    purity = lambda n: ratio(jnp.sum(n * n, -1), jnp.sum(n, -1))
    gain = (purity(left) + purity(jnp.maximum(whole - left, 0)))[:-1]
    splits = (ordered[1:] > ordered[:-1]) & (ordered[1:] < jnp.inf)
    best = jnp.argmax(jnp.where(splits, gain, -jnp.inf).T)  # by feature, then by threshold
    feature, place = jnp.divmod(best, len(x) - 1)
    low, high = ordered[place, feature], ordered[place + 1, feature]
    threshold = jnp.where(jnp.any(splits), low + 0.5 * (high - low), jnp.inf)
    side = jnp.where((x[:, feature] <= threshold)[:, None], labels, 0).sum(0)
    sides = jnp.stack([side, jnp.maximum(whole - side, 0)])
    leaves = ratio(sides, jnp.sum(sides, axis=1, keepdims=True))
    return Stump(feature.astype(jnp.int32), threshold, leaves)

  def probs(params: Stump, data: Batch) -> jax.Array:
    below = flatten(data.x)[:, params.feature] <= params.threshold
    return params.leaves[jnp.where(below, 0, 1)]

  return Learner(fit, probs)
