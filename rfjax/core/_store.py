"""A store of finished blocks of a sweep: written whole or not at all, and read only if whole."""

import contextlib
import hashlib
import io
import os
import pathlib
import shutil
import socket
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from rfjax._version import __version__

_BLOCK, _CHECKPOINT, _PART = ".npz", ".orbax", ".part"


def program_digest(run: Any, constants: list, given: tuple, lanes: int, mesh: Mesh) -> str:
  """What determines the bits of a run, as 32 hexadecimal digits.

  They are the program, as it is handed to the compiler, the arrays that it reads, its width, the
  kind of its devices and the versions. So a change of a setting, of the data or of the code makes
  another sweep, and neither a name nor the size of a block has a say.
  """
  seen = hashlib.sha256()
  seen.update(jax.jit(run).lower(constants, *given).as_text().encode())
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

  A checkpoint is a folder `POINTS.PART.CONTENT.orbax`, of the runs of a block that are under way.
  It is written in the same way, and goes when the next one or the block is there.

  Attributes:
    folder: where the blocks are.
    damaged: how many blocks and checkpoints were found damaged.
  """

  def __init__(self, root: str | os.PathLike, digest: str):
    self.folder = pathlib.Path(root) / digest
    self.damaged = 0
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise ValueError(f"store must be a folder that can be written, got {root}: {error}") from None
    self._blocks = {path.name.split(".")[0]: path for path in self.folder.glob(f"*{_BLOCK}")}
    self._sweep_away()

  def _sweep_away(self) -> None:
    """Removes what processes that are no more have left: half-written, or done in the meantime."""
    for path in self.folder.glob(f"*{_PART}*"):  # orbax adds to the name of what it begins
      host, _, pid = path.name.partition("~")
      if host == socket.gethostname() and not _alive(pid.partition("~")[0]):
        _remove(path)
    for path in self.folder.glob(f"*{_CHECKPOINT}"):
      if path.name.split(".")[0] in self._blocks:
        _remove(path)

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
    _remove(path)
    return None

  def write(self, points: Mapping[str, np.ndarray], real: int, leaves: list[np.ndarray]) -> None:
    """Stores a block; nothing is left of one that cannot be written."""
    buffer = io.BytesIO()
    named: dict[str, Any] = {str(i): leaf for i, leaf in enumerate(leaves)}
    np.savez(buffer, **named)
    content, asked = buffer.getvalue(), _points_digest(points, real)
    path = self.folder / f"{asked}.{hashlib.sha256(content).hexdigest()}{_BLOCK}"
    part = self._begun(asked)
    try:
      with open(part, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
      os.replace(part, path)
    except OSError:
      _remove(part)
      raise
    _sync(self.folder)
    self._forget(asked)

  def checkpoint(
    self, points: Mapping[str, np.ndarray], real: int, part: int, carry: list[Any]
  ) -> None:
    """Stores what the runs of a block carry into a part, in the place of an earlier one."""
    import orbax.checkpoint as ocp

    values, asked = [np.asarray(leaf) for leaf in carry], _points_digest(points, real)
    path = self.folder / f"{asked}.{part}.{_values_digest(values)}{_CHECKPOINT}"
    begun = self._begun(asked)
    try:
      with _orbax() as saver:
        # What has no values, orbax refuses; it is made anew from its shape.
        some = {str(i): v for i, v in enumerate(values) if v.size}
        saver.save(begun.absolute(), args=ocp.args.PyTreeSave(some))
      os.replace(begun, path)
    except BaseException:
      for left in self.folder.glob(f"{begun.name}*"):
        _remove(left)
      raise
    _sync(self.folder)
    self._forget(asked, but=path)

  def resume(
    self, points: Mapping[str, np.ndarray], real: int, like: list[Any]
  ) -> tuple[int, list[np.ndarray]] | None:
    """The part that a block is at and what its runs carry into it, or None where none is stored.

    Args:
      points: of the runs.
      real: how many they are.
      like: arrays or shapes of what they carry.

    Returns:
      The part and the arrays.
    """
    import orbax.checkpoint as ocp

    for path in self.folder.glob(f"{_points_digest(points, real)}.*{_CHECKPOINT}"):
      _, part, digest, _ = path.name.split(".")
      values = {str(i): np.zeros(v.shape, v.dtype) for i, v in enumerate(like)}
      some = {name: value for name, value in values.items() if value.size}
      asked = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), some)
      with contextlib.suppress(Exception):  # a damaged file raises whatever tensorstore makes of it
        with _orbax() as saver:
          found = saver.restore(path.absolute(), args=ocp.args.PyTreeRestore(restore_args=asked))
        whole = list((values | found).values())
        if _values_digest(whole) == digest:
          return int(part), whole
      self.damaged += 1
      _remove(path)
    return None

  def _begun(self, asked: str) -> pathlib.Path:
    """Where something is written, before it has its place."""
    return self.folder / f"{socket.gethostname()}~{os.getpid()}~{asked}{_PART}"

  def _forget(self, asked: str, but: pathlib.Path | None = None) -> None:
    """Removes the checkpoints of a block, but the newest one."""
    for path in self.folder.glob(f"{asked}.*{_CHECKPOINT}"):
      if path != but:
        _remove(path)

  def tell(self, stored: int, runs: int) -> None:
    """Says on stderr how to go on with a sweep that ends before its end."""
    print(
      f"\n{stored} of {runs} runs are stored in {self.folder.parent}: the same sweep with the same"
      " store goes on from there",
      file=sys.stderr,
      flush=True,
    )


def _orbax() -> Any:
  """A checkpointer of this process; of several, the others do not wait for it."""
  import orbax.checkpoint as ocp

  me = jax.process_index()
  alone = ocp.options.MultiprocessingOptions(
    primary_host=me, active_processes={me}, barrier_sync_key_prefix="rfjax"
  )
  return ocp.Checkpointer(
    ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone
  )


def _values_digest(values: list[np.ndarray]) -> str:
  seen = hashlib.sha256()
  for value in values:
    seen.update(f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
  return seen.hexdigest()[:32]


def _remove(path: pathlib.Path) -> None:
  """Removes a file or a folder, as far as that can be done."""
  if path.is_dir():
    shutil.rmtree(path, ignore_errors=True)
  else:
    with contextlib.suppress(OSError):
      path.unlink(missing_ok=True)


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
