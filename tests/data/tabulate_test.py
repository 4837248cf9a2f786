"""Own data as a table: an oracle of plain loops, all kinds of input, and codes."""

import csv

import jax
import numpy as np
import pytest

from rfjax import data
from rfjax.data._tabulate import tabulate

MISSING = ("", "?")
STAFF = {
  "age": [23, 41, 35, 52],
  "job": ["nurse", "clerk", "cook", "clerk"],
  "sex": ["f", "m", "f", "m"],
  "night": ["no", "no", "yes", "yes"],
  "paid": ["no", "yes", "yes", "no"],
}


def changed(**columns):
  return {**STAFF, **columns}


def oracle(path, label, positive, numeric, categorical, sensitive, test_rows):
  """x, y, group, names and test rows by plain loops; `categorical` and `sensitive` list values."""
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  for number, row in enumerate(rows):
    row["is test"] = number >= len(rows) - test_rows
  used = [label, *numeric, *categorical, *sensitive]
  rows = [
    row
    for row in rows
    if not any(row[name] in MISSING for name in used)
    and not any(row[name] in ("NA", "N/A", "NaN") for name in numeric)
  ]
  names = list(numeric)
  for name, values in categorical.items():
    names += [f"{name}={v}" for v in (values[1:] if len(values) == 2 else values)]
  x, y, group = [], [], []
  for row in rows:
    line = []
    for name in names:
      column, _, value = name.partition("=")
      line.append(float(row[column] == value) if value else float(row[column]))
    x.append(line)
    y.append(int(row[label] == positive))
    code = 0
    for name, values in sensitive.items():
      code = code * len(values) + values.index(row[name])
    group.append(code)
  return np.float32(x), y, group, names, sum(row["is test"] for row in rows)


def written(path, seed):
  """A random CSV file with missing values in its columns and in one that is not used."""
  rng = np.random.default_rng(seed)
  towns = ["Köln, am Rhein", "NA", "Ürgüp", 'a "b"', "?"]
  columns = {
    "who": [f"person {i}" for i in range(300)],
    "wage": rng.choice(["1.5", "-2", "3e2", ".25", "+7", "0", "NA", "NaN", "N/A", "?"], 300),
    "town": rng.choice(towns, 300, p=[0.3, 0.3, 0.3, 0.05, 0.05]),
    "years": rng.integers(-5, 60, 300),
    "sex": rng.choice(["m", "f", ""], 300, p=[0.6, 0.38, 0.02]),
    "origin": rng.choice(["a", "b", "c"], 300),
    "unused": rng.choice(["", "x"], 300),
    "result": rng.choice(["good", "bad"], 300),
  }
  with open(path, "w", newline="") as file:
    lines = csv.writer(file)
    lines.writerow(columns)
    lines.writerows(zip(*columns.values(), strict=True))
  return path


@pytest.mark.parametrize("seed", range(5))
def test_a_csv_file_is_the_oracle(tmp_path, seed):
  path = written(tmp_path / "own.csv", seed)
  towns = ["Ürgüp", 'a "b"', "NA", "Köln, am Rhein"]
  roles = {
    "label": "result",
    "positive": ("good", "bad")[seed % 2],
    "numeric": ["years", "wage"],
    "categorical": {"sex": ["m", "f"], "town": towns},
    "sensitive": {"origin": ["c", "a", "b"], "sex": ["m", "f"]},
    "test_rows": (0, 100)[seed % 2],
  }
  x, y, group, names, test_rows = oracle(path, **roles)
  table = tabulate(path, missing="drop", **roles)
  assert 100 < len(x) < 250 and (0 < test_rows < 100 or seed % 2 == 0)
  np.testing.assert_array_equal(table.batch.x, x)
  np.testing.assert_array_equal(table.batch.y, y)
  np.testing.assert_array_equal(table.batch.group, group)
  np.testing.assert_array_equal(table.batch.index, np.arange(len(x)))
  assert table.names == tuple(names) and table.numeric == (0, 1)
  assert table.test_rows == test_rows and table.validation_rows == 0
  assert table.classes == (("bad", "good"), ("good", "bad"))[seed % 2]
  assert table.groups == ("c, m", "c, f", "a, m", "a, f", "b, m", "b, f")
  assert [v.dtype for v in (table.batch.x, table.batch.y, table.batch.group)] == [
    np.float32,
    np.int32,
    np.int32,
  ]
  assert (table.batch.num_classes, table.batch.num_groups) == (2, 6)


