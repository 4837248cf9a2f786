"""Where data is looked for. Imports nothing but the standard library, so that `doctor` can ask."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any


def data_folder(data_dir: str | os.PathLike[str] | None = None) -> tuple[str, pathlib.Path]:
  """The folder of data: `data_dir` (--data-dir), else `$RFJAX_DATA_DIR`, else `./data`.

  Args:
    data_dir: the folder, or None.

  Returns:
    What named the folder, and its path, which may not exist.

  Examples:
    >>> from rfjax._places import data_folder
    >>> data_folder("somewhere")
    ('--data-dir', PosixPath('somewhere'))
  """
  variable = os.environ.get("RFJAX_DATA_DIR")
  if data_dir is not None:
    return "--data-dir", pathlib.Path(data_dir)
  if variable:
    return "RFJAX_DATA_DIR", pathlib.Path(variable)
  return "./data", pathlib.Path("data")


def has_files(folder: pathlib.Path, files: Sequence[Any]) -> bool:
  """Whether the files of a data set are in its folder, or anything where it names none.

  What cannot be looked at is not there. A folder may hold files of several data sets.

  Args:
    folder: the folder of the publisher's files.
    files: `rfjax.catalog.File`s.
  """
  if files:
    return all(os.path.isfile(folder / file.name) for file in files)
  try:
    with os.scandir(folder) as found:
      return next(found, None) is not None
  except OSError:
    return False
