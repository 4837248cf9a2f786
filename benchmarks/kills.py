"""What is left of sweeps that are killed: rfjax sweep, SIGKILL at random moments, and on again.

    python benchmarks/kills.py [--kills 50] [--seed 0] [--json]

The sweep is a small landscape with blocks of two runs and checkpoints every two epochs. A process
that is not killed in time must print what an undisturbed one has printed, to the byte; its store is
then emptied. Counted are blocks and checkpoints that the program found damaged or that do not have
the content of their name, tables that differ, and files that a finished sweep finds unfinished.
"""

import argparse
import hashlib
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

_COMMAND = (
  "sweep landscape --method gap --label-noise 0 0.2 --attribute-noise 0 --bias 0 0.4 --epochs 12"
  " --rows 400 --seeds 8 --json --no-progress --block 2 --checkpoint-every 2"
).split()


def _start(folder: pathlib.Path) -> subprocess.Popen:
  program = "import sys; from rfjax.cli import main; sys.exit(main(sys.argv[1:]))"
  where = ["--store", str(folder / "store"), "--out", str(folder / "out")]
  return subprocess.Popen(
    [sys.executable, "-c", program, *_COMMAND, *where],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )


def _whole(folder: pathlib.Path) -> tuple[bytes, float]:
  """What an undisturbed sweep prints, and its seconds."""
  began = time.perf_counter()
  process = _start(folder)
  out, errors = process.communicate()
  if process.returncode:
    raise RuntimeError(errors.decode())
  return out, time.perf_counter() - began


def _damaged(folder: pathlib.Path) -> int:
  """The blocks whose content is not what their name says."""
  blocks = (folder / "store").rglob("*.npz")
  return sum(hashlib.sha256(b.read_bytes()).hexdigest() != b.name.split(".")[1] for b in blocks)


def _unfinished(folder: pathlib.Path) -> list[str]:
  return [path.name for path in (folder / "store").rglob("*.part*")]


def measure(kills: int, seed: int) -> dict[str, Any]:
  """Kills so many sweeps."""
  draw = random.Random(seed)
  count = dict.fromkeys(("finished", "damaged", "different", "left_behind", "with_unfinished"), 0)
  seen = dict.fromkeys(("blocks", "checkpoints"), 0)
  with tempfile.TemporaryDirectory() as root:
    spare, folder = pathlib.Path(root, "spare"), pathlib.Path(root, "mine")
    _whole(spare)  # fills the cache of compiled programs
    shutil.rmtree(spare)
    expected, seconds = _whole(spare)
    killed = 0

    def finished(out: bytes) -> None:
      count["finished"] += 1
      count["different"] += out != expected
      count["left_behind"] += len(_unfinished(folder))
      shutil.rmtree(folder)

    while killed < kills:
      process = _start(folder)
      try:
        out, _ = process.communicate(timeout=draw.uniform(0.3, 1.0) * seconds)
        finished(out)
        continue
      except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
      killed += 1
      count["damaged"] += _damaged(folder)
      count["with_unfinished"] += bool(_unfinished(folder))
      seen["blocks"] += len(list(folder.rglob("*.npz")))
      seen["checkpoints"] += len(list(folder.rglob("*.orbax")))
    finished(_whole(folder)[0])
  return {"kills": killed, "seconds_undisturbed": round(seconds, 1), **count, **seen}


def main() -> None:
  """Prints one line; the exit status is 1 where anything was damaged, different or left behind."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--kills", type=int, default=50)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", action="store_true", help="one JSON object")
  options = parser.parse_args()
  found = measure(options.kills, options.seed)
  print(json.dumps(found) if options.json else " ".join(f"{k} {v}" for k, v in found.items()))
  sys.exit(any(found[name] for name in ("damaged", "different", "left_behind")))


if __name__ == "__main__":
  main()
