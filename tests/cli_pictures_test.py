"""rfjax data on a set of encoded pictures: prepared, verified picture by picture, and ended."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from rfjax import catalog, cli, data
from rfjax.data import _stored

TRAIN = [f"google/q1/{i}.jpg" for i in range(7)]
VALIDATION = [f"val{i}.jpg" for i in range(3)]


def jpeg(shade):
  """A picture of one shade, 6 x 5."""
  image = pytest.importorskip("PIL.Image")
  path = f"{shade}.jpg"
  image.new("RGB", (6, 5), (shade, 0, 255 - shade)).save(path)
  with open(path, "rb") as file:
    return file.read()


def verify(folder):
  return cli.main(["data", "verify", "webvision_mini", "--data-dir", str(folder)])


@pytest.fixture
def manual(tmp_path, monkeypatch):
  """A made-up WebVision under its own name, in the folder where it is looked for."""
  (tmp_path / "scratch").mkdir()
  monkeypatch.chdir(tmp_path / "scratch")
  record = catalog.data_set("webvision_mini")
  rows = {"train": len(TRAIN), "validation": len(VALIDATION)}
  known = dataclasses.replace(record, rows=rows)
  monkeypatch.setattr(catalog, "data_set", lambda name: known)
  folder = tmp_path / "data" / "webvision"
  lists = {"info/train_filelist_google.txt": TRAIN, "info/val_filelist.txt": VALIDATION}
  places = [*TRAIN, *(f"val_images/{name}" for name in VALIDATION)]
  for shade, place in enumerate(places):
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_bytes(jpeg(20 * shade))
  for name, pictures in lists.items():
    (folder / name).parent.mkdir(exist_ok=True)
    lines = [f"{picture} {row}\n" for row, picture in enumerate(pictures)]
    (folder / name).write_text("".join(lines))
  return folder


def test_pictures_are_prepared_and_verified(manual, capsys):
  folder = manual.parent
  assert verify(folder) == 0
  said = capsys.readouterr()
  assert said.out.split() == "webvision_mini files: train 7, validation 3".split()
  assert "webvision_mini: reading" in said.err and "pictures 10/10" in said.err
  assert cli.main(["data", "prepare", "webvision_mini", "--data-dir", str(folder)]) == 0
  said = capsys.readouterr()
  assert said.err.startswith("webvision_mini: reading\n") and "rows 10/10" in said.err
  assert verify(folder) == 0
  said = capsys.readouterr()
  assert "files, records, cache: train 7, validation 3" in said.out
  assert "pictures 10/10" in said.err
  manual.rename(folder / "elsewhere")
  assert verify(folder) == 0
  assert "mini  records, cache: train 7, validation 3" in capsys.readouterr().out


def test_a_progress_that_is_not_asked_for_says_nothing(manual, capsys):
  command = ["data", "prepare", "webvision_mini", "--no-progress", "--data-dir"]
  assert cli.main([*command, str(manual.parent)]) == 0
  assert capsys.readouterr().err == ""


def test_a_picture_that_differs_or_is_none_is_named(manual, capsys):
  folder = manual.parent
  data.prepare("webvision_mini", data_dir=folder, progress=False)
  whole = (manual / TRAIN[4]).read_bytes()
  (manual / TRAIN[4]).write_bytes(jpeg(3))
  assert verify(folder) == 1
  out = capsys.readouterr().out
  assert "WRONG, files and records differ in train, column 'image', row 4: run" in out
  (manual / TRAIN[4]).write_bytes(b"<!DOCTYPE html>")
  assert verify(folder) == 1
  assert "WRONG" in (out := capsys.readouterr().out) and "4.jpg is no JPEG or PNG" in out
  (folder / "rfjax_webvision_mini").rename(folder / "records")
  assert verify(folder) == 1
  assert "4.jpg is no JPEG or PNG" in capsys.readouterr().out
  (manual / TRAIN[4]).write_bytes(whole)
  assert verify(folder) == 0


def test_a_damaged_record_of_a_picture_is_said(manual, capsys):
  folder = manual.parent
  path = data.prepare("webvision_mini", data_dir=folder, progress=False)
  (record,) = path.glob("*train*.array_record*")
  content = record.read_bytes()
  record.write_bytes(content[: len(content) // 2])
  assert verify(folder) == 1
  out = capsys.readouterr().out
  assert "is damaged (" in out and "run `rfjax data prepare webvision_mini` again" in out


def test_a_picture_that_cannot_be_decoded_stops_a_stream_with_its_row(manual):
  pytest.importorskip("grain")
  (manual / TRAIN[5]).write_bytes(jpeg(5)[:80])
  data.prepare("webvision_mini", data_dir=manual.parent, progress=False)
  options = {"batch_size": 2, "image_size": 4, "data_dir": manual.parent}
  stream = data.stream("webvision_mini", **options)
  assert stream.fetch(np.array([4, 0])).shape == (2, 4, 4, 3)
  with pytest.raises(ValueError, match=r"webvision_mini/1.0.0, train, row 5 cannot be decoded"):
    stream.fetch(np.array([0, 5]))


def test_records_without_a_cache_have_the_same_labels(manual):
  path = data.prepare("webvision_mini", data_dir=manual.parent, progress=False)
  known = catalog.data_set("webvision_mini")
  cached = _stored.stored(known, manual.parent)
  (path / _stored.CACHE).unlink()
  read = _stored.stored(known, manual.parent)
  for split, part in cached.items():
    np.testing.assert_array_equal(part["label"], read[split]["label"])


ENDLESS = """
  import dataclasses, sys, time
  import numpy as np
  from rfjax import catalog, cli
  from rfjax.data import _sources

  class Slow:
    dtype, shape = np.dtype(np.uint8), (9, 28, 28)
    def __len__(self):
      return 9
    def __getitem__(self, row):
      print(f"row {row}", file=sys.stderr, flush=True)
      time.sleep(60 * (row == 1))
      return np.zeros((28, 28), np.uint8)

  record = dataclasses.replace(catalog.data_set("mnist"), rows={"train": 9})
  catalog.data_set = lambda name: record
  part = {"image": Slow(), "label": np.zeros(9, np.int32)}
  _sources.read = lambda data_set, folder: {"train": part}
  sys.exit(cli.main(["data", "prepare", "mnist", "--data-dir", sys.argv[1]]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without a word")
def test_a_preparation_that_is_told_to_end_leaves_nothing(tmp_path):
  code = textwrap.dedent(ENDLESS)
  command = [sys.executable, "-c", code, str(tmp_path)]
  with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
    assert any(line == "row 1\n" for line in process.stderr)
    assert list(tmp_path.glob(".preparing-*"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143
  assert not list(tmp_path.iterdir())


def test_doctor_does_not_list_what_is_half_written(tmp_path, capsys):
  for name in (".preparing-x", "mnist"):
    (tmp_path / name).mkdir()
  assert cli.main(["doctor", "--json", "--data-dir", str(tmp_path)]) == 0
  assert '"sets": [\n      "mnist"\n    ]' in capsys.readouterr().out


@pytest.mark.parametrize("error", [PermissionError, IsADirectoryError, NotADirectoryError, OSError])
def test_what_cannot_be_read_or_written_is_one_line(tmp_path, capsys, monkeypatch, error):
  def refuse(*args, **options):
    raise error(13, "it is not possible", "a/file")

  monkeypatch.setattr(data, "prepare", refuse)
  assert cli.main(["data", "prepare", "mnist", "--data-dir", str(tmp_path)]) == 2
  assert capsys.readouterr().err == "rfjax: [Errno 13] it is not possible: 'a/file'\n"
