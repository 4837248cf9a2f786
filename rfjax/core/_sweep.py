"""Sweeps: one compiled run, mapped over every point of a grid and over every device."""

import contextlib
import contextvars
import functools
import inspect
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from rfjax.core import _check
from rfjax.core._engine import AXIS, Engine, Plan, compute, engine, lay_out
from rfjax.core._hosts import first_says, is_first
from rfjax.core._progress import progress
from rfjax.core._store import Store

ACCELERATOR_LANES = 64  # fixed, so that results do not hang on the size of a sweep
PROGRESS_TICKS = 20
_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"

_STORE: contextvars.ContextVar[tuple[str | os.PathLike | None, int | None]] = (
  contextvars.ContextVar("store", default=(None, None))
)


@contextlib.contextmanager
def stored_in(folder: str | os.PathLike, checkpoint_every: int | None = None) -> Iterator[None]:
  """Sweeps that name no store keep theirs in this folder, with checkpoints of their runs."""
  token = _STORE.set((folder, checkpoint_every))
  try:
    yield
  finally:
    _STORE.reset(token)


def run_mesh(devices: Sequence[Any] | None = None) -> Mesh:
  """The default mesh: all devices, of all processes, along the axis "run"."""
  return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def default_lanes(mesh: Mesh) -> int:
  """The lanes of a sweep that names none, by the kind of its devices."""
  return 1 if mesh.devices.flat[0].platform == "cpu" else ACCELERATOR_LANES


def _axis(name: str, values: Any) -> np.ndarray:
  values = np.asarray(list(values) if isinstance(values, (range, Iterator)) else values)
  if values.ndim != 1 or values.size == 0:
    raise ValueError(f"axis {name!r} must be a non-empty list of numbers, got {values!r}")
  if values.dtype.kind not in "iufb":
    raise ValueError(f"axis {name!r} must hold numbers, got dtype {values.dtype}")
  if name == "seed":
    return _check.seeds(values)
  if values.dtype.kind in "iu" and (_device_type(values) != values).any():
    raise ValueError(f"axis {name!r} must fit into 32 bits, got {values}: pass floats")
  if values.dtype.kind == "f" and not np.isfinite(values).all():
    raise ValueError(f"axis {name!r} must be finite, got {values}")
  return values


def _arguments(train: Callable, axes: Mapping[str, np.ndarray]) -> None:
  parameters = inspect.signature(train).parameters.values()
  if any(p.kind is p.VAR_KEYWORD for p in parameters):
    return
  names = [p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY]
  unknown = [name for name in axes if name not in names]
  missing = [p.name for p in parameters if p.default is p.empty and p.name not in axes]
  if unknown or missing:
    raise ValueError(
      f"axes must name the arguments of train {tuple(names)}, got {tuple(axes)}:"
      + (f" {unknown[0]!r} is no argument" if unknown else f" {missing[0]!r} is missing")
    )