def test_other_columns_are_features_by_kind():
  table = tabulate(STAFF, label="paid", sensitive="sex")
  assert table.names == ("age", "job=clerk", "job=cook", "job=nurse", "night=yes")
  assert table.numeric == (0,)
  expected = [[23, 0, 0, 1, 0], [41, 1, 0, 0, 0], [35, 0, 1, 0, 1], [52, 1, 0, 0, 1]]
  np.testing.assert_array_equal(table.batch.x, expected)
  assert table.batch.group.tolist() == [0, 1, 0, 1] and table.groups == ("f", "m")
  assert table.classes == ("no", "yes") and table.batch.y.tolist() == [0, 1, 1, 0]


def test_one_role_is_named_and_the_other_found():
  names = tabulate(STAFF, label="paid", categorical="sex").names
  assert names == ("age", "sex=m")
  names = tabulate(STAFF, label="paid", numeric=(), sensitive="sex").names
  assert names == ("job=clerk", "job=cook", "job=nurse", "night=yes")


def test_without_sensitive_columns_there_is_no_group():
  for sensitive in ((), None):
    table = tabulate(STAFF, label="paid", sensitive=sensitive)
    assert table.batch.group is None and table.groups == () and table.batch.num_groups == 0
    assert "sex=m" in table.names


def test_a_sensitive_column_is_a_feature_where_it_is_named_as_one():
  table = tabulate(STAFF, label="paid", categorical=["sex"], sensitive="sex")
  assert table.names == ("age", "sex=m")
  np.testing.assert_array_equal(table.batch.x[:, 1], table.batch.group)


def test_orders_are_those_asked_for():
  table = tabulate(
    STAFF,
    label="paid",
    positive="no",
    numeric=[],
    categorical={"job": ("nurse", "cook", "clerk"), "sex": None, "night": ("yes", "no")},
    sensitive=("night", "sex"),
  )
  assert table.names == ("job=nurse", "job=cook", "job=clerk", "sex=m", "night=no")
  assert table.classes == ("yes", "no") and table.batch.y.tolist() == [1, 0, 0, 1]
  assert table.groups == ("no, f", "no, m", "yes, f", "yes, m")
  assert table.batch.group.tolist() == [0, 1, 2, 3]


def test_a_listed_value_that_does_not_occur_keeps_its_column():
  jobs = ("clerk", "cook", "nurse", "pilot")
  table = tabulate(STAFF, label="paid", numeric=(), categorical={"job": jobs})
  assert table.names == tuple(f"job={job}" for job in jobs)
  np.testing.assert_array_equal(
    table.batch.x, [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]]
  )


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float32, np.float64, str, bool, object])
def test_values_of_any_kind_are_categories_and_classes(kind):
  values = np.array([1, 0, 1, 0]).astype(kind)
  one = "True" if kind is bool else "1"
  table = tabulate(
    changed(code=values), label="code", positive=True if kind is bool else 1, sensitive="sex"
  )
  assert table.classes[1] == one and table.batch.y.tolist() == [1, 0, 1, 0]
  zero = "False" if kind is bool else "0"
  table = tabulate(changed(code=values), label="paid", categorical={"code": (one, zero)})
  assert table.names == ("age", f"code={zero}")
  assert table.batch.x[:, 1].tolist() == [0, 1, 0, 1]


def test_many_classes_are_sorted_as_numbers():
  table = tabulate(changed(stars=[10, 9, 2.5, 10]), label="stars")
  assert table.classes == ("2.5", "9", "10") and table.batch.y.tolist() == [2, 1, 0, 2]
  assert table.batch.num_classes == 3


def test_an_array_has_its_names_from_outside():
  values = np.array([[1.0, 0.5, 0], [2.0, 0.25, 1], [3.0, np.nan, 1]])
  table = tabulate(values, names=["a", "b", "y"], label="y", missing="drop")
  assert table.names == ("a", "b") and table.classes == ("0", "1")
  np.testing.assert_array_equal(table.batch.x, [[1, 0.5], [2, 0.25]])
  texts = np.array([["1", "u", "no"], ["2.5", "v", "yes"], ["-3", "w", "yes"]])
  for array in (texts, texts.astype(object)):
    numeric = None if array is texts else "a"
    table = tabulate(array, names=["a", "b", "y"], label="y", numeric=numeric)
    assert table.names == ("a", "b=u", "b=v", "b=w")
    np.testing.assert_array_equal(table.batch.x[:, 0], [1, 2.5, -3])


