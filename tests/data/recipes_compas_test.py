"""COMPAS: reader and recipe on made-up rows, and published counts where the file is there."""

import csv
import dataclasses
import os

import numpy as np
import pytest

from rfjax import catalog, data
from rfjax.data._files import Folder
from rfjax.data._recipes._compas import compas, selected
from rfjax.data._sources import _compas as source

FILE = "compas-scores-two-years.csv"
FIELDS = "sex age_cat race priors_count days_b_screening_arrest c_charge_degree is_recid score_text"
FIELDS = [*FIELDS.split(), "two_year_recid"]
KEPT = [
  ["Male", "25 - 45", "African-American", 3, -30, "F", 1, "High", 1],
  ["Female", "Less than 25", "Caucasian", 0, 30, "M", 0, "Low", 0],
  ["Male", "Greater than 45", "Caucasian", 12, 0, "F", 0, "Medium", 0],
  ["Female", "25 - 45", "African-American", 1, 1, "M", 1, "Low", 1],
]
FAILED = [
  ["Male", "25 - 45", "Caucasian", 3, 31, "F", 1, "High", 1],
  ["Male", "25 - 45", "Caucasian", 3, -31, "F", 1, "High", 1],
  ["Male", "25 - 45", "Caucasian", 3, "", "F", 1, "High", 1],
  ["Male", "25 - 45", "Caucasian", 3, 0, "O", 1, "High", 1],
  ["Male", "25 - 45", "Caucasian", 3, 0, "F", -1, "High", 1],
  ["Male", "25 - 45", "Caucasian", 3, 0, "F", 1, "N/A", 1],
]
OTHERS = [
  ["Male", "25 - 45", "Hispanic", 3, 0, "F", 1, "High", 1],
  ["Female", "25 - 45", "Hispanic", 2, 0, "M", 1, "High", 0],
]
X = [[0, 1, 0, 1, 1, 0, 3], [1, 0, 0, 0, 0, 1, 0], [0, 0, 1, 1, 1, 1, 12], [0, 1, 0, 0, 0, 0, 1]]
AGES = ("Less than 25", "25 - 45", "Greater than 45")
RACES = ("African-American", "Asian", "Caucasian", "Hispanic", "Native American", "Other")
needs_file = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set"
)


def record():
  """The catalogue's record, for made-up files too."""
  return dataclasses.replace(catalog.data_set("compas"), files=())


def made_up(folder, rows):
  """Writes a file like ProPublica's, with names of people and a column that occurs twice."""
  names = [name for name in record().columns if name not in FIELDS]
  with open(folder / FILE, "w", newline="") as file:
    lines = csv.writer(file)
    lines.writerow(["name", "priors_count", *names, *FIELDS])
    for row in rows:
      other = ["1" if record().columns[name] == "int32" else "a, b\nc" for name in names]
      lines.writerow(["Jane Doe", -7, *other, *row])
  return source.compas(Folder(record(), folder))


@pytest.fixture
def columns(tmp_path):
  mixed = [row for pair in zip(KEPT, FAILED, strict=False) for row in pair]
  return made_up(tmp_path, mixed + FAILED[4:] + OTHERS)


def test_reads_the_columns_of_the_catalogue(columns):
  train = columns["train"]
  assert list(train) == list(record().columns)
  assert train["priors_count"].dtype == np.int32 and train["priors_count"][:3].tolist() == [3, 3, 0]
  assert train["days_b_screening_arrest"][:6].tolist() == ["-30", "31", "30", "-31", "0", ""]
  assert set(train["c_charge_desc"]) == {"a, b\nc"}
  assert not any("Doe" in str(values) for values in train.values())


def test_refuses_a_count_that_is_no_number(tmp_path):
  with pytest.raises(ValueError, match=r"row 2: column 'two_year_recid' holds no whole number"):
    made_up(tmp_path, [KEPT[0], [*KEPT[1][:-1], "yes"]])


