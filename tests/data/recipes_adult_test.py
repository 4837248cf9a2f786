"""Adult: reader and recipe on made-up rows, published counts and pandas where the files are."""

import dataclasses
import os

import numpy as np
import pytest

from rfjax import catalog, data
from rfjax.data._files import Folder
from rfjax.data._recipes._adult import adult
from rfjax.data._sources import _adult as source

TRAIN = """\
39, State-gov, 11, 10th, 13, Divorced, Sales, Wife, White, Male, 2000, 0, 40, United-States, <=50K
50, ?, 12, 10th, 13, Divorced, ?, Husband, White, Male, 0, 0, 13, United-States, <=50K
28, Private, 13, 10th, 13, Divorced, Sales, Wife, Black, Female, 0, 0, 45, Cuba, >50K
31, Private, 14, 9th, 14, Divorced, Sales, Wife, Asian-Pac-Islander, Male, 0, 7, 50, ?, >50K
37, Private, 15, 9th, 5, Divorced, Sales, Wife, Other, Female, 0, 1, 60, United-States, >50K

"""
TEST = """\
|1x3 Cross validator
25, Private, 16, 9th, 7, Widowed, Sales, Wife, Black, Male, 0, 0, 40, United-States, <=50K.
26, ?, 17, 9th, 7, Widowed, ?, Wife, Black, Male, 0, 0, 40, United-States, <=50K.
44, Private, 18, 9th, 9, Separated, Sales, Wife, White, Female, 7000, 0, 40, Haiti, >50K.

"""
needs_file = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set"
)


@pytest.fixture
def columns(tmp_path):
  (tmp_path / "adult.data").write_text(TRAIN)
  (tmp_path / "adult.test").write_text(TEST)
  return source.adult(Folder(dataclasses.replace(catalog.data_set("adult"), files=()), tmp_path))


def test_reads_both_files(columns):
  train, test = columns["train"], columns["test"]
  assert list(train) == list(test) == list(catalog.data_set("adult").columns)
  assert train["age"].tolist() == [39, 50, 28, 31, 37] and train["age"].dtype == np.int32
  assert train["workclass"].tolist() == ["State-gov", "?", "Private", "Private", "Private"]
  assert train["income"].tolist() == ["<=50K", "<=50K", ">50K", ">50K", ">50K"]
  assert test["income"].tolist() == ["<=50K", "<=50K", ">50K"]
  assert test["native-country"].tolist() == ["United-States", "United-States", "Haiti"]


def test_a_row_with_another_number_of_fields_is_refused(tmp_path):
  (tmp_path / "adult.data").write_text(TRAIN.replace(", Cuba", ""))
  record = dataclasses.replace(catalog.data_set("adult"), files=())
  with pytest.raises(ValueError, match="row 3 has 14 fields, expected 15"):
    source.adult(Folder(record, tmp_path))


@pytest.mark.parametrize(
  ("attribute", "group", "groups"),
  [
    ("sex", [1, 0, 0, 1, 0], ("Female", "Male")),
    ("race", [1, 0, 0, 0, 1], ("not White", "White")),
    (
      "both",
      [3, 0, 0, 1, 2],
      ("not White, Female", "not White, Male", "White, Female", "White, Male"),
    ),
  ],
)
def test_complete_rows_of_both_files_in_their_order(columns, attribute, group, groups):
  table = adult(columns, attribute=attribute)
  x = dict(zip(table.names, np.asarray(table.batch.x).T.tolist(), strict=True))
  assert [x[table.names[i]] for i in table.numeric] == [
    [39, 28, 37, 25, 44],
    [13, 13, 5, 7, 9],
    [40, 45, 60, 40, 40],
    [2000, 0, 0, 0, 7000],
    [0, 0, 1, 0, 0],
  ]
  assert x["native-country=United-States"] == [1, 0, 1, 1, 0]
  assert x["race=Black"] == [0, 1, 0, 1, 0] and x["race=Other"] == [0, 0, 1, 0, 0]
  assert x["sex=Male"] == [1, 0, 0, 1, 0] and x["workclass=State-gov"] == [1, 0, 0, 0, 0]
  assert table.batch.y.tolist() == [0, 1, 1, 0, 1] and table.classes == ("<=50K", ">50K")
  assert table.batch.group.tolist() == group and table.groups == groups
  assert table.test_rows == 2


