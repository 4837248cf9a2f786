"""Out-of-sample probabilities: what networks say of rows that they have not learned from."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Network, Transform, _check, fit, predict, rank
from rfjax.core._parts import map_trainings


def deal_folds(key: jax.Array, data: Batch, folds: int, *, stratified: bool = True) -> jax.Array:
  """Deals the rows of a data set out to folds whose sizes differ by at most one.

  Args:
    key: a key from `jax.random.key`.
    data: the data set.
    folds: how many there are, from 1 to the number of rows.
    stratified: whether the rows of each label are spread evenly too.

  Returns:
    The fold of each row, int32 [N].

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import selection
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 6, [0, 0, 0, 0, 1, 1])
    >>> fold = selection.deal_folds(jax.random.key(0), data, 2)
    >>> int(fold.sum()), int(fold[4:].sum())
    (3, 1)
  """
  if _check.count("folds", folds) > data.num_rows:
    raise ValueError(f"folds must be at most the {data.num_rows} rows of data, got {folds}")
  place = jax.random.permutation(key, data.num_rows)
  if stratified:
    place = rank(jnp.where(data.valid, data.y, data.num_classes), place)
  return place.astype(jnp.int32) % folds


def out_of_sample(
  network: Network,
  method: Transform,
  tx: optax.GradientTransformation,
  data: Batch,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  folds: int = 5,
  stratified: bool = True,
  peers: int = 1,
  lanes: int = 1,
) -> jax.Array:
  r"""Probabilities of all rows by cross-fitting: of each fold by a network trained on the others.

  $$p_i = \mathrm{softmax}\bigl(z_{\theta_{f(i)}}(x_i)\bigr), \qquad
  \theta_f = \mathrm{fit}(\{j : f(j) \ne f\})$$

  All trainings are one compiled function, and each has a network and a key of its own.

  Args:
    network: the network.
    method: the method, such as `rfjax.chain()` for cross-entropy. It is trained on data sets with
      addresses of their own: one that was given arrays of all N rows cannot be used.
    tx: any optax transformation.
    data: the training set.
    key: a key from `jax.random.key`.
    epochs: of each training.
    batch_size: rows a step, as in `fit`.
    folds: how many, at least 2.
    stratified: whether the rows of each label are spread evenly over the folds.
    peers: as in `fit`.
    lanes: so many trainings are done side by side; on a CPU 1 is fastest.

  Returns:
    The probabilities [N, C].

  Raises:
    ValueError: for counts out of range.

  References:
    Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal
    of Artificial Intelligence Research, 2021.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> probs = selection.out_of_sample(
    ...     architectures.logistic(), rfjax.chain(), optax.sgd(1.0), data, key=jax.random.key(0),
    ...     epochs=20, folds=2)
    >>> probs.argmax(-1).tolist()
    [0, 0, 1, 1]
  """
  count, rows = _check.count("folds", folds, 2), data.num_rows
  lanes = _check.count("lanes", lanes)
  fold = deal_folds(jax.random.fold_in(key, count), data, count, stratified=stratified)
  # Every fold has floor(N / folds) rows or one more; the places that are left are empty.
  sizes = rows - rows // count, -(-rows // count)
  of_fold = lambda i: (
    jnp.flatnonzero(fold != i, size=sizes[0], fill_value=rows),
    jnp.flatnonzero(fold == i, size=sizes[1], fill_value=rows),
  )

  def one(i: jax.Array) -> tuple[jax.Array, jax.Array]:
    others, own = of_fold(i)
    state, _ = fit(
      network, method, tx, data.subset(others), key=jax.random.fold_in(key, i), epochs=epochs,
      batch_size=batch_size, peers=peers,
    )  # fmt: skip
    return own, predict(network, state, data.take(own)).probs

  places, probs = map_trainings(one, jnp.arange(count), lanes)
  empty: Any = jnp.zeros((rows, data.num_classes), probs.dtype)
  return empty.at[places.reshape(-1)].set(probs.reshape(-1, data.num_classes), mode="drop")
