"""Encoded pictures that are read one by one, and the lists that name them."""

import collections
import io
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from rfjax.data._formats import check_member, is_web_page, text

_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of JPEG and PNG files


class Store(Protocol):
  """Where pictures are kept by name."""

  path: pathlib.Path

  def missing(self, names: Sequence[str]) -> list[str]:
    """Those of the names that are not there, in any order."""
    ...

  def read(self, name: str) -> bytes:
    """The content of one file."""
    ...


class Directory:
  """Pictures as files below a folder.

  Attributes:
    path: the folder.
  """

  def __init__(self, path: pathlib.Path):
    """Names the folder; nothing is read yet."""
    self.path = path

  def missing(self, names: Sequence[str]) -> list[str]:
    """Those of the names that are not there.

    Folders are listed and not files asked for: that is what network disks do fast.
    """
    by_folder = collections.defaultdict(list)
    for name in names:
      by_folder[name.rpartition("/")[0]].append(name)
    return [name for folder, part in by_folder.items() for name in self._missing(folder, part)]

  def _missing(self, folder: str, names: list[str]) -> list[str]:
    check_member(folder, self.path)
    place = self.path / folder
    there = set(os.listdir(place)) if place.is_dir() else set()
    return [name for name in names if name.rpartition("/")[2] not in there]

  def read(self, name: str) -> bytes:
    """The content of a file."""
    return (self.path / name).read_bytes()


class Archive:
  """Pictures in a zip archive, which stays packed.

  Attributes:
    path: the archive.
  """

  def __init__(self, path: pathlib.Path):
    """Opens it, or raises ValueError where it is broken or holds names that lead out of it."""
    self.path = path
    try:
      self._archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
      raise ValueError(f"{path} is no whole zip archive ({error}): fetch it again") from None
    self._names = set(self._archive.namelist())
    for name in self._names:
      check_member(name, path)

  def missing(self, names: Sequence[str]) -> list[str]:
    """Those of the names that are not there."""
    return [name for name in names if name not in self._names]

  def read(self, name: str) -> bytes:
    """The content of a member, whose checksum is right."""
    try:
      return self._archive.read(name)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
      raise ValueError(f"{self.path}, {name} is broken ({error}): fetch it again") from None


class Pictures:
  """A column of encoded pictures, each read when it is asked for.

  Attributes:
    names: of the pictures in their store, one a row.
  """

  def __init__(self, store: Store, names: Sequence[str]):
    """Takes names that the store has."""
    self.names, self._store = names, store

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, row: int) -> bytes:
    name = self.names[row]
    content = self._store.read(name)
    if not content.startswith(_STARTS):
      found = "a web page" if is_web_page(content) else f"{content[:8]!r}" if content else "empty"
      raise ValueError(f"{self._store.path / name} is no JPEG or PNG picture but {found}: fetch it")
    return content


def pictures(store: Store, names: Sequence[str], where: pathlib.Path) -> Pictures:
  """The pictures that a list names, all of which must be there.

  Args:
    store: where they are kept.
    names: their names in the store, one a row.
    where: the list, for messages.

  Returns:
    The column.

  Raises:
    FileNotFoundError: where some are not there, with their number and the first of the list.
    ValueError: for names that lead out of the store.
  """
  missing = set(store.missing(names))
  if missing:
    first = next(name for name in names if name in missing)
    raise FileNotFoundError(
      f"{len(missing)} of the {len(names)} pictures in {where} are not in {store.path}, such as"
      f" {first}: put the publisher's pictures there, in the folders that the list names"
    )
  return Pictures(store, names)


def lines(path: pathlib.Path, header: str = "") -> Iterator[tuple[int, str]]:
  """The lines of a text file that are not blank, with their numbers from 1.

  Args:
    path: the file.
    header: how a first line starts that is a header and left out; none when empty.
  """
  for number, line in enumerate(text(path.read_bytes(), path).splitlines(), start=1):
    line = line.strip()
    if line and not (header and number == 1 and line.startswith(header)):
      yield number, line


def labelled(path: pathlib.Path, num_classes: int, header: str = "") -> tuple[list[str], list[int]]:
  """Names and labels of a list, whose lines are a name, blanks and a label.

  Args:
    path: the list.
    num_classes: labels are below it.
    header: as in `lines`.

  Returns:
    Names and labels, in the order of the list.

  Raises:
    ValueError: for another line, by number.
  """
  names, labels = [], []
  for number, line in lines(path, header):
    name, *label = line.rsplit(maxsplit=1)
    if not label or not label[0].isdecimal():
      raise ValueError(f"{path}, line {number} is no name and label")
    if int(label[0]) >= num_classes:
      raise ValueError(f"{path}, line {number}: label {label[0]}, expected one below {num_classes}")
    names.append(name)
    labels.append(int(label[0]))
  return names, labels


def decode(content: bytes, where: object) -> np.ndarray:
  """Decodes a picture to uint8 [h, w, 3], or ValueError with `where` it is if that fails."""
  try:
    from PIL import Image
  except ImportError:
    raise ValueError("encoded pictures need Pillow: pip install 'rfjax[images]'") from None
  try:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
  except Exception as error:  # Pillow has many words for broken pictures, and one for huge ones
    raise ValueError(f"{where} cannot be decoded: {error}") from None
