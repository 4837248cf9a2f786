"""Tables of pictures: the pixels as they are, the labels, and the publisher's test set."""

from typing import Any

import numpy as np

from rfjax.core import Batch, Truth, _check
from rfjax.data._split import Table


def images(columns: dict[str, dict[str, Any]], variant: str = "") -> Table:
  """x uint8 [N, H, W] or [N, H, W, c], training rows first, and the labels.

  Args:
    columns: as read.
    variant: "", there is no other.
  """
  _check.choice("variant", variant, ("",))
  parts = list(columns.values())
  x, y = (np.concatenate([part[name] for part in parts]) for name in ("image", "label"))
  batch = Batch.from_arrays(x, y)
  batch = batch.replace(truth=Truth(batch.y))
  return Table(batch, test_rows=len(parts[-1]["label"]) if len(parts) > 1 else 0)