@pytest.mark.parametrize(
  ("attribute", "group"), [("sex", [1, 0, 1, 0]), ("race", [0, 1, 1, 0]), ("both", [1, 2, 3, 0])]
)
def test_filters_and_codes(columns, attribute, group):
  table = compas(columns, "", attribute=attribute)
  np.testing.assert_array_equal(table.batch.x, X)
  assert table.batch.x.dtype == np.float32
  np.testing.assert_array_equal(table.batch.y, [0, 1, 1, 0])
  np.testing.assert_array_equal(table.batch.group, group)
  assert table.batch.num_groups == len(table.groups) == (4 if attribute == "both" else 2)
  assert [table.names[i] for i in table.numeric] == ["priors_count"]
  assert table.classes == ("new offence", "no new offence") and table.test_rows == 0


def test_unfavourable_labels_are_the_others(columns):
  table = compas(columns, favourable=False)
  np.testing.assert_array_equal(table.batch.y, [1, 0, 0, 1])
  assert table.classes == ("no new offence", "new offence")


def test_variants_select_their_rows(columns):
  passing = [0, 2, 4, 6, 10, 11]
  assert np.flatnonzero(selected(columns["train"], "")).tolist() == passing[:4]
  assert np.flatnonzero(selected(columns["train"], "propublica")).tolist() == passing
  assert np.flatnonzero(selected(columns["train"], "aif360")).tolist() == passing
  assert selected(columns["train"], "raw").all()


def test_a_charge_without_description_is_dropped_by_aif360_only(columns):
  columns["train"]["c_charge_desc"][[0, 2]] = ""
  sizes = {v: compas(columns, v).batch.num_rows for v in ("", "propublica", "aif360")}
  assert sizes == {"": 4, "propublica": 6, "aif360": 4}


def test_other_missing_values_are_refused(columns):
  columns["train"]["age_cat"][0] = ""
  with pytest.raises(ValueError, match="missing, of 'age_cat' in 1 of 4 rows"):
    compas(columns)


@pytest.mark.parametrize(
  ("variant", "attribute", "message"),
  [
    ("zafar", "sex", "variant must be one of '', 'propublica', 'raw', 'aif360', got 'zafar'"),
    ("", "age", "attribute must be one of 'sex', 'race', 'both', got 'age'"),
  ],
)
def test_unknown_variants_and_attributes_are_refused(columns, variant, attribute, message):
  with pytest.raises(ValueError, match=message):
    compas(columns, variant, attribute=attribute)


def test_unknown_options_are_refused(tmp_path):
  with pytest.raises(ValueError, match="'atribute': did you mean 'attribute'"):
    data.table("compas", data_dir=tmp_path, atribute="sex")


def test_a_missing_file_names_the_places(tmp_path):
  with pytest.raises(FileNotFoundError) as error:
    data.table("compas", data_dir=tmp_path)
  for place in ("data_dir", "RFJAX_DATA_DIR", "./data", "propublica/compas-analysis", FILE):
    assert place in str(error.value)


def test_a_changed_file_is_refused_without_its_rows(tmp_path):
  (tmp_path / "compas").mkdir()
  made_up(tmp_path / "compas", KEPT)
  with pytest.raises(ValueError, match="sha256") as error:
    data.table("compas", data_dir=tmp_path)
  assert "Jane" not in str(error.value)


@pytest.fixture(scope="module")
def found():
  return data.columns("compas")


def counts(table):
  """Rows and label 1 by group."""
  y, group = np.asarray(table.batch.y), np.asarray(table.batch.group)
  sizes = np.bincount(group, minlength=len(table.groups))
  ones = np.bincount(group[y == 1], minlength=len(table.groups))
  return {n: (int(a), int(b)) for n, a, b in zip(table.groups, sizes, ones, strict=True)}


