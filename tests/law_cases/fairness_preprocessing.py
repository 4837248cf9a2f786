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
}
