"""Where files of data sets are found, and whether they are the publisher's."""

import hashlib
import os
import pathlib


def locate(file: str, data_dir: str | os.PathLike[str] | None, publisher: str) -> pathlib.Path:
  """Finds a file in `data_dir`, else `$RFJAX_DATA_DIR`, else `./data`.

  Args:
    file: the path below that folder.
    data_dir: the folder, or None.
    publisher: where the publisher keeps the file, for the message.

  Returns:
    The path of the file.

  Raises:
    FileNotFoundError: naming the three places and the publisher's.

  Examples:
    >>> from rfjax.data._locate import locate
    >>> locate("a/b.csv", "no_such_folder", "the journal's page")
    Traceback (most recent call last):
    FileNotFoundError: no_such_folder/a/b.csv is not there: ...
  """
  folder = data_dir if data_dir is not None else os.environ.get("RFJAX_DATA_DIR") or "data"
  path = pathlib.Path(folder) / file
  if not path.is_file():
    raise FileNotFoundError(
      f"{path} is not there: data is looked for in data_dir= (--data-dir), else in the folder that"
      f" RFJAX_DATA_DIR names, else in ./data. The publisher keeps it in {publisher}: put it there"
      f" as {file}"
    )
  return path


def read(file: str, sha256: str, data_dir: str | os.PathLike[str] | None, publisher: str) -> bytes:
  """Reads a file that `locate` finds, and refuses one that is not the publisher's.

  Args:
    file: as in `locate`.
    sha256: the digest of the publisher's file, in hexadecimal.
    data_dir: as in `locate`.
    publisher: as in `locate`.

  Returns:
    Its bytes.

  Raises:
    FileNotFoundError: as in `locate`.
    ValueError: when the digest is another one.
  """
  path = locate(file, data_dir, publisher)
  content = path.read_bytes()
  found = hashlib.sha256(content).hexdigest()
  if found != sha256:
    raise ValueError(
      f"{path} has sha256 {found}, expected {sha256}: fetch the unchanged file from {publisher}"
    )
  return content
