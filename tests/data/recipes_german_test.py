"""German credit: readers and recipe on made-up rows, and published counts where the files are."""

import csv
import dataclasses
import os

import jax
import numpy as np
import pytest

from rfjax import catalog, data
from rfjax.data._files import Folder
from rfjax.data._recipes._german import german, german_numeric
from rfjax.data._sources import _german as source

ROWS = """\
A11 7 A34 A43 1100 A65 A75 4 A93 A101 4 A121 61 A143 A152 2 A173 1 A192 A201 1
A12 36 A30 A410 5900 A61 A73 1 A92 A101 2 A121 25 A143 A151 1 A173 2 A191 A201 2
A14 12 A34 A46 2000 A61 A72 2 A95 A101 3 A122 26 A143 A152 1 A172 2 A191 A202 1
""".replace("\n", " \n")
NUMERIC = [
  "duration",
  "credit_amount",
  "installment_rate",
  "residence_since",
  "age",
  "existing_credits",
  "dependents",
]
needs_file = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set"
)


def folder(name, path):
  return Folder(dataclasses.replace(catalog.data_set(name), files=()), path)


@pytest.fixture
def columns(tmp_path):
  (tmp_path / "german.data").write_text(ROWS)
  return source.german(folder("german", tmp_path))


def test_reads_fields_between_blanks(columns):
  train = columns["train"]
  assert list(train) == list(catalog.data_set("german").columns) and len(train) == 21
  assert train["purpose"].tolist() == ["A43", "A410", "A46"]
  assert train["age"].tolist() == [61, 25, 26] and train["age"].dtype == np.int32
  assert train["class"].tolist() == [1, 2, 1]


def test_reads_the_numeric_form(tmp_path):
  lines = [f"   {i}  " + "   ".join(str(i * j) for j in range(2, 25)) + f"   {i} " for i in (1, 2)]
  (tmp_path / "german.data-numeric").write_text("\n".join(lines) + "\n")
  train = source.german_numeric(folder("german_numeric", tmp_path))["train"]
  np.testing.assert_array_equal(train["features"], np.outer([1, 2], np.arange(1, 25)))
  assert train["features"].dtype == np.int32 and train["class"].tolist() == [1, 2]


@pytest.mark.parametrize(
  ("content", "message"),
  [
    (ROWS.replace(" 61 ", " "), "row 1 has 20 fields, expected 21"),
    (ROWS.replace(" 26 ", " x "), "row 3: column 'age' holds no whole number"),
  ],
)
def test_broken_files_are_refused(tmp_path, content, message):
  (tmp_path / "german.data").write_text(content)
  with pytest.raises(ValueError, match=message):
    source.german(folder("german", tmp_path))


@pytest.mark.parametrize(
  ("attribute", "group", "groups"),
  [("sex", [1, 0, 0], ("female", "male")), ("age", [1, 0, 1], ("25 or younger", "older than 25"))],
)
def test_groups_and_labels(columns, attribute, group, groups):
  table = german(columns, attribute=attribute)
  assert table.batch.group.tolist() == group and table.groups == groups
  assert table.batch.y.tolist() == [1, 0, 1] and table.classes == ("bad", "good")
  assert [table.names[i] for i in table.numeric] == NUMERIC
  assert not any("group" in name or "class" in name or "credit=" in name for name in table.names)


@pytest.mark.parametrize(
  ("variant", "attribute", "message"),
  [
    ("numeric", "sex", "variant must be one of '', got 'numeric'"),
    ("", "race", "attribute must be one of 'sex', 'age', got 'race'"),
  ],
)
def test_unknown_variants_and_attributes_are_refused(columns, variant, attribute, message):
  with pytest.raises(ValueError, match=message):
    german(columns, variant, attribute=attribute)


@pytest.fixture(scope="module")
def found():
  return data.columns("german")