def test_fairbatch_has_two_races_and_draws_its_test_set(columns):
  table = adult(columns, "fairbatch", attribute="race")
  assert table.batch.group.tolist() == [1, 0, 0, 1] and table.test_rows == 0
  races = [name for name in table.names if name.startswith("race")]
  assert races == ["race=White"]
  np.testing.assert_array_equal(table.batch.x[:, table.names.index("race=White")], [1, 0, 0, 1])


@pytest.mark.parametrize(
  ("variant", "attribute", "message"),
  [
    ("fairbach", "sex", "variant must be one of '', 'fairbatch', got 'fairbach'"),
    ("", "age", "attribute must be one of 'sex', 'race', 'both', got 'age'"),
  ],
)
def test_unknown_variants_and_attributes_are_refused(columns, variant, attribute, message):
  with pytest.raises(ValueError, match=message):
    adult(columns, variant, attribute=attribute)


@pytest.fixture(scope="module")
def found():
  return data.columns("adult")


@pytest.fixture(scope="module")
def rows(found):
  """All rows as records of text, test rows last."""
  both = [np.append(found["train"][name], found["test"][name]) for name in found["train"]]
  return np.stack([values.astype("U32") for values in both], axis=1)


@pytest.fixture(scope="module")
def tables(found):
  return {
    (variant, attribute): adult(found, variant, attribute=attribute)
    for variant in ("", "fairbatch")
    for attribute in ("sex", "race", "both")
  }


@needs_file
@pytest.mark.parametrize(
  ("part", "complete", "number", "rich", "rate"),
  [
    ("train", False, 32561, 7841, 0.240810),
    ("test", False, 16281, 3846, 0.236226),
    ("all", False, 48842, 11687, 0.239282),
    ("train", True, 30162, 7508, 0.248922),
    ("test", True, 15060, 3700, 0.245684),
    ("all", True, 45222, 11208, 0.247844),
  ],
)
def test_counts_of_the_files(rows, part, complete, number, rich, rate):
  own = {"train": rows[:32561], "test": rows[32561:], "all": rows}[part]
  own = own[(own != "?").all(1)] if complete else own
  earning = own[:, -1] == ">50K"
  assert (len(own), int(earning.sum())) == (number, rich)
  assert round(float(earning.mean()), 6) == rate


@needs_file
def test_missing_values_by_column(found):
  missing = {
    split: {name: n for name, v in part.items() if (n := int((v.astype(str) == "?").sum()))}
    for split, part in found.items()
  }
  assert missing == {
    "train": {"workclass": 1836, "occupation": 1843, "native-country": 583},
    "test": {"workclass": 963, "occupation": 966, "native-country": 274},
  }


@needs_file
def test_repeated_rows(rows):
  repeated = [
    len(part) - len(np.unique(part, axis=0)) for part in (rows[:32561], rows[32561:], rows)
  ]
  assert repeated == [24, 5, 52]


@needs_file
def test_counts_of_all_rows_by_sex(rows):
  by_sex = {s: rows[rows[:, 9] == s, -1] for s in ("Female", "Male")}
  counted = {s: (len(v), int((v == ">50K").sum())) for s, v in by_sex.items()}
  assert counted == {"Female": (16192, 1769), "Male": (32650, 9918)}


def counts(table):
  """Rows and label 1 by group."""
  y, group = np.asarray(table.batch.y), np.asarray(table.batch.group)
  sizes, ones = np.bincount(group), np.bincount(group[y == 1])
  return {n: (int(a), int(b)) for n, a, b in zip(table.groups, sizes, ones, strict=True)}


@needs_file
def test_the_split_is_the_publishers(tables):
  table = tables["", "sex"]
  assert table.batch.num_rows - table.test_rows == 30162 and table.test_rows == 15060
  y = np.asarray(table.batch.y)
  assert (y[:30162].sum(), y[30162:].sum()) == (7508, 3700)


