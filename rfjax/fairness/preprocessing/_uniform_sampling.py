"""Uniform sampling: rows are repeated or dropped by lot."""

from typing import Any

import jax

from rfjax.core import Batch, Transform, stateless, uniform
from rfjax.fairness.preprocessing import _elements

_NAME = "uniform_sampling"


def uniform_sampling() -> Transform:
  r"""Uniform sampling: repeats or drops rows by lot, until label and group are independent.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot c_i, \qquad
  \sum_{g_i = g,\, y_i = y} c_i = \mathrm{round}\Bigl(\frac{n_g\, n_y}{n}\Bigr)$$

  with whole numbers c, how often a row is taken, which differ by at most 1 between the rows of a
  group and label. Lots are drawn by `index`. Rows are counted, whatever their weight above 0; of
  soft membership more than half decides, and rows without it are taken once.

  A weight of two is a row that is there twice; `data.subset(jnp.repeat(rows, c))` makes such rows.

  Returns:
    The transform of a data set; it writes weight, and needs group in training only.

  Raises:
    ValueError: when applied, where the group is missing.

  References:
    Kamiran, Calders, Data preprocessing techniques for classification without discrimination,
    Knowledge and Information Systems, 2012.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> y, group = [0, 0, 0, 1, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 8, y, group)
    >>> fair = rfjax.transform(preprocessing.uniform_sampling(), data, key=jax.random.key(0))
    >>> float(fair.weight[:3].sum()), fair.weight[3:5].tolist()
    (2.0, [2.0, 2.0])
  """

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    group = _elements.hard_group(batch.require("weight", by=_NAME), _NAME)
    return _elements.resample(batch, uniform(key, batch), group)

  return stateless(apply, writes=("weight",))
