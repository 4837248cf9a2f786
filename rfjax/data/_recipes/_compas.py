"""ProPublica's COMPAS data, two-year recidivism, as papers have used them."""

from typing import Any

import numpy as np

from rfjax.core import _check
from rfjax.data._columns import Columns
from rfjax.data._split import Table
from rfjax.data._tabulate import tabulate

_ATTRIBUTES = {"sex": ("sex",), "race": ("race",), "both": ("race", "sex")}
_OUTCOMES = ("new offence", "no new offence")
_RACES = ("African-American", "Caucasian")
_FEATURES: dict[str, Any] = {
  "age_cat": ("Less than 25", "25 - 45", "Greater than 45"),
  "c_charge_degree": ("M", "F"),
  "sex": ("Female", "Male"),
}
# For each variant its numeric and categorical columns, these with their values in order.
_VARIANTS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
  "": (("priors_count",), {**_FEATURES, "race": _RACES}),
  "propublica": (("priors_count",), {**_FEATURES, "race": None}),
  "raw": (("priors_count",), {**_FEATURES, "race": None}),
  "aif360": (
    ("age", "juv_fel_count", "juv_misd_count", "juv_other_count", "priors_count"),
    {
      **_FEATURES,
      "sex": ("Male", "Female"),
      "race": ("not Caucasian", "Caucasian"),
      "c_charge_desc": None,
    },
  ),
}


def compas(
  columns: dict[str, Columns],
  variant: str = "",
  *,
  attribute: str = "sex",
  favourable: bool = True,
) -> Table:
  r"""The defendants that pass ProPublica's filter, or all.

  The filter is

  $$|\mathtt{days\_b\_screening\_arrest}| \le 30,\quad \mathtt{is\_recid} \ne -1,\quad
  \mathtt{c\_charge\_degree} \ne \mathrm{O},\quad \mathtt{score\_text} \ne \mathrm{N/A},$$

  a missing day count failing it. The variants are: "", those of them who are African-American or
  Caucasian (5,278); "propublica", all of them, of six races (6,172); "aif360", those of them with a
  description of the charge, with the ten features, groups and group codes of AI Fairness 360
  (6,167); "raw", all rows of the file (7,214).

  Args:
    columns: of the data set.
    variant: "", "propublica", "aif360" or "raw".
    attribute: the group: "sex" (0 female, 1 male), "race" (0 African-American, 1 Caucasian; the six
      races in alphabetical order in "propublica" and "raw"), or "both", the race first. In "aif360"
      the privileged are 1: female, and Caucasian, all others being 0.
    favourable: whether label 1 is the favourable outcome, no new offence within two years; else it
      is a new offence, as in the file and in AI Fairness 360, whose favourable label is 0.

  Returns:
    The table; the numeric columns are the last.

  Raises:
    ValueError: for an unknown variant, attribute or value of `favourable`.

  References:
    Larson, Mattu, Kirchner, Angwin, How We Analyzed the COMPAS Recidivism Algorithm, ProPublica,
    2016.
    Bellamy et al., AI Fairness 360: An Extensible Toolkit for Detecting and Mitigating Algorithmic
    Bias, IBM Journal of Research and Development, 2019 ("aif360").
  """
  _check.choice("variant", variant, tuple(_VARIANTS))
  _check.choice("attribute", attribute, tuple(_ATTRIBUTES))
  _check.choice("favourable", favourable, (True, False))
  numeric, categorical = _VARIANTS[variant]
  keep = selected(columns["train"], variant)
  rows = {name: values[keep] for name, values in columns["train"].items()}
  rows["outcome"] = np.where(rows["two_year_recid"] == 1, *_OUTCOMES)
  if variant == "aif360":
    rows["race"] = np.where(rows["race"] == "Caucasian", "Caucasian", "not Caucasian")
  table = tabulate(
    rows,
    label="outcome",
    positive=_OUTCOMES[int(favourable)],
    numeric=numeric,
    categorical=categorical,
    sensitive={name: categorical[name] for name in _ATTRIBUTES[attribute]},
    missing="drop" if variant == "aif360" else "refuse",
  )
  return _numeric_last(table)


def selected(columns: Columns, variant: str) -> np.ndarray:
  """The rows of a variant before those with missing values go, bool [N]."""
  if variant == "raw":
    return np.ones(len(columns["race"]), bool)
  days = columns["days_b_screening_arrest"]
  passing = (
    (np.abs(np.where(days == "", "31", days).astype(np.int32)) <= 30)  # a missing count fails
    & (columns["is_recid"] != -1)
    & (columns["c_charge_degree"] != "O")
    & (columns["score_text"] != "N/A")
  )
  return passing if variant else passing & np.isin(columns["race"], _RACES)


def _numeric_last(table: Table) -> Table:
  """The order of columns that published tables of these data have."""
  count = len(table.numeric)
  order = np.roll(np.arange(len(table.names)), -count)
  return table._replace(
    batch=table.batch.replace(x=table.batch.x[:, order]),
    names=tuple(table.names[i] for i in order),
    numeric=tuple(range(len(order) - count, len(order))),
  )
