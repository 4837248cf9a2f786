"""A small convolutional network, in the form that each backend computes well."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rfjax.architectures._dense import dense, dense_init
from rfjax.core import Network, _check
from rfjax.core._network import Output, as_float, widths

FORMS = ("auto", "patches", "direct")
_ROWS, _PATCHED_ROWS = 256, 32  # at a time; patches of more images outgrow the cache


def by_patches(layer: Any, x: jax.Array) -> jax.Array:
  """A 3x3 convolution with zero padding as one matrix product, [c, H, W, B] to [width, H, W, B].

  Images come last: what is copied, compared or added then lies side by side in memory.

  Args:
    layer: `{"kernel": [9 c, width], "bias": [width]}`, the kernel's rows by offset, then channel.
    x: images.

  Returns:
    The convolved images.
  """
  depth, height, width, rows = x.shape
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  offsets = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
  patches = jnp.concatenate(offsets).reshape(9 * depth, -1)
  out = jnp.einsum("pw,pn->wn", layer["kernel"], patches)
  return out.reshape(-1, height, width, rows) + layer["bias"][:, None, None, None]


def directly(layer: Any, x: jax.Array) -> jax.Array:
  """The convolution of `by_patches` by the backend's own, [B, H, W, c] to [B, H, W, width]."""
  kernel = layer["kernel"].reshape(3, 3, x.shape[-1], -1)
  dims = ("NHWC", "HWIO", "NHWC")
  out = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dims)
  return out + layer["bias"]


def in_parts(function: Callable[[jax.Array], jax.Array], x: jax.Array, most: int) -> jax.Array:
  """A function of rows [B, ...], applied to `most` of them at a time."""
  rows = x.shape[0]
  if rows <= most:
    return function(x)
  parts = -(-rows // most)
  padded = jnp.pad(x, ((0, parts * most - rows), *((0, 0) for _ in x.shape[1:])))
  out = jax.lax.map(function, padded.reshape(parts, most, *x.shape[1:]))
  return out.reshape(parts * most, *out.shape[2:])[:rows]


def max_pool(x: jax.Array) -> jax.Array:
  """2x2 max pooling of the two middle axes; an odd last row or column is left out."""
  first, height, width, last = x.shape
  x = x[:, : height // 2 * 2, : width // 2 * 2]
  return x.reshape(first, height // 2, 2, width // 2, 2, last).max((2, 4))


def cnn(
  channels: Sequence[int] = (16, 32),
  hidden: int = 128,
  num_classes: int = 10,
  *,
  form: str = "auto",
) -> Network:
  """A small CNN: 3x3 convolutions, each with a rectifier and 2x2 max pooling, and two dense layers.

  On CPU the gradient of a convolution inside a scan is more than ten times slower than outside, and
  a matrix product with patches is not; both forms share their parameters and their result.

  Args:
    channels: widths of the convolutions.
    hidden: width of the hidden dense layer, whose output is `features`.
    num_classes: at least 2.
    form: how convolutions are computed: "patches", "direct", or "auto" for patches on CPU.

  Returns:
    The network for images [B, H, W, c] or [B, H, W]; bytes are divided by 255.

  Raises:
    ValueError: for numbers out of range, or images too small for the poolings.

  Examples:
    >>> import jax, jax.numpy as jnp
    >>> from rfjax import architectures
    >>> network, x = architectures.cnn([4], 8, num_classes=3), jnp.ones((2, 6, 6, 1))
    >>> params, stats = network.init(jax.random.key(0), x)
    >>> network.apply(params, stats, x, key=None, train=False)[0].shape
    (2, 3)
  """
  _check.count("num_classes", num_classes, 2)
  _check.choice("form", form, FORMS)
  channels = widths("channels", channels)
  _check.count("the number of channels", len(channels))
  _check.count("hidden", hidden)

  def images(x: jax.Array) -> jax.Array:
    x = x[..., None] if x.ndim == 3 else x
    if x.ndim != 4:
      raise ValueError(f"x must be images [B, H, W, c] or [B, H, W], got shape {x.shape}")
    return as_float(x)

  def init(key: jax.Array, x: jax.Array) -> tuple[Any, Any]:
    _, height, width, depth = jax.eval_shape(images, x).shape
    shrink = 2 ** len(channels)
    if min(height, width) < shrink:
      raise ValueError(f"images of {height} x {width} are too small for {len(channels)} poolings")
    keys = jax.random.split(key, len(channels) + 2)
    sizes = [depth, *channels]
    convs = [dense_init(k, 9 * a, b) for k, a, b in zip(keys, sizes, channels, strict=False)]
    flat = (height // shrink) * (width // shrink) * channels[-1]
    return {
      "convs": convs,
      "dense": dense_init(keys[-2], flat, hidden),
      "head": dense_init(keys[-1], hidden, num_classes),
    }, ()

  def by_products() -> bool:
    return form == "patches" or (form == "auto" and jax.default_backend() == "cpu")

  def convolved(params: Any, x: jax.Array) -> jax.Array:
    x, patches = images(x), by_products()
    x = x.transpose(3, 1, 2, 0) if patches else x
    for layer in params["convs"]:
      x = max_pool(jax.nn.relu(by_patches(layer, x) if patches else directly(layer, x)))
    x = x.transpose(3, 1, 2, 0) if patches else x
    return x.reshape(x.shape[0], -1)

  def apply(params: Any, stats: Any, x: jax.Array, *, train: bool, **unused: Any) -> Output:
    del unused
    # A gradient in parts costs more than what it gains.
    most = _PATCHED_ROWS if by_products() and not train else _ROWS
    flat = in_parts(lambda x: convolved(params, x), x, most)
    features = jax.nn.relu(dense(params["dense"], flat))
    return dense(params["head"], features), features, stats

  return Network(init, apply)