@needs_file
@pytest.mark.parametrize(
  ("variant", "attribute", "expected"),
  [
    ("", "sex", {"Female": (14695, 1669), "Male": (30527, 9539)}),
    ("", "race", {"not White": (6319, 1001), "White": (38903, 10207)}),
    ("fairbatch", "sex", {"Female": (13967, 1581), "Male": (29164, 9160)}),
    ("fairbatch", "race", {"Black": (4228, 534), "White": (38903, 10207)}),
    (
      "fairbatch",
      "both",
      {
        "Black, Female": (2084, 126),
        "Black, Male": (2144, 408),
        "White, Female": (11883, 1455),
        "White, Male": (27020, 8752),
      },
    ),
  ],
)
def test_counts_by_group(tables, variant, attribute, expected):
  table = tables[variant, attribute]
  assert counts(table) == expected
  total = (43131, 10741) if variant else (45222, 11208)
  assert (table.batch.num_rows, int(table.batch.y.sum())) == total


@needs_file
def test_rates_by_sex(tables):
  (women, rich), (men, richer) = counts(tables["", "sex"]).values()
  low, high = rich / women, richer / men
  assert (round(low, 6), round(high, 6)) == (0.113576, 0.312477)
  assert (round(low / high, 6), round(low - high, 6)) == (0.363470, -0.198901)
  (women, rich), (men, richer) = counts(tables["fairbatch", "sex"]).values()
  assert (round(rich / women, 6), round(richer / men, 6)) == (0.113195, 0.314086)
  total = np.asarray(tables["fairbatch", "sex"].batch.y, float)
  assert round(float(total.mean()), 6) == 0.249032


@needs_file
def test_counts_by_race(tables):
  table = tables["", "race"]
  x, y = np.asarray(table.batch.x), np.asarray(table.batch.y)
  races = {n: x[:, i] == 1 for i, n in enumerate(table.names) if n.startswith("race=")}
  assert {n: (int(own.sum()), int(y[own].sum())) for n, own in races.items()} == {
    "race=White": (38903, 10207),
    "race=Black": (4228, 534),
    "race=Asian-Pac-Islander": (1303, 369),
    "race=Amer-Indian-Eskimo": (435, 53),
    "race=Other": (353, 45),
  }
  assert [round(y[own].mean(), 6) for own in (races["race=White"], ~races["race=White"])] == [
    0.262371,
    0.158411,
  ]
  assert round(float(y[races["race=Black"]].mean()), 6) == 0.126301


@needs_file
@pytest.mark.parametrize("variant", ["", "fairbatch"])
def test_features_are_those_of_pandas(found, rows, tables, variant):
  pandas = pytest.importorskip("pandas")
  frame = pandas.DataFrame(rows, columns=list(found["train"]))
  frame = frame[(frame != "?").all(axis=1)]
  if variant:
    frame = frame[frame["race"].isin(["White", "Black"])]
  frame["native-country"] = frame["native-country"] == "United-States"
  numeric = ["age", "education-num", "hours-per-week", "capital-gain", "capital-loss"]
  frame[numeric] = frame[numeric].astype(float)
  frame = frame.drop(columns=["fnlwgt", "education", "income"])
  peer = pandas.get_dummies(frame, columns=[c for c in frame if c not in numeric], prefix_sep="=")
  peer = peer.rename(columns={"native-country=True": "native-country=United-States"})
  table = tables[variant, "both"]
  left_out = {"sex=Female", "native-country=False", *(["race=Black"] if variant else [])}
  assert set(peer.columns) - set(table.names) == left_out
  assert len(table.names) == (42 if variant else 46)
  np.testing.assert_array_equal(table.batch.x, peer[list(table.names)].to_numpy(np.float32))
  assert [table.names[i] for i in table.numeric] == numeric


@needs_file
def test_every_indicator_occurs_as_often_as_in_ai_fairness_360(tables):
  names, x = tables["", "sex"].names, np.asarray(tables["", "sex"].batch.x)
  sizes = {
    c: sum(name.startswith(f"{c}=") for name in names)
    for c in ("workclass", "marital-status", "occupation", "relationship")
  }
  assert list(sizes.values()) == [7, 7, 14, 6]
  assert (x[:, 5:].max(0) == 1).all() and (x[:, 5:].min(0) == 0).all()


@needs_file
def test_the_table_by_name_is_the_recipe(tables):
  table = data.table("adult:fairbatch", attribute="both")
  np.testing.assert_array_equal(table.batch.x, tables["fairbatch", "both"].batch.x)
  np.testing.assert_array_equal(table.batch.group, tables["fairbatch", "both"].batch.group)
  assert table[1:] == tables["fairbatch", "both"][1:]
