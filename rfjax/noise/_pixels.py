"""The memorization suite's images: shuffled by one permutation, by one an image, or drawn anew."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, stateless, uniform
from rfjax.noise._draws import check_width, select

_CHUNK = 256  # images at a time: the draws of a whole data set would be many times its size


class GaussianPixelsState(NamedTuple):
  """What Gaussian images are drawn from.

  Attributes:
    mean: of each channel, [c].
    scale: standard deviation of each channel, [c].
  """

  mean: jax.Array
  scale: jax.Array


def _pixels(x: jax.Array, by: str) -> jax.Array:
  """The images as pixels with their channels, [B, P, c]."""
  if not 2 <= x.ndim <= 4:
    raise ValueError(
      f"{by} needs x of shape [B, d], [B, H, W] or [B, H, W, c], got {x.shape}: reshape it"
    )
  return x.reshape(x.shape[0], -1, x.shape[3] if x.ndim == 4 else 1)


def _strike(batch: Batch, rate: Any, pixels: jax.Array, key: jax.Array) -> Batch:
  struck = select(uniform(key, batch), rate, batch, exact_count=False)
  shape = (-1,) + (1,) * (batch.x.ndim - 1)
  return batch.replace(x=jnp.where(struck.reshape(shape), pixels.reshape(batch.x.shape), batch.x))


def _each(draw: Callable[..., jax.Array], batch: Batch, pixels: jax.Array, key: jax.Array) -> Any:
  """Draws an image for each row, `draw(key, pixels)`, with a key of the row's own."""

  def one(row: tuple[jax.Array, jax.Array]) -> jax.Array:
    return draw(jax.random.fold_in(key, row[0]), row[1])

  return jax.lax.map(one, (batch.index, pixels), batch_size=_CHUNK)


def shuffled_pixels(rate: float | jax.Array = 1.0) -> Transform:
  r"""Moves the pixels of all images by one random permutation.

  $$\tilde x_{ip} = x_{i\,\pi(p)}$$

  The key alone says which permutation: with the key of the training set, a test set is shuffled as
  it was. A pixel moves with all its channels. Labels stay. With one key, a higher rate strikes the
  images of a lower one and some more.

  Args:
    rate: share of the images that are shuffled, each by itself, in [0, 1]; may be traced.

  Returns:
    The transform, of data sets with x [B, H, W, c], or [B, H, W] or [B, d] of one channel.

  Raises:
    ValueError: for a rate out of range; when applied, for x of another shape.

  References:
    Zhang, Bengio, Hardt, Recht, Vinyals, Understanding Deep Learning Requires Rethinking
    Generalization, ICLR 2017.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[1, 2, 3, 4]] * 2, [0, 1])
    >>> x = rfjax.transform(noise.shuffled_pixels(), clean, key=jax.random.key(0)).x
    >>> x[0].tolist() == x[1].tolist(), sorted(x[0].tolist())
    (True, [1, 2, 3, 4])
  """
  _check.number("rate", rate, 0.0, 1.0)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    strike_key, order_key = jax.random.split(key)
    pixels = _pixels(batch.x, "shuffled_pixels")
    order = jax.random.permutation(order_key, pixels.shape[1])
    return _strike(batch, rate, jnp.take(pixels, order, axis=1), strike_key)

  return stateless(apply, writes=("x",))