OFFENCES = {  # rows and new offences
  ("", "sex"): {"Female": (1031, 373), "Male": (4247, 2110)},
  ("", "race"): {"African-American": (3175, 1661), "Caucasian": (2103, 822)},
  ("", "both"): {
    "African-American, Female": (549, 203),
    "African-American, Male": (2626, 1458),
    "Caucasian, Female": (482, 170),
    "Caucasian, Male": (1621, 652),
  },
  ("propublica", "sex"): {"Female": (1175, 413), "Male": (4997, 2396)},
  ("propublica", "race"): {
    "African-American": (3175, 1661),
    "Asian": (31, 8),
    "Caucasian": (2103, 822),
    "Hispanic": (509, 189),
    "Native American": (11, 5),
    "Other": (343, 124),
  },
  ("raw", "sex"): {"Female": (1395, 498), "Male": (5819, 2753)},
}
TOTALS = {"": (5278, 2483), "propublica": (6172, 2809), "raw": (7214, 3251)}


@needs_file
@pytest.mark.parametrize(("variant", "attribute"), OFFENCES)
def test_counts_by_group(found, variant, attribute):
  expected = OFFENCES[variant, attribute]
  table = compas(found, variant, attribute=attribute, favourable=False)
  assert counts(table) == expected
  assert (table.batch.num_rows, int(table.batch.y.sum())) == TOTALS[variant]


@needs_file
def test_counts_of_all_rows_by_race(found):
  table = compas(found, "raw", attribute="race", favourable=False)
  assert table.groups == RACES
  assert counts(table)["African-American"] == (3696, 1901)
  assert counts(table)["Caucasian"] == (2454, 966)
  assert round(float(np.mean(np.asarray(table.batch.y, float))), 6) == 0.450652


@needs_file
def test_the_usual_table_is_the_oracle(found):
  """The oracle reads the file with the csv module and codes it row by row."""
  x, y, group = [], [], []
  with open(os.path.join(os.environ["RFJAX_DATA_DIR"], "compas", FILE), newline="") as file:
    for row in csv.DictReader(file):
      days, race = row["days_b_screening_arrest"], row["race"]
      if days == "" or not -30 <= int(days) <= 30 or race not in ("African-American", "Caucasian"):
        continue
      if row["is_recid"] == "-1" or row["c_charge_degree"] == "O" or row["score_text"] == "N/A":
        continue
      male, white = row["sex"] == "Male", race == "Caucasian"
      ages = [row["age_cat"] == age for age in AGES]
      x.append([*ages, row["c_charge_degree"] == "F", male, white, int(row["priors_count"])])
      y.append(row["two_year_recid"] == "0")
      group.append(2 * white + male)
  table = compas(found, attribute="both")
  np.testing.assert_array_equal(table.batch.x, np.array(x))
  np.testing.assert_array_equal(table.batch.y, y)
  np.testing.assert_array_equal(table.batch.group, group)
  ages = tuple(f"age_cat={age}" for age in AGES)
  others = ("c_charge_degree=F", "sex=Male", "race=Caucasian", "priors_count")
  assert table.names == ages + others


