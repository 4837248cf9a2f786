"""Learning fair representations: features become mixtures of prototypes that all groups share."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Transform, _check, descend, group_mean, player, ratio, uniform
from rfjax.fairness.preprocessing import _elements

_NAME = "lfr"
_DISTANCES = ("euclidean", "squared")
_OUTPUTS = ("features", "shares")

_dot = functools.partial(jnp.matmul, precision="highest")


class LFRState(NamedTuple):
  """The state of `lfr`, what it has learned.

  Attributes:
    prototypes: v [K, d].
    logits: [K, C], log-odds of the label of each prototype: w = softmax(logits).
  """

  prototypes: jax.Array
  logits: jax.Array


def lfr(
  prototypes: int = 5,
  *,
  reconstruction: float | jax.Array = 0.01,
  prediction: float | jax.Array = 1.0,
  fairness: float | jax.Array = 50.0,
  distance: str = "euclidean",
  output: str = "features",
  learning_rate: float | jax.Array = 0.1,
  steps: int = 1000,
) -> Transform:
  r"""Learning fair representations: each row as its shares in prototypes with the same group means.

  With the shares $M_{ik} \propto e^{-\lVert x_i - v_k \rVert}$ the features become
  $\hat x_i = \sum_k M_{ik} v_k$, of prototypes v and labels w of prototypes that minimise

  $$A_x \sum_g \overline{(\hat x - x)^2}^{\,g}
  - A_y\, \overline{\log \textstyle\sum_k M_{ik} w_{k y_i}}
  + \frac{A_z}{K} \sum_k \bigl(\max_g \bar M_k^g - \min_g \bar M_k^g\bigr)$$

  where bars are means over rows, and with a group over its rows and over the features. For two
  groups and two labels that is the objective of AIF360, which holds w in [0, 1] where here it is a
  softmax. It is descended by Adam with a step that falls to 0 by a cosine, from random rows.
  Distances depend on units: standardise the features first.

  Args:
    prototypes: K, at least 1.
    reconstruction: A_x, at least 0; may be traced.
    prediction: A_y, at least 0; may be traced.
    fairness: A_z, at least 0; may be traced.
    distance: "euclidean", or "squared" distances in the shares.
    output: what becomes of x: "features" [B, ...] with the shape of x, or "shares" M [B, K].
    learning_rate: of Adam at the start, above 0; may be traced.
    steps: steps of Adam, at least 1.

  Returns:
    The transform of a data set, which `fitted_on=` may fit on another; it writes x, and needs group
    in the fit only.

  Raises:
    ValueError: for values out of range; when fitted, where the group is missing, or for fewer rows
      than prototypes.

  References:
    Zemel, Wu, Swersky, Pitassi, Dwork, Learning fair representations, ICML 2013.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0], [2.0], [1.0], [3.0]], [0, 1, 0, 1], [0, 0, 1, 1])
    >>> method = preprocessing.lfr(2, steps=10)
    >>> rfjax.transform(method, data, key=jax.random.key(0)).x.shape
    (4, 1)
  """
  prototypes, steps = _check.count("prototypes", prototypes), _check.count("steps", steps)
  weights = (reconstruction, prediction, fairness)
  for name, value in zip(("reconstruction", "prediction", "fairness"), weights, strict=True):
    _check.number(name, value, 0.0, open_high=True)
  _check.choice("distance", distance, _DISTANCES)
  _check.choice("output", output, _OUTPUTS)
  _check.number("learning_rate", learning_rate, 0.0, open_low=True, open_high=True)

  def init(data: Batch, *, key: jax.Array, **unused: Any) -> LFRState:
    del unused
    data = data.require("group", by=_NAME).with_columns("weight")
    if prototypes > data.num_rows:
      raise ValueError(f"prototypes must be at most the {data.num_rows} rows, got {prototypes}")
    tx = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))
    loss = lambda state, data: objective(state, data, weights, distance)
    move = lambda _, one: descend(loss, one, data, tx)
    return jax.lax.fori_loop(0, steps, move, player(start(data, prototypes, key), tx)).params

  def update(
    batch: Batch, state: LFRState, params: Any = None, **unused: Any
  ) -> tuple[Batch, LFRState]:
    del params, unused
    x = _elements.features(batch)
    shares = jnp.exp(_log_shares(x, state.prototypes, distance))
    if output == "shares":
      return batch.replace(x=shares), state
    return batch.replace(x=_dot(shares, state.prototypes).reshape(batch.x.shape)), state

  return Transform(init, update, writes=("x",))


def start(data: Batch, number: int, key: jax.Array) -> LFRState:
  """Different random rows that count, and labels of no prototype."""
  x = _elements.features(data)
  counts = data.valid & (data.weight > 0)
  rows = jnp.argsort(jnp.where(counts, uniform(key, data), 2))[:number]
  return LFRState(x[rows], jnp.zeros((number, data.num_classes), x.dtype))


def objective(
  state: LFRState, data: Batch, weights: tuple[Any, Any, Any], distance: str
) -> jax.Array:
  """What is minimised, by the weights (A_x, A_y, A_z), []."""
  x = _elements.features(data)
  counted = data.weight * data.valid
  membership = data.membership * counted[:, None]
  log_shares = _log_shares(x, state.prototypes, distance)
  shares = jnp.exp(log_shares)
  error = jnp.mean((_dot(shares, state.prototypes) - x) ** 2, axis=1)
  labels = jax.nn.log_softmax(state.logits)[:, data.y].T
  given = jax.nn.logsumexp(log_shares + labels, axis=1)
  mean, size = group_mean(shares, membership)
  there = (size > 0)[:, None]
  highest = jnp.max(jnp.where(there, mean, 0), axis=0)
  lowest = jnp.min(jnp.where(there, mean, 1), axis=0)
  apart = jnp.where(jnp.any(there), highest - lowest, 0)
  rebuilt = jnp.sum(group_mean(error, membership)[0])
  entropy = -ratio(jnp.sum(counted * given), jnp.sum(counted))
  return weights[0] * rebuilt + weights[1] * entropy + weights[2] * jnp.mean(apart)


def _log_shares(x: jax.Array, prototypes: jax.Array, distance: str) -> jax.Array:
  """The logarithms of the shares of rows in prototypes, [B, K]."""
  far = jnp.sum((x[:, None, :] - prototypes) ** 2, axis=2)
  if distance == "euclidean":
    # The root has no derivative at 0, where a prototype is a row.
    far = jnp.where(far > 0, jnp.sqrt(jnp.where(far > 0, far, 1)), 0)
  return jax.nn.log_softmax(-far, axis=1)
