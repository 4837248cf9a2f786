"""Checkpoints within a block: runs that are set down between epochs go on to the same bits."""

import functools
import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

import rfjax
from rfjax import architectures, selection
from rfjax.core import Batch, _store, _sweep, fit, rounds

RNG = np.random.default_rng(0)
DATA = Batch.from_arrays(RNG.normal(size=(32, 2)), RNG.integers(0, 2, 32))
NETWORK = architectures.logistic()
AXES = {"seed": range(3), "rate": [0.1, 0.3]}
EPOCHS = 7


def method(rate):
  """Selects, remembers, and changes at an epoch of its own."""
  late = rfjax.when(lambda step, epoch: epoch >= 3, selection.small_loss(rate))
  return rfjax.chain(late, rfjax.metrics.watch())


def once(seed, rate):
  key = jax.random.key(seed)
  state, log = fit(
    NETWORK, method(rate), optax.adam(0.1), DATA, key=key, epochs=EPOCHS, batch_size=8,
    observe=lambda state, view: jnp.sum(state.params["kernel"]),
  )  # fmt: skip
  kept = state.method[1]
  return {"risk": log.risk, "seen": log.observed, "params": state.params, "kept": kept.kept}


def peers(seed, rate):
  state, log = fit(
    NETWORK, selection.co_teaching(rate), optax.sgd(0.5), DATA, key=jax.random.key(seed),
    epochs=EPOCHS, batch_size=8, peers=2,
  )  # fmt: skip
  return {"risk": log.risk, "params": state.params}


def several(seed, rate):
  """Rounds, what is said of rows that were held out, and a training on that."""
  key, tx = jax.random.key(seed), optax.sgd(0.5)

  def turn(scale, key):
    state, log = fit(NETWORK, rfjax.chain(), optax.sgd(scale), DATA, key=key, epochs=2)
    return scale / 2, (state.params, log.risk)

  _, (params, risk) = rounds(turn, jnp.asarray(0.5), key=key, count=2)
  probs = selection.out_of_sample(NETWORK, rfjax.chain(), tx, DATA, key=key, epochs=3, folds=2)
  weighed = DATA.replace(weight=probs[:, 1])
  state, log = fit(NETWORK, rfjax.chain(), tx, weighed, key=key, epochs=4)
  return {"params": params, "rounds": risk, "probs": probs, "end": state.params, "risk": log.risk}


@functools.cache
def compiled(train, names, lanes, every, mesh):
  """The engine of a sweep, made once: it does not hang on the points and knows no store."""
  points = {name: np.asarray(values)[:1] for name, values in (("rate", [0.1]), ("seed", [0]))}
  points = {
    name: points[name].astype(np.uint32 if name == "seed" else np.float32) for name in names
  }
  plan = _sweep.Plan(1, lanes, lanes * mesh.size, mesh.size)
  made = ENGINE(train, names, points, plan, mesh, every)
  MADE.append(made)
  return made._replace(digest=functools.cache(made.digest))


ENGINE, MADE = _sweep.engine, []


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
  monkeypatch.setattr(
    _sweep,
    "engine",
    lambda train, names, points, plan, mesh, every: compiled(train, names, plan.lanes, every, mesh),
  )


def sweep(train, folder=None, devices=2, **options):
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("run",))
  return rfjax.sweep(train, AXES, mesh=mesh, block=2 * options.get("lanes", 1), progress=False,
                     store=folder, **options)  # fmt: skip


def leaves(result):
  return {name: np.asarray(v) for name, v in result.items()}


def bits(result):
  return {name: (v.dims, v.values.dtype, v.values.tobytes()) for name, v in result.items()}


def checkpoints(folder):
  return sorted(pathlib.Path(folder).rglob("*.orbax"))


class Stopped(BaseException):
  """What interrupts a sweep here."""


