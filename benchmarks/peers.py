"""What this library takes beside fairlearn, pandas and cleanlab for the same result.

    python benchmarks/peers.py [--cases ...] [--rows 10000 100000 1000000] [--pairs 5] [--json]
    python benchmarks/peers.py --check

- equalized_odds, demographic_parity: `threshold_optimizer`, fit and drawn decisions, and
  fairlearn's ThresholdOptimizer, fit and predict, of the scores of four groups.
- reweighing: factors of four groups and two labels, and three group-bys of pandas. AIF360 needs an
  environment of its own, so there is no ratio to it.
- label_issues: of ten classes by noise rate, and cleanlab's `find_label_issues` on one process.

Both sides run in one process on one core, warmed, and take turns; ratios are of CPU seconds. Ours
has its arrays on the device already. Before a ratio is printed both sides must agree: on all flags
(where remainders of the confident joint are equal cleanlab rounds by an unstable sort, and is given
our joint; the line says how many flags hang on it), on weights to 1e-6, and on the expected loss of
thresholds and the rates that they make equal to 1e-9 in float64. What is timed is float32, which
may choose a place of the grid that is as good but for rounding: there the loss agrees to 1e-5, and
the rates of the groups with each other. `--check` shows that the gates can fail.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import pairs

GROUPS, CLASSES = 4, 10


class Case(NamedTuple):
  """Two sides, and whether what they return is the same."""

  peer: Callable[[], Any]
  ours: Callable[[], Any]
  agree: Callable[[Any, Any], bool]
  told: Callable[[Any, Any], dict[str, Any]] = lambda theirs, ours: {}


def scored(rows: int) -> tuple[Any, Any, Any]:
  """Scores that tell more of the label in some groups, labels and groups."""
  import numpy as np

  rng = np.random.default_rng(0)
  group, y = (rng.integers(size, size=rows, dtype=np.int32) for size in (GROUPS, 2))
  tells = np.linspace(0.5, 1.5, GROUPS)
  return (rng.normal(size=rows) + y * tells[group] + 0.2 * group).astype(np.float32), y, group


def thresholds(rows: int, constraint: str) -> Case:
  """The threshold optimizer, and fairlearn's; what is compared is loss and rates [G, 2]."""
  import jax
  import jax.numpy as jnp
  import numpy as np
  from fairlearn.postprocessing import ThresholdOptimizer
  from sklearn.base import BaseEstimator, ClassifierMixin

  import rfjax
  from rfjax.fairness import postprocessing

  score, y, group = scored(rows)
  column = score.astype(np.float64)[:, None]  # fairlearn's predict wants no less

  class Scores(ClassifierMixin, BaseEstimator):
    """A fitted model, whose score is the one feature."""

    def fit(self, x: Any, y: Any) -> Any:
      self.fitted_ = True
      return self

    def decision_function(self, x: Any) -> Any:
      return np.asarray(x)[:, 0]

  def peer() -> Any:
    found = ThresholdOptimizer(
      estimator=Scores().fit(column, y),
      constraints=constraint,
      prefit=True,
      predict_method="decision_function",
    ).fit(column, y, sensitive_features=group)
    found.predict(column, sensitive_features=group, random_state=0)
    return found

  method = postprocessing.threshold_optimizer(constraint, randomize=True)

  @jax.jit
  def fit_and_draw(data: Any, key: Any) -> Any:
    state = method.init(data, key=key, spec=None)
    return state, jnp.argmax(method.update(data, state, key=key)[0].logits, axis=1)

  def filled() -> Any:
    data = rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), y, group, num_classes=2)
    said = jnp.asarray(column[:, 0])
    return data.fill(jnp.stack([jnp.zeros_like(said), said], axis=1))

  data, cells = filled(), group * 2 + y
  sizes = np.bincount(cells, minlength=2 * GROUPS).reshape(GROUPS, 2)

  def told(loss: Any, rates: Any) -> Any:
    """The loss, and what must be equal: rates [G, 2], or what is selected of each group [G]."""
    rates = np.asarray(rates, np.float64)
    odds = constraint == "equalized_odds"
    equal = rates if odds else np.sum(rates * sizes, axis=1) / sizes.sum(1)
    return np.append(float(loss), equal)

  def agree(theirs: Any, ours: Any) -> bool:
    chance = theirs._pmf_predict(column, sensitive_features=group)[:, 1]
    rates = np.bincount(cells, chance, 2 * GROUPS).reshape(GROUPS, 2) / sizes
    share = sizes.sum(0) / rows
    loss = share[0] * theirs._x_best + share[1] * (1 - theirs._y_best)
    loss = loss if constraint == "equalized_odds" else 1 - theirs._y_best
    wanted = told(loss, rates)
    with jax.enable_x64(True):
      exact, _ = fit_and_draw(filled(), jax.random.key(0))
    exact, timed = (told(state.loss, state.rates) for state in (exact, ours[0]))
    equal = np.max(np.ptp(timed[1:].reshape(GROUPS, -1), axis=0)) <= 1e-5
    same = np.allclose(exact, wanted, rtol=0, atol=1e-9)
    return bool(same and abs(timed[0] - wanted[0]) <= 1e-5 and equal)

  return Case(peer, lambda: jax.block_until_ready(fit_and_draw(data, jax.random.key(0))), agree)