@needs_file
@pytest.mark.parametrize(
  ("attribute", "expected", "rates"),
  [
    ("sex", [(310, 201), (690, 499)], [0.648387, 0.723188]),
    ("age", [(190, 110), (810, 590)], [0.578947, 0.728395]),
  ],
)
def test_counts_by_group(found, attribute, expected, rates):
  batch = german(found, attribute=attribute).batch
  y, group = np.asarray(batch.y), np.asarray(batch.group)
  sizes, good = np.bincount(group), np.bincount(group[y == 1])
  assert list(zip(sizes.tolist(), good.tolist(), strict=True)) == expected
  assert np.round(good / sizes, 6).tolist() == rates
  assert (len(y), y.sum()) == (1000, 700)


@needs_file
def test_features_are_the_attributes_of_the_file(found):
  """The oracle reads the file with the csv module and codes it with plain loops."""
  path = os.path.join(os.environ["RFJAX_DATA_DIR"], "german", "german.data")
  with open(path, newline="") as file:
    lines = list(csv.reader(file, delimiter=" "))
  names, expected = list(catalog.data_set("german").columns)[:20], {}
  for place, name in enumerate(names):
    values = sorted({line[place] for line in lines})
    if name in NUMERIC:
      expected[name] = [float(line[place]) for line in lines]
      continue
    for value in values[1:] if len(values) == 2 else values:
      expected[f"{name}={value}"] = [float(line[place] == value) for line in lines]
  table = german(found)
  assert len(table.names) == len(expected) == 7 + 52
  for i, name in enumerate(table.names):
    np.testing.assert_array_equal(table.batch.x[:, i], expected[name])


@needs_file
def test_the_numeric_form_has_the_same_rows(found):
  symbolic, numeric = found["train"], data.columns("german_numeric")["train"]
  features = numeric["features"]
  assert features.shape == (1000, 24)
  np.testing.assert_array_equal(numeric["class"], symbolic["class"])
  assert (2 - numeric["class"]).sum() == 700  # the label of TensorFlow Datasets
  for place, name in ((1, "duration"), (9, "age"), (11, "existing_credits")):
    np.testing.assert_array_equal(features[:, place], symbolic[name])


@needs_file
def test_the_table_by_name_is_the_recipe(found):
  table, made = data.table("german", attribute="age"), german(found, attribute="age")
  np.testing.assert_array_equal(table.batch.x, made.batch.x)
  np.testing.assert_array_equal(table.batch.group, made.batch.group)
  assert table[1:] == made[1:]


@needs_file
@pytest.mark.parametrize("attribute", ["sex", "age"])
def test_the_numeric_table_has_the_labels_and_groups_of_the_other(found, attribute):
  table = data.table("german_numeric", attribute=attribute)
  made = german(found, attribute=attribute)
  assert table.names == tuple(f"attribute {i}" for i in range(1, 25))
  assert table.numeric == tuple(range(24)) and table.groups == made.groups
  features = data.columns("german_numeric")["train"]["features"]
  np.testing.assert_array_equal(table.batch.x, features)
  np.testing.assert_array_equal(table.batch.y, made.batch.y)
  np.testing.assert_array_equal(table.batch.group, made.batch.group)
  parts = data.split(table, key=jax.random.key(0))
  np.testing.assert_allclose(parts.train.x.std(0), 1, atol=1e-4)


def test_the_numeric_table_on_made_up_rows():
  features = np.arange(72, dtype=np.int32).reshape(3, 24)
  features[:, 6], features[:, 9] = (2, 3, 1), (25, 26, 60)
  columns = {"train": {"features": features, "class": np.array([1, 2, 1], np.int32)}}
  assert german_numeric(columns).batch.group.tolist() == [0, 1, 1]
  table = german_numeric(columns, attribute="age")
  assert table.batch.group.tolist() == [0, 1, 1] and table.batch.y.tolist() == [1, 0, 1]
  with pytest.raises(ValueError, match="attribute must be one of 'sex', 'age'"):
    german_numeric(columns, attribute="race")
  with pytest.raises(ValueError, match="variant must be one of ''"):
    german_numeric(columns, "x")
