"""ACSIncome: the recipe on made-up person files, against plain loops."""

import csv
import dataclasses

import numpy as np
import pytest

from rfjax import catalog, data
from rfjax.data._files import Folder
from rfjax.data._recipes._acs_income import acs_income
from rfjax.data._sources import _acs_income as source

NUMERIC = ("AGEP", "SCHL", "WKHP")
CODES = ("COW", "MAR", "RELP", "SEX", "RAC1P", "OCCP//100", "POBP//100")
ROWS = 60


def people(seed=0):
  """Rows of the task, with the columns of a person file, as text."""
  rng = np.random.default_rng(seed)
  ranges = {"AGEP": (17, 95), "SCHL": (1, 25), "WKHP": (1, 99), "COW": (1, 9), "MAR": (1, 6)}
  ranges |= {"RELP": (0, 18), "SEX": (1, 3), "RAC1P": (1, 4), "OCCP": (10, 9830)}
  ranges |= {"POBP": (1, 555), "PINCP": (104, 100_000), "ST": (6, 7), "PWGTP": (1, 50)}
  columns = {name: rng.integers(*limits, ROWS) for name, limits in ranges.items()}
  return [
    dict(zip(columns, map(str, row), strict=True)) for row in zip(*columns.values(), strict=True)
  ]


@pytest.fixture
def rows(tmp_path):
  found = people()
  with open(tmp_path / "psam_p06.csv", "w", newline="") as file:
    lines = csv.DictWriter(file, list(found[0]))
    lines.writeheader()
    lines.writerows(found)
  return found


@pytest.fixture
def columns(rows, tmp_path):
  record = dataclasses.replace(catalog.data_set("acs_income"), files=())
  return source.acs_income(Folder(record, tmp_path))


def code(row, name):
  stem, _, hundred = name.partition("//")
  return int(row[stem]) // (int(hundred) if hundred else 1)


def test_features_labels_and_names(columns, rows):
  table = acs_income(columns)
  expected = {name: [float(row[name]) for row in rows] for name in NUMERIC}
  for name in CODES:
    values = sorted({code(row, name) for row in rows})
    for value in values[1:] if len(values) == 2 else values:
      expected[f"{name}={value}"] = [float(code(row, name) == value) for row in rows]
  assert table.names == tuple(expected) and table.numeric == (0, 1, 2)
  np.testing.assert_array_equal(table.batch.x, np.array(list(expected.values()), np.float32).T)
  assert table.batch.y.tolist() == [int(int(row["PINCP"]) > 50_000) for row in rows]
  assert table.classes == ("at most $50,000", "more than $50,000") and table.test_rows == 0


def test_a_boundary_income_is_not_above(columns):
  columns["train"]["PINCP"][:2] = 50_000, 50_001
  assert acs_income(columns).batch.y[:2].tolist() == [0, 1]


@pytest.mark.parametrize("attribute", ["sex", "race", "both"])
def test_groups(columns, rows, attribute):
  table = acs_income(columns, attribute=attribute)
  sex = [int(row["SEX"] == "1") for row in rows]
  race = [int(row["RAC1P"] == "1") for row in rows]
  both = [2 * r + s for r, s in zip(race, sex, strict=True)]
  assert table.batch.group.tolist() == {"sex": sex, "race": race, "both": both}[attribute]
  sexes, races = ("female", "male"), ("not White", "White")
  names = {"sex": sexes, "race": races, "both": tuple(f"{r}, {s}" for r in races for s in sexes)}
  assert table.groups == names[attribute]


@pytest.mark.parametrize(
  ("variant", "attribute", "message"),
  [("ca", "sex", "variant"), ("", "age", "attribute")],
)
def test_unknown_variants_and_attributes_are_refused(columns, variant, attribute, message):
  with pytest.raises(ValueError, match=f"{message} must be one of"):
    acs_income(columns, variant, attribute=attribute)


def test_it_loads_by_name_where_files_are(rows, tmp_path):
  folder = tmp_path / "data" / "acs_income"
  folder.mkdir(parents=True)
  (tmp_path / "psam_p06.csv").rename(folder / "psam_p06.csv")
  table = data.table("acs_income", data_dir=tmp_path / "data", attribute="race")
  assert table.batch.num_rows == ROWS and table.groups == ("not White", "White")
