"""Cases of what makes training fair."""

from law_cases.case import Case
from rfjax.fairness import inprocessing

CASES = {
  "gap": Case(
    make=lambda s: inprocessing.gap(s, ("selection_rate", "precision"), decay=0.5),
    neutral=lambda: inprocessing.gap(0.0),
    refused=(((-0.1,), {}), ((1.0, "kindness"), {}), ((1.0,), {"temperature": 0.0})),
  ),
}
