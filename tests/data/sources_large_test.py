"""Readers of lists of pictures, on made-up folders in the publishers' layouts."""

import dataclasses
import io

import numpy as np
import pytest

from rfjax import catalog, data
from rfjax.data import _columns, _stored
from rfjax.data._sources import _encoded

HTML = b"<!DOCTYPE html><p>Sign in</p>"


def picture(name):
  """What starts as a JPEG file does and can be told from others."""
  return b"\xff\xd8\xff\xe0" + name.encode()


def write(folder, files):
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def small(name):
  """The catalogue's record, but for counts and digests."""
  known = catalog.data_set(name)
  return dataclasses.replace(known, rows=dict.fromkeys(known.rows, 0), files=())


def read(name, folder):
  return _columns.read(small(name), folder)


def check(columns, names, **arrays):
  """The pictures by name, in their order, and the other columns."""
  assert [columns["image"][row] for row in range(len(columns["image"]))] == [
    picture(name) for name in names
  ]
  assert list(columns["image"]) == [picture(name) for name in names]
  assert set(columns) == {"image", *arrays}
  for name, values in arrays.items():
    np.testing.assert_array_equal(columns[name], values)


KEYS = [f"images/{i}/{i}7/{i},9{i}.jpg" for i in range(10)]


@pytest.fixture
def clothes(tmp_path):
  part = lambda *rows: "".join(f"{KEYS[i]}\n" for i in rows)
  lists = {
    "noisy_label_kv.txt": "".join(f"{KEYS[i]} {13 - i}\n" for i in (5, 0, 1, 2, 3, 7)),
    "clean_label_kv.txt": "\r\n".join(f"{KEYS[i]} {i}" for i in range(9, 3, -1)),
    "noisy_train_key_list.txt": part(2, 0, 3, 1),
    "clean_train_key_list.txt": part(4, 5) + "\n",
    "clean_val_key_list.txt": part(6, 7),
    "clean_test_key_list.txt": part(9, 8),
  }
  write(tmp_path, lists | {key: picture(key) for key in KEYS})
  return tmp_path


def test_clothing1m_keeps_the_order_of_its_lists(clothes):
  found = read("clothing1m", clothes)
  at = lambda *rows: [KEYS[i] for i in rows]
  check(found["train"], at(2, 0, 3, 1), label=[11, 13, 10, 12], noisy_label=[11, 13, 10, 12])
  check(found["clean_train"], at(4, 5), label=[4, 5], noisy_label=[-1, 8])
  check(found["validation"], at(6, 7), label=[6, 7], noisy_label=[-1, 6])
  check(found["test"], at(9, 8), label=[9, 8], noisy_label=[-1, -1])
  assert found["train"]["label"].dtype == np.int32


@pytest.mark.parametrize(
  ("file", "content", "error", "message"),
  [
    ("clean_val_key_list.txt", None, FileNotFoundError, "Cysu/noisy_label"),
    ("noisy_label_kv.txt", f"{KEYS[0]} 1\n{KEYS[1]}\n", ValueError, "kv.txt, line 2 is no name"),
    ("noisy_label_kv.txt", f"\n{KEYS[0]} -1\n", ValueError, "kv.txt, line 2 is no name"),
    ("clean_label_kv.txt", f"{KEYS[4]} 14", ValueError, "line 1: label 14, expected one below 14"),
    ("noisy_train_key_list.txt", f"{KEYS[0]}\n{KEYS[4]}", ValueError, f"1 of 2 .* {KEYS[4]}"),
    ("noisy_train_key_list.txt", HTML, ValueError, "web page"),
    ("noisy_train_key_list.txt", "\n", ValueError, "no row"),
    (KEYS[0], None, FileNotFoundError, f"1 of the 4 pictures in .* such as {KEYS[0]}"),
  ],
)
def test_clothing1m_refuses_what_is_missing_or_wrong(clothes, file, content, error, message):
  (clothes / file).unlink()
  if content is not None:
    write(clothes, {file: content})
  with pytest.raises(error, match=message):
    read("clothing1m", clothes)


def test_missing_pictures_are_counted_and_the_first_of_the_list_is_named(clothes):
  for row in (0, 2, 3):
    (clothes / KEYS[row]).unlink()
  with pytest.raises(FileNotFoundError, match=f"3 of the 4 pictures .*noisy_train.* {KEYS[2]}:"):
    read("clothing1m", clothes)


