"""A network for each data source, and the median of what they say."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from rfjax.convergence._sources import rows_of_sources, source_ids
from rfjax.core import Batch, Network, TrainState, Transform, _check, fit, predict
from rfjax.core._parts import map_trainings


def robust_ensemble(
  network: Network,
  method: Transform,
  tx: optax.GradientTransformation,
  data: Batch,
  source: ArrayLike,
  *,
  key: jax.Array,
  epochs: int,
  batch_size: int | None = None,
  lanes: int = 1,
) -> TrainState:
  r"""Trains a network on each source alone; `predict_median` lets them vote.

  $$\theta_s = \mathrm{fit}(\{i : \mathrm{source}_i = s\}), \qquad
  p(c \mid x) \propto \operatorname*{med}_s\; p_{\theta_s}(c \mid x)$$

  What somebody does to fewer than half of the sources, whatever it is, cannot move a median beyond
  what networks of clean sources say. The price is that each of them learns from one source: small
  ones give a weak vote, that counts as much as any.

  All trainings are one compiled function, on as many rows as the largest source has, and each has a
  network and a key of its own, `fold_in(key, s)`. In batches the rows of a source come before the
  empty places, so that it takes as many steps an epoch as it would alone; schedules by step count
  those of the largest source. A source of which no row is valid keeps the network that it started
  with, and its vote.

  Args:
    network: the network.
    method: the method, such as `rfjax.chain()` for cross-entropy. It is trained on data sets with
      addresses of their own: one that was given arrays of all N rows cannot be used.
    tx: any optax transformation.
    data: the training set.
    source: the source of each row, int [N] from 0, addressed by `index`; known on the host, since
      it says how large sources are.
    key: a key from `jax.random.key`.
    epochs: of each training.
    batch_size: rows a step, at most those of the largest source; None takes all rows of a source.
    lanes: so many trainings are done side by side; on a CPU 1 is fastest.

  Returns:
    The last states, each leaf with a leading axis of S sources.

  Raises:
    ValueError: for counts out of range, fewer than two sources, or rows that have none.

  References:
    Iofinova, Konstantinov, Lampert, FLEA: Provably Robust Fair Multisource Learning from Unreliable
    Training Data, TMLR 2022 (as a baseline).

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> x, good, bad = [[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [1, 1, 0, 0]
    >>> data = rfjax.Batch.from_arrays(x * 3, good + bad + good)
    >>> network, source = architectures.logistic(), [0] * 4 + [1] * 4 + [2] * 4
    >>> states = convergence.robust_ensemble(
    ...     network, rfjax.chain(), optax.sgd(1.0), data, source, key=jax.random.key(0), epochs=20)
    >>> said = convergence.predict_median(network, states, data)
    >>> said.logits.argmax(-1)[:4].tolist()
    [0, 0, 1, 1]
  """
  ids = source_ids(source)
  lanes = _check.count("lanes", lanes)
  rows = rows_of_sources(ids, data)
  packed = method if batch_size is None else _packed(method)

  def one(at: tuple[jax.Array, jax.Array]) -> TrainState:
    number, mine = at
    state, _ = fit(
      network, packed, tx, data.subset(mine), key=jax.random.fold_in(key, number), epochs=epochs,
      batch_size=batch_size,
    )  # fmt: skip
    return state

  return map_trainings(one, (jnp.arange(rows.shape[0]), rows), lanes)


def predict_median(network: Network, states: TrainState, data: Batch) -> Batch:
  r"""Fills a data set with the median of what several networks say, in evaluation mode.

  $$z_c = \log \operatorname*{med}_s\; p_{\theta_s}(c \mid x)
  - \log \sum_k \operatorname*{med}_s\; p_{\theta_s}(k \mid x)$$

  class by class; the median of an even number is the mean of the middle two. For two classes the
  medians add up to 1, so that the decision of an odd number of networks is their majority's, and
  each probability lies between those of two clean networks if fewer than half are others. For more
  classes the same holds of the medians before they are divided by their sum.

  Args:
    network: the network.
    states: states of S networks, each leaf with a leading axis, such as those of
      `robust_ensemble`.
    data: any data set of the same kind of examples.

  Returns:
    The data with `logits` [N, C], log-probabilities, and all that follows from them.

  References:
    Iofinova, Konstantinov, Lampert, FLEA: Provably Robust Fair Multisource Learning from Unreliable
    Training Data, TMLR 2022 (as a baseline).

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> from rfjax import convergence
    >>> network = rfjax.core.from_function(lambda key, x: jnp.zeros(2), lambda w, x: x * w)
    >>> states = rfjax.core.TrainState(jnp.array([[0.0, 1.0], [0.0, 3.0], [0.0, -9.0]]), (), (), ())
    >>> data = rfjax.Batch.from_arrays([[1.0], [-1.0]], [0, 1])
    >>> convergence.predict_median(network, states, data).margin.ravel().round(3).tolist()
    [1.0, -1.0]
  """
  said = jax.lax.map(lambda s: jax.nn.log_softmax(predict(network, s, data).logits), states)
  ordered, size = jnp.sort(said, axis=0), said.shape[0]
  middle = ordered[size // 2]
  if size % 2 == 0:
    middle = jnp.logaddexp(ordered[size // 2 - 1], middle) - jnp.log(2.0).astype(middle.dtype)
  return data.fill(jax.nn.log_softmax(middle))


def _packed(method: Transform) -> Transform:
  """The method on batches in which the empty places of an epoch come last."""

  def refresh(data: Batch, state: Any, params: Any = None, **extra: Any) -> tuple[Batch, Any]:
    rows = data.order.reshape(-1)
    empty = ~jnp.take(data.valid, rows, mode="fill", fill_value=False)
    order = rows[jnp.argsort(empty, stable=True)].reshape(data.order.shape)
    return method.refresh(data.replace(order=order), state, params, **extra)

  return method._replace(refresh=refresh)
