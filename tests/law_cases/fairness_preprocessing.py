"""Cases of what makes the training set fair."""

from law_cases.case import Case
from rfjax.fairness import preprocessing

CASES = {
  "reweighing": Case(
    make=lambda s: preprocessing.reweighing(),
    neutral=None,
    refused=(),
    acts="data",
  ),
  "fair_balance": Case(
    make=lambda s: preprocessing.fair_balance("equal"),
    neutral=None,
    refused=((("fair",), {}),),
    acts="data",
  ),
}
