"""The COMPAS table: the parser on made-up rows, and known counts where the file is there."""

import hashlib
import os

import numpy as np
import pytest

from rfjax import data
from rfjax.data import _compas

HEADER = (
  "sex,age_cat,race,priors_count,days_b_screening_arrest,c_charge_degree,is_recid,score_text,"
  "priors_count,two_year_recid,remark"
)
KEPT = [
  'Male,25 - 45,African-American,3,-30,F,1,High,3,1,"a, b"',
  'Female,Less than 25,Caucasian,0,30,M,0,Low,0,0,"two\nlines"',
  "Male,Greater than 45,Caucasian,12,0,F,0,Medium,12,0,",
  "Female,25 - 45,African-American,1,1,M,1,Low,1,1,",
]
DROPPED = [
  "Male,25 - 45,Caucasian,3,31,F,1,High,3,1,too late",
  "Male,25 - 45,Caucasian,3,-31,F,1,High,3,1,too early",
  "Male,25 - 45,Caucasian,3,,F,1,High,3,1,missing",
  "Male,25 - 45,Caucasian,3,0,O,1,High,3,1,ordinary traffic",
  "Male,25 - 45,Caucasian,3,0,F,-1,High,3,1,unknown",
  "Male,25 - 45,Caucasian,3,0,F,1,N/A,3,1,no score",
  "Male,25 - 45,Hispanic,3,0,F,1,High,3,1,another race",
]
X = np.array(
  [
    [0, 1, 0, 1, 1, 0, 3],
    [1, 0, 0, 0, 0, 1, 0],
    [0, 0, 1, 1, 1, 1, 12],
    [0, 1, 0, 0, 0, 0, 1],
  ]
)
needs_file = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set"
)


def made_up(folder, monkeypatch, lines):
  """Puts a file where it is looked for, as if it were the publisher's."""
  content = "\n".join([HEADER, *lines]).encode()
  path = folder / "compas" / "compas-scores-two-years.csv"
  path.parent.mkdir()
  path.write_bytes(content)
  monkeypatch.setattr(_compas, "_SHA256", hashlib.sha256(content).hexdigest())
  return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
  mixed = [line for pair in zip(KEPT, DROPPED, strict=False) for line in pair]
  return made_up(tmp_path, monkeypatch, mixed + DROPPED[4:])


@pytest.mark.parametrize(
  ("attribute", "group"), [("sex", [1, 0, 1, 0]), ("race", [0, 1, 1, 0]), ("both", [1, 2, 3, 0])]
)
def test_parses_and_filters(folder, attribute, group):
  batch, names, numeric = data.compas(folder, attribute=attribute)
  np.testing.assert_array_equal(batch.x, X)
  assert batch.x.dtype == np.float32
  np.testing.assert_array_equal(batch.y, [0, 1, 1, 0])
  np.testing.assert_array_equal(batch.group, group)
  assert batch.num_groups == (4 if attribute == "both" else 2)
  assert len(names) == 7 and [names[i] for i in numeric] == ["priors_count"]


def test_unfavourable_labels_are_the_others(folder):
  np.testing.assert_array_equal(data.compas(folder, favourable=False).batch.y, [1, 0, 0, 1])


def test_finds_the_folder_of_the_environment(folder, monkeypatch):
  monkeypatch.setenv("RFJAX_DATA_DIR", str(folder))
  assert data.compas().batch.num_rows == 4


def test_finds_the_folder_data(folder, monkeypatch):
  monkeypatch.delenv("RFJAX_DATA_DIR", raising=False)
  monkeypatch.chdir(folder)
  (folder / "compas").rename(folder / "moved")
  (folder / "data").mkdir()
  (folder / "moved").rename(folder / "data" / "compas")
  assert data.compas().batch.num_rows == 4


def test_argument_wins_over_the_environment(folder, monkeypatch, tmp_path_factory):
  monkeypatch.setenv("RFJAX_DATA_DIR", str(tmp_path_factory.mktemp("empty")))
  assert data.compas(folder).batch.num_rows == 4


def test_missing_file_names_the_places(tmp_path):
  with pytest.raises(FileNotFoundError) as error:
    data.compas(tmp_path)
  for place in ("data_dir", "RFJAX_DATA_DIR", "./data", "propublica/compas-analysis"):
    assert place in str(error.value)


def test_changed_file_is_refused_without_its_rows(folder):
  path = folder / "compas" / "compas-scores-two-years.csv"
  path.write_text(path.read_text() + "\nJane Doe")
  with pytest.raises(ValueError, match="sha256") as error:
    data.compas(folder)
  assert "Jane" not in str(error.value)


def test_unknown_attribute_is_refused_before_reading(tmp_path):
  with pytest.raises(ValueError, match="attribute"):
    data.compas(tmp_path, attribute="age")


@pytest.fixture(scope="module")
def tables():
  return {a: data.compas(attribute=a, favourable=False) for a in ("sex", "race", "both")}


@needs_file
@pytest.mark.parametrize(
  ("attribute", "sizes", "offences"),
  [
    ("sex", [1031, 4247], [373, 2110]),
    ("race", [3175, 2103], [1661, 822]),
    ("both", [549, 2626, 482, 1621], [203, 1458, 170, 652]),
  ],
)
def test_counts_by_group(tables, attribute, sizes, offences):
  batch = tables[attribute].batch
  y, group = np.asarray(batch.y), np.asarray(batch.group)
  assert len(y) == 5278 and y.sum() == 2483
  assert np.bincount(group).tolist() == sizes
  assert np.bincount(group[y == 1]).tolist() == offences


@needs_file
def test_counts_by_column(tables):
  batch, names, _ = tables["sex"]
  x, y = np.asarray(batch.x, float), np.asarray(batch.y)
  total, offences = (dict(zip(names, v, strict=True)) for v in (x.sum(0), x[y == 1].sum(0)))
  ages = ("Less than 25", "25 - 45", "Greater than 45")
  assert [total[f"age_cat={age}"] for age in ages] == [1156, 3026, 1096]
  assert [offences[f"age_cat={age}"] for age in ages] == [660, 1461, 362]
  assert total["c_charge_degree=F"] == 3440
  assert total["sex=Male"] == 4247 and total["race=Caucasian"] == 2103
  assert round(total["priors_count"] / 5278, 6) == 3.461538
  assert x[:, 6].max() == 38


@needs_file
def test_favourable_labels_are_the_complement(tables):
  np.testing.assert_array_equal(data.compas().batch.y, 1 - np.asarray(tables["sex"].batch.y))
