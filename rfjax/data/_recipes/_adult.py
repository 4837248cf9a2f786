"""The Adult census data, as papers on fairness have used them."""

from typing import Any

import numpy as np

from rfjax.core import _check
from rfjax.data._columns import Columns
from rfjax.data._split import Table
from rfjax.data._tabulate import tabulate

_ATTRIBUTES = {"sex": ("sex",), "race": ("race group",), "both": ("race group", "sex")}
_FAIRBATCH_RACES = ("Black", "White")
_NUMERIC = ("age", "education-num", "hours-per-week", "capital-gain", "capital-loss")
# Of the workclasses, Never-worked is missing: whoever has it lacks an occupation.
_CATEGORICAL: dict[str, Any] = {
  "workclass": (
    "Private",
    "Self-emp-not-inc",
    "Self-emp-inc",
    "Federal-gov",
    "Local-gov",
    "State-gov",
    "Without-pay",
  ),
  "marital-status": (
    "Married-civ-spouse",
    "Divorced",
    "Never-married",
    "Separated",
    "Widowed",
    "Married-spouse-absent",
    "Married-AF-spouse",
  ),
  "occupation": (
    "Tech-support",
    "Craft-repair",
    "Other-service",
    "Sales",
    "Exec-managerial",
    "Prof-specialty",
    "Handlers-cleaners",
    "Machine-op-inspct",
    "Adm-clerical",
    "Farming-fishing",
    "Transport-moving",
    "Priv-house-serv",
    "Protective-serv",
    "Armed-Forces",
  ),
  "relationship": (
    "Wife",
    "Own-child",
    "Husband",
    "Not-in-family",
    "Other-relative",
    "Unmarried",
  ),
  "sex": ("Female", "Male"),
  "race": ("White", "Asian-Pac-Islander", "Amer-Indian-Eskimo", "Other", "Black"),
  "native-country": ("other", "United-States"),
}


def adult(columns: dict[str, Columns], variant: str = "", *, attribute: str = "sex") -> Table:
  """The complete rows of both files, those of the training file first.

  The features are age, years of education, hours a week, capital gain and capital loss, and as
  indicators workclass, marital status, occupation, relationship, sex, race and whether the native
  country is the United States. The variants are: "", all complete rows (30,162, and 15,060 that are
  the test set); "fairbatch", those of them who are White or Black (43,131), of which FairBatch
  draws its own test set, so that the table has none.

  Args:
    columns: of the data set.
    variant: "" or "fairbatch".
    attribute: the group: "sex" (0 female, 1 male), "race" (0 not White, in "fairbatch" Black, and
      1 White), or "both", the race first.

  Returns:
    The table; label 1 is an income above 50,000 dollars.

  Raises:
    ValueError: for an unknown variant or attribute.

  References:
    Kohavi, Scaling Up the Accuracy of Naive-Bayes Classifiers: a Decision-Tree Hybrid, KDD 1996.
    Roh, Lee, Whang, Suh, FairBatch: Batch Selection for Model Fairness, ICLR 2021 ("fairbatch").
  """
  _check.choice("variant", variant, ("", "fairbatch"))
  _check.choice("attribute", attribute, tuple(_ATTRIBUTES))
  rows = {
    name: np.append(values, columns["test"][name]) for name, values in columns["train"].items()
  }
  races, other = _CATEGORICAL["race"], "not White"
  if variant == "fairbatch":
    races, other = _FAIRBATCH_RACES, "Black"
    keep = np.isin(rows["race"], races)
    rows = {name: values[keep] for name, values in rows.items()}
  rows["race group"] = np.where(rows["race"] == "White", "White", other)
  country = rows["native-country"]
  known = np.isin(country, ("United-States", "?"))
  rows["native-country"] = np.where(known, country, "other")
  values = {"sex": _CATEGORICAL["sex"], "race group": (other, "White")}
  return tabulate(
    rows,
    label="income",
    positive=">50K",
    numeric=_NUMERIC,
    categorical={**_CATEGORICAL, "race": races},
    sensitive={name: values[name] for name in _ATTRIBUTES[attribute]},
    missing="drop",
    test_rows=0 if variant else len(columns["test"]["race"]),
  )