def reweighing(rows: int) -> Case:
  """Weights by group and label, and the same by pandas."""
  import jax
  import numpy as np
  import pandas as pd

  import rfjax
  from rfjax.fairness import preprocessing

  _, y, group = scored(rows)
  frame = pd.DataFrame({"y": y, "group": group})
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), y, group, num_classes=2)
  weigh = jax.jit(lambda d, k: rfjax.transform(preprocessing.reweighing(), d, key=k).weight)

  def peer() -> Any:
    size = lambda by: frame.groupby(by)["y"].transform("size").to_numpy(np.float64)
    return size("group") * size("y") / (rows * size(["group", "y"]))

  agree = lambda theirs, ours: np.allclose(theirs, np.asarray(ours), rtol=1e-6, atol=0)
  return Case(peer, lambda: jax.block_until_ready(weigh(data, jax.random.key(0))), agree)


def label_issues(rows: int) -> Case:
  """Flags of given labels, of which 18 % are wrong, and cleanlab's."""
  import jax
  import jax.numpy as jnp
  import numpy as np
  from cleanlab.count import compute_confident_joint
  from cleanlab.filter import find_label_issues

  from rfjax import selection

  rng = np.random.default_rng(0)
  truth = rng.integers(CLASSES, size=rows)
  logits = rng.normal(size=(rows, CLASSES)).astype(np.float32)
  logits[np.arange(rows), truth] += 3
  probs = np.exp(logits)
  probs /= probs.sum(1, keepdims=True)
  y = np.where(rng.random(rows) < 0.2, rng.integers(CLASSES, size=rows), truth)
  there = jnp.asarray(y, jnp.int32), jnp.asarray(probs)
  flags = jax.jit(lambda y, probs: selection.label_issues(y, probs))

  def peer(joint: Any = None) -> Any:
    settings = {"filter_by": "prune_by_noise_rate", "n_jobs": 1}
    return find_label_issues(y, probs, confident_joint=joint, **settings)

  def agree(theirs: Any, ours: Any) -> bool:
    counts = lambda **more: np.asarray(selection.confident_joint(*there, **more))
    same = np.array_equal(
      counts(calibrate=False), compute_confident_joint(y, probs, calibrate=False)
    )
    joint = counts()
    # Of equal remainders cleanlab rounds up those that an unstable sort puts first.
    clear = np.array_equal(joint, compute_confident_joint(y, probs))
    wanted = theirs if clear else peer(joint)
    return bool(same and wanted.any() and np.array_equal(wanted, ours))

  apart = lambda theirs, ours: {"flags_apart_by_ties": int(np.sum(theirs != np.asarray(ours)))}
  return Case(peer, lambda: jax.block_until_ready(flags(*there)), agree, apart)


CASES: dict[str, Callable[[int], Case]] = {
  "equalized_odds": lambda rows: thresholds(rows, "equalized_odds"),
  "demographic_parity": lambda rows: thresholds(rows, "demographic_parity"),
  "reweighing": reweighing,
  "label_issues": label_issues,
}
PEERS = {"reweighing": "pandas", "label_issues": "cleanlab"}


def measure(name: str, rows: int, turns: int, repeats: int) -> dict[str, Any]:
  """One line: the gate, and then the two sides by turns."""
  case = CASES[name](rows)
  theirs, ours = case.peer(), case.ours()
  pairs.gate(f"{name} of {rows} rows", case.agree(theirs, ours))
  found = case.told(theirs, ours) | pairs.compare(case.peer, case.ours, turns, repeats, warm=False)
  return {"case": name, "peer": PEERS.get(name, "fairlearn"), "rows": rows} | found


def spoiled(name: str, ours: Any) -> Any:
  """A result with one thing wrong: a flag, a weight, or the loss."""
  if name == "label_issues":
    return ours.at[0].set(~ours[0])
  if name == "reweighing":
    return ours.at[0].multiply(1.001)
  return ours[0]._replace(loss=ours[0].loss + 1e-3), ours[1]


def check(name: str, rows: int) -> dict[str, Any]:
  """Whether the gate lets the result pass, and stops one with something wrong."""
  case = CASES[name](rows)
  theirs, ours = case.peer(), case.ours()
  pairs.gate(f"{name} of {rows} rows", case.agree(theirs, ours))
  try:
    pairs.gate(name, case.agree(theirs, spoiled(name, ours)))
  except pairs.Disagreement:
    return {"case": name, "rows": rows, "gate": "stops what is wrong"}
  raise SystemExit(f"{name}: the gate lets pass what is wrong")


def main() -> None:
  """Prints a line for each case and number of rows."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
  parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
  parser.add_argument("--pairs", type=int, default=5)
  parser.add_argument("--repeats", type=int, default=3, help="of this library in a pair")
  parser.add_argument("--check", action="store_true", help="only show that the gates can fail")
  parser.add_argument("--json", action="store_true", help="one JSON object a line")
  options = parser.parse_args()
  pairs.one_core()
  if not options.check:
    pairs.show(pairs.header(), options.json)
  for name in options.cases:
    for rows in [2_000] if options.check else options.rows:
      of = check(name, rows) if options.check else None
      pairs.show(of or measure(name, rows, options.pairs, options.repeats), options.json)


if __name__ == "__main__":
  main()
