"""Own data that is refused: each with the name of what is wrong, and a remedy."""

import re

import numpy as np
import pytest

from rfjax.data._tabulate import tabulate

STAFF = {
  "age": [23, 41, 35, 52],
  "job": ["nurse", "clerk", "cook", "clerk"],
  "sex": ["f", "m", "f", "m"],
  "night": ["no", "no", "yes", "yes"],
  "paid": ["no", "yes", "yes", "no"],
}
UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as")


def changed(**columns):
  return {**STAFF, **columns}


REFUSED = {
  "unknown label": ({"label": "piad"}, "column in label= 'piad': did you mean 'paid'"),
  "label of no name": ({"label": ["paid"]}, "unknown column in label="),
  "unknown feature": ({"numeric": "agee"}, "column in numeric= 'agee': did you mean 'age'"),
  "no feature's name": ({"numeric": 3}, "unknown column in numeric= '3'"),
  "unknown category": ({"categorical": ["jobs"]}, "categorical= 'jobs': did you mean 'job'"),
  "unknown group": ({"sensitive": {"sx": None}}, "sensitive= 'sx': did you mean 'sex'"),
  "twice": ({"numeric": ["age", "age"]}, "numeric names the column 'age' twice"),
  "two roles": ({"numeric": "age", "categorical": "age"}, "'age' is in numeric and in categorical"),
  "label as number": ({"numeric": ["paid"]}, "label 'paid' is in numeric too"),
  "label as category": ({"categorical": "paid"}, "label 'paid' is in categorical too"),
  "label as group": ({"sensitive": ("sex", "paid")}, "label 'paid' is in sensitive too"),
  "no feature": ({"numeric": (), "categorical": ()}, "no column is a feature"),
  "text as number": (
    {"numeric": "age", "columns": changed(age=["23", "x", "35", "?"]), "missing": "drop"},
    "numeric: 'age' holds text in 1 of 4 rows, the first at 1: name it in categorical=",
  ),
  "not listed": (
    {"categorical": {"job": ("cook", "nurse")}},
    "categorical: 'job' is 'clerk' in 2 of 4 rows, the first at 1, 3, .* 'cook', 'nurse': list it",
  ),
  "group not listed": ({"sensitive": {"sex": ("f", "d")}}, "sensitive: 'sex' is 'm' in 2 of 4"),
  "listed twice": ({"categorical": {"job": ("cook", "cook")}}, "different values of 'job'"),
  "nothing listed": ({"categorical": {"job": ()}}, "different values of 'job'"),
  "list of letters": ({"sensitive": {"sex": "fm"}}, "different values of 'sex', .* got 'fm'"),
  "list of no list": ({"sensitive": {"sex": 2}}, "different values of 'sex', .* got 2"),
  "empty group": ({"sensitive": {"sex": "f m d".split()}}, "no row is 'd': leave out values"),
  "empty pair": ({"sensitive": ("job", "sex")}, "no row is 'clerk, f'"),
  "one class": ({"columns": changed(paid=["no"] * 4)}, "label 'paid' is 'no' in all rows"),
  "no class": ({"positive": "yess"}, "value of 'paid' in positive= 'yess': did you mean 'yes'"),
  "three classes": (
    {"columns": changed(paid=["a", "b", "c", "a"]), "positive": "a"},
    "positive is one of two classes, but 'paid' has 3",
  ),
  "infinite": (
    {"columns": changed(age=[1, 2, float("inf"), -float("inf")])},
    "numeric: 'age' is infinite, .* in 2 of 4 rows, the first at 2, 3",
  ),
  "too large": ({"columns": changed(age=[1, 2, 3, 1e39])}, "too large for float32, in 1 of 4 rows"),
  "lengths": ({"columns": changed(age=[1, 2, 3])}, "unequal lengths, 'age' 3 and 'job' 4"),
  "no rows": ({"columns": {"paid": [], "age": []}}, "columns has no row"),
  "no columns": ({"columns": {}}, "columns has no row"),
  "no text": (
    {"columns": changed(job=[b"\xff", b"a", b"b", b"c"])},
    r"column 'job' holds b'\\xff', which is no text in UTF-8: decode it first",
  ),
  "mixed": ({"columns": changed(job=[1, "b", 2, 3])}, "column 'job' holds int, str"),
  "dates": (
    {"columns": changed(day=np.array(["2020-01-01"] * 4, "datetime64[D]"))},
    r"column 'day' holds datetime64\[D\], expected numbers or text",
  ),
  "lists": ({"columns": changed(job=[[1], [2], [3], [4]])}, "column 'job' holds list"),
  "complex": ({"columns": changed(age=np.ones(4) * 1j)}, "column 'age' holds complex"),
  "huge": ({"columns": changed(age=[2**70, 1, 2, 3])}, "column 'age' holds int, expected"),
  "two axes": ({"columns": changed(age=np.ones((4, 2)))}, r"'age' must have one axis, .* \(4, 2\)"),
  "one text": ({"columns": changed(age="23")}, "column 'age' is '23': pass one value a row"),
  "one number": ({"columns": changed(age=23)}, "column 'age' is 23: pass one value a row"),
  "name of no text": ({"columns": {**STAFF, 3: [1, 2, 3, 4]}}, "column number 5 has the name 3"),
  "no table": ({"columns": 3}, "columns must be a mapping, .* got int"),
  "names twice over": ({"names": list(STAFF)}, "names is given, but the columns have names"),
  "how missing": ({"missing": "impute"}, "missing must be one of 'refuse', 'drop', got 'impute'"),
  "test rows": ({"test_rows": 4}, "test_rows must be less than the 4 rows, got 4"),
  "negative rows": ({"test_rows": -1}, "test_rows must be an integer of at least 0"),
  "nothing left": (
    {"columns": changed(age=[None, None, 1, 2]), "missing": "drop", "test_rows": 2},
    "leaves no row to learn from: fill in 'age'",
  ),
  "no test row left": (
    {"columns": changed(age=[1, 2, 3, None]), "missing": "drop", "test_rows": 1},
    "leaves no test row: fill in 'age'",
  ),
  "one name for two": (
    {"columns": changed(**{"sex=m": [1, 2, 3, 4]}), "numeric": "sex=m", "categorical": "sex"},
    "two columns of x would be named 'sex=m': rename 'sex'",
  ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_its_name_and_a_remedy(case):
  options, message = REFUSED[case]
  options = {"columns": STAFF, "label": "paid", **options}
  with pytest.raises(ValueError, match=message):
    tabulate(options.pop("columns"), **options)


@pytest.mark.parametrize(
  ("names", "message"),
  [
    (None, "names must name the 2 columns of the array, got None"),
    (["y"], "names must name the 2 columns"),
    ("ay", "names must name the 2 columns"),
    (["y", "y"], "the column name 'y' occurs twice"),
    (["y", ""], "column number 1 has the name ''"),
  ],
)
def test_bad_names_of_an_array_are_refused(names, message):
  with pytest.raises(ValueError, match=message):
    tabulate(np.eye(2), names=names, label="y")


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ("a,y,a\n1,0,2\n", "the column name 'a' occurs twice"),
    (",a,y\n0,1,0\n", "column number 0 has the name '': .*index=False"),
    ("a,y\n1,0\n1\n", "row 2 has 1 fields, expected 2"),
    ("a,y\n", "columns has no row"),
    ("", "columns has no row"),
    ("<!DOCTYPE html>", "is a web page"),
    ("a,y\n1,0\ninf,1\n", "'a' is infinite, .* in 1 of 2 rows, the first at 1"),
    ("a,y\n1,0\n?,1\n", "missing, of 'a' in 1 of 2 rows, the first at 1"),
  ],
)
def test_a_bad_csv_file_is_refused(tmp_path, content, message):
  path = tmp_path / "own.csv"
  path.write_text(content)
  with pytest.raises(ValueError, match=message):
    tabulate(path, label="y")