@pytest.mark.parametrize("name", ["../secret.jpg", "images/../../secret.jpg", "/etc/secret.jpg"])
def test_a_list_cannot_name_files_outside(clothes, name):
  write(clothes, {"noisy_train_key_list.txt": name, "noisy_label_kv.txt": f"{name} 0"})
  write(clothes.parent, {"secret.jpg": picture("secret")})
  with pytest.raises(ValueError, match="leads out"):
    read("clothing1m", clothes)


def test_pictures_are_read_when_asked_for_and_must_be_pictures(clothes, monkeypatch):
  asked = []
  monkeypatch.setattr(_encoded.Directory, "read", lambda self, name: asked.append(name) or HTML)
  column = read("clothing1m", clothes)["train"]["image"]
  assert len(column) == 4 and asked == []
  with pytest.raises(ValueError, match=f"{KEYS[3]} is no JPEG or PNG picture but a web page"):
    column[2]
  assert asked == [KEYS[3]]
  with pytest.raises(IndexError):
    column[4]
  png = b"\x89PNG\r\n\x1a\n..."
  for content, message in [(png, None), (b"", "but empty"), (b"GIF89a", "but b'GIF89a'")]:
    monkeypatch.setattr(_encoded.Directory, "read", lambda self, name: content)
    if message is None:
      assert column[0] == content
      continue
    with pytest.raises(ValueError, match=message):
      column[0]


WEB = {
  "google": [("google/q0001/b.jpg", 49), ("google/q0001/a.jpg", 50), ("google/q0002/a.jpg", 0)],
  "flickr": [("flickr/q0001/a.jpg", 999), ("flickr/q0001/c.jpg", 3)],
}
WEB_VALIDATION = [("val000001.jpg", 3), ("val000002.jpg", 700)]


def web(folder, sources, validation="val_images_256"):
  text = lambda rows: "".join(f"{name} {label}\n" for name, label in rows)
  write(folder, {f"info/train_filelist_{s}.txt": text(WEB[s]) for s in sources})
  write(folder, {name: picture(name) for s in sources for name, _ in WEB[s]})
  write(folder, {"info/val_filelist.txt": text(WEB_VALIDATION)})
  write(folder, {f"{validation}/{name}": picture(name) for name, _ in WEB_VALIDATION})


def test_webvision_is_google_then_flickr(tmp_path):
  web(tmp_path, ("google", "flickr"))
  found = read("webvision", tmp_path)
  names, labels = zip(*WEB["google"], *WEB["flickr"], strict=True)
  check(found["train"], names, label=labels)
  check(found["validation"], ["val000001.jpg", "val000002.jpg"], label=[3, 700])


def test_webvision_mini_is_googles_first_50_classes(tmp_path):
  web(tmp_path, ("google",), "val_images")
  (tmp_path / "google/q0001/a.jpg").unlink()  # of class 50
  found = read("webvision_mini", tmp_path)
  check(found["train"], ["google/q0001/b.jpg", "google/q0002/a.jpg"], label=[49, 0])
  check(found["validation"], ["val000001.jpg"], label=[3])


def test_webvision_names_the_list_whose_pictures_are_missing(tmp_path):
  web(tmp_path, ("google", "flickr"))
  (tmp_path / "flickr/q0001/c.jpg").unlink()
  with pytest.raises(FileNotFoundError, match=r"1 of the 2 .*flickr\.txt .* flickr/q0001/c.jpg"):
    read("webvision", tmp_path)
  write(tmp_path, {"info/train_filelist_google.txt": "google/q0001/b.jpg 1000"})
  with pytest.raises(ValueError, match="line 1: label 1000, expected one below 1000"):
    read("webvision", tmp_path)


FOOD = ["waffles/w.jpg", "apple_pie/b.jpg", "apple_pie/a.jpg", "sushi/s.jpg"]


