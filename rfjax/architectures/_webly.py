"""Webly supervised learning: labels are spread over the classes that they are mistaken for."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, conditional


class WeblyState(NamedTuple):
  """The state of `webly`.

  Attributes:
    graph: R [C, C], the relationships of the classes.
  """

  graph: jax.Array


def webly(graph: ArrayLike) -> Transform:
  r"""The second stage of webly supervised learning: targets smoothed by a relationship graph.

  $$\mathrm{target}_t \leftarrow \mathrm{target}_t\, R, \qquad
  \frac{\partial\, \mathrm{loss}_t}{\partial z_t} = p_t - R_{\tilde y_t}$$

  where row i of R says how a network that was trained on easy examples spreads those with the label
  i, see `relationship_graph`. R stays fixed, as in the authors' code. Both stages are run by
  `webly_rounds`.

  Args:
    graph: R [C, C], rows of probabilities; may be traced.

  Returns:
    The transform; it writes target.

  Raises:
    ValueError: for a matrix that is not row-stochastic, or not of the data set's classes.

  References:
    Chen, Gupta, Webly Supervised Learning of Convolutional Networks, ICCV 2015.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> method = architectures.webly([[0.9, 0.1], [0.2, 0.8]])
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=200)
    >>> rfjax.predict(architectures.logistic(), state, data).probs[:, 0].round(2).tolist()
    [0.89..., 0.19...]
  """
  given = _check.transition("graph", graph)

  def init(data: Batch, **unused: Any) -> WeblyState:
    del unused
    _check.classes("graph", given.shape[0], data)
    matrix = jnp.asarray(given)
    return WeblyState(matrix.astype(jnp.promote_types(matrix.dtype, jnp.float32)))

  def update(
    batch: Batch, state: WeblyState, params: Any = None, **unused: Any
  ) -> tuple[Batch, WeblyState]:
    del params, unused
    target = batch.require("target", by="webly").target
    smooth = jnp.matmul(target, state.graph, precision=jax.lax.Precision.HIGHEST)
    return batch.replace(target=smooth.astype(target.dtype)), state

  return Transform(init, update, writes=("target",))


def relationship_graph(
  log_probs: jax.Array, y: ArrayLike, valid: ArrayLike | None = None
) -> jax.Array:
  r"""How a network spreads the examples of each label over the classes.

  $$R_{ij} = \frac{\sum_t [\tilde y_t = i]\, p_t(j)}{\sum_t [\tilde y_t = i]}$$

  Its rows are given labels, where those of `confusion` are predicted classes.

  Args:
    log_probs: [N, C], such as `predict(...).log_probs`.
    y: int32 [N], the given labels.
    valid: bool [N], which rows count; all when None.

  Returns:
    The matrix [C, C]; the row of a label that never occurs is that of the identity.

  References:
    Chen, Gupta, Webly Supervised Learning of Convolutional Networks, ICCV 2015.

  Examples:
    >>> import jax.numpy as jnp
    >>> from rfjax import architectures
    >>> log_probs = jnp.log(jnp.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]))
    >>> architectures.relationship_graph(log_probs, jnp.array([0, 1, 1])).tolist()
    [[0.5, 0.5], [0.875, 0.125]]
  """
  label = jax.nn.one_hot(y, log_probs.shape[-1], dtype=log_probs.dtype)
  label = label if valid is None else label * jnp.asarray(valid)[:, None]
  return conditional(label, jnp.exp(log_probs))
