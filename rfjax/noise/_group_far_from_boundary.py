"""An adversary's groups: those of the rows that a classifier is most sure of are perturbed."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, Transform, _check, count, logistic_regression, rank
from rfjax.noise._draws import check_width, with_truth
from rfjax.noise._group_flip import hard_group
from rfjax.noise._margin_flip import MarginFlipState

SCORES = ("regression", "logits")
_NAME = "group_far_from_boundary"


def group_far_from_boundary(
  rate: float | jax.Array,
  source: int,
  target: int | None = None,
  *,
  label: int | None = 0,
  predicted: int | None = 0,
  score: str = "regression",
  l2: float | jax.Array = 1.0,
) -> Transform:
  r"""Gives rows of one group to another one, those first that are farthest from a boundary.

  $$z_i \leftarrow \mathrm{target} \quad\text{for the } \lfloor \eta\, n \rfloor \text{ rows with }
  z_i = \mathrm{source},\; y_i = \mathrm{label},\; \hat y_i = \mathrm{predicted} \text{ and the
  largest}\quad \max_k u_{ik} - \mathop{\text{2nd max}}_k u_{ik}$$

  where n counts all valid rows: so a classifier that is as fair as it should be on true groups
  looks unfair, or an unfair one fair. The paper's adversaries strike true negatives (label 0,
  predicted 0) and false negatives (label 1, predicted 0) of one group. Logits u are those of a
  logistic regression of the data, or what any classifier has said, such as the fairest of all; in
  the authors' code they are of one with a bound of 0.9 on the ratio of selection rates. Rows that
  it is equally sure of go by `index`; there the code strikes one row more than the rate says. It is
  deterministic. The true groups are kept in `truth`, unless they are there already; x stays as it
  is, even where a column of it holds the attribute. Chain two for both directions.

  Args:
    rate: eta in [0, 1], struck rows as a share of the valid rows; may be traced.
    source: the group whose rows are struck, in [0, num_groups).
    target: the group that they get; the other one of two when None.
    label: the given label of struck rows; any when None.
    predicted: their predicted label; any when None.
    score: "regression" for a logistic regression, of data sets with two classes, fitted on the data
      or on what `fitted_on=` says; "logits" for those of the data set, as `predict` fills them.
    l2: penalty of the logistic regression, above 0; may be traced.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for values out of range; when applied, for data without groups, with soft
      membership, or without the groups and classes that are named.

  References:
    Celis, Mehrotra, Vishnoi, Fair Classification with Adversarial Perturbations, NeurIPS 2021.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> x = [[-3.0], [-2.0], [-1.0], [1.0], [2.0], [3.0]]
    >>> clean = rfjax.Batch.from_arrays(x, [0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 1])
    >>> noisy = rfjax.transform(noise.group_far_from_boundary(0.2, 1), clean, key=jax.random.key(0))
    >>> noisy.group.tolist(), noisy.truth.group.tolist()
    ([0, 0, 1, 0, 0, 1], [0, 1, 1, 0, 0, 1])
  """
  _check.number("rate", rate, 0.0, 1.0)
  _check.choice("score", score, SCORES)
  _check.number("l2", l2, 0.0, open_low=True)
  named = {"source": source, "target": target, "label": label, "predicted": predicted}
  for name, code in named.items():
    if code is not None:
      _check.count(name, code, 0)
  if source == target:
    raise ValueError(f"target must be another group than source, got {target}")

  def init(data: Batch, **unused: Any) -> MarginFlipState | tuple[()]:
    del unused
    if score == "logits":
      return ()
    if data.num_classes != 2:
      raise ValueError(
        f"score must be 'logits' for other than two classes, got num_classes {data.num_classes}"
      )
    return MarginFlipState(*logistic_regression(data.x, data.y, weight=data.valid, l2=l2))

  def update(batch: Batch, state: Any, params: Any = None, **unused: Any) -> tuple[Batch, Any]:
    del params, unused
    group, goal = hard_group(batch, _NAME), _goal(batch, named)
    logits = _logits(batch, state)
    struck = batch.valid & (group == source)
    if label is not None:
      struck &= batch.y == label
    if predicted is not None:
      struck &= jnp.argmax(logits, axis=1) == predicted
    best = jax.lax.top_k(logits, 2)[0]
    place = rank(jnp.where(struck, best[:, 1] - best[:, 0], jnp.inf), batch.index)
    struck &= place < count(rate, batch.valid)
    group = jnp.where(struck, goal, group).astype(group.dtype)
    return batch.replace(group=group, truth=with_truth(batch, "group")), state

  return Transform(init, update, writes=("group",))


def _goal(batch: Batch, named: dict[str, int | None]) -> int:
  """The group that struck rows get; refuses codes that the data set does not have."""
  sizes = dict(source=batch.num_groups, target=batch.num_groups)
  for name, code in named.items():
    size = sizes.get(name, batch.num_classes)
    if code is not None and code >= size:
      raise ValueError(f"{name} must lie in [0, {size}), got {code}: name one of them")
  source, target = named["source"], named["target"]
  if target is None and batch.num_groups != 2:
    raise ValueError(
      f"target must be given for other than two groups, got num_groups {batch.num_groups}"
    )
  return 1 - int(source or 0) if target is None else target


def _logits(batch: Batch, state: Any) -> jax.Array:
  """What the classifier says, [B, C]."""
  if not isinstance(state, MarginFlipState):
    return batch.require("logits", by=_NAME).logits
  x = batch.x.reshape(batch.num_rows, -1)
  check_width(_NAME, "features", state.kernel.size, x.shape[1])
  score = jnp.matmul(x, state.kernel, precision="highest") + state.intercept
  return jnp.stack([jnp.zeros_like(score), score], axis=1)
