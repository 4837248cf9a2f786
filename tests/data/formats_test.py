"""File formats: each against bytes written by hand, and each broken file ends in its own error."""

import csv
import gzip
import io
import pathlib
import struct
import tarfile

import numpy as np
import pytest

from rfjax.data import _formats

WHERE = pathlib.Path("folder/file")
PAGES = [
  b"<!DOCTYPE html><title>moved</title>",
  b"\xef\xbb\xbf \n<HTML lang='en'>",
  b"<head></head>",
  b"<?xml version='1.0'?><Error/>",
]


def refused(function, *args, match, **kwargs):
  with pytest.raises(ValueError, match=match) as error:
    function(*args, **kwargs)
  assert str(WHERE) in str(error.value) or "archive" in str(error.value)
  return str(error.value)


def idx(*axes, content=b"", head=b"\0\0\x08"):
  return head + bytes([len(axes)]) + struct.pack(f">{len(axes)}I", *axes) + content


def test_gunzip():
  assert _formats.gunzip(gzip.compress(b"data", mtime=0), WHERE) == b"data"


WHOLE = gzip.compress(bytes(range(256)) * 9)


@pytest.mark.parametrize(
  "content",
  [WHOLE[:-1], WHOLE[:40], WHOLE[:5], WHOLE[:-8] + b"\0" * 8, b"plain", *PAGES],
  ids=["cut", "cut early", "cut in the head", "wrong sum", "no gzip", *("page",) * 4],
)
def test_gunzip_refuses(content):
  refused(_formats.gunzip, content, WHERE, match="no whole gzip file")


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3), (0, 4)])
def test_idx(shape):
  values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
  found = _formats.idx(idx(*shape, content=values.tobytes()), WHERE)
  np.testing.assert_array_equal(found, values)
  assert found.dtype == np.uint8 and found.shape == shape


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (b"", "no IDX file"),
    (b"\0\0\x08", "no IDX file"),
    (b"\0\0\x08\0x", "no IDX file"),  # without an axis
    (idx(2, content=b"ab", head=b"\0\0\x0d"), "no IDX file"),  # float
    (idx(2, content=b"ab", head=b"\0\1\x08"), "no IDX file"),
    (idx(2, 2)[:-1], "no IDX file"),  # cut in the head
    (idx(2, 2, content=b"abc"), r"\(2, 2\) = 4 bytes.*has 3"),
    (idx(2, 2, content=b"abcde"), "has 5"),
    (idx(2**31, 2**31, 4), "18446744073709551616 bytes.*has 0"),  # 0 in 64 bits
    (b"<html>", "no IDX file"),
  ],
)
def test_idx_refuses(content, match):
  refused(_formats.idx, content, WHERE, match=match)


def test_text():
  assert _formats.text("\ufeffä, b".encode(), WHERE) == "ä, b"


@pytest.mark.parametrize("content", PAGES)
def test_text_refuses_a_web_page(content):
  refused(_formats.text, content, WHERE, match="web page and not data")
  assert _formats.is_web_page(content) and not _formats.is_web_page(b"a,b\n<html>")


def test_text_refuses_what_is_binary():
  refused(_formats.text, b"a,b\n\xff\xfe", WHERE, match="no text in UTF-8")
  refused(_formats.text, b"a,b\n1,\0\n", WHERE, match="byte 6 is zero")


def test_table():
  content = b'b ,a,a\n 1, "x, y",2\n\n"3 ""z""",,"4\n5"\r\n'
  found = _formats.table(content, WHERE, ["a", "b"])
  assert found["a"].tolist() == ["2", "4\n5"]  # the last of two columns of that name
  assert found["b"].tolist() == ["1", '3 "z"']
  assert list(found) == ["a", "b"]


def test_table_without_a_header():
  found = _formats.table(b"1,2\n3,4\n", WHERE, ["q"], header=["p", "q"])
  assert found["q"].tolist() == ["2", "4"]


def test_table_without_rows():
  assert _formats.table(b"a,b\n", WHERE, ["b"])["b"].shape == (0,)


SECRET = "Jane Doe"  # what rows may hold, and messages must not


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (b"", "none of the 0 names in its first line is 'a'"),
    (b"b,c,d\n1,2,3\n", "none of the 3 names in its first line is 'a'"),
    (f"{SECRET},3\n".encode(), "none of the 2 names"),
    (f"a,b\n1,2\n{SECRET},3,4\n".encode(), "row 2 has 3 fields, expected 2"),
    (f"a,b\n1,2\n{SECRET}\n".encode(), "row 2 has 1 fields, expected 2"),
    (f"a,b\n1,{SECRET}\0\n".encode(), "is zero"),
    (f"a,b\n{SECRET},\xe9\n".encode("latin-1"), "no text in UTF-8"),
    (f'a,b\n1,2\n"{SECRET},{"3" * csv.field_size_limit()}\n'.encode(), "line 3 is no CSV"),
    (gzip.compress(b"a,b\n1,2\n", mtime=0), "no text in UTF-8"),
    (PAGES[0], "web page"),
  ],
)
def test_table_refuses(content, match):
  message = refused(_formats.table, content, WHERE, ["a"], match=match)
  assert "Jane" not in message


