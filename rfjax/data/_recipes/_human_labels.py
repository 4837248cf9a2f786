"""Tables of CIFAR-10's pictures under the labels that people gave them."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from rfjax.core import Truth, _check
from rfjax.data._columns import Columns
from rfjax.data._recipes._images import images
from rfjax.data._split import Table

_LABELS = ("aggre", "worse", "random1", "random2", "random3")


def cifar10n(
  columns: dict[str, Columns],
  variant: str = "",
  *,
  labels: str = "worse",
  pictures: Callable[[], dict[str, Columns]],
) -> Table:
  """CIFAR-10 with the human labels of CIFAR-10N on its training rows; test labels are true.

  Args:
    columns: as read.
    variant: "", there is no other.
    labels: "aggre", "worse", "random1", "random2" or "random3".
    pictures: what reads the columns of cifar10, or of its copy, in the same order; by name
      "cifar10", the usual ones, or "cifar10_jpeg".

  Returns:
    The table, with the true labels in `truth`.

  Raises:
    ValueError: for an unknown option, and for pictures whose labels are not the true ones.
  """
  _check.choice("variant", variant, ("",))
  _check.choice("labels", labels, _LABELS)
  rows, name = columns["train"], labels.replace("random", "random_label")
  given = rows[name if labels.startswith("random") else f"{labels}_label"]
  found = pictures()
  if not np.array_equal(found["train"]["label"], rows["clean_label"]):
    raise ValueError(
      "pictures are not in the order of cifar10n: their labels are not the true ones"
    )
  table = images(found)
  y = np.concatenate([given, found["test"]["label"]]).astype(np.int32)
  return table._replace(batch=table.batch.replace(y=jnp.asarray(y), truth=Truth(table.batch.y)))
