"""Readers of ANIMAL-10N, CelebA and the income task of the American Community Survey."""

import dataclasses
import io
import struct
import sys
import zipfile

import numpy as np
import pytest

from rfjax import catalog
from rfjax.data import _columns
from rfjax.data._sources import _encoded


def read(name, folder):
  """Reads as the catalogue says, but for counts and digests."""
  known = catalog.data_set(name)
  small = dataclasses.replace(known, rows=dict.fromkeys(known.rows, 0), files=())
  return _columns.read(small, folder)


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
LABELS = [9, 0, 3, 3, 7]


def record(row, order=">"):
  """A row as SELFIE's README has it: number, label, and the planes red, green and blue."""
  head = struct.pack(f"{order}II", 70000 + row, LABELS[row])
  return head + b"".join(IMAGES[row, :, :, channel].tobytes() for channel in range(3))


@pytest.fixture
def binary(tmp_path):
  (tmp_path / "data_batch_1.bin").write_bytes(record(2))
  (tmp_path / "data_batch_2.bin").write_bytes(record(0))
  (tmp_path / "data_batch_3.bin").write_bytes(record(1))
  (tmp_path / "test_batch.bin").write_bytes(record(4) + record(3))
  return tmp_path


def test_animal10n_keeps_the_order_of_its_binary_files(binary):
  found = read("animal10n", binary)
  for split, rows in {"train": [2, 0, 1], "test": [4, 3]}.items():
    np.testing.assert_array_equal(found[split]["image"], IMAGES[rows])
    np.testing.assert_array_equal(found[split]["label"], np.array(LABELS)[rows])
  found["train"]["image"][0] = 0  # not a view of the file


@pytest.mark.parametrize(
  ("content", "error", "message"),
  [
    (None, FileNotFoundError, "test_batch.bin is not there"),
    (b"", ValueError, "0 bytes are no whole rows of 12296"),
    (record(0)[:-1], ValueError, "12295 bytes are no whole rows of 12296"),
    (record(1)[:7] + b"\n" + record(1)[8:], ValueError, "row 1: label 10, expected one below 10"),
    (record(1) + record(0, "<"), ValueError, "row 2: label 150994944, expected one below 10"),
  ],
)
def test_animal10n_refuses_other_files(binary, content, error, message):
  (binary / "test_batch.bin").unlink()
  if content is not None:
    (binary / "test_batch.bin").write_bytes(content)
  with pytest.raises(error, match=message):
    read("animal10n", binary)


def save(path, image):
  """Writes PNG content, which is exact, whatever the name says."""
  path.parent.mkdir(exist_ok=True)
  file = io.BytesIO()
  pytest.importorskip("PIL.Image").fromarray(image).save(file, "PNG")
  path.write_bytes(file.getvalue())


@pytest.fixture
def pictures(tmp_path):
  places = ["training/9_img_10.jpg", "training/0_img_9.jpg", "training/3_img_10.jpg"]
  for row, place in enumerate([*places, "testing/3_img_2.jpg", "testing/7_img_1.jpg"]):
    save(tmp_path / place, IMAGES[row])
  return tmp_path


def test_animal10n_decodes_pictures_by_number_and_label(pictures):
  found = read("animal10n", pictures)
  for split, rows in {"train": [1, 2, 0], "test": [4, 3]}.items():
    np.testing.assert_array_equal(found[split]["image"], IMAGES[rows])
    np.testing.assert_array_equal(found[split]["label"], np.array(LABELS)[rows])


def test_animal10n_makes_grey_pictures_coloured(pictures):
  save(pictures / "testing" / "7_img_1.jpg", IMAGES[0, :, :, 0])
  found = read("animal10n", pictures)["test"]["image"][0]
  np.testing.assert_array_equal(found, np.repeat(IMAGES[0, :, :, :1], 3, axis=2))


def test_animal10n_refuses_other_pictures(pictures, monkeypatch):
  path = pictures / "testing" / "7_img_1.jpg"
  save(path, IMAGES[0, :32])
  with pytest.raises(ValueError, match=r"7_img_1.jpg has the shape \(32, 64, 3\), expected"):
    read("animal10n", pictures)
  path.write_bytes(b"\xff\xd8\xff broken")
  with pytest.raises(ValueError, match=r"7_img_1.jpg cannot be decoded"):
    read("animal10n", pictures)
  path.rename(path.with_name("cat.jpg"))
  with pytest.raises(ValueError, match=r"cat.jpg is no name such as"):
    read("animal10n", pictures)
  monkeypatch.setitem(sys.modules, "PIL", None)
  with pytest.raises(ValueError, match=r"pip install 'rfjax\[images\]'"):
    read("animal10n", pictures)


