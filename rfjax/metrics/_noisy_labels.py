"""Measures of noisy labels: what was chosen, corrected and memorized, against the truth."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, conditional, group_sum


def _right(data: Batch, by: str) -> jax.Array:
  """Whether the given label of a valid row is the true one, bool [N]."""
  return data.valid & (data.y == _true(data, by))


def _true(data: Batch, by: str) -> jax.Array:
  truth = data.require("truth", by=by).truth
  if truth.y is None:
    raise ValueError(f"{by} needs the true labels: pass truth=Truth(y=...) to Batch.from_arrays")
  return truth.y


def _share(part: jax.Array, whole: jax.Array) -> jax.Array:
  """sum(part) / sum(whole), 0 where the whole is nothing."""
  part, whole = (jnp.sum(v, dtype=jnp.float32) for v in (part, whole))
  return part / jnp.where(whole > 0, whole, 1)


def label_precision(kept: jax.Array, data: Batch) -> jax.Array:
  r"""The share of right labels among those that are kept.

  $$\frac{\sum_i \mathrm{kept}_i\,[\tilde y_i = y_i]}{\sum_i \mathrm{kept}_i}$$

  Args:
    kept: [N] in [0, 1], such as `watch` remembers.
    data: the training set, with the true labels in `truth`.

  Returns:
    [], in [0, 1]; 0 where nothing is kept.

  Raises:
    ValueError: without true labels.

  References:
    Song, Kim, Park, Shin, Lee, Learning from Noisy Labels with Deep Neural Networks: A Survey, IEEE
    Transactions on Neural Networks and Learning Systems, 2022.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import metrics
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 0, 1, 1],
    ...                                truth=rfjax.Truth(y=jnp.array([0, 1, 1, 1])))
    >>> float(metrics.label_precision(jnp.array([1, 1, 0, 0]), data))
    0.5
  """
  kept = kept * data.valid
  return _share(kept * _right(data, "label_precision"), kept)


def label_recall(kept: jax.Array, data: Batch) -> jax.Array:
  r"""The share of the right labels that are kept.

  $$\frac{\sum_i \mathrm{kept}_i\,[\tilde y_i = y_i]}{\sum_i [\tilde y_i = y_i]}$$

  Args:
    kept: as in `label_precision`.
    data: as in `label_precision`.

  Returns:
    [], in [0, 1]; 0 where no label is right.

  Raises:
    ValueError: without true labels.

  References:
    Song, Kim, Park, Shin, Lee, Learning from Noisy Labels with Deep Neural Networks: A Survey, IEEE
    Transactions on Neural Networks and Learning Systems, 2022.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import metrics
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 0, 1, 1],
    ...                                truth=rfjax.Truth(y=jnp.array([0, 1, 1, 0])))
    >>> float(metrics.label_recall(jnp.array([1, 1, 0, 0]), data))
    0.5
  """
  right = _right(data, "label_recall")
  return _share(kept * right, right)


def label_f1(kept: jax.Array, data: Batch) -> jax.Array:
  r"""The harmonic mean of label precision and recall.

  $$F_1 = \frac{2\, \mathrm{precision} \cdot \mathrm{recall}}{\mathrm{precision} +
  \mathrm{recall}} = \frac{2 \sum_i \mathrm{kept}_i\,[\tilde y_i = y_i]}
  {\sum_i \mathrm{kept}_i + \sum_i [\tilde y_i = y_i]}$$

  Args:
    kept: as in `label_precision`.
    data: as in `label_precision`.

  Returns:
    [], in [0, 1]; 0 where nothing is kept and no label is right.

  Raises:
    ValueError: without true labels.

  References:
    Song, Kim, Park, Shin, Lee, Robust Learning by Self-Transition for Handling Noisy Labels, KDD
    2021.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import metrics
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 0, 1, 1],
    ...                                truth=rfjax.Truth(y=jnp.array([0, 1, 1, 0])))
    >>> float(metrics.label_f1(jnp.array([1, 1, 0, 0]), data))
    0.5
  """
  kept, right = kept * data.valid, _right(data, "label_f1")
  return _share(2 * kept * right, kept + right)


def correction_accuracy(label: jax.Array, data: Batch, among: jax.Array | None = None) -> jax.Array:
  r"""The share of true labels among those that were corrected.

  $$\frac{|\{i \in R : r_i = y_i\}|}{|R|}$$

  Args:
    label: integers [N], the label that each example is given by the method, such as `watch`
      remembers or SELFIE's `refurbished`; below 0 for none.
    data: the training set, with the true labels in `truth`.
    among: bool [N], R; when None, what has a label other than the given one. SELFIE's authors count
      all that was refurbished, `label >= 0`.

  Returns:
    [], in [0, 1]; 0 where nothing was corrected.

  Raises:
    ValueError: without true labels.

  References:
    Song, Kim, Lee, SELFIE: Refurbishing Unclean Samples for Robust Deep Learning, ICML 2019.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import metrics
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 0, 1, 1],
    ...                                truth=rfjax.Truth(y=jnp.array([0, 1, 1, 1])))
    >>> float(metrics.correction_accuracy(jnp.array([0, 1, 0, -1]), data))
    0.5
  """
  true = _true(data, "correction_accuracy")
  among = (label >= 0) & (label != data.y) if among is None else among & (label >= 0)
  among = among & data.valid
  return _share(among & (label == true), among)


class Memorization(NamedTuple):
  """What a network says of its training set, as shares.

  Attributes:
    right: of the right labels, how many it gives back, [].
    memorized: of the wrong labels, how many it gives back, [].
    seen_through: of the wrong labels, for how many it gives the true one, [].
  """

  right: jax.Array
  memorized: jax.Array
  seen_through: jax.Array


def memorization_rates(predicted: jax.Array, data: Batch) -> Memorization:
  r"""How much of right and of wrong labels a network gives back.

  $$\mathrm{right} = P(\hat y = \tilde y \mid \tilde y = y), \quad
  \mathrm{memorized} = P(\hat y = \tilde y \mid \tilde y \ne y), \quad
  \mathrm{seen\ through} = P(\hat y = y \mid \tilde y \ne y)$$

  What is left of each to 1 is some other label. Taken after each epoch these are the curves of
  memorization.

  Args:
    predicted: the network's labels of the training set, integers [N].
    data: the training set, with the true labels in `truth`.

  Returns:
    A `Memorization`.

  Raises:
    ValueError: without true labels.

  References:
    Liu, Niles-Weed, Razavian, Fernandez-Granda, Early-Learning Regularization Prevents Memorization
    of Noisy Labels, NeurIPS 2020.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import metrics
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 0, 1, 1],
    ...                                truth=rfjax.Truth(y=jnp.array([0, 1, 0, 1])))
    >>> [float(v) for v in metrics.memorization_rates(jnp.array([0, 1, 1, 0]), data)]
    [0.5, 0.5, 0.5]
  """
  true, right = _true(data, "memorization_rates"), _right(data, "memorization_rates")
  wrong = data.valid & ~right
  fitted = predicted == data.y
  return Memorization(
    _share(fitted & right, right),
    _share(fitted & wrong, wrong),
    _share((predicted == true) & wrong, wrong),
  )


class Choices(NamedTuple):
  """How many examples of each class or group a method left out or relabelled.

  Attributes:
    rows: [K], how many there are.
    wrong: [K], how many of them have a wrong label.
    dropped: [K], how many were left out.
    dropped_wrong: [K], how many of these have a wrong label.
    relabelled: [K], how many have another label than the given one, and were kept.
    relabelled_right: [K], for how many of these it is the true one.
  """

  rows: jax.Array
  wrong: jax.Array
  dropped: jax.Array
  dropped_wrong: jax.Array
  relabelled: jax.Array
  relabelled_right: jax.Array


def choices(
  kept: jax.Array, label: jax.Array, data: Batch, codes: jax.Array, num_codes: int
) -> Choices:
  r"""Counts what was left out and what was relabelled, by class or by group.

  $$n_k = \sum_i [\mathrm{code}_i = k]\,[i \text{ is counted}]$$

  Args:
    kept: [N], such as `watch` remembers; left out is what has 0.
    label: integers [N], such as `watch` remembers; below 0 for none.
    data: the training set, with the true labels in `truth`.
    codes: integers [N], such as `data.y`, `data.truth.y` or `data.group`.
    num_codes: K, such as `data.num_classes` or `data.num_groups`.

  Returns:
    The `Choices`.

  Raises:
    ValueError: without true labels.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import metrics
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 0, 1, 1],
    ...                                truth=rfjax.Truth(y=jnp.array([0, 1, 1, 1])))
    >>> found = metrics.choices(jnp.array([1, 0, 1, 1]), jnp.array([0, 0, 1, 0]), data, data.y, 2)
    >>> found.dropped.tolist(), found.dropped_wrong.tolist(), found.relabelled.tolist()
    ([1, 0], [1, 0], [0, 1])
  """
  true, right = _true(data, "choices"), _right(data, "choices")
  wrong, kept = data.valid & ~right, kept > 0
  dropped = data.valid & ~kept
  relabelled = data.valid & kept & (label >= 0) & (label != data.y)
  marks = (
    data.valid,
    wrong,
    dropped,
    dropped & wrong,
    relabelled,
    relabelled & (label == true),
  )
  return Choices(*(group_sum(mark.astype(jnp.int32), codes, num_codes) for mark in marks))


def noise_transition(data: Batch) -> jax.Array:
  r"""The transition matrix that was realised, of the true labels and the given ones.

  $$T_{ij} = \frac{|\{k : y_k = i,\; \tilde y_k = j\}|}{|\{k : y_k = i\}|}$$

  Args:
    data: the training set, with the true labels in `truth`.

  Returns:
    The matrix [C, C]; the row of a class without examples is that of the identity.

  Raises:
    ValueError: without true labels.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import metrics
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 1, 1],
    ...                                truth=rfjax.Truth(y=jnp.array([0, 0, 1, 1])))
    >>> metrics.noise_transition(data).tolist()
    [[0.5, 0.5], [0.0, 1.0]]
  """
  classes = data.num_classes
  true = jax.nn.one_hot(_true(data, "noise_transition"), classes) * data.valid[:, None]
  return conditional(true, jax.nn.one_hot(data.y, classes))


def transition_error(estimate: jax.Array, truth: jax.Array) -> jax.Array:
  r"""The relative error of an estimated transition matrix.

  $$\frac{\sum_{ij} |\hat T_{ij} - T_{ij}|}{\sum_{ij} |T_{ij}|}$$

  Args:
    estimate: [C, C].
    truth: [C, C], such as `noise_transition`.

  Returns:
    [], at least 0.

  References:
    Xia, Liu, Wang, Han, Gong, Niu, Sugiyama, Are Anchor Points Really Indispensable in Label-Noise
    Learning?, NeurIPS 2019.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import metrics
    >>> float(metrics.transition_error(jnp.full((2, 2), 0.5), jnp.eye(2)))
    1.0
  """
  return jnp.sum(jnp.abs(estimate - truth)) / jnp.sum(jnp.abs(truth))
