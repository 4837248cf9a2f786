"""Answers of crowd workers: the readers on made-up rows, and known counts of the published."""

import dataclasses
import functools
import os
import pathlib

import numpy as np
import pytest

from rfjax import catalog
from rfjax.data import _columns


@functools.cache
def published(name):
  where = pathlib.Path(os.environ.get("RFJAX_DATA_DIR") or "")
  data_set = catalog.data_set(name)
  if not os.environ.get("RFJAX_DATA_DIR") or not (where / data_set.folder).is_dir():
    pytest.skip(f"RFJAX_DATA_DIR names no folder with {data_set.folder}")
  return _columns.read(data_set, where / data_set.folder)["train"]


def read(name, folder, rows):
  small = dataclasses.replace(catalog.data_set(name), rows={"train": rows}, files=())
  return _columns.read(small, folder)["train"]


@pytest.mark.parametrize(
  ("name", "file"),
  [
    ("crowd_adult", "AdultCensus_crowdsourcing_data.csv"),
    ("crowd_compas", "COMPAS_crowdsourcing_data.csv"),
  ],
)
def test_crowd_of_made_up_rows(name, file, tmp_path):
  kinds = catalog.data_set(name).columns
  features = [n for n in kinds if n not in ("answers", "workers", "true_label")]
  value = lambda column, row: str(7 + row) if kinds[column] == "int32" else f"kind {row}"
  fields = [
    {"example_idx": str(row), "true_label": ("-1", "1")[row]}
    | {column: value(column, row) for column in features}
    | {f"ans_{i}": str(1 + (i + row) % 4) for i in range(1, 12)}
    | {f"worker_id_{i}": f"worker_{100 * row + i}" for i in range(1, 12)}
    for row in range(2)
  ]
  names = sorted(fields[0])  # ans_1, ans_10, ans_11, ans_2, ...: another order than the publisher's
  lines = [",".join(names), *(",".join(row[n] for n in names) for row in fields)]
  (tmp_path / file).write_text("\n".join(lines))
  found = read(name, tmp_path, 2)
  np.testing.assert_array_equal(found["answers"], 1 + (np.arange(1, 12) + [[0], [1]]) % 4)
  np.testing.assert_array_equal(found["workers"], np.arange(1, 12) + [[0], [100]])
  assert found["true_label"].tolist() == [0, 1]
  for column in features:
    expected = [7, 8] if kinds[column] == "int32" else ["kind 0", "kind 1"]
    assert found[column].tolist() == expected


def bluebirds(folder, answers):
  (folder / "answer.csv").write_text("\n".join(["question,worker,answer", *answers]))
  (folder / "truth.csv").write_text("question,truth\n7,1\n3,0\n5,1\n")
  whole = catalog.data_set("bluebirds")
  shape = {"answers": "int32[2]", "workers": "int32[2]"}
  small = dataclasses.replace(whole, rows={"train": 3}, files=(), columns=whole.columns | shape)
  return _columns.read(small, folder)["train"]


ANSWERS = ["3,9,0", "5,4,1", "7,9,1", "3,4,1", "5,9,0", "7,4,0"]


def test_bluebirds_of_made_up_rows(tmp_path):
  found = bluebirds(tmp_path, ANSWERS)
  assert found["question"].tolist() == [7, 3, 5] and found["true_label"].tolist() == [1, 0, 1]
  assert found["workers"].tolist() == [[4, 9]] * 3
  assert found["answers"].tolist() == [[0, 1], [1, 0], [1, 0]]


@pytest.mark.parametrize(
  "answers",
  [ANSWERS[:-1], ANSWERS + ["7,4,1"], ANSWERS[:-1] + ["7,9,0"], ANSWERS[:-1] + ["8,4,0"]],
  ids=["missing", "more", "twice", "unknown question"],
)
def test_bluebirds_that_lack_an_answer_are_refused(answers, tmp_path):
  with pytest.raises(ValueError, match="one answer of every worker to every question"):
    bluebirds(tmp_path, answers)


def share(values):
  return round(float(values.mean()), 6)


def noise(label, truth, rows=slice(None)):
  """P(label | truth): P(1 | 0) and P(0 | 1)."""
  label, truth = label[rows], truth[rows]
  return [round(float(v), 4) for v in (label[truth == 0].mean(), 1 - label[truth == 1].mean())]


def majority(found):
  return ((found["answers"] >= 3).sum(1) >= 6).astype(int)


@pytest.mark.parametrize(
  ("name", "sizes", "shares"),
  [
    ("crowd_adult", (3046, 1523, 655), (0.632335, 0.722915, 0.725542, 0.632961)),
    ("crowd_compas", (440, 212, 141), (0.616529, 0.661364, 0.679545, 0.590909)),
  ],
)
def test_crowd_counts(name, sizes, shares):
  """Rows, positives, workers; accuracy of answers, majority, mean score and first answer."""
  found = published(name)
  truth, right = found["true_label"], lambda label: share(label == found["true_label"])
  answers = found["answers"]
  assert (len(truth), truth.sum(), len(np.unique(found["workers"]))) == sizes
  assert answers.shape == (sizes[0], 11) and set(np.unique(answers)) == {1, 2, 3, 4}
  each = share((answers >= 3) == truth[:, None])
  assert (
    each,
    right(majority(found)),
    right(answers.mean(1) > 2.5),
    right(answers[:, 0] >= 3),
  ) == shares


def test_no_worker_answers_a_row_twice():
  for name in ("crowd_adult", "crowd_compas"):
    workers = np.sort(published(name)["workers"], axis=1)
    assert (workers[:, 1:] != workers[:, :-1]).all()


def test_accuracies_of_the_adult_workers():
  found = published("crowd_adult")
  right = ((found["answers"] >= 3) == found["true_label"][:, None]).ravel()
  codes = np.unique(found["workers"], return_inverse=True)[1].ravel()
  each = np.bincount(codes, right) / np.bincount(codes)
  assert [round(float(f(each)), 3) for f in (np.min, np.median, np.max)] == [0.233, 0.633, 0.9]


@pytest.mark.parametrize(
  ("name", "column", "value", "rows", "expected"),
  [
    ("crowd_adult", "gender", "Female", 781, [0.3174, 0.2719]),
    ("crowd_adult", "gender", "Male", 2265, [0.4181, 0.157]),
    ("crowd_adult", "race", "Black", 259, [0.2963, 0.2429]),
    ("crowd_adult", "race", "White", 2787, [0.3928, 0.17]),
    ("crowd_compas", "race", "Caucasian", 162, [0.1869, 0.6364]),
    ("crowd_compas", "race", "Non-caucasian", 278, [0.3636, 0.3185]),
    ("crowd_compas", "gender", "Female", 92, [0.1923, 0.5]),
    ("crowd_compas", "gender", "Male", 348, [0.3068, 0.3779]),
  ],
)
def test_noise_of_the_majority_by_group(name, column, value, rows, expected):
  found = published(name)
  group = found[column] == value
  assert group.sum() == rows
  assert noise(majority(found), found["true_label"], group) == expected


def test_bluebirds_counts():
  found = published("bluebirds")
  truth, answers = found["true_label"], found["answers"]
  assert answers.shape == (108, 39) and truth.sum() == 48 and answers.sum() == 1597
  assert share(answers == truth[:, None]) == 0.635565
  assert share((answers.sum(1) >= 20) == truth) == 0.759259
