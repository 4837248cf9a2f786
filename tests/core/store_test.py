"""A stored sweep: the bits of an undisturbed one, whatever happens to it or to its files."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.core import _store

AXES = {"seed": range(6), "rate": [0.25, 0.5]}
TABLE = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def make(factor=1.0, table=TABLE):
  given, calls = jnp.asarray(table), []

  def train(seed, rate):
    calls.append(0)
    noise = jax.random.normal(jax.random.key(seed), (3,))
    return {"a": factor * rate * noise @ given.T, "b": {"c": jnp.sum(noise > 0)}}

  return train


def sweep(folder=None, train=None, axes=AXES, block=4, devices=2, **options):
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("run",))
  train = make() if train is None else train
  return rfjax.sweep(
    train, axes, block=block, mesh=mesh, progress=False, store=folder, **options
  )  # fmt: skip


def bits(result):
  return {name: (v.dims, v.values.dtype, v.values.tobytes()) for name, v in result.items()}


def files(folder):
  return sorted(pathlib.Path(folder).rglob("*.npz"))


@pytest.fixture(scope="module")
def undisturbed():
  return bits(sweep())


def test_a_second_sweep_finds_everything_and_compiles_nothing(tmp_path, undisturbed, monkeypatch):
  first = sweep(tmp_path)
  assert bits(first) == undisturbed and first.attrs["runs_found"] == 0
  assert len(files(tmp_path)) == 3 and not list(tmp_path.rglob("*.part"))

  def refuse(*args, **kwargs):
    raise AssertionError("ran again")

  monkeypatch.setattr(rfjax.core._sweep, "compute", refuse)
  again = sweep(tmp_path)
  assert bits(again) == undisturbed
  assert (again.attrs["runs_found"], again.attrs["blocks_damaged"]) == (12, 0)


def test_more_seeds_go_on_where_blocks_are_the_same(tmp_path, undisturbed):
  half = sweep(tmp_path, axes={"seed": range(4), "rate": AXES["rate"]})
  assert half.attrs["runs_found"] == 0
  whole = sweep(tmp_path)
  assert bits(whole) == undisturbed and whole.attrs["runs_found"] == 8


@pytest.mark.parametrize("harm", ["truncated", "flipped", "empty", "another's"])
def test_damaged_blocks_are_found_and_run_again(tmp_path, undisturbed, harm):
  sweep(tmp_path)
  first, second, _ = files(tmp_path)
  content = first.read_bytes()
  middle = len(content) // 2
  first.write_bytes(
    {
      "truncated": content[:middle],
      "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
      "empty": b"",
      "another's": second.read_bytes(),
    }[harm]
  )
  again = sweep(tmp_path)
  assert bits(again) == undisturbed
  assert (again.attrs["runs_found"], again.attrs["blocks_damaged"]) == (8, 1)
  assert sweep(tmp_path).attrs["runs_found"] == 12


def test_what_determines_the_bits_makes_another_sweep(tmp_path):
  results = [
    sweep(tmp_path),
    sweep(tmp_path, train=make(factor=2.0)),
    sweep(tmp_path, train=make(table=TABLE + 1)),
    sweep(tmp_path, lanes=2),
    sweep(tmp_path, devices=1),
  ]
  assert all(r.attrs["runs_found"] == 0 for r in results)
  assert len(list(tmp_path.iterdir())) == 5
  assert sweep(tmp_path, devices=4).attrs["runs_found"] == 12  # as many bits on two as on four


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path, undisturbed, monkeypatch, capsys):
  written, fsync = [], os.fsync

  def full(handle):
    written.append(handle)
    if len(written) > 2:  # a block synchronises its file and its folder
      raise OSError(28, "No space left on device")
    fsync(handle)

  monkeypatch.setattr(_store.os, "fsync", full)
  with pytest.raises(OSError, match="No space left"):
    sweep(tmp_path)
  assert "4 of 12 runs are stored" in capsys.readouterr().err
  assert len(files(tmp_path)) == 1 and not list(tmp_path.rglob("*.part"))
  monkeypatch.undo()
  assert bits(sweep(tmp_path)) == undisturbed


def test_what_the_dead_have_left_is_swept_away_and_not_what_others_write(tmp_path):
  sweep(tmp_path)
  folder = files(tmp_path)[0].parent
  gone = subprocess.run(
    [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
  )
  here = socket.gethostname()
  names = [f"{here}~{int(gone.stdout)}~x", f"{here}~{os.getpid()}~x", f"elsewhere~{os.getpid()}~x"]
  for name in names:
    (folder / f"{name}.part").write_bytes(b"half")
  sweep(tmp_path)
  assert sorted(p.name for p in folder.glob("*.part")) == sorted(f"{n}.part" for n in names[1:])


def test_a_store_that_cannot_be_is_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(ValueError, match=r"store must be a folder.*file"):
    sweep(tmp_path / "file")


SCRIPT = """
import sys, time
import jax.numpy as jnp, rfjax
sys.path.insert(0, sys.argv[1])
from core import store_test
from rfjax.core import _sweep
compute = _sweep.compute
def slowly(*args):
  found = compute(*args)
  print("block", flush=True)
  time.sleep(0.05)
  return found
_sweep.compute = slowly
store_test.sweep(sys.argv[2], block=2)
"""


def test_killed_sweeps_go_on_to_the_same_bits(tmp_path, undisturbed):
  tests = str(pathlib.Path(__file__).parent.parent)
  rng = np.random.default_rng(0)
  environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}
  for _ in range(3):
    command = [sys.executable, "-c", SCRIPT, tests, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    process.stdout.readline()  # it is at its first block
    time.sleep(rng.uniform(0, 0.15))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
  result = sweep(tmp_path, block=2)
  assert bits(result) == undisturbed and result.attrs["blocks_damaged"] == 0
  assert 0 < result.attrs["runs_found"] < 12 and not list(tmp_path.rglob("*.part"))
