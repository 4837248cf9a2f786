"""Sweeps: one compiled run, mapped over every point of a grid and over every device."""

import contextlib
import contextvars
import functools
import inspect
import itertools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rfjax.core import _check
from rfjax.core._progress import progress
from rfjax.core._store import Store, program_digest

AXIS = "run"
ACCELERATOR_LANES = 64  # fixed, so that results do not hang on the size of a sweep
PROGRESS_TICKS = 20
_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"

_STORE: contextvars.ContextVar[str | os.PathLike | None] = contextvars.ContextVar(
  "store", default=None
)


@contextlib.contextmanager
def stored_in(folder: str | os.PathLike) -> Iterator[None]:
  """Sweeps that name no store keep theirs in this folder."""
  token = _STORE.set(folder)
  try:
    yield
  finally:
    _STORE.reset(token)


class _Plan(NamedTuple):
  """How the runs of a sweep are laid out; only `lanes` has a say in the bits."""

  runs: int
  lanes: int
  block: int
  devices: int


def run_mesh(devices: Sequence[Any] | None = None) -> Mesh:
  """The default mesh: all local devices along the axis "run"."""
  return Mesh(np.array(jax.local_devices() if devices is None else devices), (AXIS,))


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


def _plan(runs: int, lanes: int | None, block: int | None, mesh: Mesh) -> _Plan:
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
  return _Plan(runs, lanes, block, devices)


def _engine(train: Callable, names: tuple[str, ...], points: dict, plan: _Plan, mesh: Mesh):
  """Compiles the block: on each device a loop over its runs, `lanes` of them side by side.

  The loop's length is an argument. So one program serves the first, the last and the only block,
  and a run's bits cannot depend on how many there are.
  """
  if isinstance(train, jax.stages.Wrapped):  # arrays inside of a jitted function stay constants
    train = inspect.unwrap(train)
  one = {name: jax.ShapeDtypeStruct((), points[name].dtype) for name in names}
  closed, shape = jax.make_jaxpr(lambda p: train(**p), return_shape=True)(one)
  structure = jax.tree.structure(shape)

  def run(constants: list, point: dict) -> Any:
    flat = eval_jaxpr(closed.jaxpr, constants, *jax.tree.leaves(point))
    return jax.tree.unflatten(structure, flat)

  def device(constants: list, turns: jax.Array, points: dict) -> Any:
    wide = run if plan.lanes == 1 else jax.vmap(run, in_axes=(None, 0))
    if plan.lanes > 1:
      points = jax.tree.map(lambda p: p.reshape(-1, plan.lanes), points)
    length = jax.tree.leaves(points)[0].shape[0]
    lead = (length,) if plan.lanes == 1 else (length, plan.lanes)
    empty = jax.tree.map(lambda s: jnp.zeros(lead + s.shape, s.dtype), shape)

    def turn(i: Any, out: Any) -> Any:
      result = wide(constants, jax.tree.map(lambda p: p[i], points))
      return jax.tree.map(lambda o, r: o.at[i].set(r), out, result)

    out = jax.lax.fori_loop(0, turns[0], turn, empty)
    if plan.lanes > 1:
      out = jax.tree.map(lambda o: o.reshape(-1, *o.shape[2:]), out)
    return out

  run_axis, everywhere = PartitionSpec(AXIS), PartitionSpec()
  block = jax.shard_map(
    device,
    mesh=mesh,
    in_specs=(everywhere, run_axis, run_axis),
    out_specs=run_axis,
    check_vma=False,
  )
  constants = jax.device_put(closed.consts, NamedSharding(mesh, everywhere))
  digest = functools.partial(program_digest, run, closed.consts, one, plan.lanes, mesh)
  return functools.partial(jax.jit(block), constants), shape, digest


def _block(points: dict[str, np.ndarray], plan: _Plan, first: int) -> tuple[np.ndarray, dict, int]:
  """The block from a run on: the turns of every device, its padded points, how many are real.

  Runs are dealt so that every device takes equally many turns; padding repeats the last run.
  """
  width = plan.devices * plan.lanes
  real = min(plan.block, plan.runs - first)
  turns = -(-real // width)
  place = np.arange(plan.devices * (plan.block // plan.devices)).reshape(plan.devices, -1)
  place = place - place[:, :1] + np.arange(plan.devices)[:, None] * turns * plan.lanes
  rows = first + np.minimum(place.ravel(), real - 1)
  padded = {name: values[rows] for name, values in points.items()}
  return np.full(plan.devices, turns, np.int32), padded, real


def _gather(out: Any, plan: _Plan, turns: int, real: int) -> Any:
  def pick(o: jax.Array) -> np.ndarray:
    values = np.asarray(o)
    values = values.reshape(plan.devices, -1, *values.shape[1:])[:, : turns * plan.lanes]
    return values.reshape(-1, *values.shape[2:])[:real]

  return jax.tree.map(pick, out)


def _smaller(plan: _Plan, error: Exception) -> _Plan:
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


def _run(
  call: Callable, shape: Any, points: dict, plan: _Plan, show: bool, store: Store | None
) -> tuple[Any, int, _Plan]:
  """The results of all runs, how many of them were stored before, and the plan at the end."""
  results, found, before = [], 0, 0
  structure = jax.tree.structure(shape)
  try:
    with progress(plan.runs, show) as advance:
      while found < plan.runs:
        turns, block, real = _block(points, plan, found)
        asked = {name: values[found : found + real] for name, values in points.items()}
        leaves = None if store is None else store.read(asked, real)
        if leaves is None:
          try:
            out = jax.block_until_ready(call(turns, block))
          except jax.errors.JaxRuntimeError as error:
            plan = _smaller(plan, error)
            continue
          leaves = jax.tree.leaves(_gather(out, plan, int(turns[0]), real))
          if store is not None:
            store.write(asked, real, leaves)
        else:
          before += real
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
    mesh: a mesh with an axis "run"; all local devices when None.
    store: a folder in which each finished block is kept, by all that determines its bits: the
      compiled program, the arrays that it reads, lanes and versions. Blocks that are there are not
      run again, and damaged ones are. None keeps nothing.
    progress: show a bar with the time left on stderr.

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
  mesh = run_mesh() if mesh is None else Mesh(mesh.devices, mesh.axis_names)
  product = np.array(list(itertools.product(*(range(len(v)) for v in grid.values()))))
  points = {name: _device_type(v[product[:, i]]) for i, (name, v) in enumerate(grid.items())}
  plan = _plan(len(product), lanes, block, mesh)
  call, shape, digest = _engine(train, tuple(sorted(grid)), points, plan, mesh)
  clash = sorted(set(shape) & set(grid)) if isinstance(shape, Mapping) else []
  if clash:
    raise ValueError(f"train returns {clash[0]!r}, which is an axis too: rename the result")
  store = _STORE.get() if store is None else store
  kept = None if store is None else Store(store, digest())
  result, before, plan = _run(call, shape, points, plan, progress, kept)
  attributes = {"lanes": plan.lanes, "block": plan.block, "devices": plan.devices}
  if kept is not None:
    attributes |= {"runs_found": before, "blocks_damaged": kept.damaged}
  return _dataset(result, grid, attributes)


def _device_type(values: np.ndarray) -> np.ndarray:
  """The type that the values have on the device, such as float32 for float64."""
  if values.dtype == np.uint32:
    return values
  return values.astype(jax.dtypes.canonicalize_dtype(values.dtype))
