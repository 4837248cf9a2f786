"""Publishers' files that are missing or wrong: refused with advice, and nothing is written."""

import dataclasses
import gzip
import hashlib
import os
import struct

import numpy as np
import pytest

from rfjax import catalog, data
from rfjax.data import _columns, _records, _stored
from rfjax.data._files import Folder

CSV = "compas-scores-two-years.csv"
PAGE = b"<!doctype html><title>Sign in</title>"
ROWS = {"train": 3, "test": 2}


def records(folder):
  """All that lies in a folder: the bytes of files, None for folders."""
  if not folder.exists():
    return None
  paths = sorted(folder.rglob("*"))
  return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in paths}


def digests(folder, names):
  known = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names}
  return tuple(catalog.File(name, sha256) for name, sha256 in known.items())


def without_digests(data_set):
  return dataclasses.replace(data_set, files=tuple(catalog.File(f.name) for f in data_set.files))


@pytest.fixture
def table(tmp_path):
  """Reads the table of COMPAS from the given bytes, whatever their digest."""
  data_set = without_digests(catalog.data_set("compas"))

  def read(content, rows=2):
    (tmp_path / CSV).write_bytes(content)
    return _columns.read(dataclasses.replace(data_set, rows={"train": rows}), tmp_path)

  return read


def lines(count, *, without="", value="1"):
  names = [name for name in catalog.data_set("compas").columns if name != without]
  return "\n".join([",".join(names), *[",".join([value] * len(names))] * count]).encode()


def test_whole_table_is_read(table):
  assert table(lines(2))["train"]["race"].tolist() == ["1", "1"]


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (b"", "none of the 0 names in its first line is 'sex'"),
    (PAGE, "web page and not data"),
    (lines(2, without="race"), "none of the 16 names in its first line is 'race'"),
    (lines(3), "column 'sex': 3 rows, expected 2"),
    (lines(1), "column 'sex': 1 rows, expected 2"),
    (lines(0), "column 'sex': 0 rows, expected 2"),
    (lines(2) + b",Jane Doe", "row 2 has 18 fields, expected 17"),
    (lines(2).replace(b"1,1", b"1,\0", 1), "is zero"),
    (lines(2, value="Jane Doe"), "row 1: column 'age' holds no whole number"),
    (gzip.compress(lines(2)), "no text in UTF-8"),
  ],
)
def test_wrong_table_is_refused_without_its_rows(table, tmp_path, content, match):
  with pytest.raises(ValueError, match=match) as error:
    table(content)
  assert str(tmp_path) in str(error.value) and "Jane" not in str(error.value)


def test_table_without_rows_is_refused_where_copies_differ(table):
  with pytest.raises(ValueError, match="there is no row"):
    table(lines(0), rows=0)


@pytest.mark.parametrize(
  ("content", "diagnosis"),
  [(b"", "since it is empty"), (PAGE, "since it is a web page"), (lines(2), r"\w{56}: fetch")],
)
def test_file_with_another_digest_is_refused(tmp_path, content, diagnosis):
  (tmp_path / CSV).write_bytes(content)
  found = hashlib.sha256(content).hexdigest()
  with pytest.raises(ValueError, match=f"{found}, expected c451db85.*{diagnosis}.*propublica"):
    Folder(catalog.data_set("compas"), tmp_path).file(CSV)


def test_file_with_the_digest_is_found(tmp_path):
  (tmp_path / "a").write_bytes(b"content")
  data_set = dataclasses.replace(catalog.data_set("mnist"), files=digests(tmp_path, ["a"]))
  folder = Folder(data_set, tmp_path)
  assert folder.file("a") == tmp_path / "a" and folder.bytes("a") == b"content"


@pytest.mark.parametrize(
  "what", [lambda f: f.file(CSV), lambda f: f.bytes(CSV), lambda f: f.folder("x")]
)
def test_missing_file_names_the_places_and_the_publisher(tmp_path, what):
  with pytest.raises(FileNotFoundError) as error:
    what(Folder(catalog.data_set("compas"), tmp_path))
  for place in (
    "data_dir",
    "RFJAX_DATA_DIR",
    "./data",
    "propublica/compas-analysis",
    CSV,
    "compas",
  ):
    assert place in str(error.value)


def test_a_folder_that_the_user_named_is_where_files_go(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"put .* into the folder that manual_dir=") as error:
    Folder(catalog.data_set("compas"), tmp_path, named=True).file(CSV)
  assert "RFJAX_DATA_DIR" not in str(error.value)


def test_folder_in_the_place_of_a_file_is_no_file(tmp_path):
  (tmp_path / CSV).mkdir()
  folder = Folder(catalog.data_set("compas"), tmp_path)
  with pytest.raises(FileNotFoundError):
    folder.file(CSV)
  assert folder.folder(CSV) == tmp_path / CSV