def test_whole_numbers():
  given = np.array(["0", "-3", "+4", "007", str(2**31 - 1), str(-(2**31))])
  found = _formats.whole_numbers(given, WHERE, "age")
  assert found.dtype == np.int32
  assert found.tolist() == [0, -3, 4, 7, 2**31 - 1, -(2**31)]


@pytest.mark.parametrize(
  "bad", ["", "x", "3.5", "--3", "1e3", "1_000", "²", "٣", "3 4", str(2**31), str(-(2**31) - 1)]
)
def test_whole_numbers_refuses(bad):
  match = "row 2: column 'age' holds no whole number"
  message = refused(_formats.whole_numbers, np.array(["1", bad, "y"]), WHERE, "age", match=match)
  assert not bad or bad not in message.split("holds")[1].removesuffix("of 32 bits")


def packed(save, *args, **kwargs):
  out = io.BytesIO()
  save(out, *args, **kwargs)
  return out.getvalue()


OBJECTS = np.array([{"a": 1}, None], object)


def test_arrays():
  content = packed(np.savez_compressed, a=np.arange(3), b=np.ones((2, 2)), c=OBJECTS)
  found = _formats.arrays(content, WHERE, ["b", "a"])
  assert list(found) == ["b", "a"] and found["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (packed(np.savez, b=1), "no array 'a'"),
    (packed(np.savez, a=OBJECTS), "without pickled objects"),
    (packed(np.savez, a=np.arange(99))[:-9], "no .npz file"),
    (packed(np.savez, a=np.arange(99))[:60], "no .npz file"),
    (packed(np.savez, a=np.arange(99)).replace(b"\x07\0\0\0", b"\x08\0\0\0"), "CRC-32"),
    (packed(np.save, np.arange(3)), "no .npz file"),
    (b"\x80\x04}\x94.", "no .npz file"),  # a pickle
    (b"", "no .npz file"),
    (PAGES[0], "no .npz file"),
  ],
)
def test_arrays_refuses(content, match):
  refused(_formats.arrays, content, WHERE, ["a"], match=match)


def test_array():
  assert _formats.array(packed(np.save, np.arange(3)), WHERE).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
  "content",
  [
    packed(np.save, OBJECTS),
    packed(np.save, np.arange(9))[:-1],
    packed(np.savez, a=np.arange(3)),
    b"\x80\x04}\x94.",
    b"",
    PAGES[0],
  ],
  ids=["objects", "cut", "npz", "pickle", "empty", "page"],
)
def test_array_refuses(content):
  refused(_formats.array, content, WHERE, match="no .npy file without pickled objects")


@pytest.fixture
def archive(tmp_path):
  """Writes an archive of files, by name their content, or the target of a link."""

  def write(members, mode="w:gz"):
    path = tmp_path / "archive"
    with tarfile.open(path, mode) as tar:
      for name, content in members.items():
        member = tarfile.TarInfo(name)
        if isinstance(content, bytes):
          member.size = len(content)
        else:
          member.type, member.linkname = content
        tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return path

  return write


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_files(archive, mode):
  files = {"a/b.bin": b"one", "c.d..bin": b""}
  path = archive({"a": (tarfile.DIRTYPE, ""), **files}, mode)
  assert dict(_formats.tar_files(path)) == files
  assert [p.name for p in path.parent.iterdir()] == ["archive"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["real", "/etc/passwd", "../../etc/passwd"])
def test_tar_links_are_left_out(archive, kind, target):
  path = archive({"real": b"data", "link": (kind, target)})
  assert dict(_formats.tar_files(path)) == {"real": b"data"}


@pytest.mark.parametrize(
  "name",
  [
    "/etc/passwd",
    "../x",
    "a/../../x",
    "..",
    "..\\x",
    "a\\..\\..\\x",
    "\\x",
    "C:\\x",
    "C:/x",
    "C:x",
  ],
)
def test_tar_names_that_lead_out_are_refused(archive, name):
  path = archive({"good": b"", name: b"bad"})
  refused(lambda: list(_formats.tar_files(path)), match="leads out of its folder")
  _formats.check_member("a/b..c/d", path)


def test_broken_tar_is_refused(archive):
  path = archive({"a": np.random.default_rng(0).bytes(9000), "b": b"last"})
  whole = path.read_bytes()
  wrong = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
  for content in (whole[:-1], whole[:4000], whole[:7], wrong, b"", b"plain" * 999, *PAGES):
    path.write_bytes(content)
    refused(lambda: list(_formats.tar_files(path)), match="no whole tar archive")


def test_tar_that_is_cut_is_refused(archive):
  path = archive({"a": b"x" * 9000}, "w")
  path.write_bytes(path.read_bytes()[:4000])
  refused(lambda: list(_formats.tar_files(path)), match="no whole tar archive")
