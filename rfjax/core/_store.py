"""A store of finished blocks of a sweep: written whole or not at all, and read only if whole."""

import contextlib
import hashlib
import io
import os
import pathlib
import socket
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rfjax._version import __version__

_BLOCK, _PART = ".npz", ".part"


def program_digest(run: Any, constants: list, point: dict, lanes: int, mesh: Mesh) -> str:
  """What determines the bits of a run, as 32 hexadecimal digits.

  They are the program, as it is handed to the compiler, the arrays that it reads, its width, the
  kind of its devices and the versions. So a change of a setting, of the data or of the code makes
  another sweep, and neither a name nor the size of a block has a say.
  """
  seen = hashlib.sha256()
  seen.update(jax.jit(run).lower(constants, point).as_text().encode())
  for value in constants:
    array = np.asarray(jax.random.key_data(value) if _is_key(value) else value)
    seen.update(f"{array.dtype} {array.shape}".encode())
    seen.update(np.ascontiguousarray(array).tobytes())
  kind = mesh.devices.flat[0].device_kind
  partitioned = mesh.devices.size > 1  # which decides last bits, and their number does not
  seen.update(f"{lanes} {kind} {partitioned} {jax.__version__} {__version__}".encode())
  return seen.hexdigest()[:32]


def _is_key(value: Any) -> bool:
  return jnp.issubdtype(jnp.asarray(value).dtype, jax.dtypes.prng_key)


def _points_digest(points: Mapping[str, np.ndarray], real: int) -> str:
  seen = hashlib.sha256()
  for name in sorted(points):
    values = np.ascontiguousarray(points[name][:real])
    seen.update(f"{name} {values.dtype} {values.shape} ".encode() + values.tobytes())
  return seen.hexdigest()[:32]


class Store:
  """The blocks of one sweep in a folder of its own.

  A block is a file `POINTS.CONTENT.npz`: what was asked for, and the SHA-256 of what came out. It
  is written beside its place, synchronised with the disk and renamed, so that it is there whole or
  not at all. A block whose content is not what its name says is removed and computed again.

  Attributes:
    folder: where the blocks are.
    damaged: how many blocks were found damaged.
  """

  def __init__(self, root: str | os.PathLike, digest: str):
    self.folder = pathlib.Path(root) / digest
    self.damaged = 0
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise ValueError(f"store must be a folder that can be written, got {root}: {error}") from None
    self._sweep_away()
    self._blocks = {path.name.split(".")[0]: path for path in self.folder.glob(f"*{_BLOCK}")}

  def _sweep_away(self) -> None:
    """Removes what processes of this machine that are no more have left half-written."""
    for path in self.folder.glob(f"*{_PART}"):
      host, _, pid = path.name.removesuffix(_PART).partition("~")
      if host == socket.gethostname() and not _alive(pid.partition("~")[0]):
        path.unlink(missing_ok=True)

  def read(self, points: Mapping[str, np.ndarray], real: int) -> list[np.ndarray] | None:
    """The leaves of a block's results, or None where it is not there or damaged."""
    path = self._blocks.get(_points_digest(points, real))
    if path is None:
      return None
    with contextlib.suppress(OSError, ValueError):
      content = path.read_bytes()
      if hashlib.sha256(content).hexdigest() == path.name.split(".")[1]:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
          return [found[str(i)] for i in range(len(found.files))]
    self.damaged += 1
    path.unlink(missing_ok=True)
    return None

  def write(self, points: Mapping[str, np.ndarray], real: int, leaves: list[np.ndarray]) -> None:
    """Stores a block; nothing is left of one that cannot be written."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {str(i): leaf for i, leaf in enumerate(leaves)}
    np.savez(buffer, **named)
    content, asked = buffer.getvalue(), _points_digest(points, real)
    path = self.folder / f"{asked}.{hashlib.sha256(content).hexdigest()}{_BLOCK}"
    part = self.folder / f"{socket.gethostname()}~{os.getpid()}~{asked}{_PART}"
    try:
      with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
      os.replace(part, path)
    except OSError:
      with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)
      raise
    _sync(self.folder)

  def tell(self, stored: int, runs: int) -> None:
    """Says on stderr how to go on with a sweep that ends before its end."""
    print(
      f"\n{stored} of {runs} runs are stored in {self.folder.parent}: the same sweep with the same"
      " store goes on from there",
      file=sys.stderr,
      flush=True,
    )


def _sync(folder: pathlib.Path) -> None:
  """Makes a rename last, where the system can open folders."""
  with contextlib.suppress(OSError):
    handle = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(handle)
    finally:
      os.close(handle)


def _alive(pid: str) -> bool:
  try:
    os.kill(int(pid), 0)
  except (ProcessLookupError, ValueError):
    return False
  except PermissionError:
    return True
  return True
