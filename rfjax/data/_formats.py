"""File formats read with the standard library and NumPy; what is wrong with a file is said."""

import csv
import gzip
import io
import math
import pathlib
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

_BLOCK = 2**22
_IDX_BYTES = 0x08  # the type code of unsigned bytes
_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml")
_WHOLE_NUMBER = re.compile("[+-]?[0-9]+")


def is_web_page(content: bytes) -> bool:
  """Whether a file that should hold data is the page that a server sent instead."""
  return content[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_WEB_PAGE)


def gunzip(content: bytes, where: pathlib.Path) -> bytes:
  """The content of a gzip file, or ValueError where it is none or cut short."""
  try:
    return gzip.decompress(content)
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise ValueError(f"{where} is no whole gzip file ({error}): fetch it again") from None


def idx(content: bytes, where: pathlib.Path) -> np.ndarray:
  """An array of unsigned bytes in the IDX format of the MNIST files."""
  axes = content[3] if len(content) >= 4 else 0
  if content[:3] != bytes((0, 0, _IDX_BYTES)) or not axes or len(content) < 4 + 4 * axes:
    raise ValueError(f"{where} is no IDX file of bytes, it starts with {content[:4]!r}")
  shape = tuple(np.frombuffer(content, ">u4", axes, offset=4).tolist())
  size, found = math.prod(shape), len(content) - 4 - 4 * axes
  if size != found:
    raise ValueError(f"{where} should hold {shape} = {size} bytes after its head, but has {found}")
  return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def text(content: bytes, where: pathlib.Path) -> str:
  """Text in UTF-8, or ValueError where it is binary or a web page."""
  try:
    found = content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(f"{where} is no text in UTF-8: {error}") from None
  if is_web_page(content):
    raise ValueError(f"{where} is a web page and not data: fetch the file itself")
  if "\0" in found:
    raise ValueError(f"{where} is no text, byte {content.index(0)} is zero: fetch it again")
  return found


def table(
  content: bytes,
  where: pathlib.Path,
  names: Sequence[str],
  *,
  header: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
  """Columns of a CSV file as strings.

  Args:
    content: the file.
    where: its path, for messages.
    names: the columns that are wanted, in any order; others are left out.
    header: all columns in the order of the file, for a file without a header line.

  Returns:
    For each name an array of strings, blanks around them removed.

  Raises:
    ValueError: for a column that is missing, or a row with another number of fields, by number.
  """
  lines = _lines(content, where)
  given = list(header) if header is not None else [name.strip() for name in next(lines, [])]
  missing = [name for name in names if name not in given]
  if missing:
    # The first line is not shown: in a file without a header it is somebody's row.
    raise ValueError(f"{where}: none of the {len(given)} names in its first line is {missing[0]!r}")
  # A name may occur twice, as some of ProPublica's do; the last one counts, as in csv.DictReader.
  places = {name: i for i, name in enumerate(given)}
  rows = []
  for number, line in enumerate(lines, start=1):
    if not line or line == [""]:
      continue
    if len(line) != len(given):
      raise ValueError(f"{where}, row {number} has {len(line)} fields, expected {len(given)}")
    rows.append([line[places[name]].strip() for name in names])
  columns = zip(*rows, strict=True) if rows else [[] for _ in names]
  return {name: np.array(column, np.str_) for name, column in zip(names, columns, strict=True)}


def _lines(content: bytes, where: pathlib.Path) -> Iterator[list[str]]:
  """The lines of a CSV file as lists of fields."""
  lines = csv.reader(io.StringIO(text(content, where), newline=""), skipinitialspace=True)
  try:
    yield from lines
  except csv.Error as error:  # such as a quote that never ends
    raise ValueError(f"{where}, line {lines.line_num} is no CSV ({error})") from None


def whole_numbers(values: np.ndarray, where: pathlib.Path, name: str) -> np.ndarray:
  """A column of whole numbers as int32, or ValueError with the row of the first that is none."""
  for row, value in enumerate(values, start=1):
    if not _WHOLE_NUMBER.fullmatch(value) or not -(2**31) <= int(value) < 2**31:
      raise ValueError(f"{where}, row {row}: column {name!r} holds no whole number of 32 bits")
  return values.astype(np.int32)


def arrays(content: bytes, where: pathlib.Path, names: Sequence[str]) -> dict[str, np.ndarray]:
  """Named arrays of an .npz file, none of which may be pickled."""
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
      missing = [name for name in names if name not in file.files]
      if missing:
        raise KeyError(missing[0])
      return {name: file[name] for name in names}
  except KeyError as error:
    raise ValueError(f"{where} has no array {error}") from None
  except Exception as error:  # zipfile and NumPy have many words for a file that is none of theirs
    raise ValueError(f"{where} is no .npz file without pickled objects: {error}") from None


def array(content: bytes, where: pathlib.Path) -> np.ndarray:
  """The array of an .npy file, which must not be pickled."""
  try:
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
  except Exception as error:
    raise ValueError(f"{where} is no .npy file without pickled objects: {error}") from None


def tar_files(path: pathlib.Path) -> Iterator[tuple[str, bytes]]:
  """Names and contents of the files of a tar archive, read and never unpacked.

  Raises:
    ValueError: for a broken archive, and for names that would lead out of a folder.
  """
  try:
    with tarfile.open(path) as archive:
      for member in archive:
        check_member(member.name, path)
        if member.isfile() and (file := archive.extractfile(member)):
          yield member.name, file.read()
      while archive.fileobj and archive.fileobj.read(_BLOCK):  # checksums come last
        pass
  except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise ValueError(f"{path} is no whole tar archive ({error}): fetch it again") from None


def check_member(name: str, where: pathlib.Path) -> None:
  """Refuses a name in an archive that leads out of the folder that it would be unpacked in."""
  parts = pathlib.PurePosixPath(name.replace("\\", "/"))
  if parts.is_absolute() or ".." in parts.parts or ":" in name.split("/")[0]:
    raise ValueError(f"{where} holds the name {name!r}, which leads out of its folder: refused")
