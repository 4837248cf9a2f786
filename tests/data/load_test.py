"""Data sets by name."""

import os

import jax
import numpy as np
import pytest

from rfjax import data

KEY = jax.random.key(0)


def test_fr_train_is_the_function_of_that_name():
  jax.tree.map(
    np.testing.assert_array_equal,
    data.load("fr_train", poisoned=False),
    data.fr_train(poisoned=False),
  )


@pytest.mark.skipif(not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set")
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
