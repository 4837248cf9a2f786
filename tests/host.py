"""Data sets of NumPy arrays, made by programs that the tests share."""

import functools

import jax
import numpy as np

import rfjax
from rfjax import data

_zafar = jax.jit(data.zafar, static_argnums=1)
_take = jax.jit(rfjax.Batch.take)


def zafar(rows, seed=0):
  """`data.zafar`, drawn once for each size, seed and precision."""
  return _drawn(rows, seed, jax.config.jax_enable_x64)


@functools.cache
def _drawn(rows, seed, precise):
  del precise
  return jax.device_get(_zafar(jax.random.key(seed), rows))


def batch(x, y, group=None, **options):
  """`Batch.from_arrays`, of NumPy arrays."""
  made = jax.eval_shape(lambda: rfjax.Batch.from_arrays(x, y, group, **options))
  arrays = {"x": x, "y": y, "index": np.arange(made.num_rows), "valid": np.ones(made.num_rows)}
  arrays |= {} if group is None else {"group": group}
  return made.replace(**{n: np.asarray(v, getattr(made, n).dtype) for n, v in arrays.items()})


def take(batch, *rows):
  """The rows of a data set in a row, as NumPy arrays."""
  return jax.device_get(_take(batch, np.concatenate([np.atleast_1d(r) for r in rows])))


def refuse(function, *args, **options):
  """Calls a function whose complaint needs no compiling; arrays keep their values."""
  args, options = on_device((args, options))
  return jax.eval_shape(lambda: function(*args, **options))


def on_device(tree):
  """Arrays of NumPy as those of JAX, with values that compiled code may ask for."""
  put = lambda v: jax.device_put(v) if isinstance(v, np.ndarray) else v
  return jax.tree.map(put, tree)


def run(function, *args):
  """What a function returns, as one program, in arrays of NumPy."""
  return jax.device_get(jax.jit(function)(*args))


def transform(t, *batches, key):
  """`rfjax.transform` of each data set, as one program, to which their values are known."""
  batches = on_device(batches)
  return run(lambda key: [rfjax.transform(t, batch, key=key) for batch in batches], key)


def at_rates(make, rates, batch, *, key):
  """Noisy data of each rate, which Python knows, as one program."""
  batch = on_device(batch)
  noisy = lambda key: {rate: rfjax.transform(make(rate), batch, key=key) for rate in rates}
  return run(noisy, key)