@needs_file
@pytest.mark.parametrize("variant", ["propublica", "raw"])
def test_six_races_and_two_sexes_are_twelve_groups(found, variant):
  table = compas(found, variant, attribute="both")
  assert table.groups == tuple(f"{race}, {sex}" for race in RACES for sex in ("Female", "Male"))
  both = np.asarray(table.batch.group)
  for attribute, code in (("sex", both % 2), ("race", both // 2)):
    np.testing.assert_array_equal(compas(found, variant, attribute=attribute).batch.group, code)
  assert table.names[5:] == (*(f"race={race}" for race in RACES), "priors_count")
  np.testing.assert_array_equal(table.batch.x[:, 5:11], np.eye(6)[both // 2])


@needs_file
@pytest.mark.parametrize(
  ("attribute", "expected", "rates"),
  [
    ("race", {"not Caucasian": (4067, 2080), "Caucasian": (2100, 1278)}, (0.511433, 0.608571)),
    ("sex", {"Male": (4994, 2598), "Female": (1173, 760)}, (0.520224, 0.647911)),
  ],
)
def test_counts_of_ai_fairness_360(found, attribute, expected, rates):
  table = compas(found, "aif360", attribute=attribute)
  assert table.batch.num_rows == 6167 and counts(table) == expected
  assert tuple(round(ones / size, 6) for size, ones in counts(table).values()) == rates
  assert table.groups == tuple(expected)


@needs_file
def test_features_of_ai_fairness_360(found):
  table = compas(found, "aif360")
  names = [name for name in table.names if not name.startswith("c_charge_desc=")]
  assert len(table.names) - len(names) == 389
  assert names == [
    *(f"age_cat={age}" for age in AGES),
    "c_charge_degree=F",
    "sex=Female",
    "race=Caucasian",
    "age",
    "juv_fel_count",
    "juv_misd_count",
    "juv_other_count",
    "priors_count",
  ]
  assert [table.names[i] for i in table.numeric] == names[6:]
  x = dict(zip(table.names, np.asarray(table.batch.x).T, strict=True))
  rows = {n: v[selected(found["train"], "aif360")] for n, v in found["train"].items()}
  keep = rows["c_charge_desc"] != ""
  for name in names[6:]:
    np.testing.assert_array_equal(x[name], rows[name][keep])
  np.testing.assert_array_equal(
    x["c_charge_desc=Battery"], rows["c_charge_desc"][keep] == "Battery"
  )
  np.testing.assert_array_equal(x["sex=Female"], table.batch.group)


@needs_file
def test_rates_of_the_preprocessed_table_of_ai_fairness_360(found):
  (first, good), (second, better) = counts(compas(found, "", attribute="race")).values()
  assert (round(good / first, 6), round(better / second, 6)) == (0.476850, 0.609130)
  assert round(good / first - better / second, 6) == -0.132279


@needs_file
def test_counts_by_column(found):
  table = compas(found, "", favourable=False)
  x, y = np.asarray(table.batch.x, float), np.asarray(table.batch.y)
  total, offences = (dict(zip(table.names, v, strict=True)) for v in (x.sum(0), x[y == 1].sum(0)))
  assert [total[f"age_cat={age}"] for age in AGES] == [1156, 3026, 1096]
  assert [offences[f"age_cat={age}"] for age in AGES] == [660, 1461, 362]
  assert total["c_charge_degree=F"] == 3440 and len(x) - total["c_charge_degree=F"] == 1838
  assert total["sex=Male"] == 4247 and total["race=Caucasian"] == 2103
  assert round(total["priors_count"] / len(x), 6) == 3.461538
  assert x[:, 6].max() == 38 and table.numeric == (6,)


@needs_file
@pytest.mark.parametrize(
  ("race", "rates"),
  [
    ("African-American", (0.423382, 0.284768, 0.649535, 0.576063)),
    ("Caucasian", (0.220141, 0.496350, 0.594828, 0.330956)),
  ],
)
def test_rates_of_the_score(found, race, rates):
  rows = {n: v[selected(found["train"], "")] for n, v in found["train"].items()}
  own = rows["race"] == race
  score, y = rows["score_text"][own] != "Low", rows["two_year_recid"][own] == 1
  assert set(rows["score_text"]) == {"Low", "Medium", "High"}
  measured = (score[~y].mean(), 1 - score[y].mean(), y[score].mean(), score.mean())
  assert tuple(round(float(value), 6) for value in measured) == rates


@needs_file
def test_lengths_of_stay(found):
  rows = {n: v[selected(found["train"], "")] for n, v in found["train"].items()}
  stay = rows["c_jail_out"].astype("datetime64[s]") - rows["c_jail_in"].astype("datetime64[s]")
  days = np.floor(stay / np.timedelta64(1, "D"))
  assert not np.isnan(days).any()
  assert (days.min(), np.median(days), days.max()) == (-1, 1, 799)


@needs_file
def test_the_table_by_name_is_the_recipe(found):
  table = data.table("compas:raw", attribute="race", favourable=False)
  made = compas(found, "raw", attribute="race", favourable=False)
  np.testing.assert_array_equal(table.batch.x, made.batch.x)
  np.testing.assert_array_equal(table.batch.group, made.batch.group)
  assert table[1:] == made[1:]
