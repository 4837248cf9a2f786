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
from jax.sharding import Mesh, PartitionSpec

from rfjax.core import _check
from rfjax.core._parts import Parts, cut
from rfjax.core._progress import progress
from rfjax.core._spread import over_rows, spread_over
from rfjax.core._store import Store, program_digest

AXIS = "run"
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


class _Engine(NamedTuple):
  """A block, compiled.

  Attributes:
    call: `call(turns, points, part, carry) -> (results, carry)`, of all runs of a block.
    shape: of one run's results.
    carry: the shape of what one run carries from one part to the next.
    parts: how many there are.
    digest: what determines the bits, when called.
  """

  call: Callable
  shape: Any
  carry: Any
  parts: int
  digest: Callable[[], str]


def _in_parts(train: Callable, one: dict, every: int | None) -> tuple[Callable, Any, int]:
  """A part of a run, the shape of what it carries to the next one, and how many there are.

  The part is `run(point, part, carry) -> (result, carry)`; a run that is not cut has one.
  """
  if every is None:
    return lambda point, part, carry: (train(**point), ()), (), 1
  whole = Parts(every)

  def start(point: dict) -> Any:
    with cut(whole):
      train(**point)
    return whole.left

  carry = jax.eval_shape(start, one)
  if not whole.count:
    raise ValueError("checkpoint_every needs a train that calls rfjax.fit: leave it out")

  def run(point: dict, part: Any, carry: Any) -> tuple[Any, Any]:
    with cut(Parts(every, part, carry)) as parts:
      return train(**point), parts.left

  return run, carry, whole.count


def _engine(
  train: Callable,
  names: tuple[str, ...],
  points: dict,
  plan: _Plan,
  mesh: Mesh,
  every: int | None = None,
) -> _Engine:
  """Compiles the block: on each device a loop over its runs, `lanes` of them side by side.

  The loop's length is an argument. So one program serves the first, the last and the only block,
  and a run's bits cannot depend on how many there are.
  """
  if isinstance(train, jax.stages.Wrapped):  # arrays inside of a jitted function stay constants
    train = inspect.unwrap(train)
  one = {name: jax.ShapeDtypeStruct((), points[name].dtype) for name in names}
  part_of, carried, parts = _in_parts(train, one, every)
  given = one, jax.ShapeDtypeStruct((), jnp.int32), carried
  with spread_over(mesh):
    closed, both = jax.make_jaxpr(part_of, return_shape=True)(*given)
  structure = jax.tree.structure(both)

  def run(constants: list, *given: Any) -> tuple[Any, Any]:
    flat = eval_jaxpr(closed.jaxpr, constants, *jax.tree.leaves(given))
    return jax.tree.unflatten(structure, flat)

  def device(constants: list, turns: jax.Array, points: dict, part: Any, carry: Any) -> Any:
    wide = run if plan.lanes == 1 else jax.vmap(run, in_axes=(None, 0, None, 0))
    split = lambda v: v.reshape(-1, plan.lanes, *v.shape[1:]) if plan.lanes > 1 else v
    points, carry = jax.tree.map(split, (points, carry))
    lead = jax.tree.leaves(points)[0].shape
    empty = jax.tree.map(lambda s: jnp.zeros(lead + s.shape, s.dtype), both[0])

    def turn(i: Any, all_runs: Any) -> Any:
      mine = jax.tree.map(lambda v: v[i], (points, all_runs[1]))
      new = wide(constants, mine[0], part, mine[1])
      return jax.tree.map(lambda v, r: v.at[i].set(r), all_runs, new)

    done = jax.lax.fori_loop(0, turns[0], turn, (empty, carry))
    join = lambda v: v.reshape(-1, *v.shape[2:]) if plan.lanes > 1 else v
    return jax.tree.map(join, done)

  run_axis, everywhere = PartitionSpec(AXIS), PartitionSpec()
  block = jax.shard_map(
    device,
    mesh=mesh,
    in_specs=(everywhere, run_axis, run_axis, everywhere, run_axis),
    out_specs=run_axis,
    axis_names={AXIS},
    check_vma=False,
  )
  constants = [jax.device_put(c, over_rows(mesh, c)) for c in closed.consts]
  call = functools.partial(jax.jit(block, donate_argnums=4), constants)
  digest = functools.partial(program_digest, run, closed.consts, given, plan.lanes, mesh)
  return _Engine(call, both[0], carried, parts, digest)


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


