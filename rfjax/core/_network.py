"""Networks as pairs of pure functions, made of flax modules or of plain functions."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import _check

Output = tuple[jax.Array, jax.Array | None, Any]


class Network(NamedTuple):
  """A network.

  Attributes:
    init: `init(key, x) -> (params, stats)`; x [B, ...] is looked at for its shape only. `stats` is
      all that is not trained, such as the averages of batch normalisation; () without any.
    apply: `apply(params, stats, x, *, key, train) -> (logits [B, C], features [B, d] or None,
      stats)`. `train` is a Python bool; `key` is for dropout.
  """

  init: Callable[..., tuple[Any, Any]]
  apply: Callable[..., Output]


def going_on(network: Network, params: Any, stats: Any) -> Network:
  """The network that starts with parameters and statistics that it has learned."""
  return network._replace(init=lambda key, x: (params, stats))


def _split_output(output: Any) -> tuple[jax.Array, jax.Array | None]:
  return output if isinstance(output, tuple) else (output, None)


def as_float(x: jax.Array) -> jax.Array:
  """Features as floats: bytes are pixels and divided by 255, other integers stay as they are."""
  if jnp.issubdtype(x.dtype, jnp.floating):
    return x
  return x.astype(jnp.float32) / (255.0 if x.dtype == jnp.uint8 else 1.0)


def widths(name: str, values: Any) -> list[int]:
  """Checks a list of layer widths."""
  if not isinstance(values, Iterable):
    raise ValueError(f"{name} must be a list of widths, got {values!r}: pass [{values!r}]")
  return [_check.count(name, width) for width in values]


def from_function(
  init: Callable[[jax.Array, jax.Array], Any], apply: Callable[[Any, jax.Array], Any]
) -> Network:
  """Makes a network of two plain functions without statistics.

  Args:
    init: `init(key, x) -> params`.
    apply: `apply(params, x) -> logits` or `(logits, features)`.

  Returns:
    The network.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import architectures
    >>> network = architectures.from_function(
    ...     lambda key, x: jnp.zeros((x.shape[-1], 3)), lambda params, x: x @ params)
  """

  def apply_fn(params: Any, stats: Any, x: jax.Array, **unused: Any) -> Output:
    del unused
    return *_split_output(apply(params, x)), stats

  return Network(lambda key, x: (init(key, x), ()), apply_fn)


def from_linen(module: Any, *, train_argument: str | None = None) -> Network:
  """Makes a network of a flax.linen module.

  Args:
    module: a `flax.linen.Module` that returns logits or (logits, features).
    train_argument: the name of the keyword of its `__call__` that is True in training, if any.

  Returns:
    The network; every collection but "params" is in its statistics, and the random stream
    "dropout" is served.

  Examples:
    >>> from flax import linen
    >>> from rfjax import architectures
    >>> network = architectures.from_linen(linen.Dense(3))
  """

  def mode(train: bool) -> dict[str, bool]:
    return {} if train_argument is None else {train_argument: train}

  def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
    variables = dict(module.init(key, x, **mode(False)))
    return variables.pop("params", {}), variables

  def apply(params: Any, stats: Any, x: jax.Array, *, key: jax.Array, train: bool) -> Output:
    variables = {"params": params} | dict(stats)
    mutable = list(stats) if train else False
    out = module.apply(variables, x, **mode(train), rngs={"dropout": key}, mutable=mutable)
    out, stats = (out[0], out[1]) if train else (out, stats)
    return *_split_output(out), stats

  return Network(init, apply)


def from_nnx(build: Callable[[Any], Any]) -> Network:
  """Makes a network of a flax.nnx module.

  Args:
    build: `build(rngs) -> module`, where calling the module gives logits or (logits, features).

  Returns:
    The network. `nnx.Param`s are its parameters and all other variables its statistics; train and
    eval modes are set as `nnx.Module.train` and `eval` do, and dropout is keyed anew at every step.

  Examples:
    >>> from flax import nnx
    >>> from rfjax import architectures
    >>> network = architectures.from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs))
  """
  from flax import nnx

  abstract = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
  graph, _, streams, _ = nnx.split(abstract, nnx.Param, nnx.RngState, ...)

  def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
    del x
    _, params, _, stats = nnx.split(build(nnx.Rngs(key)), nnx.Param, nnx.RngState, ...)
    return params, stats

  def apply(params: Any, stats: Any, x: jax.Array, *, key: jax.Array, train: bool) -> Output:
    stats = stats or nnx.State({})
    module = nnx.merge(graph, params, _rekey(streams, key), stats, copy=True)
    module.train() if train else module.eval()
    output = module(x)
    return *_split_output(output), nnx.split(module, nnx.Param, nnx.RngState, ...)[3]

  return Network(init, apply)


def _rekey(streams: Any, key: jax.Array) -> Any:
  """Fills the abstract random streams of a module with keys folded out of one."""
  leaves, structure = jax.tree.flatten(streams)
  fresh = [
    jax.random.fold_in(key, i)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    else jnp.zeros(leaf.shape, leaf.dtype)
    for i, leaf in enumerate(leaves)
  ]
  return jax.tree.unflatten(structure, fresh)
