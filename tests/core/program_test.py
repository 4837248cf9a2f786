"""What programs compile to, which needs no clock: sorts, convolutions in loops, and memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, losses, refurbishment, selection
from rfjax.core import _sweep

KEY = jax.random.key(0)


def computations(text):
  """The instructions of each computation of a compiled program, by its name."""
  found, name = {}, None
  for line in text.splitlines():
    head = re.match(r"^(?:ENTRY )?%?([\w.-]+) .*\{$", line)
    if head:
      name = head[1]
      found[name] = []
    elif name is not None and line.strip() != "}":
      found[name].append(line)
  return found


def inside_loops(text):
  """All instructions that run in the body of a loop, or in what it calls."""
  parts = computations(text)
  todo = re.findall(r"body=%?([\w.-]+)", text)
  assert todo, "the program must have a loop"
  seen = set()
  while todo:
    name = todo.pop()
    if name in seen:
      continue
    seen.add(name)
    for line in parts[name]:
      todo += [n for n in re.findall(r"%?([\w.-]+)", line.split("=", 1)[-1]) if n in parts]
  return [line for name in sorted(seen) for line in parts[name]]


def trained(method, network, data, epochs=2):
  """The compiled program of some epochs."""

  def run(seed):
    state, _ = rfjax.fit(
      network, method, optax.sgd(0.1), data, key=jax.random.key(seed), epochs=epochs, batch_size=4
    )
    return state.params

  return jax.jit(run).lower(np.uint32(0)).compile()


def pictures():
  rng = np.random.default_rng(0)
  return rfjax.Batch.from_arrays(rng.normal(size=(8, 8, 8, 1)), np.arange(8) % 2)


@pytest.mark.parametrize("form", ["auto", "direct"])
def test_on_cpu_no_loop_has_a_convolution(form):
  network = architectures.cnn([3], num_classes=2, form=form)
  lines = inside_loops(trained(rfjax.chain(), network, pictures()).as_text())
  there = any(re.search(r"\bconvolution\(|__conv|[Cc]onv2[Dd]", line) for line in lines)
  assert there == (form == "direct")  # so the test would see one


RNG = np.random.default_rng(1)
ROWS = rfjax.Batch.from_arrays(RNG.normal(size=(32, 3)), np.arange(32) % 2)


@pytest.mark.parametrize(
  ("method", "sorts"),
  [
    (selection.small_loss(0.25), False),
    (losses.truncated_gce(0.5), False),
    (rfjax.stateless(lambda b, **_: b.replace(weight=jnp.sort(b.loss))), True),
  ],
  ids=["small_loss", "truncated_gce", "a sort"],
)
def test_a_selection_by_small_losses_does_not_sort(method, sorts):
  flow = ROWS.fill(jnp.asarray(RNG.normal(size=(32, 2)), jnp.float32))
  state = method.init(flow, key=KEY, spec=None)

  def update(flow):
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
    return method.update(flow, state, None, **extra)[0].weight

  text = jax.jit(update).lower(flow).compile().as_text()
  assert bool(re.search(r"\bsort\(", text)) == sorts


@pytest.mark.parametrize(
  "method", [rfjax.chain(), refurbishment.bootstrap_hard()], ids=["plain", "bootstrap_hard"]
)
def test_on_cpu_temporary_memory_does_not_grow_with_the_runs(method):
  network = architectures.mlp([16], 2)

  def train(seed):
    _, log = rfjax.fit(
      network, method, optax.sgd(0.1), ROWS, key=jax.random.key(seed), epochs=2, batch_size=8
    )
    return log.risk[-1]

  def memory(runs):
    mesh = _sweep.run_mesh(jax.devices()[:1])
    points = {"seed": np.arange(runs, dtype=np.uint32)}
    plan = _sweep._plan(runs, 1, runs, mesh)
    call = _sweep.engine(train, ("seed",), points, plan, mesh).call
    lowered = call.func.lower(*call.args, np.full(1, runs, np.int32), points, np.int32(0), ())
    return lowered.compile().memory_analysis().temp_size_in_bytes

  few, many = memory(2), memory(512)
  assert many <= few + 8 * 512  # no more than the results themselves
