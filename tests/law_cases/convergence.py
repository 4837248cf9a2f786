"""Cases of what is robust and fair at once."""

from law_cases.case import Case
from rfjax import convergence

CASES = {
  "fr_train": Case(
    make=lambda s: convergence.fr_train(0.5 * s, 0.4 * s, warmup=1, reweight_every=1),
    neutral=lambda: convergence.fr_train(0.0, 0.0, warmup=0, reweight=None),
    refused=(((-0.1, 0.1), {}), ((0.5, 0.5), {}), ((0.1, 0.1), {"condition": "z"})),
    scheduled=True,
  ),
  "fair_robust": Case(
    make=lambda s: convergence.fair_robust(0.5 * s, "demographic_parity", s, warm_start=1),
    neutral=lambda: convergence.fair_robust(0.1, warm_start=1000),
    refused=(
      ((1.0,), {}),
      ((0.1, "kindness"), {}),
      ((0.1,), {"rate": -0.1}),
      ((0.1,), {"warm_start": -1}),
      ((0.1,), {"greedy": "clever"}),
    ),
    scheduled=True,
  ),
}
