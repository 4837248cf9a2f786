"""What comes out of FairRobust on its authors' synthetic data, and what a run costs.

    python benchmarks/fair_robust.py [--seeds 50] [--greedy prefix skip] [--json]
    python benchmarks/fair_robust.py --official FOLDER --python PYTHON [--pairs 5]

The setting is the authors' notebooks': logistic regression on (x, z), Adam at 5e-4, batches of 100
of 2,000 training rows of which 200 have a wrong label, "general" or "grouptarget"; 100 epochs of
warm start, and 1,000 test rows. A disparity is the largest distance of a group's rate from the
overall one. The data set "fair_robust" is read from $RFJAX_DATA_DIR. On CPU it runs on one core,
and prints CPU seconds, which other programs disturb less than the clock. With a clone of
https://github.com/yuji-roh/fair-robust-selection and a Python that has PyTorch, runs of the
notebooks' own cells and of rfjax alternate, each on one thread of the same core.
"""

import argparse
import time
from typing import Any

import notebooks
import pairs

# The labels, the criterion, the epochs, and the averages over five seeds that the notebooks print.
NOTEBOOK = {
  ("grouptarget", "equalized_odds"): (450, 0.7260, 0.0403),
  ("grouptarget", "demographic_parity"): (500, 0.7198, 0.0390),
  ("general", "equalized_odds"): (400, 0.7268, 0.0641),
  ("general", "demographic_parity"): (400, 0.7196, 0.0058),
}
QUOTED = (9.0, 10.0)  # CPU seconds of a run of the authors' code, on another day
WARM_START = 100
NAMES = {"grouptarget": "grouptargeted_label_flipping", "general": "label_flipping"}


def _rows(labels: str) -> tuple[Any, Any]:
  """The 2,000 training and the 1,000 test rows."""
  import jax.numpy as jnp

  from rfjax import data

  table = data.table("fair_robust", labels=labels)
  rows = jnp.arange(table.batch.num_rows)
  held_out = table.test_rows + table.validation_rows
  return table.batch.subset(rows[:-held_out]), table.batch.subset(rows[-table.test_rows :])


def _program(criterion: str, greedy: str, epochs: int, seeds: int, lanes: int | None) -> Any:
  """Figures of some seeds, compiled: in a loop, so many side by side; "none" selects nothing."""
  import jax
  import jax.numpy as jnp
  import optax

  import rfjax
  from rfjax import architectures, convergence, metrics

  measure = getattr(metrics, f"{criterion}_difference")
  # The authors' probability is (tanh u + 1) / 2, which is sigmoid(2 u).
  doubled = rfjax.pointwise(
    lambda b, **_: b.replace(log_probs=jax.nn.log_softmax(2 * b.logits)), writes=("log_probs",)
  )
  warm_start, form = (epochs, "prefix") if greedy == "none" else (WARM_START, greedy)
  selection = convergence.fair_robust(0.1, criterion, warm_start=warm_start, greedy=form)
  network, method = architectures.logistic(), rfjax.chain(doubled, selection)

  def run(seed: Any, train: Any, test: Any) -> Any:
    key, tx = jax.random.key(seed), optax.adam(5e-4)
    state, _ = rfjax.fit(network, method, tx, train, key=key, epochs=epochs, batch_size=100)
    said, (_, chosen) = rfjax.predict(network, state, test), state.method
    wrong = train.y != train.truth.y
    return {
      "accuracy": metrics.accuracy(said),
      "disparity": measure(said, method="to_overall"),
      "selected": jnp.sum(chosen.selected),
      "wrong": jnp.sum(chosen.selected & wrong),
      "shares": chosen.shares[:, 1],
    }

  if lanes is None and jax.default_backend() != "cpu":
    lanes = seeds
  every = lambda train, test: jax.lax.map(
    lambda seed: run(seed, train, test), jnp.arange(seeds, dtype=jnp.uint32), batch_size=lanes
  )
  return jax.jit(every)


def measure(
  labels: str, criterion: str, greedy: str, seeds: int, lanes: int | None
) -> dict[str, Any]:
  """What comes out of some seeds, and the CPU and wall-clock seconds of a run."""
  import jax
  import numpy as np

  rows, (epochs, *printed) = _rows(labels), NOTEBOOK[labels, criterion]
  began = time.perf_counter()
  compiled = _program(criterion, greedy, epochs, seeds, lanes).lower(*rows).compile()
  compiling = time.perf_counter() - began
  clock, spent = time.perf_counter(), time.process_time()
  found = jax.tree.map(np.asarray, jax.block_until_ready(compiled(*rows)))
  cpu, wall = time.process_time() - spent, time.perf_counter() - clock
  pair = lambda f: [round(float(f(found[name])), 4) for name in ("accuracy", "disparity")]
  return {
    "labels": labels,
    "criterion": criterion,
    "greedy": greedy,
    "seeds": seeds,
    "lanes": lanes,
    "mean": pair(np.mean),
    "sd": pair(np.std),
    "notebook_mean": printed,
    "selected": [int(found["selected"].min()), int(found["selected"].max())],
    "wrong_selected": round(float(found["wrong"].mean()), 1),
    "last_shares_of_group_1": np.round(found["shares"].mean(0), 3).tolist(),
    "cpu_seconds_a_run": round(cpu / seeds, 4),
    "wall_seconds_a_run": round(wall / seeds, 4),
    "compile_seconds": round(compiling, 2),
    "quoted_official_cpu_seconds": list(QUOTED),
  }


def compare(labels: str, criterion: str, options: argparse.Namespace) -> dict[str, Any]:
  """Runs of the authors' code and of rfjax by turns."""
  rows, runs = _rows(labels), options.lanes or 1
  epochs = NOTEBOOK[labels, criterion][0]
  ours = _program(criterion, "prefix", epochs, runs, options.lanes).lower(*rows).compile()
  where = options.official, options.python, f"FairRobust_synthetic_{NAMES[labels]}.ipynb"
  found = notebooks.compare(
    lambda: ours(*rows), runs, notebooks.sampler(*where, criterion), options.pairs
  )
  return {"labels": labels, "criterion": criterion} | found


def main() -> None:
  """Prints a line for each case."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--labels", nargs="+", default=["grouptarget", "general"])
  parser.add_argument("--criteria", nargs="+", default=["equalized_odds", "demographic_parity"])
  parser.add_argument(
    "--greedy", nargs="+", choices=["prefix", "skip", "none"], default=["prefix", "skip", "none"]
  )
  parser.add_argument("--seeds", type=int, default=50)
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
  for labels in options.labels:
    for criterion in options.criteria:
      if options.official is not None:
        show(compare(labels, criterion, options))
        continue
      for greedy in options.greedy:
        show(measure(labels, criterion, greedy, options.seeds, options.lanes))


if __name__ == "__main__":
  main()