def random_pixels(rate: float | jax.Array = 1.0) -> Transform:
  r"""Moves the pixels of each image by a random permutation of its own.

  $$\tilde x_{ip} = x_{i\,\pi_i(p)}$$

  The permutations are drawn by `index`: another data set needs another key. A pixel moves with all
  its channels. Labels stay. With one key, a higher rate strikes the images of a lower one and some
  more.

  Args:
    rate: share of the images that are shuffled, each by itself, in [0, 1]; may be traced.

  Returns:
    The transform, of data sets with x [B, H, W, c], or [B, H, W] or [B, d] of one channel.

  Raises:
    ValueError: for a rate out of range; when applied, for x of another shape.

  References:
    Zhang, Bengio, Hardt, Recht, Vinyals, Understanding Deep Learning Requires Rethinking
    Generalization, ICLR 2017.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[1, 2, 3, 4]] * 2, [0, 1])
    >>> x = rfjax.transform(noise.random_pixels(), clean, key=jax.random.key(0)).x
    >>> x[0].tolist() == x[1].tolist(), sorted(x[0].tolist())
    (False, [1, 2, 3, 4])
  """
  _check.number("rate", rate, 0.0, 1.0)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    strike_key, order_key = jax.random.split(key)

    def draw(key: jax.Array, pixels: jax.Array) -> jax.Array:
      return pixels[jnp.argsort(jax.random.bits(key, pixels.shape[:1]))]

    moved = _each(draw, batch, _pixels(batch.x, "random_pixels"), order_key)
    return _strike(batch, rate, moved, strike_key)

  return stateless(apply, writes=("x",))


def _moments(pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and variance of each image's channels, [B, c] each."""

  def one(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    values = image.astype(jnp.float32)
    return jnp.mean(values, axis=0), jnp.var(values, axis=0)

  return jax.lax.map(one, pixels, batch_size=_CHUNK)


def _cast(values: jax.Array, dtype: Any) -> jax.Array:
  """Rounds to integers, and clips to what they can hold, where they are integers."""
  if not jnp.issubdtype(dtype, jnp.integer):
    return values.astype(dtype)
  limits = jnp.iinfo(dtype)
  return jnp.clip(jnp.round(values), limits.min, limits.max).astype(dtype)


def gaussian_pixels(rate: float | jax.Array = 1.0) -> Transform:
  r"""Replaces images by Gaussian noise with the data set's mean and standard deviation.

  $$\tilde x_{ipc} \sim \mathcal{N}(\mu_c, \sigma_c^2)$$

  with mean and standard deviation of channel c over all pixels of all images. Where x holds
  integers, the draws are rounded and clipped to their range, which is [0, 255] for uint8; floats
  are not clipped. The draws go by `index`: another data set needs another key. Labels stay. With
  one key, a higher rate strikes the images of a lower one and some more. Apply it by
  `rfjax.transform`; `fitted_on=` measures mean and deviation elsewhere.

  Args:
    rate: share of the images that are replaced, each by itself, in [0, 1]; may be traced.

  Returns:
    The transform, of data sets with x [B, H, W, c], or [B, H, W] or [B, d] of one channel.

  Raises:
    ValueError: for a rate out of range; when applied, for x of another shape, or fitted on another
      number of channels.

  References:
    Zhang, Bengio, Hardt, Recht, Vinyals, Understanding Deep Learning Requires Rethinking
    Generalization, ICLR 2017.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[1.0, 3.0]] * 5000, [0, 1] * 2500)
    >>> noisy = rfjax.transform(noise.gaussian_pixels(), clean, key=jax.random.key(0))
    >>> round(float(noisy.x.mean()), 1), round(float(noisy.x.std()), 1)
    (2.0, 1.0)
  """
  _check.number("rate", rate, 0.0, 1.0)

  def init(data: Batch, **unused: Any) -> GaussianPixelsState:
    del unused
    # By image first: one float32 sum over all pixels of a data set would drop its last summands.
    means, variances = _moments(_pixels(data.x, "gaussian_pixels"))
    mean = data.mean(means)
    return GaussianPixelsState(mean, jnp.sqrt(data.mean(variances + (means - mean) ** 2)))

  def update(
    batch: Batch, state: GaussianPixelsState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, GaussianPixelsState]:
    del params, unused
    strike_key, draw_key = jax.random.split(key)

    def draw(key: jax.Array, pixels: jax.Array) -> jax.Array:
      normal = jax.random.normal(key, pixels.shape)
      return _cast(state.mean + state.scale * normal, pixels.dtype)

    given = _pixels(batch.x, "gaussian_pixels")
    check_width("gaussian_pixels", "channels", state.mean.size, given.shape[-1])
    drawn = _each(draw, batch, given, draw_key)
    return _strike(batch, rate, drawn, strike_key), state

  return Transform(init, update, writes=("x",))
