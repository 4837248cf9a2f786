"""Two processes on one machine, joined by jax.distributed: the bits of a sweep by one of them."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
from core import parts_test

SCRIPT = """
import sys
import jax
jax.distributed.initialize(sys.argv[2], 2, int(sys.argv[3]))
sys.path.insert(0, sys.argv[1])
import numpy as np
import rfjax
from core import parts_test
assert jax.process_count() == 2 and len(jax.devices()) == 4
for turn in range(2):  # the second time everything is there
  found = rfjax.sweep(parts_test.once, parts_test.AXES, block=4, progress=False,
                      store=sys.argv[4], checkpoint_every=3)
  assert found.attrs["runs_found"] == 6 * turn, found.attrs
np.savez(sys.argv[4] + f"/{sys.argv[3]}.npz", **parts_test.leaves(found))
"""


def test_two_processes_give_the_bits_of_one(tmp_path):
  tests = str(pathlib.Path(__file__).parent.parent)
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
  flags = [f for f in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in f]
  environment = os.environ | {
    "PYTHONPATH": os.pathsep.join([tests, *sys.path]),
    "XLA_FLAGS": " ".join([*flags, "--xla_force_host_platform_device_count=2"]),
  }
  started = [
    subprocess.Popen(
      [sys.executable, "-c", SCRIPT, tests, address, str(i), str(tmp_path)],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for i in range(2)
  ]
  told = [process.communicate(timeout=300)[0] for process in started]
  assert [process.returncode for process in started] == [0, 0], "\n".join(told)
  one = parts_test.sweep(parts_test.once, tmp_path / "one", checkpoint_every=3)
  want = parts_test.leaves(one)
  for i in range(2):
    with np.load(tmp_path / f"{i}.npz") as got:
      assert {n: got[n].tobytes() for n in want} == {n: v.tobytes() for n, v in want.items()}
  assert not list(tmp_path.rglob("*.orbax")) and not list(tmp_path.rglob("*.part*"))
