"""What the benchmarks of FairBatch and FairRobust share: runs of their notebooks beside ours."""

import os
import statistics
from collections.abc import Callable
from typing import Any

import pairs

# Runs the cells of a notebook for one seed, on the CPU: nothing is moved elsewhere, and targets [N]
# for inputs [N, 1], which newer versions of PyTorch refuse, are what the authors' version took.
_RUNNER = """
import json, os, re, sys, time
folder, notebook, word, seed = sys.argv[1:]
os.chdir(folder); sys.path.insert(0, folder)
import torch
torch.set_num_threads(1)
torch.Tensor.cuda = torch.nn.Module.cuda = lambda self: self
entropy = torch.nn.functional.binary_cross_entropy
torch.nn.functional.binary_cross_entropy = (
  lambda given, target, **more: entropy(given.reshape(target.shape), target, **more))
cells = json.load(open(notebook))["cells"]
code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
first = next(i for i, text in enumerate(code) if "full_tests" in text)
names, out = {}, sys.stdout
sys.stdout = open(os.devnull, "w")
for text in code[:first]:
  exec(text, names)
training = next(text for text in code if f"'{word}'" in text)
one, changed = re.subn(r"seeds = \\[[0-9,]+\\]", f"seeds = [{seed}]", training)
assert changed == 1
began = time.process_time()
exec(one, names)
seconds, found = time.process_time() - began, names["full_tests"][0]
disparity = {"eqopp": "EO_Y1_diff", "eqodds": "EqOdds_diff", "dp": "DP_diff"}[word]
print(json.dumps([seconds, float(found["Acc"]), float(found[disparity])]), file=out)
"""
WORDS = {"equal_opportunity": "eqopp", "equalized_odds": "eqodds", "demographic_parity": "dp"}


def compare(
  ours: Callable[[], Any],
  runs: int,
  folder: str,
  python: str,
  notebook: str,
  criterion: str,
  turns: int,
) -> dict[str, Any]:
  """Runs a notebook's own cells and a program of some runs by turns; medians of CPU seconds a run.

  Args:
    ours: the program, compiled.
    runs: how many it makes.
    folder: a clone of the authors' repository.
    python: a Python that has PyTorch.
    notebook: the notebook's file.
    criterion: a key of `WORDS`.
    turns: how many of each.

  Returns:
    The medians, their ratio, and what the notebook found.
  """
  import jax

  command = [python, "-c", _RUNNER, os.path.abspath(folder), notebook, WORDS[criterion]]
  call, seeds = lambda: jax.block_until_ready(ours()), iter(range(turns))
  call()
  sides = (
    lambda: pairs.child([*command, str(next(seeds))]),
    lambda: pairs.seconds(call).cpu / runs,
  )
  told, mine = pairs.alternate(sides, turns)
  official = [seconds for seconds, *_ in told]
  found = [[round(v, 4) for v in measured] for _, *measured in told]
  theirs, us = statistics.median(official), statistics.median(mine)
  return {
    "pairs": turns,
    "lanes": runs,
    "official_cpu_seconds": round(theirs, 3),
    "official_found": found,
    "cpu_seconds": round(us, 4),
    "ratio": round(theirs / us, 1),
  }
