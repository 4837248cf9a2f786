"""Files and records that are damaged, missing or another's: found, said, and the rest goes on."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest

from rfjax import catalog, cli, data
from rfjax._places import has_files
from rfjax.data import _records, _sources, _stored, _verify

ROWS = {"train": 50, "test": 6}


@pytest.fixture
def sets(monkeypatch):
  """Two small data sets under the names of MNIST and of its copy in clothes."""
  rng = np.random.default_rng(0)
  split = lambda rows: {
    "image": rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8),
    "label": np.arange(rows, dtype=np.int32) % 10,
  }
  found = {name: {s: split(n) for s, n in ROWS.items()} for name in ("fashion_mnist", "mnist")}
  known = {n: dataclasses.replace(catalog.data_set(n), rows=ROWS) for n in found}
  monkeypatch.setattr(catalog, "data_set", lambda name: known[name])
  monkeypatch.setattr(catalog, "data_sets", lambda: tuple(known.values()))
  monkeypatch.setattr(_sources, "read", lambda data_set, folder: found[data_set.name])
  return found


@pytest.fixture
def folder(sets, tmp_path):
  for name in sets:
    data.prepare(name, data_dir=tmp_path, progress=False)
  return tmp_path


def change(path, how):
  content = path.read_bytes()
  middle = len(content) // 2
  ways = {
    "removed": None,
    "empty": b"",
    "cut": content[:middle],
    "flipped": content[:middle] + bytes(255 - b for b in content[middle:]),
    "another": b"<!DOCTYPE html>" * 99,
  }
  path.unlink()
  if ways[how] is not None:
    path.write_bytes(ways[how])


FILES = ("*train*.array_record*", "dataset_info.json", "features.json", _stored.CACHE)
HOW = ("removed", "empty", "cut", "flipped", "another")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("file", FILES)
def test_damage_is_said_in_a_line_and_the_next_set_is_read(folder, capsys, file, how):
  (path,) = (folder / "rfjax_fashion_mnist" / "1.0.0").glob(file)
  change(path, how)
  code = cli.main(["data", "verify", "--data-dir", str(folder)])
  first, second = capsys.readouterr().out.splitlines()
  assert second.split() == "mnist records, cache: train 50, test 6".split()
  if file == _stored.CACHE and how == "removed":  # as the builder by itself leaves them
    assert code == 0 and first.split()[1:] == "records: train 50, test 6".split()
    return
  assert code == 1 and first.startswith("fashion_mnist   WRONG, ")
  assert "is damaged (" in first and "run `rfjax data prepare fashion_mnist` again" in first


@pytest.mark.parametrize("how", HOW[1:])
def test_a_damaged_cache_is_not_loaded(folder, how):
  change(folder / "rfjax_mnist" / "1.0.0" / _stored.CACHE, how)
  for read in (data.load, data.table, data.columns):
    with pytest.raises(ValueError, match=r"is damaged .*run `rfjax data prepare mnist` again"):
      read("mnist", data_dir=folder)


def test_a_cache_of_other_rows_is_not_loaded(folder, sets):
  path = folder / "rfjax_mnist" / "1.0.0" / _stored.CACHE
  found = {split: dict(part) for split, part in sets["mnist"].items()}
  found["train"]["label"] = found["train"]["label"][:-1]
  _stored.save_cache(catalog.data_set("mnist"), found, path)
  with pytest.raises(ValueError, match=r"damaged \(.*'label': 49 rows, expected 50\): run"):
    data.load("mnist", data_dir=folder)


def test_records_of_the_builder_alone_load_and_stream(sets, tmp_path):
  tfds = pytest.importorskip("tensorflow_datasets")
  config = tfds.download.DownloadConfig(manual_dir=tmp_path)
  data.builder("mnist", data_dir=tmp_path).download_and_prepare(download_config=config)
  assert not list(tmp_path.rglob(_stored.CACHE))
  found = data.columns("mnist", data_dir=tmp_path)
  for split, part in sets["mnist"].items():
    for name, values in part.items():
      np.testing.assert_array_equal(found[split][name], values)
  table = data.table("mnist", data_dir=tmp_path)
  assert table.test_rows == 6 and table.classes[9] == "9"
  pytest.importorskip("grain")
  stream = data.stream("mnist", batch_size=4, data_dir=tmp_path)
  np.testing.assert_array_equal(stream.labels.y, sets["mnist"]["train"]["label"])


def test_a_damaged_record_stops_a_stream_with_its_name(folder):
  pytest.importorskip("grain")
  stream = data.stream("mnist", batch_size=4, data_dir=folder)
  (path,) = (folder / "rfjax_mnist" / "1.0.0").glob("*train*.array_record*")
  change(path, "flipped")
  with pytest.raises(ValueError, match=r"rfjax_mnist/1.0.0 is damaged"):
    stream.fetch(np.arange(50))


def test_a_folder_with_another_sets_files_is_not_read(tmp_path, monkeypatch):
  """The labels of CIFAR-100 may be prepared from elsewhere, beside the files of CIFAR-10N."""
  data_set = dataclasses.replace(catalog.data_set("cifar100n"), rows={"train": 3})
  columns = {name: np.arange(3, dtype=np.int32) for name in data_set.columns}
  monkeypatch.setattr(catalog, "data_set", lambda name: data_set)
  with monkeypatch.context() as patch:
    patch.setattr(_sources, "read", lambda data_set, folder: {"train": columns})
    data.prepare("cifar100n", data_dir=tmp_path, progress=False)
  (tmp_path / "cifar_n").mkdir()
  (tmp_path / "cifar_n" / "cifar10n_labels.npz").touch()
  assert _verify.verify(data_set, tmp_path) == "records, cache: train 3"


def test_what_cannot_be_looked_at_is_wrong_and_not_here(folder, capsys, monkeypatch):
  def refuse(data_set, data_dir):
    raise PermissionError(13, "Permission denied", str(data_dir))

  monkeypatch.setattr(_stored, "read_records", lambda *rest: refuse(*rest[:2]))
  assert cli.main(["data", "verify", "--data-dir", str(folder)]) == 1
  out = capsys.readouterr().out
  assert out.count("WRONG, [Errno 13] Permission denied") == 2

  def scandir(path):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(os, "scandir", scandir)
  monkeypatch.setattr(pathlib.Path, "is_dir", scandir)
  known = dataclasses.replace(catalog.data_set("mnist"), files=())
  monkeypatch.setattr(catalog, "data_sets", lambda: (known,))
  (folder / "mnist").mkdir()
  assert cli.main(["data", "list", "--json", "--data-dir", str(folder)]) == 0
  assert '"here": "records"' in capsys.readouterr().out


def test_an_empty_folder_holds_nothing(tmp_path):
  folder = tmp_path / "acs_income"
  assert not has_files(folder, ())
  folder.mkdir()
  assert not has_files(folder, ())
  (folder / "psam_p06.csv").touch()
  assert has_files(folder, ()) and not has_files(folder / "psam_p06.csv", ())
  both = [catalog.File("psam_p06.csv"), catalog.File("psam_p36.csv")]
  assert has_files(folder, both[:1]) and not has_files(folder, both)


def test_a_folder_in_the_place_of_a_file_is_no_file(tmp_path, capsys, sets):
  for file in catalog.data_set("mnist").files:
    (tmp_path / "mnist" / file.name).mkdir(parents=True)
  assert cli.main(["data", "list", "--json", "--data-dir", str(tmp_path)]) == 0
  assert capsys.readouterr().out.count('"here": ""') == 2


def test_a_writer_that_fails_is_said_in_a_line(sets, tmp_path, monkeypatch, capsys):
  def fail(*args):
    raise RuntimeError("No space left on device")

  monkeypatch.setattr(_records._builder_class("mnist"), "_generate_examples", fail)
  assert cli.main(["data", "prepare", "mnist", "--data-dir", str(tmp_path)]) == 2
  err = capsys.readouterr().err
  assert "rfjax: the records of mnist cannot be written to" in err and "No space left" in err
  assert not list(tmp_path.iterdir())
