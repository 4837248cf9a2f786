"""Confident learning: rows whose labels are probably wrong are left out before training."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, read, write
from rfjax.selection._confident_joint import confident_joint
from rfjax.selection._label_issues import check_rule, label_issues


class ConfidentLearningState(NamedTuple):
  """The state of `confident_learning`.

  Attributes:
    issues: bool [N], the examples whose given label is probably wrong.
    class_weight: [C], by how much the examples of each given label count; 1 without reweighting.
  """

  issues: jax.Array
  class_weight: jax.Array


def confident_learning(
  probs: ArrayLike,
  *,
  prune: str = "noise_rate",
  joint: ArrayLike | None = None,
  frac_noise: float | jax.Array = 1.0,
  min_examples: int | jax.Array = 1,
  num_to_remove: ArrayLike | None = None,
  reweight: bool = False,
) -> Transform:
  r"""Confident learning: leaves out the rows whose given label is probably wrong.

  $$\mathrm{keep}_i \leftarrow \mathrm{keep}_i\,[i \notin \mathrm{issues}], \qquad
  \mathrm{weight}_i \leftarrow \mathrm{weight}_i\,
  \frac{\sum_j Q_{j \tilde y_i}}{Q_{\tilde y_i \tilde y_i}} \text{ with } \mathtt{reweight}$$

  with the issues of `label_issues` and the `confident_joint` Q. The weight makes up for the rows of
  a true class that were given another label. It acts on a data set, by `rfjax.transform`, as well
  as in training.

  Args:
    probs: [N, C], of networks that have not seen the row in training, such as `out_of_sample`; in
      the order of the training set. May be traced.
    prune: the rule, as in `label_issues`, like the next four.
    joint: counts of (given, true) labels, [C, C].
    frac_noise: share of the counts off the diagonal to prune, in [0, 1]; may be traced.
    min_examples: so many rows of each class are spared; may be traced.
    num_to_remove: how many rows of each class to prune, [C].
    reweight: whether classes are weighted.

  Returns:
    The transform; it writes keep and, with reweighting, weight.

  Raises:
    ValueError: for values out of range, and settings that the rule does not read; at the start of
      training for probabilities that do not match the data.

  References:
    Northcutt, Jiang, Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, Journal
    of Artificial Intelligence Research, 2021.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import selection
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [2.0], [1.0], [3.0]], [0, 0, 0, 1, 1])
    >>> probs = [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]]
    >>> method = selection.confident_learning(probs)
    >>> rfjax.transform(method, data, key=jax.random.key(0)).keep.tolist()
    [1.0, 1.0, 0.0, 1.0, 1.0]
  """
  given = _check.numbers("probs", probs, 0.0, 1.0)
  if given.ndim != 2:
    raise ValueError(f"probs must have a row an example, got shape {given.shape}")
  check_rule(prune, joint, frac_noise, min_examples, num_to_remove)

  def init(data: Batch, **unused: Any) -> ConfidentLearningState:
    del unused
    _check.classes("probs", given.shape[1], data)
    if given.shape[0] != data.num_rows:
      raise ValueError(f"probs must have {data.num_rows} rows as the data, got {given.shape[0]}")
    rows = jnp.asarray(given)
    settings = {"frac_noise": frac_noise, "min_examples": min_examples}
    issues = label_issues(
      data.y, rows, prune=prune, joint=joint, num_to_remove=num_to_remove, mask=data.valid,
      **settings,
    )  # fmt: skip
    weight = jnp.ones(given.shape[1])
    if reweight:
      counts = confident_joint(data.y, rows, mask=data.valid) if joint is None else joint
      weight = _class_weight(jnp.asarray(counts, weight.dtype))
    issues = write(jnp.zeros(data.num_rows, bool), data.index, issues)
    return ConfidentLearningState(issues, weight)

  def update(
    batch: Batch, state: ConfidentLearningState, params: Any = None, **unused: Any
  ) -> tuple[Batch, ConfidentLearningState]:
    del params, unused
    batch.require("keep", "weight", by="confident_learning")
    fields = {"keep": batch.keep * ~read(state.issues, batch.index)}
    if reweight:
      fields["weight"] = batch.weight * state.class_weight[batch.y].astype(batch.weight.dtype)
    return batch.replace(**fields), state

  return Transform(init, update, writes=("keep", "weight") if reweight else ("keep",))


def _class_weight(joint: jax.Array) -> jax.Array:
  """One over P(given label = k | true label = k), [C]; 1 where no such row was counted."""
  right = jnp.diagonal(joint)
  return jnp.where(right > 0, jnp.sum(joint, axis=0) / jnp.where(right > 0, right, 1), 1)