def food(folder, content=picture):
  meta, head = "Food-101N_release/meta", "class_name/key\tverification_label\n"
  lists = {
    f"{meta}/imagelist.tsv": "class_name/key\n" + "\n".join(FOOD),
    f"{meta}/verified_train.tsv": f"{head}{FOOD[2]}\t0\n{FOOD[0]}\t1\nsushi/elsewhere.jpg\t1\n",
    f"{meta}/verified_val.tsv": f"{head}{FOOD[3]}\t0\n{FOOD[1]}\t1\n",
    "food-101/meta/test.txt": "waffles/12\nbaklava/34\n",
  }
  write(folder, lists)
  write(folder, {f"Food-101N_release/images/{name}": content(name) for name in FOOD})
  tested = ("waffles/12.jpg", "baklava/34.jpg")
  write(folder, {f"food-101/images/{name}": content(name) for name in tested})


def test_food101n_has_what_people_say_of_the_labels(tmp_path):
  food(tmp_path)
  found = read("food101n", tmp_path)
  train = {"label": [100, 0, 0, 95], "verified": [1, -1, 0, -1], "held_out": [0, 1, 0, 1]}
  check(found["train"], FOOD, **train)
  held_out = {"label": [95, 0], "verified": [0, 1], "held_out": [1, 1]}
  check(found["validation"], [FOOD[3], FOOD[1]], **held_out)
  test = {"label": [100, 2], "verified": [1, 1], "held_out": [0, 0]}
  check(found["test"], ["waffles/12.jpg", "baklava/34.jpg"], **test)


def test_food101n_refuses_other_classes_and_labels(tmp_path):
  food(tmp_path)
  write(tmp_path, {"food-101/meta/test.txt": "waffles/12\nbread/1\n"})
  with pytest.raises(ValueError, match=r"test.txt: bread/1.jpg is in none of the 101 classes"):
    read("food101n", tmp_path)
  write(tmp_path, {"food-101/meta/test.txt": "waffles/12\n"})
  write(tmp_path, {"Food-101N_release/meta/imagelist.tsv": f"{FOOD[0]}\nclass_name/key\n"})
  with pytest.raises(ValueError, match=r"imagelist.tsv: class_name/key is in none"):
    read("food101n", tmp_path)
  write(tmp_path, {"Food-101N_release/meta/verified_val.tsv": f"class_name/key\tv\n{FOOD[0]}\t2"})
  with pytest.raises(ValueError, match="line 2: label 2, expected one below 2"):
    read("food101n", tmp_path)


def jpeg(name):
  """A picture of one colour, grey for one of the names."""
  image = pytest.importorskip("PIL.Image")
  grey, size = name == FOOD[0], (7, 5 + FOOD.index(name) if name in FOOD else 4)
  found, file = image.new("L" if grey else "RGB", size, 90 if grey else (200, 30, 60)), io.BytesIO()
  found.save(file, "JPEG")
  return file.getvalue()


def contents(folder):
  return {path: path.is_file() and path.read_bytes() for path in sorted(folder.rglob("*"))}


def test_pictures_are_prepared_and_read_back(tmp_path, monkeypatch):
  image = pytest.importorskip("PIL.Image")
  tfds = pytest.importorskip("tensorflow_datasets")
  record = small("food101n")
  monkeypatch.setattr(catalog, "data_set", lambda name: record)
  manual, folder = tmp_path / "manual", tmp_path / "data"
  food(manual, jpeg)
  path = data.prepare("food101n", data_dir=folder, manual_dir=manual, progress=False)
  source = tfds.builder_from_directory(path).as_data_source("train")
  assert [row["label"] for row in source] == [100, 0, 0, 95]
  for row, name in zip(source, FOOD, strict=True):
    expected = np.asarray(image.open(io.BytesIO(jpeg(name))).convert("RGB"))
    np.testing.assert_array_equal(row["image"], expected)
    assert expected.shape == (5 + FOOD.index(name), 7, 3)
  cached = _stored.cached(record, folder)
  np.testing.assert_array_equal(cached["train"]["verified"], [1, -1, 0, -1])
  assert set(cached["test"]) == {"label", "verified", "held_out"}

  before = contents(folder)
  last = manual / "food-101/images/baklava/34.jpg"
  last.write_bytes(HTML)
  with pytest.raises(ValueError, match=r"34.jpg is no JPEG or PNG picture but a web page"):
    data.prepare("food101n", data_dir=folder, manual_dir=manual, progress=False)
  assert contents(folder) == before
  last.unlink()
  with pytest.raises(FileNotFoundError, match="1 of the 2 pictures"):
    data.prepare("food101n", data_dir=folder, manual_dir=manual, progress=False)
  assert contents(folder) == before
