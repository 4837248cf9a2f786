import json
import pathlib

import numpy as np
import pytest
import xarray

from rfjax import report

TABLE = report.Table(("method", "accuracy"), [("plain", 0.84)], "All.")


def write(folder, page="<p>", name="fr-train_1.0", tables=None, **more):
  tables = {"all": TABLE} if tables is None else tables
  return report.write_report(folder, name, page=page, tables=tables, times={"run": 1.5}, **more)


def snapshot(folder):
  return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def test_every_file_is_written(tmp_path):
  values = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
  seeds = np.arange(3, dtype=np.uint32)
  result = xarray.Dataset({"accuracy": (("rate", "seed"), values)}, {"seed": seeds})
  paths = write(tmp_path / "new" / "folder", "<p>é", result=result)
  found = snapshot(tmp_path / "new" / "folder")
  start = "fr-train_1.0."
  assert [path.name for path in paths] == list(
    start + end for end in ("html", "md", "all.csv", "times.json", "nc")
  )
  assert set(found) == {path.name for path in paths}
  assert found[start + "html"].decode() == "<p>é"
  assert found[start + "md"].decode() == TABLE.to_markdown()
  assert found[start + "all.csv"].decode() == TABLE.to_csv()
  assert json.loads(found[start + "times.json"]) == {"run": 1.5}
  with xarray.open_dataset(paths[-1], engine="scipy") as again:
    np.testing.assert_array_equal(again.accuracy.values, values)
    assert again.seed.values.tolist() == [0, 1, 2]
  write(tmp_path / "new" / "folder", "<p>é", result=result)
  assert snapshot(tmp_path / "new" / "folder") == found


def test_a_failure_leaves_everything_as_it_was(tmp_path, monkeypatch):
  write(tmp_path, "old")
  before, written = snapshot(tmp_path), []
  real = pathlib.Path.write_bytes

  def failing(path, content):
    written.append(path)
    real(path, content[: len(content) // 2])
    if len(written) == 3:
      raise OSError("disk full")

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, "write_bytes", failing)
    with pytest.raises(OSError, match="disk full"):
      write(tmp_path, "new")
  assert len(written) == 3 and snapshot(tmp_path) == before


def test_a_result_that_cannot_be_stored_writes_nothing(tmp_path):
  result = xarray.Dataset({"big": ("seed", np.array([2**40]))})
  with pytest.raises(ValueError, match="int64"):
    write(tmp_path / "folder", result=result)
  assert not (tmp_path / "folder").exists()


def test_links_are_replaced_and_not_followed(tmp_path):
  (tmp_path / "victim").write_text("mine")
  (tmp_path / "a.html").symlink_to(tmp_path / "victim")
  write(tmp_path, name="a")
  assert (tmp_path / "victim").read_text() == "mine"
  assert (tmp_path / "a.html").read_text() == "<p>" and not (tmp_path / "a.html").is_symlink()


BAD = [
  "",
  ".",
  "..",
  "../a",
  "a/b",
  "a\\b",
  "a b",
  "a\n",
  "-rf",
  ".hidden",
  "é",
  "a\x00",
  "a" * 101,
]


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused(tmp_path, name):
  with pytest.raises(ValueError, match="name must be 1 to 100 of the characters"):
    write(tmp_path / "folder", name=name)
  with pytest.raises(ValueError, match="tables must be 1 to 100 of the characters"):
    write(tmp_path / "folder", tables={name: TABLE})
  assert not (tmp_path / "folder").exists()
