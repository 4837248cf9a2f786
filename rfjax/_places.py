"""Where data is looked for. Imports nothing but the standard library, so that `doctor` can ask."""

import os
import pathlib


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