FACES = ["000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg"]
ATTRIBUTES = np.random.default_rng(0).choice([-1, 1], (4, 40))


def picture(name):
  return b"\xff\xd8\xff\xe0" + name.encode()


def faces(folder, packed):
  rows = [f"{name} {' '.join(map(str, its))}" for name, its in zip(FACES, ATTRIBUTES, strict=True)]
  names = " ".join(catalog.data_set("celeb_a").classes)
  listed = "\n".join(["4", names, *reversed(rows), ""])
  parts = "000003.jpg 0\n000001.jpg 0\n000002.jpg 1\n000004.jpg 2\n"
  (folder / "list_attr_celeba.txt").write_text(listed)
  (folder / "list_eval_partition.txt").write_text(parts)
  members = {f"img_align_celeba/{name}": picture(name) for name in FACES}
  if packed:
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
      for name, content in members.items():
        archive.writestr(name, content)
  else:
    (folder / "img_align_celeba").mkdir()
    for name, content in members.items():
      (folder / name).write_bytes(content)
  return listed


@pytest.mark.parametrize("packed", [True, False])
def test_celeb_a_is_split_by_its_list(tmp_path, packed):
  faces(tmp_path, packed)
  found = read("celeb_a", tmp_path)
  for split, rows in {"train": [2, 0], "validation": [1], "test": [3]}.items():
    assert list(found[split]["image"]) == [picture(FACES[row]) for row in rows]
    np.testing.assert_array_equal(found[split]["attributes"], ATTRIBUTES[rows])
  assert found["train"]["attributes"].dtype == np.int32


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ("4\n", "5\n", "should have 5 pictures, but has 4"),
    ("Bald ", "", "line 2 should name the attributes 5_o_Clock_Shadow to Young"),
    (" -1\n", " 0\n", "line 3 is no name with 40 times -1 or 1"),
    ("000003.jpg 1", "000003.jpg", "line 4 is no name with 40 times -1 or 1"),
    ("000003.jpg", "000009.jpg", "1 pictures have no attributes, such as 000003.jpg"),
  ],
)
def test_celeb_a_refuses_other_attributes(tmp_path, old, new, message):
  listed = faces(tmp_path, packed=False)
  assert old in listed
  (tmp_path / "list_attr_celeba.txt").write_text(listed.replace(old, new, 1))
  with pytest.raises(ValueError, match=message):
    read("celeb_a", tmp_path)


def test_celeb_a_refuses_broken_and_hostile_archives(tmp_path):
  faces(tmp_path, packed=True)
  path = tmp_path / "img_align_celeba.zip"
  content = path.read_bytes()
  path.write_bytes(content.replace(picture(FACES[0]), picture("000009.jpg"), 1))
  column = read("celeb_a", tmp_path)["train"]["image"]
  assert column[0] == picture(FACES[2])
  with pytest.raises(ValueError, match=f"zip, img_align_celeba/{FACES[0]} is broken"):
    column[1]
  path.write_bytes(content[:-40])
  with pytest.raises(ValueError, match="no whole zip archive"):
    read("celeb_a", tmp_path)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("img_align_celeba/../../secret.jpg", "")
  with pytest.raises(ValueError, match="leads out"):
    read("celeb_a", tmp_path)
  zipfile.ZipFile(path, "w").close()
  with pytest.raises(FileNotFoundError, match=f"2 of the 2 .* such as img_align_celeba/{FACES[2]}"):
    read("celeb_a", tmp_path)
  path.unlink()
  with pytest.raises(FileNotFoundError, match=r"img_align_celeba.zip is not there"):
    read("celeb_a", tmp_path)


COLUMNS = ["RT", "ST", "PWGTP", "AGEP", "COW", "MAR", "RELP", "SCHL", "SEX", "WKHP", "PINCP"]
COLUMNS += ["OCCP", "POBP", "RAC1P", "NAICSP"]


