"""ProPublica's COMPAS data, two-year recidivism."""

import csv
import io
import os

import numpy as np

from rfjax.core import Batch, _check
from rfjax.data._locate import read
from rfjax.data._split import Table

_FILE = "compas/compas-scores-two-years.csv"
_SHA256 = "c451db85908b2f7fef1d83203bedf6b71ecda0d5af468d82ae62178f91d0cc7d"
_PUBLISHER = (
  "ProPublica's compas-analysis repository, https://github.com/propublica/compas-analysis"
)

_AGES = ("Less than 25", "25 - 45", "Greater than 45")
_RACES = ("African-American", "Caucasian")
_NAMES = (
  *(f"age_cat={age}" for age in _AGES),
  "c_charge_degree=F",
  "sex=Male",
  "race=Caucasian",
  "priors_count",
)


def compas(
  data_dir: str | os.PathLike[str] | None = None,
  *,
  attribute: str = "sex",
  favourable: bool = True,
) -> Table:
  r"""Reads the COMPAS table: 5,278 African-American and Caucasian defendants.

  The rows are those of ProPublica's filter,

  $$|\mathtt{days\_b\_screening\_arrest}| \le 30,\quad \mathtt{is\_recid} \ne -1,\quad
  \mathtt{c\_charge\_degree} \ne \mathrm{O},\quad \mathtt{score\_text} \ne \mathrm{N/A},$$

  a missing day count failing it, with one of the two races.

  Args:
    data_dir: the folder that holds `compas/compas-scores-two-years.csv`; `$RFJAX_DATA_DIR` when
      None, and `./data` without it.
    attribute: the group: "sex" (0 female, 1 male), "race" (0 African-American, 1 Caucasian), or
      "both" (0 African-American female, 1 African-American male, 2 Caucasian female, 3 Caucasian
      male).
    favourable: whether label 1 is the favourable outcome, no new offence within two years; else it
      is a new offence.

  Returns:
    The table, x float32 [5278, 7] with the columns age_cat (less than 25, 25 to 45, greater than
    45), charge degree felony, sex male, race Caucasian, priors_count; the last one is numeric.

  Raises:
    FileNotFoundError: where the file is not there, with the places looked at.
    ValueError: for an unknown attribute, or a file that is not ProPublica's.

  References:
    Larson, Mattu, Kirchner, Angwin, How We Analyzed the COMPAS Recidivism Algorithm, ProPublica,
    2016.

  Examples:
    >>> from rfjax import data
    >>> data.compas("no_such_folder")
    Traceback (most recent call last):
    FileNotFoundError: no_such_folder/compas/compas-scores-two-years.csv is not there: ...
  """
  _check.choice("attribute", attribute, ("sex", "race", "both"))
  content = read(_FILE, _SHA256, data_dir, _PUBLISHER)
  return tabulate(parse(content.decode()), attribute, favourable)


def parse(text: str) -> list[dict[str, str]]:
  """Reads the rows of a CSV text that pass ProPublica's filter and have one of the two races."""
  return [row for row in csv.DictReader(io.StringIO(text, newline="")) if _selected(row)]


def _selected(row: dict[str, str]) -> bool:
  days = row["days_b_screening_arrest"]
  return (
    days != ""
    and abs(int(days)) <= 30
    and row["is_recid"] != "-1"
    and row["c_charge_degree"] != "O"
    and row["score_text"] != "N/A"
    and row["race"] in _RACES
  )


def tabulate(rows: list[dict[str, str]], attribute: str, favourable: bool) -> Table:
  """Makes the table of selected rows."""
  column = lambda name: np.array([row[name] for row in rows])
  sex = (column("sex") == "Male").astype(np.int32)
  race = (column("race") == _RACES[1]).astype(np.int32)
  x = np.column_stack(
    [
      *(column("age_cat") == age for age in _AGES),
      column("c_charge_degree") == "F",
      sex,
      race,
      column("priors_count").astype(np.float32),
    ]
  ).astype(np.float32)
  offence = column("two_year_recid").astype(np.int32)
  group = {"sex": sex, "race": race, "both": 2 * race + sex}[attribute]
  num_groups = 4 if attribute == "both" else 2
  y = 1 - offence if favourable else offence
  batch = Batch.from_arrays(x, y, group, num_classes=2, num_groups=num_groups)
  return Table(batch, _NAMES, numeric=(len(_NAMES) - 1,))