def test_jax_arrays_and_bytes_are_columns():
  columns = {"a": jax.numpy.arange(3), "b": np.array([b"u", b"v", b"u"]), "y": np.arange(3) > 0}
  table = tabulate(columns, label="y")
  assert table.names == ("a", "b=v") and table.classes == ("False", "True")
  np.testing.assert_array_equal(table.batch.x, [[0, 0], [1, 1], [2, 0]])


def test_a_data_frame_is_its_columns():
  pandas = pytest.importorskip("pandas")
  frame = pandas.DataFrame(
    {
      "age": pandas.array([23, None, 35, 52, 20], dtype="Int64"),
      "wage": [1.5, 2.5, 3.5, float("nan"), 4.5],
      "job": pandas.Categorical(["nurse", "clerk", "cook", "clerk", "cook"]),
      "sex": pandas.array(["f", "m", "m", "f", "m"], dtype="string"),
      "here": pandas.array([True, False, True, False, True], dtype="boolean"),
      "paid": ["no", "yes", "yes", "no", "no"],
    },
    index=[5, 4, 3, 2, 1],
  )
  with pytest.raises(ValueError, match=r"'age' in 1 of 5 rows, the first at 1; 'wage' .* at 3"):
    tabulate(frame, label="paid", sensitive="sex")
  table = tabulate(frame, label="paid", sensitive="sex", missing="drop")
  assert table.names == ("age", "wage", "here", "job=clerk", "job=cook", "job=nurse")
  assert table.numeric == (0, 1, 2)
  expected = [[23, 1.5, 1, 0, 0, 1], [35, 3.5, 1, 0, 1, 0], [20, 4.5, 1, 0, 1, 0]]
  np.testing.assert_array_equal(table.batch.x, expected)
  assert table.batch.y.tolist() == [0, 1, 0] and table.batch.group.tolist() == [0, 1, 1]


def categories(values, order, **options):
  pandas = pytest.importorskip("pandas")
  return pandas.Categorical(values, order, **options)


@pytest.mark.parametrize("ordered", [False, True])
def test_categories_are_the_values_of_a_feature_in_their_order(ordered):
  columns = {
    "size": categories(["l", "s", "l", "s"], ["s", "m", "l"], ordered=ordered),
    "rooms": categories([2, 1, 2, 1], [2, 1], ordered=ordered),
    "paid": STAFF["paid"],
  }
  table = tabulate(columns, label="paid")
  assert table.names == ("size=s", "size=m", "size=l", "rooms=1") and table.numeric == ()
  expected = [[0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 1]]
  np.testing.assert_array_equal(table.batch.x, expected)
  table = tabulate(columns, label="paid", numeric="rooms")
  assert table.names[0] == "rooms" and table.batch.x[:, 0].tolist() == [2, 1, 2, 1]
  table = tabulate(columns, label="paid", numeric=(), categorical={"size": ("l", "s")})
  assert table.names == ("size=s",) and table.batch.x[:, 0].tolist() == [0, 1, 0, 1]


def test_categories_that_do_not_occur_are_neither_classes_nor_groups():
  columns = changed(
    paid=categories(["yes", "no", "no", "yes"], ["yes", "perhaps", "no"]),
    sex=categories(["m", "f", "f", "m"], ["m", "d", "f"]),
  )
  table = tabulate(columns, label="paid", sensitive="sex")
  assert table.classes == ("yes", "no") and table.batch.y.tolist() == [0, 1, 1, 0]
  assert table.groups == ("m", "f") and table.batch.group.tolist() == [0, 1, 1, 0]
  assert tabulate(columns, label="paid", positive="yes").batch.y.tolist() == [1, 0, 0, 1]


def test_missing_categories_are_missing_and_many_are_refused():
  columns = changed(job=categories(["cook", None, "nurse", "cook"], ["nurse", "?", "cook"]))
  table = tabulate(columns, label="paid", numeric=(), missing="drop", sensitive="sex")
  assert table.names == ("job=cook", "night=yes") and table.batch.num_rows == 3
  names = [f"person {i}" for i in range(1001)]
  columns = {"name": categories(names, names), "y": np.arange(1001) % 2}
  with pytest.raises(ValueError, match="has 1001 different values, more than 1000"):
    tabulate(columns, label="y")


