"""What the benchmarks beside authors' notebooks share: runs of their cells and of ours by turns."""

import dataclasses
import itertools
import json
import os
import statistics
from collections.abc import Callable
from typing import Any

import pairs

# Runs the cells of a notebook for one seed, on the CPU: nothing is moved elsewhere, and targets [N]
# for inputs [N, 1], which newer versions of PyTorch refuse, are what the authors' version took.
# Nothing is plotted in the cells that run.
_RUNNER = """
import json, os, re, sys, time, types
folder, notebook, first, training, changes, found = sys.argv[1:]
os.chdir(folder); sys.path.insert(0, folder)
for name in ("matplotlib", "matplotlib.pyplot"):
  sys.modules[name] = types.ModuleType(name)
import torch
torch.set_num_threads(1)
torch.Tensor.cuda = torch.nn.Module.cuda = lambda self: self
entropy = torch.nn.functional.binary_cross_entropy
torch.nn.functional.binary_cross_entropy = (
  lambda given, target, **more: entropy(given.reshape(target.shape), target, **more))
cells = json.load(open(notebook))["cells"]
code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
start = next(i for i, text in enumerate(code) if first in text)
names, out = {}, sys.stdout
sys.stdout = open(os.devnull, "w")
for text in code[:start]:
  exec(text, names)
one = next(text for text in code[start:] if training in text)
for pattern, new in json.loads(changes).items():
  one, changed = re.subn(pattern, new, one)
  assert changed == 1
began = time.process_time()
exec(one, names)
seconds = time.process_time() - began
print(json.dumps([seconds, *(float(v) for v in eval(found, names))]), file=out)
"""


@dataclasses.dataclass(frozen=True)
class Notebook:
  """The cells of a notebook that train one model.

  Attributes:
    folder: a clone of the authors' repository.
    python: a Python that has PyTorch.
    file: the notebook's file.
    first: what the first cell that trains contains; those before it are run first, and not timed.
    training: what the cell that is timed contains.
    changes: what is put for patterns in it; "{seed}" stands for the seed.
    found: an expression of what it found.
  """

  folder: str
  python: str
  file: str
  first: str
  training: str
  changes: dict[str, str]
  found: str

  def run(self, seed: int) -> tuple[float, list[float]]:
    """CPU seconds of a run, in a process of its own, and what it found."""
    changes = {k: v.replace("{seed}", str(seed)) for k, v in self.changes.items()}
    where = os.path.abspath(self.folder), self.file, self.first, self.training
    command = [self.python, "-c", _RUNNER, *where, json.dumps(changes), self.found]
    seconds, *found = pairs.child(command)
    return seconds, [round(v, 4) for v in found]


_WORDS = {
  "equal_opportunity": ("eqopp", "EO_Y1_diff"),
  "equalized_odds": ("eqodds", "EqOdds_diff"),
  "demographic_parity": ("dp", "DP_diff"),
}


def sampler(folder: str, python: str, file: str, criterion: str) -> Notebook:
  """A notebook of FairBatch or FairRobust, which are alike."""
  word, disparity = _WORDS[criterion]
  return Notebook(
    folder,
    python,
    file,
    first="full_tests",
    training=f"'{word}'",
    changes={r"seeds = \[[0-9,]+\]": "seeds = [{seed}]"},
    found=f"[full_tests[0][name] for name in ('Acc', '{disparity}')]",
  )


def compare(
  ours: Callable[[], Any], runs: int, notebook: Notebook, turns: int, first_seed: int = 0
) -> dict[str, Any]:
  """Runs a notebook's own cells and a program of some runs by turns.

  Args:
    ours: the program, compiled.
    runs: how many it makes.
    notebook: the notebook.
    turns: how many of each.
    first_seed: of the notebook's runs.

  Returns:
    The medians of CPU seconds a run, that of the ratios by pair, and what the notebook found.
  """
  import jax

  call, seeds = lambda: jax.block_until_ready(ours()), itertools.count(first_seed)
  call()
  sides = (lambda: notebook.run(next(seeds)), lambda: pairs.seconds(call).cpu / runs)
  told, mine = pairs.alternate(sides, turns)
  official = [seconds for seconds, _ in told]
  ratios = [a / b for a, b in zip(official, mine, strict=True)]
  return {
    "pairs": turns,
    "runs": runs,
    "official_cpu_seconds": round(statistics.median(official), 3),
    "official_found": [found for _, found in told],
    "cpu_seconds": round(statistics.median(mine), 4),
    "ratio": round(statistics.median(ratios), 1),
    "ratios": [round(min(ratios), 1), round(max(ratios), 1)],
  }
