"""Data sets by name."""

import dataclasses
import inspect
import os

import jax
import numpy as np
import pytest

from rfjax import catalog, cli, data
from rfjax.data import _recipes, _sources

KEY = jax.random.key(0)
needs_files = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set"
)


def test_fr_train_is_the_function_of_that_name():
  jax.tree.map(
    np.testing.assert_array_equal,
    data.load("fr_train", poisoned=False),
    data.fr_train(poisoned=False),
  )


@needs_files
def test_compas_is_split_and_standardised():
  parts = data.load("compas", key=KEY, attribute="race")
  assert [part.num_rows for part in parts] == [3695, 527, 1056]
  np.testing.assert_allclose(parts.train.x[:, 6].mean(), 0, atol=1e-5)
  np.testing.assert_allclose(parts.train.x[:, 6].std(), 1, atol=1e-5)
  assert sum(int(part.y.sum()) for part in parts) == 5278 - 2483
  assert sum(int(part.group.sum()) for part in parts) == 2103


def test_compas_reads_from_the_folder(tmp_path):
  with pytest.raises(FileNotFoundError, match=tmp_path.name):
    data.load("compas", data_dir=tmp_path, key=KEY)


def test_rows_are_not_drawn_without_a_key():
  with pytest.raises(ValueError, match="key is None"):
    data.split(data.zafar(KEY, 10))


@pytest.mark.parametrize(
  ("name", "hint"),
  [("fr-train", "did you mean 'fr_train'"), ("compass", "did you mean 'compas'"), ("x", "compas")],
)
def test_unknown_name_is_refused_with_the_nearest(name, hint):
  with pytest.raises(ValueError, match=hint):
    data.load(name)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"key": KEY}, "key is given, .*: leave it out"),
    ({"fractions": (0.5, 0.2, 0.3)}, "fractions is given"),
    ({"poisoned": "no"}, "poisoned must be one of True, False, got 'no'"),
    ({"poisonned": True}, "unknown option of fr_train 'poisonned': did you mean 'poisoned'"),
  ],
)
def test_fr_train_refuses_what_it_would_ignore(options, message):
  with pytest.raises(ValueError, match=message):
    data.load("fr_train", **options)


@needs_files
@pytest.mark.parametrize("poisoned", [True, False])
def test_the_table_of_fr_train_has_the_parts_of_the_function(poisoned):
  parts = data.split(data.table("fr_train", poisoned=poisoned))
  for ours, drawn in zip(parts, data.fr_train(poisoned=poisoned), strict=True):
    for name in ("x", "y", "group", "index"):
      np.testing.assert_array_equal(getattr(ours, name), getattr(drawn, name))
    np.testing.assert_array_equal(ours.truth.y, drawn.truth.y)


def test_the_table_of_fr_train_needs_files_and_load_does_not(tmp_path):
  with pytest.raises(
    FileNotFoundError, match=r"y_synthetic.npy is not there.*data.load\('fr_train'\)"
  ):
    data.table("fr_train", data_dir=tmp_path)
  assert data.load("fr_train", data_dir=tmp_path).train.num_rows == 1800


@pytest.mark.parametrize("data_set", catalog.data_sets(), ids=lambda d: d.name)
def test_every_name_has_the_options_of_its_recipe_or_another_door(data_set):
  if data_set.name not in _recipes._RECIPES:
    assert not data_set.options and not data_set.variants
    door = "stream" if "image" in data_set.columns.values() else "answers|columns"
    with pytest.raises(ValueError, match=rf"data\.({door})\('{data_set.name}'"):
      data.table(data_set.name)
    return
  known = list(inspect.signature(_recipes.recipe(data_set.name)).parameters)
  assert known == ["columns", "variant", *data_set.options]


@pytest.mark.parametrize("data_set", catalog.data_sets(), ids=lambda d: d.name)
def test_info_lists_variants_and_options(data_set, capsys, tmp_path):
  assert cli.main(["data", "info", data_set.name, "--data-dir", str(tmp_path)]) == 0
  out = " ".join(capsys.readouterr().out.split())
  for name, text in {**data_set.variants, **data_set.options}.items():
    assert f"{name} {text}" in out