MISSING_VALUES = [None, float("nan"), np.float32("nan"), "", " ", "?", " ? ", b"?"]


@pytest.mark.parametrize("value", MISSING_VALUES)
@pytest.mark.parametrize("name", ["age", "job", "sex", "paid"])
def test_missing_values_are_refused_or_dropped(name, value):
  columns = changed(**{name: [STAFF[name][0], value, *STAFF[name][2:]]})
  with pytest.raises(ValueError, match=f"missing, of '{name}' in 1 of 4 rows, the first at 1:"):
    tabulate(columns, label="paid", sensitive="sex")
  table = tabulate(columns, label="paid", sensitive="sex", missing="drop")
  assert table.names == ("age", "job=clerk", "job=cook", "job=nurse", "night=yes")
  assert table.batch.x[:, 0].tolist() == [23, 35, 52]
  assert table.batch.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", ["", " ? "])
def test_missing_values_in_an_array_of_text(value):
  columns = changed(job=np.array(["nurse", value, "cook", "clerk"]))
  with pytest.raises(ValueError, match="'job' in 1 of 4 rows, the first at 1:"):
    tabulate(columns, label="paid")


def test_missing_values_of_pandas_and_masks():
  pandas = pytest.importorskip("pandas")
  hidden = np.ma.masked_equal([23, 41, 35, 52], 41)
  for age in ([23, pandas.NA, 35, 52], [23, pandas.NaT, 35, 52], hidden):
    table = tabulate(changed(age=age), label="paid", numeric="age", missing="drop")
    assert table.batch.x[:, 0].tolist() == [23, 35, 52]


def test_missing_values_where_nobody_looks_do_no_harm():
  columns = changed(wage=[None, 1, 2, float("nan")])
  for more in ({"categorical": "night"}, {"categorical": None, "sensitive": "sex"}):
    table = tabulate(columns, label="paid", numeric="age", **more)
    assert table.batch.num_rows == 4


def test_all_columns_with_missing_values_are_named():
  columns = changed(age=[None, 1, None, 2], job=["?", "a", "b", "c"])
  with pytest.raises(ValueError, match=r"'age' in 2 of 4 rows, .* 0, 2; 'job' in 1 of 4 rows"):
    tabulate(columns, label="paid")


def test_not_available_is_text_in_text_and_missing_among_numbers(tmp_path):
  path = tmp_path / "own.csv"
  path.write_text("a,b,y\n1,NA,0\nNA,x,1\n2,x,1\n")
  table = tabulate(path, label="y", missing="drop")
  assert table.names == ("a", "b=x") and table.batch.x.tolist() == [[1, 0], [2, 1]]


def test_leading_zeros_make_text(tmp_path):
  path = tmp_path / "own.csv"
  path.write_text("\ufeffplace,year,y\n01234,0,0\n11234,10,1\n01234,0.5,1\n", "utf-8")
  assert tabulate(path, label="y").names == ("year", "place=11234")
  assert tabulate(str(path), label="y", numeric="year").numeric == (0,)


def test_test_rows_are_those_left_of_the_last():
  columns = changed(age=[23, 41, None, 52])
  tables = [tabulate(columns, label="paid", missing="drop", test_rows=n) for n in range(4)]
  assert [table.test_rows for table in tables] == [0, 1, 1, 2]
  parts = data.split(tables[2], fractions=(0.5, 0.5), key=jax.random.key(0))
  assert [part.num_rows for part in parts] == [1, 1, 1] and parts.test.y.tolist() == [0]


def test_text_that_differs_in_most_rows_is_no_category_unless_listed():
  names = [f"person {i}" for i in range(1001)]
  columns = {"name": names, "y": np.arange(1001) % 2, "s": np.arange(1001), "z": np.ones(1001)}
  for options in ({}, {"categorical": "s"}, {"categorical": (), "sensitive": "s"}):
    with pytest.raises(ValueError, match="has 1001 different values, more than 1000"):
      tabulate(columns, label="y", **options)
  with pytest.raises(ValueError, match="label: 's' has 1001 different values"):
    tabulate(columns, label="s", categorical=())
  table = tabulate(columns, label="y", numeric=(), categorical={"name": names})
  np.testing.assert_array_equal(table.batch.x, np.eye(1001))
