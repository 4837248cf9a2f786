"""File formats read with the standard library and NumPy; what is wrong with a file is said."""

import csv
import gzip
import io
import pathlib
import tarfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

_IDX_BYTES = 0x08  # the type code of unsigned bytes


def gunzip(content: bytes, where: pathlib.Path) -> bytes:
  """The content of a gzip file, or ValueError where it is none or cut short."""
  try:
    return gzip.decompress(content)
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise ValueError(f"{where} is no whole gzip file ({error}): fetch it again") from None


def idx(content: bytes, where: pathlib.Path) -> np.ndarray:
  """An array of unsigned bytes in the IDX format of the MNIST files."""
  axes = content[3] if len(content) >= 4 else 0
  if content[:3] != bytes((0, 0, _IDX_BYTES)) or len(content) < 4 + 4 * axes:
    raise ValueError(f"{where} is no IDX file of bytes, it starts with {content[:4]!r}")
  shape = tuple(np.frombuffer(content, ">u4", axes, offset=4).astype(int).tolist())
  size, found = int(np.prod(shape)), len(content) - 4 - 4 * axes
  if size != found:
    raise ValueError(f"{where} should hold {shape} = {size} bytes after its head, but has {found}")
  return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def text(content: bytes, where: pathlib.Path) -> str:
  """Text in UTF-8, or ValueError where it is binary or a web page."""
  try:
    found = content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(f"{where} is no text in UTF-8: {error}") from None
  if found.lstrip()[:9].lower().startswith(("<!doctype", "<html", "<?xml")):
    raise ValueError(f"{where} is a web page and not data: fetch the file itself")
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
  lines = csv.reader(io.StringIO(text(content, where), newline=""), skipinitialspace=True)
  given = list(header) if header is not None else [name.strip() for name in next(lines, [])]
  missing = [name for name in names if name not in given]
  if missing:
    raise ValueError(f"{where} has no column {missing[0]!r}, but {', '.join(given) or 'nothing'}")
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


def whole_numbers(values: np.ndarray, where: pathlib.Path, name: str) -> np.ndarray:
  """A column of whole numbers as int32, or ValueError with the row of the first that is none."""
  try:
    return values.astype(np.int32)
  except ValueError:
    bad = next(i for i, value in enumerate(values) if not value.lstrip("-").isdigit())
    raise ValueError(f"{where}, row {bad + 1}: column {name!r} holds no whole number") from None


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
    return np.load(io.BytesIO(content), allow_pickle=False)
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
  except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
    raise ValueError(f"{path} is no whole tar archive ({error}): fetch it again") from None


def check_member(name: str, where: pathlib.Path) -> None:
  """Refuses a name in an archive that leads out of the folder that it would be unpacked in."""
  parts = pathlib.PurePosixPath(name.replace("\\", "/"))
  if parts.is_absolute() or ".." in parts.parts or ":" in name.split("/")[0]:
    raise ValueError(f"{where} holds the name {name!r}, which leads out of its folder: refused")
