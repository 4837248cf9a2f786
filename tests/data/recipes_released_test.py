"""Tables of pictures, of released arrays and of crowds, against the columns that they come from."""

import os

import jax
import numpy as np
import pytest

from rfjax import data
from rfjax.data._recipes import _human_labels, _images

needs_files = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR names no folder of data"
)


def pictures(seed=0):
  rng = np.random.default_rng(seed)
  split = lambda rows: {
    "image": rng.integers(0, 256, (rows, 4, 4), dtype=np.uint8),
    "label": (np.arange(rows) % 10).astype(np.int32),
  }
  return {"train": split(20), "test": split(10)}


def test_pictures_keep_their_bytes_order_and_test_set():
  found = pictures()
  table = _images.images(found, "")
  assert table.batch.x.dtype == np.uint8 and table.test_rows == 10
  np.testing.assert_array_equal(table.batch.x[:20], found["train"]["image"])
  np.testing.assert_array_equal(table.batch.x[20:], found["test"]["image"])
  train, validation, test = data.split(table)
  assert (train.num_rows, validation.num_rows, test.num_rows) == (18, 2, 10)
  np.testing.assert_array_equal(train.x, found["train"]["image"][:18])
  np.testing.assert_array_equal(train.index, np.arange(18))
  np.testing.assert_array_equal(validation.x, found["train"]["image"][18:])
  np.testing.assert_array_equal(test.y, found["test"]["label"])


def test_a_key_draws_the_validation_rows_and_leaves_the_test_set():
  table = _images.images(pictures(), "")
  train, validation, test = data.split(table, key=jax.random.key(0), fractions=(0.5, 0.5))
  assert (train.num_rows, validation.num_rows) == (10, 10)
  np.testing.assert_array_equal(test.x, table.batch.x[20:])
  rows = np.concatenate([train.x, validation.x]).reshape(20, -1)
  whole = np.asarray(table.batch.x[:20]).reshape(20, -1)
  assert sorted(map(tuple, rows)) == sorted(map(tuple, whole)) and (rows != whole).any()


def test_fractions_are_of_what_is_left_to_split():
  table = _images.images(pictures(), "")
  with pytest.raises(ValueError, match=r"fractions must be of train, validation with sum 1"):
    data.split(table, fractions=(0.7, 0.1, 0.2))


def human(seed=1):
  rng = np.random.default_rng(seed)
  clean = (np.arange(20) % 10).astype(np.int32)
  names = ("aggre_label", "worse_label", "random_label1", "random_label2", "random_label3")
  noisy = {name: rng.integers(0, 10, 20).astype(np.int32) for name in names}
  return {"train": {"clean_label": clean, **noisy}}


@pytest.mark.parametrize("labels", ["aggre", "worse", "random1", "random2", "random3"])
def test_human_labels_lie_on_the_training_rows_alone(labels):
  rows, found = human(), pictures()
  table = _human_labels.cifar10n(rows, "", labels=labels, pictures=lambda: found)
  column = {"aggre": "aggre_label", "worse": "worse_label"}.get(labels, f"random_label{labels[-1]}")
  np.testing.assert_array_equal(table.batch.y[:20], rows["train"][column])
  np.testing.assert_array_equal(table.batch.y[20:], found["test"]["label"])
  np.testing.assert_array_equal(table.batch.truth.y[:20], rows["train"]["clean_label"])


def test_pictures_in_another_order_are_refused():
  found = pictures()
  found["train"]["label"] = found["train"]["label"][::-1].copy()
  with pytest.raises(ValueError, match="not in the order of cifar10n"):
    _human_labels.cifar10n(human(), "", pictures=lambda: found)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("mnist:small", {}, "variant 'small'"),
    ("mnist", {"labels": "x"}, "unknown option of mnist 'labels'"),
    ("fair_robust", {"labels": "worst"}, "labels must be one of 'general'"),
    ("crowd_adult", {"attribute": "age"}, "attribute must be one of 'gender'"),
    ("crowd_adult", {"labels": "best"}, "labels must be one of 'majority'"),
    ("bluebirds", {}, r"bluebirds has no recipe of a table: data.answers\('bluebirds'\)"),
    ("cifar10n", {"pictures": "mnist"}, "pictures must be one of 'cifar10'"),
    ("mnits", {}, "did you mean 'mnist'"),
    ("food101n", {}, r"prepare it and use data.stream\('food101n'"),
    ("cifar10h", {}, r"no recipe of a table: data.columns\('cifar10h'\)"),
    ("compas", {"favourable": "no"}, "favourable must be one of True, False, got 'no'"),
  ],
)
@needs_files
def test_refuses_what_no_recipe_has(name, options, message):
  with pytest.raises(ValueError, match=message):
    data.table(name, **options)


@needs_files
def test_fashion_mnist_has_six_thousand_of_each_class():
  table = data.table("fashion_mnist")
  y = np.asarray(table.batch.y)
  assert np.bincount(y[:60000]).tolist() == [6000] * 10
  assert np.bincount(y[60000:]).tolist() == [1000] * 10
  mnist = np.asarray(data.table("mnist").batch.y)[:60000]
  counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
  assert np.bincount(mnist).tolist() == counts


@needs_files
def test_fairbatch_is_the_clean_synthetic_data_of_fr_train():
  train, validation, test = data.load("fairbatch")
  ours = data.fr_train(poisoned=False)
  assert (train.num_rows, validation.num_rows, test.num_rows) == (1800, 200, 1000)
  np.testing.assert_allclose(train.x, ours.train.x, atol=1e-6)
  np.testing.assert_array_equal(train.y, ours.train.y)
  np.testing.assert_allclose(test.x, ours.test.x, atol=1e-6)


@needs_files
@pytest.mark.parametrize(("labels", "flips"), [("general", 200), ("grouptarget", 200), ("true", 0)])
def test_fair_robust_keeps_its_three_parts_and_its_flips(labels, flips):
  train, validation, test = data.load("fair_robust", labels=labels)
  assert (train.num_rows, validation.num_rows, test.num_rows) == (2000, 200, 1000)
  wrong = np.asarray(train.y != train.truth.y)
  assert wrong.sum() == flips
  if labels == "grouptarget":
    assert (np.asarray(train.group)[wrong] == 1).all()
  for part in (validation, test):
    np.testing.assert_array_equal(part.y, part.truth.y)
    np.testing.assert_array_equal(part.x[:, 2], part.group)


@needs_files
@pytest.mark.parametrize(
  ("labels", "accuracy"), [("majority", 0.722915), ("mean_score", 0.725542), ("first", 0.632961)]
)
def test_crowd_labels_are_as_right_as_published(labels, accuracy):
  table = data.table("crowd_adult", labels=labels)
  found = np.mean(np.asarray(table.batch.y) == np.asarray(table.batch.truth.y))
  assert abs(found - accuracy) < 5e-7
  assert table.groups == ("Female", "Male")
  assert np.bincount(np.asarray(table.batch.group)).tolist() == [781, 2265]


@needs_files
@pytest.mark.parametrize(("name", "rows"), [("crowd_adult", 3046), ("bluebirds", 108)])
def test_answers_are_those_of_the_columns(name, rows):
  found = data.columns(name)["train"]["answers"]
  answers = data.answers(name)
  assert answers.num_items == rows and answers.num_classes == 2
  yes = found >= (3 if name == "crowd_adult" else 1)
  np.testing.assert_array_equal(np.asarray(answers.label).reshape(found.shape), yes)
  if name == "crowd_adult":
    scored = data.answers(name, scores=True)
    np.testing.assert_array_equal(np.asarray(scored.label).reshape(found.shape), found - 1)
