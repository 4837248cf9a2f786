"""The engine of a sweep: one run, or a part of it, compiled for all runs of a block."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rfjax.core._hosts import on_devices, on_host
from rfjax.core._parts import Parts, cut
from rfjax.core._spread import over_rows, spread_over
from rfjax.core._store import program_digest

AXIS = "run"


class Plan(NamedTuple):
  """How the runs of a sweep are laid out; only `lanes` has a say in the bits."""

  runs: int
  lanes: int
  block: int
  devices: int


class Engine(NamedTuple):
  """A block, compiled.

  Attributes:
    call: `call(turns, points, part, carry) -> (results, carry)`, of all runs of a block.
    mesh: its devices.
    shape: of one run's results.
    carry: the shape of what one run carries from one part to the next.
    parts: how many there are.
    digest: what determines the bits, when called.
  """

  call: Callable
  mesh: Mesh
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


def engine(
  train: Callable,
  names: tuple[str, ...],
  points: dict,
  plan: Plan,
  mesh: Mesh,
  every: int | None = None,
) -> Engine:
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
  return Engine(call, mesh, both[0], carried, parts, digest)


class Block(NamedTuple):
  """Where the runs of a block are computed; runs are dealt so that devices take equal turns.

  Attributes:
    first: the first run.
    real: how many runs there are.
    turns: how many each device takes.
    rows: which run of the block has each place, [block]; padding repeats the last one.
  """

  first: int
  real: int
  turns: int
  rows: np.ndarray


def lay_out(plan: Plan, first: int) -> Block:
  """The block from a run on."""
  real = min(plan.block, plan.runs - first)
  turns = -(-real // (plan.devices * plan.lanes))
  place = np.arange(plan.block).reshape(plan.devices, -1)
  place = place - place[:, :1] + np.arange(plan.devices)[:, None] * turns * plan.lanes
  return Block(first, real, turns, np.minimum(place.ravel(), real - 1))


def compute(
  engine: Engine,
  plan: Plan,
  block: Block,
  points: dict[str, np.ndarray],
  begun: tuple[int, list[np.ndarray]] | None,
  keep: Callable[[int, list[np.ndarray]], None] | None,
) -> list[np.ndarray]:
  """The leaves of a block's results.

  Args:
    engine: the engine.
    plan: the plan.
    block: the block.
    points: of its runs.
    begun: the part that its runs are at, and what each carries into it; None at the start.
    keep: is told the same after each part but the last.

  Returns:
    The leaves.
  """
  structure = jax.tree.structure(engine.carry)
  part, carry = begun or (
    0,
    [np.zeros((block.real, *s.shape), s.dtype) for s in jax.tree.leaves(engine.carry)],
  )
  given = (
    {name: values[block.rows] for name, values in points.items()},
    [v[block.rows] for v in carry],
  )
  turns = np.full(plan.devices, block.turns, np.int32)
  turns, given, carry = on_devices((turns, *given), engine.mesh, PartitionSpec(AXIS))
  # Where each part leaves what it carries, so that the first part has the program of the others.
  carry = jax.device_put(carry, NamedSharding(engine.mesh, PartitionSpec(AXIS)))
  carry, out = jax.tree.unflatten(structure, carry), None
  while part < engine.parts:
    number = on_devices(np.int32(part), engine.mesh, PartitionSpec())
    out, carry = jax.block_until_ready(engine.call(turns, given, number, carry))
    part += 1
    if keep is not None and part < engine.parts:
      keep(part, _gather(carry, plan, block))
  return _gather(out, plan, block)


def _gather(tree: Any, plan: Plan, block: Block) -> list[np.ndarray]:
  """The leaves by run, without padding."""

  def pick(leaf: jax.Array) -> np.ndarray:
    values = on_host(leaf)
    values = values.reshape(plan.devices, -1, *values.shape[1:])[:, : block.turns * plan.lanes]
    return values.reshape(-1, *values.shape[2:])[: block.real]

  return [pick(leaf) for leaf in jax.tree.leaves(tree)]