def test_folder_beside(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for path in (tmp_path / "compas", "compas", "../compas/"):
    beside = Folder(catalog.data_set("compas"), path).beside("mnist")
    assert os.path.abspath(beside.path) == os.path.abspath(os.path.join(path, "..", "mnist"))
    assert beside.data_set.name == "mnist"
  (tmp_path / "compas").mkdir()
  monkeypatch.chdir("compas")
  assert Folder(catalog.data_set("compas"), ".").beside("mnist").path == tmp_path / "mnist"


def idx(values):
  head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
  return gzip.compress(head + values.tobytes(), mtime=0)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
  """A folder of data with a few made-up rows under the name of MNIST, and a file beside them."""
  folder = tmp_path / "data"
  (folder / "mnist").mkdir(parents=True)
  (folder / "notes.txt").write_text("mine")
  rng = np.random.default_rng(0)
  for stem, rows in zip(("train", "t10k"), ROWS.values(), strict=True):
    image = rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
    (folder / "mnist" / f"{stem}-images-idx3-ubyte.gz").write_bytes(idx(image))
    label = rng.integers(0, 10, rows, dtype=np.uint8)
    (folder / "mnist" / f"{stem}-labels-idx1-ubyte.gz").write_bytes(idx(label))
  whole = catalog.data_set("mnist")
  files = digests(folder / "mnist", [file.name for file in whole.files])
  known = dataclasses.replace(whole, rows=ROWS, files=files)

  def use(data_set):
    monkeypatch.setattr(catalog, "data_set", lambda name: data_set)

  use(known)
  return folder, known, use


def prepare(folder, manual):
  return data.prepare("mnist", data_dir=folder, manual_dir=manual, progress=False)


def fails_and_writes_nothing(folder, match, error=ValueError):
  """Into the folder of data, and into one that is not there."""
  manual, new = folder / "mnist", folder.parent / "new" / "and deep"
  before = records(folder)
  for where in (folder, new):
    with pytest.raises(error, match=match):
      prepare(where, manual)
  assert records(folder) == before and not new.exists()


LABELS = "t10k-labels-idx1-ubyte.gz"
WRONG = {
  "empty": (b"", "no whole gzip file|no IDX file"),
  "a web page": (PAGE, "no whole gzip file"),
  "cut": (idx(np.zeros(2, np.uint8))[:-3], "no whole gzip file"),
  "not in the format": (gzip.compress(b"label\n3\n"), "no IDX file"),
  "too many rows": (idx(np.zeros(3, np.uint8)), "column 'label': 3 rows, expected 2"),
  "another shape": (idx(np.zeros((2, 1), np.uint8)), r"int32 \(1,\), expected"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_file_prepares_nothing(mnist, what):
  folder, known, use = mnist
  content, match = WRONG[what]
  (folder / "mnist" / LABELS).write_bytes(content)
  fails_and_writes_nothing(folder, f"{LABELS} has sha256")
  use(without_digests(known))
  fails_and_writes_nothing(folder, match)


def test_missing_file_prepares_nothing(mnist):
  folder = mnist[0]
  (folder / "mnist" / LABELS).unlink()
  fails_and_writes_nothing(folder, "is not there: .*--manual-dir", FileNotFoundError)


def test_what_stops_the_writing_leaves_no_trace_and_the_older_records(mnist, monkeypatch):
  folder, _, _ = mnist
  manual, new = folder / "mnist", folder.parent / "new" / "and deep"
  written = prepare(folder, manual)
  assert written == folder / "rfjax_mnist" / "1.0.0"
  before = records(folder)
  read = data.columns("mnist", data_dir=folder)

  def stop(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(_records, "save_cache", stop)
    for where in (folder, new):
      with pytest.raises(KeyboardInterrupt):
        prepare(where, manual)
  assert records(folder) == before and not new.parent.exists()
  fresh = _stored.read_records(catalog.data_set("mnist"), folder)
  (manual / LABELS).unlink()  # with which neither records nor cache need to do
  for found in (fresh, data.columns("mnist", data_dir=folder)):
    for split, rows in ROWS.items():
      assert len(found[split]["label"]) == rows
      for name, values in found[split].items():
        np.testing.assert_array_equal(values, read[split][name])


def test_records_that_cannot_be_moved_leave_the_older_ones(mnist, monkeypatch):
  folder, _, _ = mnist
  target = prepare(folder, folder / "mnist")
  before, replace = records(folder), os.replace

  def refuse(source, destination):
    if destination == target and "old" not in str(source):
      raise PermissionError("the disk is full")
    replace(source, destination)

  monkeypatch.setattr(os, "replace", refuse)
  with pytest.raises(PermissionError):
    prepare(folder, folder / "mnist")
  assert records(folder) == before
