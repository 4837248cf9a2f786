"""Five statistics by group: of this library, and of fairlearn's MetricFrame in the same process.

    python benchmarks/group_metrics.py [--rows 1000000] [--groups 10] [--pairs 3] [--repeats 20]

Selection rate, true and false positive rate, accuracy and precision of hard predictions, of each
group, on one core. The two alternate; a pair is one call of MetricFrame and the median of some
calls of the compiled program, and what is printed is the median over the pairs. `device` has its
arrays on the device already, `numpy` brings them there in each call. Ratios of CPU seconds say
what other programs disturb less than the clock.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from typing import Any

import pairs

NAMES = ("selection_rate", "true_positive_rate", "false_positive_rate", "accuracy", "precision")


def _ours(groups: int) -> Callable[..., Any]:
  import jax

  from rfjax import metrics

  @jax.jit
  def rates(y: Any, y_pred: Any, group: Any) -> Any:
    options = {"num_groups": groups, "num_classes": 2}
    return [metrics.group_rates(name, y, y_pred, group, **options).value[:, 0] for name in NAMES]

  return lambda *arrays: jax.block_until_ready(rates(*arrays))


def _theirs(y: Any, y_pred: Any, group: Any) -> Any:
  from fairlearn import metrics as fair
  from sklearn.metrics import accuracy_score, precision_score

  own = {name: getattr(fair, name) for name in NAMES[:3]}
  frame = fair.MetricFrame(
    metrics=own | {"accuracy": accuracy_score, "precision": precision_score},
    y_true=y,
    y_pred=y_pred,
    sensitive_features=group,
  )
  return frame.by_group


def main() -> None:
  """Prints seconds of both, and how many times faster this library is."""
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--rows", type=int, default=1_000_000)
  parser.add_argument("--groups", type=int, default=10)
  parser.add_argument("--pairs", type=int, default=3)
  parser.add_argument("--repeats", type=int, default=20)
  options = parser.parse_args()
  pairs.one_core()
  import jax.numpy as jnp
  import numpy as np

  rng = np.random.default_rng(0)
  sizes = (2, 2, options.groups)
  arrays = [rng.integers(size, size=options.rows, dtype=np.int32) for size in sizes]
  ours, there = _ours(options.groups), [jnp.asarray(v) for v in arrays]
  part = [v[:10_000] for v in arrays]
  np.testing.assert_allclose(np.transpose(ours(*part)), _theirs(*part), rtol=1e-5)
  ours(*there)
  turns = pairs.alternate(
    (
      lambda: pairs.seconds(lambda: _theirs(*arrays)),
      lambda: pairs.seconds(lambda: ours(*there), options.repeats),
      lambda: pairs.seconds(lambda: ours(*arrays), options.repeats),
    ),
    options.pairs,
  )
  result: dict[str, Any] = {"rows": options.rows, "groups": options.groups}
  for clock in pairs.Seconds._fields:
    fairlearn, device, numpy = ([getattr(spent, clock) for spent in side] for side in turns)
    faster = lambda own: round(
      statistics.median(a / b for a, b in zip(fairlearn, own, strict=True))
    )
    result[clock] = {
      "fairlearn_seconds": round(statistics.median(fairlearn), 3),
      "device_milliseconds": round(1e3 * statistics.median(device), 3),
      "numpy_milliseconds": round(1e3 * statistics.median(numpy), 3),
      "times_faster_device": faster(device),
      "times_faster_numpy": faster(numpy),
    }
  print(json.dumps(result))


if __name__ == "__main__":
  main()