@needs_files
@pytest.mark.parametrize("name", [d.name for d in catalog.data_sets() if d.variants])
def test_variants_are_those_of_the_recipe(name):
  for variant in catalog.data_set(name).variants:
    assert data.table(f"{name}:{variant}").batch.num_rows > 0
  with pytest.raises(ValueError, match="variant must be one of"):
    data.table(f"{name}:other")


@pytest.mark.parametrize("name", ["mnist", "crowd_adult", "german", "cifar10n"])
def test_a_variant_of_what_has_none_is_refused_with_the_name(name, tmp_path):
  with pytest.raises(ValueError, match=f"variant 'small' of {name} is not known"):
    data.table(f"{name}:small", data_dir=tmp_path)


@needs_files
def test_columns_are_the_publishers(tmp_path):
  found = data.columns("cifar10h")
  assert found["test"]["counts"].shape == (10000, 10)
  assert data.columns("compas")["train"]["race"].shape == (7214,)
  with pytest.raises(ValueError, match=r"use data.stream"):
    data.columns("celeb_a")
  with pytest.raises(FileNotFoundError, match=r"cifar100n_labels.npz"):
    data.columns("cifar100n", data_dir=tmp_path)


@needs_files
@pytest.mark.parametrize("name", ["crowd_adult", "crowd_compas"])
def test_the_crowds_test_rows_have_the_true_labels(name):
  train, validation, test = data.load(name, key=KEY)
  np.testing.assert_array_equal(test.y, test.truth.y)
  for part in (train, validation):
    assert 0.5 < float(np.mean(np.asarray(part.y == part.truth.y))) < 0.9
  given = data.split(data.table(name), key=KEY).test
  assert (np.asarray(given.y) != np.asarray(given.truth.y)).any()
  np.testing.assert_array_equal(given.x, test.x)
  assert data.table(name).classes == catalog.data_set(name).classes


@pytest.fixture
def made_up(monkeypatch):
  """Pictures in both forms of CIFAR-10, and labels of people, all of a few rows."""
  rng = np.random.default_rng(0)
  label = (np.arange(20) % 10).astype(np.int32)
  part = {"image": rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8), "label": label}
  labels = [name for name in catalog.data_set("cifar10n").columns if name != "image_order"]
  human = {name: label if name == "clean_label" else label[::-1].copy() for name in labels}
  human["image_order"] = np.arange(20, dtype=np.int32)
  found = {"cifar10_jpeg": {"train": part, "test": part}, "cifar10n": {"train": human}}
  known = catalog.data_set
  small = lambda name: dataclasses.replace(known(name), rows=dict.fromkeys(known(name).rows, 20))
  read = _sources.read
  monkeypatch.setattr(catalog, "data_set", small)
  monkeypatch.setattr(
    _sources, "read", lambda data_set, folder: found.get(data_set.name) or read(data_set, folder)
  )
  return human


def test_human_labels_name_the_copy_of_the_pictures(made_up, tmp_path):
  with pytest.raises(FileNotFoundError, match=r"cifar-10-binary.*pictures='cifar10_jpeg'"):
    data.table("cifar10n", data_dir=tmp_path)
  table = data.table("cifar10n", data_dir=tmp_path, pictures="cifar10_jpeg")
  np.testing.assert_array_equal(table.batch.y[:20], made_up["worse_label"])
  assert table.classes[1] == "automobile"


def test_human_labels_are_refused_before_pictures_are_read(made_up, tmp_path):
  with pytest.raises(ValueError, match="labels must be one of 'aggre'"):
    data.table("cifar10n", data_dir=tmp_path, labels="wrong")
  with pytest.raises(ValueError, match="pictures must be one of 'cifar10', 'cifar10_jpeg'"):
    data.table("cifar10n", data_dir=tmp_path, pictures="mnist")