def _plan(runs: int, lanes: int | None, block: int | None, mesh: Mesh) -> Plan:
  if AXIS not in mesh.axis_names:
    raise ValueError(f'mesh must have an axis "{AXIS}", got {mesh.axis_names}')
  devices = mesh.shape[AXIS]
  lanes = default_lanes(mesh) if lanes is None else lanes
  width = devices * _check.count("lanes", lanes)
  if block is None:
    block = width * max(1, runs // (width * PROGRESS_TICKS))
  block = _check.count("block", block)
  if block % width:
    raise ValueError(
      f"block must be a multiple of {width}, {devices} devices times {lanes} lanes, got {block}"
    )
  return Plan(runs, lanes, block, devices)


def _smaller(plan: Plan, error: Exception) -> Plan:
  """The plan with half of the block, after a block that the memory did not hold."""
  width = plan.devices * plan.lanes
  if not str(error).startswith(_OUT_OF_MEMORY):
    raise error
  if plan.block == width:
    raise MemoryError(
      f"a block of {plan.lanes} lanes on each of {plan.devices} devices does not fit into memory:"
      f" pass a smaller lanes{' (--lanes)' if plan.lanes > 1 else ', or a smaller data set'}"
    ) from error
  block = max(plan.block // width // 2, 1) * width
  told = f"out of memory: from here on blocks have {block} runs; block={block} avoids the attempt"
  warnings.warn(told, stacklevel=4)
  return plan._replace(block=block)


def _read(store: Store | None, asked: dict, real: int, shape: Any) -> list[np.ndarray] | None:
  """The leaves of a block that is stored, or None; the first process has the store."""
  leaves = None if store is None else store.read(asked, real)
  if not first_says(np.int32(leaves is not None)):
    return None
  made = [np.zeros((real, *s.shape), s.dtype) for s in jax.tree.leaves(shape)]
  return first_says(made if leaves is None else leaves)


def _resume(store: Store | None, asked: dict, real: int, engine: Engine) -> Any:
  """The part that a block is at and what its runs carry into it, or None at the start."""
  if engine.parts == 1:
    return None
  carry = [np.zeros((real, *s.shape), s.dtype) for s in jax.tree.leaves(engine.carry)]
  part, carry = (store and store.resume(asked, real, carry)) or (0, carry)
  part, carry = first_says((np.int32(part), carry))
  return (int(part), carry) if part else None


def _keep(store: Store | None, asked: dict, real: int, part: int, carry: list[np.ndarray]) -> None:
  if store is not None:
    store.checkpoint(asked, real, part, carry)


def _run(
  engine: Engine, points: dict, plan: Plan, show: bool, store: Store | None
) -> tuple[Any, int, Plan]:
  """The results of all runs, how many of them were stored before, and the plan at the end."""
  results, found, before = [], 0, 0
  structure = jax.tree.structure(engine.shape)
  try:
    with progress(plan.runs, show) as advance:
      while found < plan.runs:
        block = lay_out(plan, found)
        real = block.real
        asked = {name: values[found : found + real] for name, values in points.items()}
        leaves = _read(store, asked, real, engine.shape)
        before += 0 if leaves is None else real
        if leaves is None:
          keep = None if engine.parts == 1 else functools.partial(_keep, store, asked, real)
          try:
            leaves = compute(engine, plan, block, asked, _resume(store, asked, real, engine), keep)
          except jax.errors.JaxRuntimeError as error:
            plan = _smaller(plan, error)
            continue
          if store is not None:
            store.write(asked, real, leaves)
        results.append(jax.tree.unflatten(structure, leaves))
        found += real
        advance(real)
  except BaseException:
    if store is not None:
      store.tell(found, plan.runs)
    raise
  return jax.tree.map(lambda *parts: np.concatenate(parts), *results), before, plan


def _dataset(result: Any, axes: dict[str, np.ndarray], attributes: dict) -> Any:
  import xarray

  sizes = tuple(len(values) for values in axes.values())
  named = result if isinstance(result, Mapping) else {"value": result}
  variables = {}
  for name, tree in named.items():
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
      label = ".".join([str(name), *(jax.tree_util.keystr((k,)).strip(".[]'") for k in path)])
      extra = tuple(f"{label}_{i}" for i in range(leaf.ndim - 1))
      variables[label] = (tuple(axes) + extra, leaf.reshape(sizes + leaf.shape[1:]))
  return xarray.Dataset(variables, coords=axes, attrs=attributes)


def sweep(
  train: Callable[..., Any],
  axes: Mapping[str, Any],
  *,
  lanes: int | None = None,
  block: int | None = None,
  mesh: Mesh | None = None,
  store: str | os.PathLike | None = None,
  checkpoint_every: int | None = None,
  progress: bool = True,
) -> Any:
  """Runs a training function at every point of a grid, compiled once, on all devices.

  Args:
    train: one run, a pure function of the axes' values as keyword arguments, such as
      `train(seed, noise_rate)`; returns an array or a dictionary of arrays. Arrays that it closes
      over, such as data sets, are passed to the compiled program as arguments.
    axes: for each argument the list of its values. The axis "seed" must lie in [0, 2**32).
    lanes: runs that one device computes side by side. They decide the bits: at equal lanes a run
      has the same bits in any sweep, whatever its size, order and block, and on any two or more
      devices. 1 on CPU by default, 64 on accelerators.
    block: runs a call, and a tick of the progress bar, holds; a multiple of devices times lanes. It
      never changes a bit. Where a block does not fit into memory, half of it is tried.
    mesh: a mesh with an axis "run"; all devices of all processes when None. On a second axis "data"
      each run is laid out over several devices, for runs too large for one: the rows of data sets
      and of batches, which must be multiples of that axis.
    store: a folder in which each finished block is kept, by all that determines its bits: the
      compiled program, the arrays that it reads, lanes and versions. Blocks that are there are not
      run again, and damaged ones are. None keeps nothing.
    checkpoint_every: for long runs, the epochs of `fit` after which all runs of a block are set
      down in the store, so that an interrupted sweep goes on from there, to the same bits. It takes
      a program of its own, whose last bits may differ from those without it. Trainings that follow
      each other, in `rounds` too, are cut one after the other.
    progress: show a bar with the time left on stderr.

  Where `jax.distributed` has joined several processes, each calls `sweep` with the same arguments,
  and gets all results; the first one reads and writes the store.

  Returns:
    An `xarray.Dataset` with one variable for each result and the axes as its first dimensions;
    `lanes`, `block` and `devices` are in its attributes, and with a store `runs_found`, how many
    runs were there, and `blocks_damaged`.

  Raises:
    ValueError: for axes that are empty, not numbers or not the arguments of `train`, seeds out of
      range, lanes or blocks that do not fit, and a store that cannot be written.
    MemoryError: where one turn of all lanes does not fit into memory.

  Examples:
    >>> import jax.numpy as jnp, rfjax
    >>> result = rfjax.sweep(lambda seed, rate: {"out": seed * rate},
    ...                      {"seed": range(3), "rate": [0.5, 1.0]}, progress=False)
    >>> result.out.sel(seed=2).values.tolist()
    [1.0, 2.0]
  """
  if not axes:
    raise ValueError("axes must name at least one argument of train, got none")
  grid = {name: _axis(name, values) for name, values in axes.items()}
  _arguments(train, grid)
  if store is None and checkpoint_every is None:
    store, checkpoint_every = _STORE.get()
  if checkpoint_every is not None:
    _check.count("checkpoint_every", checkpoint_every)
    if store is None:
      raise ValueError("checkpoint_every needs a store: pass store, the folder of the checkpoints")
  mesh = run_mesh() if mesh is None else Mesh(mesh.devices, mesh.axis_names)
  product = np.array(list(itertools.product(*(range(len(v)) for v in grid.values()))))
  points = {name: _device_type(v[product[:, i]]) for i, (name, v) in enumerate(grid.items())}
  plan = _plan(len(product), lanes, block, mesh)
  compiled = engine(train, tuple(sorted(grid)), points, plan, mesh, checkpoint_every)
  shape = compiled.shape
  clash = sorted(set(shape) & set(grid)) if isinstance(shape, Mapping) else []
  if clash:
    raise ValueError(f"train returns {clash[0]!r}, which is an axis too: rename the result")
  kept = Store(store, compiled.digest()) if store is not None and is_first() else None
  result, before, plan = _run(compiled, points, plan, progress and is_first(), kept)
  attributes = {"lanes": plan.lanes, "block": plan.block, "devices": plan.devices}
  if store is not None:
    damaged = int(first_says(np.int32(kept.damaged if kept else 0)))
    attributes |= {"runs_found": before, "blocks_damaged": damaged}
  return _dataset(result, grid, attributes)


def _device_type(values: np.ndarray) -> np.ndarray:
  """The type that the values have on the device, such as float32 for float64."""
  if values.dtype == np.uint32:
    return values
  return values.astype(jax.dtypes.canonicalize_dtype(values.dtype))
