"""The German credit data, with symbolic attributes and in numbers."""

import numpy as np

from rfjax.core import _check
from rfjax.data._columns import Columns
from rfjax.data._split import Table
from rfjax.data._tabulate import tabulate

_GROUPS = {"sex": ("female", "male"), "age": ("25 or younger", "older than 25")}
_FEMALE = ("A92", "A95")
_STATUS, _AGE = 6, 9  # of the numeric form: personal status and sex, 2 for women, and age


def german(columns: dict[str, Columns], variant: str = "", *, attribute: str = "sex") -> Table:
  """All 1,000 credits, the seven numeric attributes as numbers and the symbolic as indicators.

  Args:
    columns: of the data set.
    variant: "", there is no other.
    attribute: the group: "sex" (0 female, 1 male, from the personal status, which is a feature) or
      "age" (0 up to 25 years, 1 above).

  Returns:
    The table; label 1 is good credit.

  Raises:
    ValueError: for an unknown variant or attribute.

  References:
    Hofmann, Statlog (German Credit Data), UCI Machine Learning Repository, 1994.
    Kamiran, Calders, Classifying without Discriminating, International Conference on Computer,
    Control and Communication, 2009 (the groups by age).
  """
  _check.choice("variant", variant, ("",))
  _check.choice("attribute", attribute, tuple(_GROUPS))
  rows = dict(columns["train"])
  credit = np.where(rows.pop("class") == 1, "good", "bad")
  privileged = {
    "sex": ~np.isin(rows["personal_status_and_sex"], _FEMALE),
    "age": rows["age"] > 25,
  }[attribute]
  other, first = _GROUPS[attribute]
  return tabulate(
    {**rows, "credit": credit, "group": np.where(privileged, first, other)},
    label="credit",
    positive="good",
    sensitive={"group": _GROUPS[attribute]},
  )


def german_numeric(
  columns: dict[str, Columns], variant: str = "", *, attribute: str = "sex"
) -> Table:
  """All 1,000 credits with the 24 numbers of Strathclyde University, each a numeric column.

  Args:
    columns: of the data set.
    variant: "", there is no other.
    attribute: the group, the same as in `german`: "sex" (0 female, 1 male, from the seventh number,
      which is 2 for the personal status A92) or "age" (0 up to 25 years, 1 above, from the tenth).

  Returns:
    The table; label 1 is good credit, and the features are called "attribute 1" to "attribute 24".

  Raises:
    ValueError: for an unknown variant or attribute.

  References:
    Hofmann, Statlog (German Credit Data), UCI Machine Learning Repository, 1994.
  """
  _check.choice("variant", variant, ("",))
  _check.choice("attribute", attribute, tuple(_GROUPS))
  features = columns["train"]["features"]
  privileged = {"sex": features[:, _STATUS] != 2, "age": features[:, _AGE] > 25}[attribute]
  other, first = _GROUPS[attribute]
  return tabulate(
    {f"attribute {i}": values for i, values in enumerate(features.T, start=1)}
    | {
      "credit": np.where(columns["train"]["class"] == 1, "good", "bad"),
      "group": np.where(privileged, first, other),
    },
    label="credit",
    positive="good",
    sensitive={"group": _GROUPS[attribute]},
  )
