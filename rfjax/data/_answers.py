"""Crowd answers by the name of their data set."""

import os

from rfjax import aggregation, catalog
from rfjax.catalog._reader import unknown
from rfjax.data._load import columns

_SCALES = {"crowd_adult": 4, "crowd_compas": 4, "bluebirds": 2}  # answers, from 1 or from 0
_POSITIVE = 2  # the first step, from 0, of a scale of four that says yes


def answers(
  name: str, *, data_dir: str | os.PathLike[str] | None = None, scores: bool = False
) -> aggregation.Answers:
  r"""Loads what crowd workers answered, for `rfjax.aggregation`.

  On the scale of 1 to 4 of Roh et al. an answer says yes by

  $$\mathrm{label} = [\mathrm{answer} \ge 3].$$

  Args:
    name: "crowd_adult", "crowd_compas" or "bluebirds".
    data_dir: the folder of data; `$RFJAX_DATA_DIR` when None, and `./data` without it.
    scores: whether labels are the steps of the scale, 0 to 3, instead of no and yes.

  Returns:
    The `Answers`; item i is row i of `table(name)`, and of the publisher's file.

  Raises:
    ValueError: for another name, and for files that are not the publisher's.
    FileNotFoundError: where a file is not there.

  References:
    Roh, Lee, Whang, Suh, FR-Train: A Mutual Information-Based Approach to Fair and Robust Training,
    ICML 2020.
    Welinder, Branson, Belongie, Perona, The Multidimensional Wisdom of Crowds, NeurIPS 2010.

  Examples:
    >>> from rfjax import data
    >>> data.answers("crowd_adlut")
    Traceback (most recent call last):
    ValueError: unknown crowd 'crowd_adlut': did you mean 'crowd_adult'?
  """
  if name not in _SCALES:
    raise unknown("crowd", name, _SCALES)
  catalog.data_set(name)
  found = columns(name, data_dir=data_dir)["train"]
  label, steps = found["answers"], _SCALES[name]
  if steps > 2:
    label = label - 1
  if not scores and steps > 2:
    label, steps = (label >= _POSITIVE).astype(label.dtype), 2
  return aggregation.answers(label, found["workers"], num_classes=steps)
