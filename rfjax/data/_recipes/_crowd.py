"""Tables of people whom crowd workers have judged: Adult and COMPAS of Roh et al."""

import jax.numpy as jnp
import numpy as np

from rfjax.core import Truth, _check
from rfjax.data._columns import Columns
from rfjax.data._split import Table
from rfjax.data._tabulate import tabulate

_LABELS = ("majority", "mean_score", "first", "true")
_RACES = {"crowd_adult": ("Black", "White"), "crowd_compas": ("Non-caucasian", "Caucasian")}
_NUMERIC = {
  "crowd_adult": ("age", "education_num", "capital_gain", "work_hours_per_week"),
  "crowd_compas": ("age", "num_of_crimes"),
}
_CATEGORICAL = {
  "crowd_adult": ("work_class", "marital_status", "occupation", "role_in_family"),
  "crowd_compas": ("age_category", "crime_level", "stay_in_prison"),
}


def _given(rows: Columns, labels: str) -> np.ndarray:
  answers = rows["answers"]
  if labels == "true":
    return rows["true_label"]
  if labels == "first":
    return answers[:, 0] >= 3
  if labels == "mean_score":
    return answers.mean(1) > 2.5
  return (answers >= 3).mean(1) > 0.5


def _crowd(
  name: str, columns: dict[str, Columns], variant: str, labels: str, attribute: str
) -> Table:
  _check.choice("variant", variant, ("",))
  _check.choice("labels", labels, _LABELS)
  _check.choice("attribute", attribute, ("gender", "race", "both"))
  rows = columns["train"]
  orders = {"race": _RACES[name], "gender": ("Female", "Male")}
  used = orders if attribute == "both" else {attribute: orders[attribute]}
  table = tabulate(
    {n: v for n, v in rows.items() if v.ndim == 1}
    | {"label": np.where(_given(rows, labels), "yes", "no")},
    label="label",
    positive="yes",
    numeric=_NUMERIC[name],
    categorical={**dict.fromkeys(_CATEGORICAL[name]), **orders},
    sensitive=used,
  )
  truth = Truth(jnp.asarray(rows["true_label"]), table.batch.group)
  return table._replace(batch=table.batch.replace(truth=truth))


def crowd_adult(
  columns: dict[str, Columns],
  variant: str = "",
  *,
  labels: str = "majority",
  attribute: str = "gender",
) -> Table:
  """3,046 people of Adult with the label of the crowd; label 1 is more than $50K.

  `rfjax.data.load` gives the test rows their true labels, whatever `labels` is.

  Args:
    columns: as read.
    variant: "", there is no other.
    labels: "majority" of the answers that are 3 or 4, "mean_score" above 2.5, "first" answer, or
      "true". The true labels are in `truth`.
    attribute: the group: "gender" (0 female, 1 male), "race" (0 Black, 1 White), or "both".

  Returns:
    The table.

  Raises:
    ValueError: for unknown options.
  """
  return _crowd("crowd_adult", columns, variant, labels, attribute)


def crowd_compas(
  columns: dict[str, Columns],
  variant: str = "",
  *,
  labels: str = "majority",
  attribute: str = "gender",
) -> Table:
  """440 defendants of COMPAS with the label of the crowd; label 1 is a new offence.

  `rfjax.data.load` gives the test rows their true labels, whatever `labels` is.

  Args:
    columns: as read.
    variant: "", there is no other.
    labels: as in `crowd_adult`.
    attribute: the group: "gender" (0 female, 1 male), "race" (0 not Caucasian, 1 Caucasian), or
      "both".

  Returns:
    The table.

  Raises:
    ValueError: for unknown options.
  """
  return _crowd("crowd_compas", columns, variant, labels, attribute)