def stop_after(monkeypatch, number):
  """Stops a sweep when so many checkpoints are written."""
  write, left = _store.Store.checkpoint, [number]

  def checkpoint(*args):
    write(*args)
    left[0] -= 1
    if left[0] == 0:
      raise Stopped

  monkeypatch.setattr(_store.Store, "checkpoint", checkpoint)


@pytest.mark.parametrize("train", [once, peers, several])
def test_runs_in_parts_are_the_runs(tmp_path, train):
  whole, cut = leaves(sweep(train)), leaves(sweep(train, tmp_path, checkpoint_every=2))
  assert whole.keys() == cut.keys()
  for name, values in whole.items():
    np.testing.assert_allclose(cut[name], values, rtol=2e-6, atol=2e-7, err_msg=name)
  assert not checkpoints(tmp_path)
  assert [engine.call.func._cache_size() for engine in MADE] == [1] * len(MADE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  return {
    train: bits(sweep(train, tmp_path_factory.mktemp("whole"), checkpoint_every=2))
    for train in (once, several)
  }


@pytest.mark.parametrize(("train", "number"), [(once, 1), (once, 5), (several, 2), (several, 5)])
def test_an_interrupted_block_goes_on_to_the_same_bits(
  tmp_path, monkeypatch, undisturbed, train, number
):
  with monkeypatch.context() as patch, pytest.raises(Stopped):
    stop_after(patch, number)
    sweep(train, tmp_path, checkpoint_every=2)
  assert len(checkpoints(tmp_path)) == 1
  resumed, found = _store.Store.resume, []
  monkeypatch.setattr(
    _store.Store, "resume", lambda *args: found.append(resumed(*args)) or found[-1]
  )
  result = sweep(train, tmp_path, checkpoint_every=2)
  assert bits(result) == undisturbed[train]
  assert sum(f is not None for f in found) == 1 and result.attrs["blocks_damaged"] == 0
  assert not checkpoints(tmp_path) and not list(tmp_path.rglob("*.part*"))


@pytest.mark.parametrize("harm", ["flipped", "lost"])
def test_a_damaged_checkpoint_is_found_and_the_block_begun_anew(
  tmp_path, monkeypatch, undisturbed, harm
):
  with monkeypatch.context() as patch, pytest.raises(Stopped):
    stop_after(patch, 2)
    sweep(once, tmp_path, checkpoint_every=2)
  [folder] = checkpoints(tmp_path)
  largest = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 1
  largest.write_bytes(bytes(content)) if harm == "flipped" else largest.unlink()
  result = sweep(once, tmp_path, checkpoint_every=2)
  assert bits(result) == undisturbed[once] and result.attrs["blocks_damaged"] == 1
  assert not checkpoints(tmp_path)


def test_a_full_disk_at_a_checkpoint_leaves_nothing(tmp_path, monkeypatch, undisturbed):
  def full(*args, **kwargs):
    raise OSError(28, "No space left on device")

  for module, name in ((_store.os, "replace"), (ocp.Checkpointer, "save")):
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
      patch.setattr(module, name, full)
      sweep(once, tmp_path, checkpoint_every=2)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
  assert bits(sweep(once, tmp_path, checkpoint_every=2)) == undisturbed[once]


def test_another_one_s_checkpoint_is_refused_by_its_digest(tmp_path, monkeypatch, undisturbed):
  for number in (1, 4):  # of the first block and of the second one
    with monkeypatch.context() as patch, pytest.raises(Stopped):
      stop_after(patch, number)
      sweep(once, tmp_path, checkpoint_every=2)
    [folder] = checkpoints(tmp_path)
    if number == 1:
      spare = tmp_path / "spare"
      os.rename(folder, spare)
  name = folder.name
  os.rename(folder, tmp_path / "gone")
  os.rename(spare, folder.parent / name)
  result = sweep(once, tmp_path, checkpoint_every=2)
  assert bits(result) == undisturbed[once] and result.attrs["blocks_damaged"] == 1


def test_lanes_are_cut_too(tmp_path):
  whole = leaves(sweep(once, lanes=2))
  cut = leaves(sweep(once, tmp_path, lanes=2, checkpoint_every=3))
  for name, values in whole.items():
    np.testing.assert_allclose(cut[name], values, rtol=2e-6, atol=2e-7, err_msg=name)


def own(seed, rate):
  """A run whose branch hangs on a value of its own."""
  late = rfjax.when(lambda step, epoch: epoch >= 10 * rate, selection.small_loss(rate))
  key = jax.random.key(seed)
  state, _ = fit(NETWORK, late, optax.sgd(0.1), DATA, key=key, epochs=EPOCHS, batch_size=8)
  return {"params": state.params}


@pytest.mark.parametrize(("train", "branch"), [(once, True), (own, False)])
def test_a_schedule_stays_a_branch_in_parts(train, branch):
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("run",))
  points = {"rate": np.float32([0.1] * 4), "seed": np.arange(4, dtype=np.uint32)}
  built = ENGINE(train, ("rate", "seed"), points, _sweep.Plan(4, 2, 4, 2), mesh, 3)
  carry = jax.tree.map(lambda s: np.zeros((4, *s.shape), s.dtype), built.carry)
  text = built.call.func.lower(
    *built.call.args, np.ones(2, np.int32), points, np.int32(0), carry
  ).as_text()
  assert ("stablehlo.case" in text or "stablehlo.if" in text) == branch


