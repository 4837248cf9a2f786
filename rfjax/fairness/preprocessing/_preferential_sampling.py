"""Preferential sampling: rows near the boundary are repeated or dropped."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, stateless
from rfjax.fairness.preprocessing import _elements

_NAME = "preferential_sampling"


def preferential_sampling(scores: ArrayLike | None = None) -> Transform:
  r"""Preferential sampling: repeats or drops the rows that a ranker is least sure of.

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i \cdot c_i, \qquad
  \sum_{g_i = g,\, y_i = y} c_i = \mathrm{round}\Bigl(\frac{n_g\, n_y}{n}\Bigr)$$

  with whole numbers c, how often a row is taken. Of a group and label with too few rows the ones
  nearest to the boundary are taken once more, and of one with too many they are dropped: those with
  the lowest $u_{i y_i} - \max_{k \ne y_i} u_{ik}$, which are the lowest-ranked positives and the
  highest-ranked negatives of a binary ranker. None is repeated twice before all are repeated once.
  Equal ones go by `index`. Rows are counted, whatever their weight above 0; of soft membership more
  than half decides, and rows without it are taken once.

  A weight of two is a row that is there twice; `data.subset(jnp.repeat(rows, c))` makes such rows.

  Args:
    scores: u, what a ranker says of each label, [N, C], such as logits, a row for each
      `Batch.index`; may be traced. The logits of the data set when None.

  Returns:
    The transform of a data set; it writes weight, and needs group in training only.

  Raises:
    ValueError: for scores of another shape; when applied, where the group or scores are missing, of
      single rows outside of compiled code only.

  References:
    Kamiran, Calders, Data preprocessing techniques for classification without discrimination,
    Knowledge and Information Systems, 2012.

  Examples:
    >>> import jax, jax.numpy as jnp, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> y, group = [0, 0, 0, 1, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]
    >>> data = rfjax.Batch.from_arrays([[0.0]] * 8, y, group)
    >>> scores = jnp.array([[0, u] for u in [-3, -1, -2, 1, -1, 3, 1, 2]])
    >>> method = preprocessing.preferential_sampling(scores)
    >>> rfjax.transform(method, data, key=jax.random.key(0)).weight.tolist()
    [1.0, 0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 1.0]
  """
  table = _elements.check_scores(scores)

  def apply(batch: Batch, **unused: Any) -> Batch:
    del unused
    group = _elements.hard_group(batch.require("weight", by=_NAME), _NAME)
    said = _elements.read_scores(table, batch, _NAME)
    own = jax.nn.one_hot(batch.y, batch.num_classes, dtype=bool)
    given = jnp.sum(jnp.where(own, said, 0), axis=1)
    return _elements.resample(batch, given - jnp.max(jnp.where(own, -jnp.inf, said), 1), group)

  return stateless(apply, writes=("weight",))
