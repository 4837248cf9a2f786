"""Figures that papers and their code print of COMPAS, Adult, crowds and synthetic data."""

import os

import numpy as np
import pytest

from rfjax import data

pytestmark = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set"
)


@pytest.fixture(scope="module")
def compas():
  return data.columns("compas")["train"]


@pytest.fixture(scope="module")
def adult():
  """The rows of both files."""
  found = data.columns("adult")
  return {name: np.append(values, found["test"][name]) for name, values in found["train"].items()}


def near(columns):
  """Rows whose days between arrest and screening are there and at most 30."""
  days = columns["days_b_screening_arrest"]
  return np.array([day != "" and abs(int(day)) <= 30 for day in days.tolist()])


def test_the_days_alone_are_the_filter_of_propublica(compas):
  passing = near(compas)
  assert passing.sum() == 6172
  for name, value in (("is_recid", -1), ("c_charge_degree", "O"), ("score_text", "N/A")):
    assert not (compas[name][passing] == value).any()


RATES = {  # of new offences, by set and by value
  ("raw", "sex"): {"Female": 0.356989, "Male": 0.473105},
  ("raw", "race"): {"African-American": 0.514340, "Caucasian": 0.393643},
  ("propublica", "sex"): {"Female": 0.351489, "Male": 0.479488},
  ("propublica", "race"): {
    "African-American": 0.523150,
    "Caucasian": 0.390870,
    "Hispanic": 0.371316,
    "Other": 0.361516,
    "Asian": 0.258065,
    "Native American": 0.454545,
  },
  ("", "sex"): {"Female": 0.361785, "Male": 0.496821},
  ("", "race"): {"African-American": 0.523150, "Caucasian": 0.390870},
}
TOTALS = {"raw": 0.450652, "propublica": 0.455120, "": 0.470443}


@pytest.mark.parametrize(("variant", "attribute"), RATES)
def test_rates_of_new_offences(variant, attribute):
  table = data.table(f"compas:{variant}", attribute=attribute, favourable=False)
  y, group = np.asarray(table.batch.y, float), np.asarray(table.batch.group)
  found = {name: round(y[group == code].mean(), 6) for code, name in enumerate(table.groups)}
  expected = RATES[variant, attribute]
  assert {name: found[name] for name in expected} == expected
  assert round(y.mean(), 6) == TOTALS[variant]


@pytest.mark.parametrize("variant", TOTALS)
def test_rates_of_the_columns_are_those_of_the_table(compas, variant):
  keep = np.ones(7214, bool) if variant == "raw" else near(compas)
  if not variant:
    keep &= np.isin(compas["race"], ("African-American", "Caucasian"))
  assert round(compas["two_year_recid"][keep].mean(), 6) == TOTALS[variant]


def complete(rows):
  return np.all([values.astype(str) != "?" for values in rows.values()], axis=0)


def test_adult_drops_3620_rows(adult):
  keep = complete(adult)
  assert ((~keep).sum(), keep.sum()) == (3620, 45222)
  assert data.table("adult").batch.num_rows == 45222


def test_values_of_adults_columns_in_ai_fairness_360(adult):
  """Its 98 columns need no recipe: `tabulate` makes them of the columns."""
  keep = complete(adult)
  rows = {name: values[keep] for name, values in adult.items()}
  sizes = {name: len(np.unique(rows[name])) for name in ("education", "native-country")}
  assert sizes == {"education": 16, "native-country": 41}
  rows["race"] = np.where(rows["race"] == "White", "White", "not White")
  numeric = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
  names = "workclass education marital-status occupation relationship native-country race sex"
  options = {"numeric": numeric, "categorical": names.split()}
  table = data.tabulate(rows, label="income", positive=">50K", **options)
  assert len(table.names) == 98 and table.batch.num_rows == 45222


@pytest.mark.parametrize(
  ("column", "value", "wrong"),
  [
    ("gender", "Female", 0.3047),
    ("gender", "Male", 0.2675),
    ("race", "Black", 0.2819),
    ("race", "White", 0.2766),
  ],
)
def test_wrong_labels_of_the_majority_by_group(column, value, wrong):
  found = data.columns("crowd_adult")["train"]
  own = found[column] == value
  majority = (found["answers"][own] >= 3).sum(1) >= 6
  assert round(float((majority != found["true_label"][own]).mean()), 4) == wrong
  table = data.table("crowd_adult", attribute=column)
  rows = np.asarray(table.batch.group) == table.groups.index(value)
  labels = np.asarray(table.batch.y)[rows] != np.asarray(table.batch.truth.y)[rows]
  assert round(float(labels.mean()), 4) == wrong


@pytest.mark.parametrize(("name", "count"), [("crowd_adult", 33506), ("crowd_compas", 4840)])
def test_counts_of_answers(name, count):
  assert data.columns(name)["train"]["answers"].size == count
  assert data.answers(name).label.size == count


def test_the_share_of_flips_in_the_group_that_is_aimed_at():
  train = data.load("fair_robust", labels="grouptarget").train
  flipped, inside = np.asarray(train.y != train.truth.y), np.asarray(train.group) == 1
  assert f"{100 * flipped[inside].mean():.2f}" == "12.30" and not flipped[~inside].any()
