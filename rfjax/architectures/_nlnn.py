"""The noisy labels neural network: true labels as hidden variables, found by the EM algorithm."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.architectures._s_model import confusion
from rfjax.core import Batch, Transform, _check, log_transition, read, write


class NLNNState(NamedTuple):
  """The state of `nlnn`.

  Attributes:
    transition: theta [C, C], the probability that class i is given the label j.
    posterior: c [N, C], of the true label of each example; its given label before the first round.
  """

  transition: jax.Array
  posterior: jax.Array


def nlnn(initial: ArrayLike | None = None, *, every: int = 1, warmup: int = 0) -> Transform:
  r"""The noisy labels neural network, trained by expectation and maximisation.

  $$c_{ti} \propto \theta_{i \tilde y_t}\, p_i(x_t), \qquad
  \theta_{ij} = \frac{\sum_t c_{ti}\, [\tilde y_t = j]}{\sum_t c_{ti}}, \qquad
  \mathrm{target}_t = c_t$$

  The posteriors c of the true labels and the noise theta are renewed on the whole training set, by
  what the network says in evaluation. Between two rounds the network learns c. If it learned them
  to the end, the likelihood of the given labels would never fall; a single gradient step is one of
  the `s_model` of theta. Rounds with a new network each are run by `nlnn_rounds`.

  Args:
    initial: theta_0 [C, C], rows of probabilities; the `confusion` of the network at the first
      round when None, which then needs a warm-up. May be traced.
    every: epochs from one round to the next, at least 1.
    warmup: epochs on the given labels before the first round, at least 0.

  Returns:
    The transform; it writes target.

  Raises:
    ValueError: for values out of range, neither a matrix nor a warm-up, or a matrix that is not of
      the data set's classes.

  References:
    Bekker, Goldberger, Training deep neural-networks based on unreliable labels, ICASSP 2016.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0], [3.0]], [0, 0, 1, 0, 1])
    >>> method = architectures.nlnn([[0.9, 0.1], [0.4, 0.6]], every=5)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=60)
    >>> state.method.posterior.argmax(1).tolist()
    [0, 0, 1, 1, 1]
  """
  given = None if initial is None else _check.transition("initial", initial)
  every, warmup = _check.count("every", every), _check.count("warmup", warmup, 0)
  if given is None and warmup == 0:
    raise ValueError(
      "warmup must be at least 1 without initial, since a network that has learned nothing has no"
      " confusion, got 0: pass warmup= or initial="
    )

  def init(data: Batch, **unused: Any) -> NLNNState:
    del unused
    if given is not None:
      _check.classes("initial", given.shape[0], data)
    return start(data, jnp.eye(data.num_classes) if given is None else given)

  def refresh(
    data: Batch, state: NLNNState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, NLNNState]:
    del params, unused
    data.require("log_probs", by="nlnn")
    since, before = jnp.asarray(epoch) - warmup, state.transition
    if given is None:
      said = confusion(data.log_probs, data.y, data.valid).astype(before.dtype)
      before = jnp.where(since == 0, said, before)
    new = em(data, state._replace(transition=before))
    due = (since >= 0) & (since % every == 0)
    return data, jax.tree.map(lambda a, b: jnp.where(due, a, b), new, state)

  return Transform(init, refresh=refresh, update=learn, writes=("target",))


def start(data: Batch, transition: ArrayLike) -> NLNNState:
  """The state before any round: the posteriors are the given labels."""
  matrix = jnp.asarray(transition)
  matrix = matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32))
  return NLNNState(matrix, jax.nn.one_hot(data.y, data.num_classes, dtype=matrix.dtype))


def em(data: Batch, state: NLNNState) -> NLNNState:
  """The posteriors given the network and the transition, and the transition given these."""
  to_given = log_transition(state.transition).T[data.y]
  posterior = jax.nn.softmax(data.log_probs + to_given, axis=-1)
  matrix = confusion(jnp.log(posterior), data.y, data.valid).astype(state.transition.dtype)
  return NLNNState(matrix, write(state.posterior, data.index, posterior))


def learn(
  batch: Batch, state: NLNNState, params: Any = None, **unused: Any
) -> tuple[Batch, NLNNState]:
  """The update: the posteriors are the targets."""
  del params, unused
  batch.require("target", by="nlnn")
  posterior = read(state.posterior, batch.index).astype(batch.target.dtype)
  return batch.replace(target=jnp.where(batch.valid[:, None], posterior, batch.target)), state
