"""Logistic regression and multi-layer perceptrons."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Network, _check
from rfjax.core._network import Output, as_float, widths


def flatten(x: jax.Array) -> jax.Array:
  """Rows of numbers, float [B, d]; bytes are pixels and divided by 255."""
  return as_float(x.reshape(x.shape[0], -1))


def dense_init(key: jax.Array, fan_in: int, width: int, scale: float | None = None) -> Any:
  """A kernel of standard deviation `scale`, He et al.'s sqrt(2 / fan_in) when None; bias 0."""
  if scale is None:
    scale = math.sqrt(2.0 / max(fan_in, 1))
  return {"kernel": scale * jax.random.normal(key, (fan_in, width)), "bias": jnp.zeros(width)}


def dense(layer: Any, x: jax.Array) -> jax.Array:
  """x kernel + bias."""
  return x @ layer["kernel"] + layer["bias"]


def logistic(num_classes: int = 2, *, init_scale: float = 0.2) -> Network:
  r"""Logistic regression; for two classes with one logit.

  $$\mathrm{logits} = (0,\; x^\top W + b)$$

  with W of num_classes - 1 columns, so that it has no redundant parameters.

  Args:
    num_classes: at least 2.
    init_scale: standard deviation of the initial W; b starts at 0.

  Returns:
    The network; its parameters are "kernel", [d, num_classes - 1], and "bias", [num_classes - 1].

  Raises:
    ValueError: for numbers out of range.

  Examples:
    >>> import jax, jax.numpy as jnp
    >>> from rfjax import architectures
    >>> params, stats = architectures.logistic().init(jax.random.key(0), jnp.ones((5, 3)))
    >>> params["kernel"].shape
    (3, 1)
  """
  _check.count("num_classes", num_classes, 2)
  _check.number("init_scale", init_scale, 0.0)

  def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
    return dense_init(key, flatten(x).shape[1], num_classes - 1, init_scale), ()

  def apply(params: Any, stats: Any, x: jax.Array, **unused: Any) -> Output:
    del unused
    logits = dense(params, flatten(x))
    return jnp.pad(logits, ((0, 0), (1, 0))), None, stats

  return Network(init, apply)


def mlp(
  hidden: Sequence[int], num_classes: int = 2, *, dropout: float | jax.Array = 0.0
) -> Network:
  r"""A multi-layer perceptron with rectified linear units.

  $$h_0 = x,\quad h_{l+1} = \max(0, h_l W_l + b_l),\quad \mathrm{logits} = h_L W_L + b_L$$

  Args:
    hidden: widths of the hidden layers.
    num_classes: at least 2.
    dropout: the share of hidden units that are silent in a training step, in [0, 1), where others
      are as much louder; may be traced.

  Returns:
    The network; its features are the last hidden layer.

  Raises:
    ValueError: for numbers out of range.

  References:
    He, Zhang, Ren, Sun, Delving deep into rectifiers, ICCV 2015 (initialisation).
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, Dropout, Journal of Machine Learning
    Research, 2014.

  Examples:
    >>> import jax, jax.numpy as jnp
    >>> from rfjax import architectures
    >>> network, x = architectures.mlp([64, 32], num_classes=10), jnp.ones((5, 8))
    >>> params, stats = network.init(jax.random.key(0), x)
    >>> logits, features, _ = network.apply(params, stats, x, key=None, train=False)
    >>> logits.shape, features.shape
    ((5, 10), (5, 32))
  """
  _check.count("num_classes", num_classes, 2)
  layers = [*widths("hidden", hidden), num_classes]
  _check.number("dropout", dropout, 0.0, 1.0, open_high=True)
  drops = _check.traced(dropout) or float(dropout) > 0

  def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
    sizes = [flatten(x).shape[1], *layers]
    keys = jax.random.split(key, len(layers))
    return [dense_init(*args) for args in zip(keys, sizes, sizes[1:], strict=False)], ()

  def apply(
    params: Any, stats: Any, x: jax.Array, *, key: Any = None, train: bool = False, **unused: Any
  ) -> Output:
    del unused
    features = flatten(x)
    for i, layer in enumerate(params[:-1]):
      features = jax.nn.relu(dense(layer, features))
      if drops and train:
        loud = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - dropout, features.shape)
        features = jnp.where(loud, features / (1 - dropout), 0)
    return dense(params[-1], features), features, stats

  return Network(init, apply)
