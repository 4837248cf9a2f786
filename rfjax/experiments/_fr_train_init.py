"""The initial weights of the FR-Train notebooks, as a .npz file."""

import hashlib
import pathlib
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

OFFICIAL = (
  pathlib.Path(__file__).parents[2] / "experiments" / "fr_train" / "official_init_seed1.npz"
)
SHAPES = {
  "generator_kernel": (3, 1),
  "fairness_kernel": (1, 1),
  "robustness_kernel_1": (4, 16),
  "robustness_kernel_2": (16, 1),
}


class Init(NamedTuple):
  """Initial weights.

  Attributes:
    params: of the classifier.
    players: of the two discriminators.
    sha256: of the file.
  """

  params: Any
  players: tuple[Any, Any]
  sha256: str


def _layer(kernel: np.ndarray) -> dict[str, Any]:
  return {"kernel": jnp.asarray(kernel), "bias": jnp.zeros(kernel.shape[1])}


def _arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  except (ValueError, OSError, EOFError) as error:
    raise ValueError(f"init {path} is no readable .npz file: {error}") from None


def read(path: pathlib.Path) -> Init:
  """Reads initial weights; all biases are zero.

  Args:
    path: a .npz with the float arrays of `SHAPES`, kernels of shape (in, out).

  Returns:
    The weights.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: for a file that is no .npz, or names, shapes or values that do not fit.
  """
  if not path.is_file():
    raise FileNotFoundError(f"init {path} does not exist: give the path of a .npz file")
  arrays = _arrays(path)
  if set(arrays) != set(SHAPES):
    raise ValueError(
      f"init {path} must hold {', '.join(SHAPES)}, got {', '.join(arrays) or 'none'}"
    )
  for name, shape in SHAPES.items():
    value = arrays[name]
    if value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
      raise ValueError(
        f"init {path}: {name} must be finite floats of shape {shape},"
        f" got {value.dtype} {value.shape}"
      )
  generator, fairness, hidden, head = (arrays[name].astype(np.float32) for name in SHAPES)
  d_f = {"kernel": jnp.asarray(fairness)[None], "bias": jnp.zeros((1, 1))}
  d_r = {"hidden": _layer(hidden), "head": _layer(head)}
  return Init(_layer(generator), (d_f, d_r), hashlib.sha256(path.read_bytes()).hexdigest())
