"""A publisher's files in a folder: found, whole, and the ones that the publisher gave out."""

import hashlib
import os
import pathlib
from collections.abc import Iterator

from rfjax import catalog
from rfjax.catalog import DataSet
from rfjax.data._formats import is_web_page

_BLOCK = 2**22


class Folder:
  """The folder that holds the files of a data set.

  Attributes:
    data_set: what the catalogue says of it.
    path: the folder.
    named: whether the user named it, wherever the folder of data is.
  """

  def __init__(self, data_set: DataSet, path: str | os.PathLike[str], *, named: bool = False):
    """Names the folder; nothing is read yet."""
    self.data_set, self.path, self.named = data_set, pathlib.Path(path), named
    self._digests = {file.name: file.sha256 for file in data_set.files}

  def file(self, name: str) -> pathlib.Path:
    """The path of a file, which is there and has the publisher's digest where one is known.

    Raises:
      FileNotFoundError: where it is not there, with where the publisher keeps it.
      ValueError: where it is another file.
    """
    path = self.path / name
    if not path.is_file():
      raise FileNotFoundError(f"{path} is not there: {self._advice()}")
    expected = self._digests.get(name, "")
    if expected and (found := _digest(path)) != expected:
      raise ValueError(
        f"{path} has sha256 {found}, expected {expected}{_diagnosis(path)}: fetch the unchanged"
        f" file from {self.data_set.publisher}"
      )
    return path

  def bytes(self, name: str) -> bytes:
    """The content of a file, checked as in `file`."""
    return self.file(name).read_bytes()

  def folder(self, name: str = ".") -> pathlib.Path:
    """The path of a folder inside this one, which must be there."""
    path = self.path / name
    if not path.is_dir():
      raise FileNotFoundError(f"{path} is not there: {self._advice()}")
    return path

  def beside(self, name: str) -> "Folder":
    """The folder of another data set, where both are in the folder of data."""
    data_set = catalog.data_set(name)
    return Folder(data_set, self.path.absolute().parent / data_set.folder)

  def _advice(self) -> str:
    names = ", ".join(file.name for file in self.data_set.files) or "its folders"
    if self.named:
      return (
        f"the publisher keeps {self.data_set.name} in {self.data_set.publisher}: put {names} into"
        " the folder that manual_dir= (--manual-dir) names, or name another"
      )
    return (
      f"data is looked for in data_dir= (--data-dir), else in the folder that RFJAX_DATA_DIR names,"
      f" else in ./data. The publisher keeps {self.data_set.name} in {self.data_set.publisher}: put"
      f" {names} into a folder {self.data_set.folder} there"
    )


def _blocks(path: pathlib.Path) -> Iterator[bytes]:
  with path.open("rb") as file:
    while block := file.read(_BLOCK):
      yield block


def _digest(path: pathlib.Path) -> str:
  found = hashlib.sha256()
  for block in _blocks(path):
    found.update(block)
  return found.hexdigest()


def _diagnosis(path: pathlib.Path) -> str:
  """What else the first bytes say about a wrong file."""
  start = next(_blocks(path), b"")
  if not start:
    return ", since it is empty"
  if is_web_page(start):
    return ", since it is a web page and not data"
  return ""