def looped(seed, rate):
  del rate
  train = lambda key: fit(NETWORK, rfjax.chain(), optax.sgd(0.5), DATA, key=key, epochs=2)[1].risk
  return {"risk": jax.lax.map(train, jax.random.split(jax.random.key(seed), 2))}


@pytest.mark.parametrize(
  ("train", "options", "message"),
  [
    (once, {"checkpoint_every": 0}, "checkpoint_every"),
    (once, {"checkpoint_every": 2, "folder": None}, "needs a store"),
    (looped, {"checkpoint_every": 2}, "inside a loop"),
    (lambda seed, rate: {"out": seed * rate}, {"checkpoint_every": 2}, "calls rfjax.fit"),
  ],
)
def test_refuses(tmp_path, train, options, message):
  with pytest.raises(ValueError, match=message):
    sweep(train, **{"folder": tmp_path} | options)


# ---- processes that are killed

SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from core import parts_test
from rfjax.core import _store
import orbax.checkpoint as ocp
left = int(sys.argv[4])
def dies(module, name):
  function = getattr(module, name)
  def wrapped(*args, **kwargs):
    global left
    left -= 1
    if left == 0 and sys.argv[5] == "before":
      os.kill(os.getpid(), signal.SIGKILL)
    out = function(*args, **kwargs)
    if left == 0:
      os.kill(os.getpid(), signal.SIGKILL)
    return out
  setattr(module, name, wrapped)
where = sys.argv[3]
dies(*{"replace": (_store.os, "replace"), "fsync": (_store.os, "fsync"),
       "save": (ocp.Checkpointer, "save"), "remove": (_store, "_remove")}[where])
parts_test.sweep(parts_test.once, sys.argv[2], checkpoint_every=2)
"""


@pytest.mark.parametrize(
  ("where", "number", "side"),
  [("save", 2, "before"), ("replace", 3, "before"), ("replace", 4, "after")],
)
def test_killed_at_a_write_it_goes_on_to_the_same_bits(tmp_path, undisturbed, where, number, side):
  tests = str(pathlib.Path(__file__).parent.parent)
  environment = os.environ | {
    "PYTHONPATH": os.pathsep.join([tests, *sys.path]),
    "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  command = [sys.executable, "-c", SCRIPT, tests, str(tmp_path), where, str(number), side]
  killed = subprocess.run(command, env=environment, capture_output=True)
  assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
  result = sweep(once, tmp_path, checkpoint_every=2)
  assert bits(result) == undisturbed[once] and result.attrs["blocks_damaged"] == 0
  assert not checkpoints(tmp_path) and not list(tmp_path.rglob("*.part*"))
