"""The income task of Ding et al. on the American Community Survey."""

import numpy as np

from rfjax.core import _check
from rfjax.data._columns import Columns
from rfjax.data._split import Table
from rfjax.data._tabulate import tabulate

_ATTRIBUTES = {"sex": ("sex",), "race": ("race",), "both": ("race", "sex")}
_GROUPS = {"sex": ("female", "male"), "race": ("not White", "White")}
_CLASSES = ("at most $50,000", "more than $50,000")
_NUMERIC = ("AGEP", "SCHL", "WKHP")
_CODES = ("COW", "MAR", "RELP", "SEX", "RAC1P")
_HUNDREDS = ("OCCP", "POBP")


def acs_income(columns: dict[str, Columns], variant: str = "", *, attribute: str = "sex") -> Table:
  """All people of ACSIncome, with the ten features of folktables.

  Age, schooling and hours a week are numbers, which folktables has of all ten features. The others
  are codes without an order and become an indicator for each value that occurs. OCCP has some 530
  codes and POBP some 220, a gigabyte of indicators for California alone: their hundreds are taken,
  which are about 90 fields of work, and continents. `columns("acs_income")` has the codes.

  Args:
    columns: of the data set.
    variant: "", there is no other.
    attribute: the group: "sex" (0 female, 1 male), "race" (0 not White, 1 White alone), or "both",
      the race first.

  Returns:
    The table; label 1 is an income above 50,000 dollars.

  Raises:
    ValueError: for an unknown variant or attribute, and a group without a row.

  References:
    Ding, Hardt, Miller, Schmidt, Retiring Adult: New Datasets for Fair Machine Learning, NeurIPS
    2021.
  """
  _check.choice("variant", variant, ("",))
  _check.choice("attribute", attribute, tuple(_ATTRIBUTES))
  people = columns["train"]
  rows = {name: people[name] for name in (*_NUMERIC, *_CODES)}
  hundreds = {f"{name}//100": people[name] // 100 for name in _HUNDREDS}
  rows["income"] = np.where(people["PINCP"] > 50_000, _CLASSES[1], _CLASSES[0])
  rows["sex"] = np.where(people["SEX"] == 1, "male", "female")
  rows["race"] = np.where(people["RAC1P"] == 1, "White", "not White")
  return tabulate(
    rows | hundreds,
    label="income",
    positive=_CLASSES[1],
    numeric=_NUMERIC,
    categorical=(*_CODES, *hundreds),
    sensitive={name: _GROUPS[name] for name in _ATTRIBUTES[attribute]},
  )