def people(rows, seed):
  """Rows near the limits of the task as the Census Bureau writes them: padded, or blank."""
  rng = np.random.default_rng(seed)
  number = lambda low, high, width: f"{rng.integers(low, high):0{width}d}"
  blank = lambda value: "" if rng.random() < 0.2 else value
  return [
    ["P", number(1, 57, 2), number(0, 3, 5), number(14, 20, 2), blank(number(1, 10, 1))]
    + [number(1, 6, 1), number(0, 18, 2), blank(number(1, 25, 2)), number(1, 3, 1)]
    + [blank(number(0, 3, 2)), blank(number(-1, 2, 1) + "00" if rng.random() < 0.5 else "0000101")]
    + [blank(number(10, 9999, 4)), number(1, 100, 3), number(1, 10, 1), "23 M"]
    for _ in range(rows)
  ]


def save_people(path, rows, header=COLUMNS):
  path.write_text("\n".join(",".join(line) for line in [header, *rows]) + "\n\n")


def expected(path):
  """The rows of ACSIncome by pandas: the filter of folktables, and 0 for what is missing."""
  table = pytest.importorskip("pandas").read_csv(path)
  kept = (table.AGEP > 16) & (table.PINCP > 100) & (table.WKHP > 0) & (table.PWGTP >= 1)
  return table[kept].fillna(0)


def test_acs_income_is_the_task_of_folktables(tmp_path):
  paths = [tmp_path / "psam_p06.csv", tmp_path / "psam_p01.csv"]
  for seed, path in enumerate(paths):
    save_people(path, people(2000, seed))
  found = read("acs_income", tmp_path)["train"]
  first, second = expected(paths[1]), expected(paths[0])
  assert 50 < len(first) < 500 and len(found["AGEP"]) == len(first) + len(second)
  assert list(found)[:10] == "AGEP COW SCHL MAR OCCP POBP RELP WKHP SEX RAC1P".split()
  for name, values in found.items():
    np.testing.assert_array_equal(values, [*first[name], *second[name]])
  assert found["PINCP"].min() == 101 and (found["COW"] == 0).any()


def test_acs_income_knows_the_new_names_but_mixes_no_years(tmp_path):
  rows = people(300, 0)
  save_people(tmp_path / "a.csv", rows)
  old = read("acs_income", tmp_path)["train"]
  new = {"RELP": "RELSHIPP", "ST": "STATE"}
  save_people(tmp_path / "b.csv", rows, [new.get(name, name) for name in COLUMNS])
  with pytest.raises(ValueError, match="mixes years"):
    read("acs_income", tmp_path)
  (tmp_path / "a.csv").unlink()
  for name, values in read("acs_income", tmp_path)["train"].items():
    np.testing.assert_array_equal(values, old[name])


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ("AGEP", "WGTP", "has no column 'AGEP', but RT, ST, PWGTP"),
    ("P,09,00001,17", "P,09,1", "row 2 has 14 fields, expected 15"),
    ("17", "17.5", "row 1: column 'AGEP' holds no whole number"),
    ("30000", "3000000000", "row 1: column 'PINCP' holds no whole number of 32 bits"),
    ("30000", "-3000000000", "row 1: column 'PINCP' holds no whole number of 32 bits"),
    ("RT", "<!DOCTYPE html>", "has no column 'AGEP', but <!DOCTYPE html>"),
  ],
)
def test_acs_income_refuses_other_files(tmp_path, old, new, message):
  line = "P,08,00001,17,1,1,00,20,1,40,30000,0110,006,1,23"
  content = "\n".join([",".join(COLUMNS), line, line.replace("08", "09")])
  if old == "RT":
    content = "<!DOCTYPE html>\n<p>Sign in</p>"
  (tmp_path / "psam_p08.csv").write_text(content.replace(old, new, 1))
  with pytest.raises(ValueError, match=message) as error:
    read("acs_income", tmp_path)
  assert "psam_p08.csv" in str(error.value)


def test_acs_income_needs_a_file(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"census\.gov"):
    read("acs_income", tmp_path)
  with pytest.raises(FileNotFoundError, match="nowhere"):
    read("acs_income", tmp_path / "nowhere")


@pytest.mark.parametrize("error", ["bomb", "SyntaxError"])
def test_whatever_a_decoder_raises_names_the_picture(tmp_path, monkeypatch, error):
  image = pytest.importorskip("PIL.Image")
  kinds = {"bomb": image.DecompressionBombError, "SyntaxError": SyntaxError}

  def refuse(*args, **options):
    raise kinds[error]("a picture of 9 gigabytes")

  monkeypatch.setattr(image, "open", refuse)
  with pytest.raises(ValueError, match=r"here/1.jpg cannot be decoded: a picture of 9 gigabytes"):
    _encoded.decode(b"", "here/1.jpg")
