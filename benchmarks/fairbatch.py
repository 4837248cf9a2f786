"""What a run of FairBatch costs, and what comes out of it, on its authors' synthetic data.

    python benchmarks/fairbatch.py [--seeds 64] [--repeats 5] [--json]
    python benchmarks/fairbatch.py --official FOLDER --python PYTHON [--pairs 5]

The setting is the authors' notebook's: logistic regression on (x, z), Adam at 5e-4, batches of 100
of all 2,000 training rows, 1,000 test rows; a disparity is the largest distance of a group's rate
from the overall one. The data set "fairbatch" is read from $RFJAX_DATA_DIR.

On CPU it runs on one core, and prints CPU seconds, which other programs disturb less than the
clock. With a clone of https://github.com/yuji-roh/fairbatch and a Python that has PyTorch, runs of
the notebook's own cells and of rfjax alternate, each on one thread of the same core.
"""

import argparse
import statistics
import time
from typing import Any

import notebooks
import pairs

# The notebook's epochs, and the averages over ten seeds that it prints.
NOTEBOOK = {
  "equal_opportunity": (300, 0.8552, 0.0123),
  "equalized_odds": (400, 0.8563, 0.0376),
  "demographic_parity": (450, 0.7942, 0.0400),
}
QUOTED = {"equal_opportunity": 4.0, "equalized_odds": 5.1}  # CPU seconds a run, on another day


def _rows() -> tuple[Any, Any]:
  """The 2,000 training and the 1,000 test rows."""
  import jax.numpy as jnp

  from rfjax import data

  table = data.table("fairbatch")
  rows = jnp.arange(table.batch.num_rows)
  return table.batch.subset(rows[: -table.test_rows]), table.batch.subset(rows[-table.test_rows :])


def _program(criterion: str, form: str, seeds: int, lanes: int | None) -> Any:
  """The accuracies and disparities of some seeds, compiled: in a loop, so many side by side."""
  import jax
  import jax.numpy as jnp
  import optax

  import rfjax
  from rfjax import architectures, metrics
  from rfjax.fairness import inprocessing

  measure = getattr(metrics, f"{criterion}_difference")
  # The authors' probability is (tanh u + 1) / 2, which is sigmoid(2 u).
  doubled = rfjax.pointwise(
    lambda b, **_: b.replace(log_probs=jax.nn.log_softmax(2 * b.logits)), writes=("log_probs",)
  )
  method = rfjax.chain(doubled, getattr(inprocessing, form)(criterion))
  network, epochs = architectures.logistic(), NOTEBOOK[criterion][0]

  def run(seed: Any, train: Any, test: Any) -> Any:
    key, tx = jax.random.key(seed), optax.adam(5e-4)
    state, _ = rfjax.fit(network, method, tx, train, key=key, epochs=epochs, batch_size=100)
    said = rfjax.predict(network, state, test)
    return metrics.accuracy(said), measure(said, method="to_overall")

  if lanes is None and jax.default_backend() != "cpu":
    lanes = seeds
  every = lambda train, test: jax.lax.map(
    lambda seed: run(seed, train, test), jnp.arange(seeds, dtype=jnp.uint32), batch_size=lanes
  )
  return jax.jit(every)


def measure(
  criterion: str, form: str, seeds: int, repeats: int, lanes: int | None
) -> dict[str, Any]:
  """What comes out of some seeds, and the CPU and wall-clock seconds of a run."""
  import jax
  import numpy as np

  rows = _rows()
  began = time.perf_counter()
  compiled = _program(criterion, form, seeds, lanes).lower(*rows).compile()
  compiling = time.perf_counter() - began
  cpu, wall = [], []
  for _ in range(1 + repeats):
    clock, spent = time.perf_counter(), time.process_time()
    accuracy, disparity = jax.block_until_ready(compiled(*rows))
    cpu.append((time.process_time() - spent) / seeds)
    wall.append((time.perf_counter() - clock) / seeds)
  statistic = lambda f: [round(float(f(np.asarray(v))), 4) for v in (accuracy, disparity)]
  return {
    "criterion": criterion,
    "form": form,
    "seeds": seeds,
    "mean": statistic(np.mean),
    "sd": statistic(np.std),
    "median": statistic(np.median),
    "notebook_mean": list(NOTEBOOK[criterion][1:]),
    "cpu_seconds_a_run": round(statistics.median(cpu[1:]), 4),
    "wall_seconds_a_run": round(statistics.median(wall[1:]), 4),
    "compile_seconds": round(compiling, 2),
    "quoted_official_cpu_seconds": QUOTED.get(criterion),
  }


def compare(criterion: str, options: argparse.Namespace) -> dict[str, Any]:
  """Runs of the authors' code and of rfjax by turns."""
  rows, runs = _rows(), options.lanes or 1
  ours = _program(criterion, "fairbatch", runs, options.lanes).lower(*rows).compile()
  where = options.official, options.python, "FairBatch_Synthetic.ipynb"
  found = notebooks.compare(
    lambda: ours(*rows), runs, notebooks.sampler(*where, criterion), options.pairs
  )
  return {"criterion": criterion} | found


def main() -> None:
  """Prints a line for each case."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--criteria", nargs="+", choices=NOTEBOOK, default=list(NOTEBOOK))
  parser.add_argument("--form", choices=["fairbatch", "fairbatch_reweight"], default="fairbatch")
  parser.add_argument("--seeds", type=int, default=64)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--lanes", type=int, help="runs side by side; all of them on accelerators")
  parser.add_argument("--official", metavar="FOLDER", help="a clone of the authors' repository")
  parser.add_argument("--python", help="a Python that has PyTorch")
  parser.add_argument("--pairs", type=int, default=5)
  parser.add_argument("--json", action="store_true", help="one JSON object a line")
  options = parser.parse_args()
  if (options.official is None) != (options.python is None):
    parser.error("--official and --python go together")
  import jax

  if jax.default_backend() == "cpu":
    pairs.one_core()
  show = lambda case: pairs.show(case, options.json)
  show({"device": jax.devices()[0].device_kind, "jax": jax.__version__})
  for criterion in options.criteria:
    if options.official is None:
      case = measure(criterion, options.form, options.seeds, options.repeats, options.lanes)
    else:
      case = compare(criterion, options)
    show(case)


if __name__ == "__main__":
  main()
