"""rfjax data: lists, descriptions, records and their verification, and clear refusals."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from rfjax import catalog, cli
from rfjax.data import _sources


@pytest.fixture
def small(monkeypatch):
  """A data set of eight pictures under the name of MNIST."""
  rng = np.random.default_rng(0)
  split = lambda rows: {
    "image": rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8),
    "label": np.arange(rows, dtype=np.int32),
  }
  found = {"train": split(5), "test": split(3)}
  record = dataclasses.replace(catalog.data_set("mnist"), rows={"train": 5, "test": 3})
  monkeypatch.setattr(catalog, "data_set", lambda name: record)
  monkeypatch.setattr(catalog, "data_sets", lambda: (record,))
  monkeypatch.setattr(_sources, "read", lambda data_set, folder: found)
  return found


def test_list_names_every_data_set(capsys, tmp_path):
  assert cli.main(["data", "list", "--json", "--data-dir", str(tmp_path)]) == 0
  found = json.loads(capsys.readouterr().out)
  assert [d["name"] for d in found] == [d.name for d in catalog.data_sets()]
  assert {d["here"] for d in found} == {""}
  assert cli.main(["data", "list", "--data-dir", str(tmp_path)]) == 0
  assert "train 60000, test 10000" in capsys.readouterr().out


def test_info_says_where_and_what(capsys, tmp_path):
  assert cli.main(["data", "info", "fashion_mnist", "--data-dir", str(tmp_path)]) == 0
  out = capsys.readouterr().out
  for part in ("zalandoresearch", "3aede38d", "image: uint8[28,28]", "xiao2017"):
    assert part in out


def test_prepare_and_verify(capsys, tmp_path, small):
  assert cli.main(["data", "prepare", "mnist", "--no-progress", "--data-dir", str(tmp_path)]) == 0
  assert capsys.readouterr().out.strip() == str(tmp_path / "rfjax_mnist" / "1.0.0")
  assert [path.name for path in tmp_path.iterdir()] == ["rfjax_mnist"]
  assert cli.main(["data", "verify", "--data-dir", str(tmp_path)]) == 0
  assert "records, cache: train 5, test 3" in capsys.readouterr().out
  small["train"]["label"][0] = 9
  (tmp_path / "mnist").mkdir()
  assert cli.main(["data", "verify", "mnist", "--data-dir", str(tmp_path)]) == 0
  for file in catalog.data_set("mnist").files:  # without all of them there is nothing to compare
    (tmp_path / "mnist" / file.name).touch()
  assert cli.main(["data", "verify", "mnist", "--data-dir", str(tmp_path)]) == 1
  assert "differ in train, column 'label': run `rfjax data prepare" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("info mnits", "did you mean 'mnist'"),
    ("prepare mnist", "is not there"),
    ("prepare mnist --manual-dir nowhere", "nowhere/train-images-idx3-ubyte.gz is not there"),
    ("verify", "holds no data set"),
    ("verify mnits", "did you mean 'mnist'"),
  ],
)
def test_what_is_not_there_exits_2_and_writes_nothing(capsys, tmp_path, line, message):
  assert cli.main(["data", *line.split(), "--data-dir", str(tmp_path / "new")]) == 2
  assert message in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_listing_imports_no_jax():
  code = (
    "import sys; from rfjax import cli; cli.main(['data', 'list']); print('jax' in sys.modules)"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip().endswith("False")