def _compute(engine: _Engine, plan: _Plan, points: dict, first: int, store: Store | None) -> Any:
  """The results of the block from a run on, from where a checkpoint has left it."""
  turns, block, real = _block(points, plan, first)
  asked = {name: values[first : first + real] for name, values in points.items()}
  carry = [np.zeros((plan.block, *s.shape), s.dtype) for s in jax.tree.leaves(engine.carry)]
  part = 0
  if store is not None and engine.parts > 1:
    part, carry = store.resume(asked, real, carry) or (0, carry)
  carry = jax.tree.unflatten(jax.tree.structure(engine.carry), carry)
  out = None
  while part < engine.parts:
    out, carry = jax.block_until_ready(engine.call(turns, block, np.int32(part), carry))
    part += 1
    if store is not None and part < engine.parts:
      store.checkpoint(asked, real, part, jax.tree.leaves(carry))
  leaves = jax.tree.leaves(_gather(out, plan, int(turns[0]), real))
  if store is not None:
    store.write(asked, real, leaves)
  return leaves


def _run(
  engine: _Engine, points: dict, plan: _Plan, show: bool, store: Store | None
) -> tuple[Any, int, _Plan]:
  """The results of all runs, how many of them were stored before, and the plan at the end."""
  results, found, before = [], 0, 0
  structure = jax.tree.structure(engine.shape)
  try:
    with progress(plan.runs, show) as advance:
      while found < plan.runs:
        real = min(plan.block, plan.runs - found)
        asked = {name: values[found : found + real] for name, values in points.items()}
        leaves = None if store is None else store.read(asked, real)
        before += 0 if leaves is None else real
        if leaves is None:
          try:
            leaves = _compute(engine, plan, points, found, store)
          except jax.errors.JaxRuntimeError as error:
            plan = _smaller(plan, error)
            continue
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
    mesh: a mesh with an axis "run"; all local devices when None. On a second axis "data" each run
      is laid out over several devices, for runs too large for one: the rows of data sets and of
      batches, which must be multiples of that axis.
    store: a folder in which each finished block is kept, by all that determines its bits: the
      compiled program, the arrays that it reads, lanes and versions. Blocks that are there are not
      run again, and damaged ones are. None keeps nothing.
    checkpoint_every: for long runs, the epochs of `fit` after which all runs of a block are set
      down in the store, so that an interrupted sweep goes on from there, to the same bits. It takes
      a program of its own, whose last bits may differ from those without it. Trainings that follow
      each other, in `rounds` too, are cut one after the other.
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
  engine = _engine(train, tuple(sorted(grid)), points, plan, mesh, checkpoint_every)
  clash = sorted(set(engine.shape) & set(grid)) if isinstance(engine.shape, Mapping) else []
  if clash:
    raise ValueError(f"train returns {clash[0]!r}, which is an axis too: rename the result")
  kept = None if store is None else Store(store, engine.digest())
  result, before, plan = _run(engine, points, plan, progress, kept)
  attributes = {"lanes": plan.lanes, "block": plan.block, "devices": plan.devices}
  if kept is not None:
    attributes |= {"runs_found": before, "blocks_damaged": kept.damaged}
  return _dataset(result, grid, attributes)


def _device_type(values: np.ndarray) -> np.ndarray:
  """The type that the values have on the device, such as float32 for float64."""
  if values.dtype == np.uint32:
    return values
  return values.astype(jax.dtypes.canonicalize_dtype(values.dtype))