def test_a_file_that_is_not_there_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "own.csv"))):
    tabulate(tmp_path / "own.csv", label="y")


def test_repeated_names_of_a_data_frame_are_refused():
  pandas = pytest.importorskip("pandas")
  frame = pandas.DataFrame([[1, 2, 0], [3, 4, 1]], columns=["a", "a", "y"])
  with pytest.raises(ValueError, match="the column name 'a' occurs twice"):
    tabulate(frame, label="y")


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
@pytest.mark.parametrize("role", [None, "numeric", "sensitive", "label"])
def test_moments_and_spans_are_no_numbers_in_any_unit(kind, unit, role):
  roles = {"label": "paid"} | ({} if role is None else {role: "when"})
  values = np.array([1, 2, 1, 2], f"{kind}[{unit}]")
  with pytest.raises(ValueError, match=rf"column 'when' holds {kind}\[{unit}\], expected numbers"):
    tabulate(changed(when=values), **roles)
  with pytest.raises(ValueError, match="column 'when' holds"):
    tabulate(changed(when=list(values)), **roles)


def test_moments_of_a_data_frame_are_refused_unless_left_out():
  pandas = pytest.importorskip("pandas")
  for values in (pandas.to_datetime(["2020-01-01"] * 4), pandas.to_timedelta([1, 2, 3, 4], "s")):
    frame = pandas.DataFrame(changed(when=values))
    with pytest.raises(ValueError, match=r"column 'when' holds .*64"):
      tabulate(frame, label="paid")
    table = tabulate(frame, label="paid", numeric="age", categorical="job")
    assert table.names[0] == "age" and "when" not in table.names


def test_a_folder_is_no_csv_file(tmp_path):
  with pytest.raises(ValueError, match="a folder: pass the path of a CSV file"):
    tabulate(tmp_path, label="y")
