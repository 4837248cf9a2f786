"""The one flow: a batch that fills from left to right on its way through a training step."""

import dataclasses
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import _check

Array = jax.Array


def on_device(values: ArrayLike) -> Array:
  """A copy on the device, without the program that jnp.asarray compiles for each shape."""
  return jax.device_put(np.array(values))


def _static(default: int) -> Any:
  return dataclasses.field(default=default, metadata={"static": True})


COLUMNS = ("target", "keep", "weight")  # what a data set may bring, and the network fills else
NO_ADDRESS = 2**31 - 1  # an index out of any memory: read as zeros, written nowhere

# None, under the type that a field has once it is known: methods read it then only.
_UNKNOWN: Any = None


class Truth(NamedTuple):
  """What only a measurement may read.

  Attributes:
    y: true labels, int32 [B], or None; num_classes says that a row belongs to none of the classes.
    group: true sensitive attribute, int32 [B], or None.
  """

  y: Array | None = None
  group: Array | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
  r"""Examples, and all that a network and a chain of transforms say about them.

  A field that is None is not known yet. The network fills `logits` and with it the defaults of all
  fields to the right; transforms then change them, and the step reads

  $$\mathrm{loss}_i = \sum_k \mathrm{target}_{ik}\,\mathrm{cost}_{ik}, \qquad
  \mathrm{risk} = \frac{\sum_i \mathrm{keep}_i\,\mathrm{weight}_i\,\mathrm{loss}_i}
  {\max(\sum_i \mathrm{keep}_i,\,1)}, \qquad
  \mathrm{objective} = \mathrm{risk} + \mathrm{penalty}.$$

  Attributes:
    index: int32 [B], position in the training set, the address of per-example memory. Padding rows
      have the index 2**31 - 1, which no memory has.
    valid: bool [B], a real row and not padding.
    x: features [B, ...].
    y: int32 [B], the given label, which may be wrong.
    group: the given sensitive attribute, int32 [B], or soft membership float [B, G] where a row of
      zeros means that it is missing.
    logits: [B, C], what the network says.
    features: [B, d], its penultimate layer where it offers one.
    log_probs: [B, C], what the loss reads; starts as log_softmax(logits).
    cost: [B, C], the loss if the label of row i were k; starts as -log_probs.
    target: [B, C], what the model should say; starts as one_hot(y).
    keep: [B] in [0, 1], selected or not; starts as valid.
    weight: [B], how much the example counts; starts as 1 and is not renormalised.
    penalty: [], what the objective adds; starts as 0.
    order: int32 [steps, batch], the batches of the coming epoch, N for an empty slot; on a data set
      only.
    trusted: clean examples, for the methods that need them.
    truth: true labels and groups, for measuring only.
    num_classes: C, static.
    num_groups: G, static; 0 without a sensitive attribute.
  """

  index: Array
  valid: Array
  x: Array
  y: Array
  group: Array = _UNKNOWN
  logits: Array = _UNKNOWN
  features: Array = _UNKNOWN
  log_probs: Array = _UNKNOWN
  cost: Array = _UNKNOWN
  target: Array = _UNKNOWN
  keep: Array = _UNKNOWN
  weight: Array = _UNKNOWN
  penalty: Array = _UNKNOWN
  order: Array = _UNKNOWN
  trusted: "Batch" = _UNKNOWN
  truth: Truth = _UNKNOWN
  num_classes: int = _static(2)
  num_groups: int = _static(0)

  @classmethod
  def from_arrays(
    cls,
    x: ArrayLike,
    y: ArrayLike,
    group: ArrayLike | None = None,
    *,
    num_classes: int | None = None,
    num_groups: int | None = None,
    trusted: "Batch | None" = None,
    truth: Truth | None = None,
  ) -> "Batch":
    """Makes a data set of arrays, checked once, here, on the host.

    Inside of compiled code the arrays have no values to check, and the counts must be given.

    Args:
      x: features [N, ...], finite.
      y: labels [N], integers in [0, num_classes).
      group: sensitive attribute [N], integers in [0, num_groups), every group present; or soft
        membership [N, num_groups] with entries in [0, 1]. None without one.
      num_classes: inferred from y as max(y) + 1, at least 2, when None.
      num_groups: inferred from group when None.
      trusted: clean examples for the methods that need them.
      truth: true labels and groups, kept for measuring.

    Returns:
      A `Batch` of N valid rows.

    Raises:
      ValueError: naming the argument, the offending rows and the remedy.

    Examples:
      >>> from rfjax import Batch
      >>> data = Batch.from_arrays([[0.0], [1.0], [2.0]], [0, 1, 1], group=[0, 1, 0])
      >>> data.num_rows, data.num_classes, data.num_groups
      (3, 2, 2)
    """
    traced = _check.traced(x, y, group)
    xp, put = (jnp, jnp.asarray) if traced else (np, on_device)
    check = _check.shapes if traced else _check.data
    checked = check(x, y, group, num_classes, num_groups)
    features, labels, group, num_classes, num_groups = checked
    rows = labels.shape[0]
    _check.truth(truth, rows, num_classes, num_groups)
    _check.trusted(trusted, features.shape[1:], num_classes)
    return cls(
      index=put(xp.arange(rows, dtype=np.int32)),
      valid=put(xp.ones(rows, bool)),
      x=put(features),
      y=put(labels),
      group=_UNKNOWN if group is None else put(group),
      trusted=trusted or _UNKNOWN,
      truth=truth or _UNKNOWN,
      num_classes=num_classes,
      num_groups=num_groups,
    )

  @property
  def num_rows(self) -> int:
    """Rows, padding included; static."""
    return self.y.shape[0]

  @property
  def probs(self) -> Array:
    """exp(log_probs), [B, C]: what the loss reads, as probabilities."""
    return jnp.exp(self.require("log_probs").log_probs)

  @property
  def margin(self) -> Array:
    """logits[:, k] - logits[:, 0] for k >= 1, [B, C - 1]; for two classes the logit of class 1."""
    logits = self.require("logits").logits
    return logits[:, 1:] - logits[:, :1]

  @property
  def membership(self) -> Array:
    """Group membership, float [B, G]; rows of zeros are padding or missing."""
    group = self.require("group").group
    if group.ndim == 1:
      group = jax.nn.one_hot(group, self.num_groups)
    return group * self.valid[:, None]

  @property
  def loss(self) -> Array:
    """sum_k target * cost, [B]."""
    self.require("target", "cost", by="the loss")
    return jnp.sum(self.target * self.cost, axis=-1)

  @property
  def risk(self) -> Array:
    """sum(keep * weight * loss) / max(sum(keep), 1), []."""
    self.require("keep", "weight", by="the risk")
    return jnp.sum(self.keep * self.weight * self.loss) / jnp.maximum(jnp.sum(self.keep), 1.0)

  @property
  def objective(self) -> Array:
    """risk + penalty, []."""
    return self.risk + self.penalty

  def mean(self, values: Array) -> Array:
    """Mean over the valid rows of values [B, ...], in float32 at least; 0 when there is none."""
    values = jnp.asarray(values)
    values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    valid = self.valid.astype(values.dtype)
    return jnp.tensordot(valid, values, 1, precision="highest") / jnp.maximum(jnp.sum(valid), 1.0)

  def replace(self, **changes: Any) -> Self:
    """Changes fields; what starts as a function of a changed field starts anew.

    New `logits` give new `log_probs`, and new `log_probs` give a new `cost`, unless they are given
    too: so a correction of the softmax output acts on whatever loss comes after it. A new `y` gives
    a new `target` where there is one.
    """
    if "y" in changes and self.target is not None:
      changes.setdefault("target", self._one_hot(changes["y"], self.target.dtype))
    if changes.get("logits") is not None:
      changes.setdefault("log_probs", jax.nn.log_softmax(changes["logits"]))
    if changes.get("log_probs") is not None:
      changes.setdefault("cost", -changes["log_probs"])
    return dataclasses.replace(self, **changes)

  def _one_hot(self, y: Array, dtype: Any) -> Array:
    return jax.nn.one_hot(y, self.num_classes, dtype=dtype)

  def with_columns(self, *names: str, dtype: Any = jnp.float32) -> Self:
    """Fills the defaults of the named ones of target, keep and weight, where not known."""
    defaults = {
      "target": lambda: self._one_hot(self.y, dtype),
      "keep": lambda: self.valid.astype(dtype),
      "weight": lambda: jnp.ones(self.num_rows, dtype),
    }
    return self.replace(**{n: defaults[n]() for n in names if getattr(self, n) is None})

  def without_columns(self, pristine: Self, filled: Self) -> Self:
    """Takes back what `with_columns` made of `pristine`, where nobody has changed it since."""
    back = {
      name: getattr(pristine, name)
      for name in COLUMNS
      if getattr(self, name) is getattr(filled, name)
    }
    return dataclasses.replace(self, **back)

  def fill(self, logits: Array, features: Array | None = None) -> Self:
    """Fills what the network says, and the defaults of all that follows from it."""
    columns = self.with_columns(*COLUMNS, dtype=logits.dtype)
    return columns.replace(logits=logits, features=features, penalty=jnp.zeros((), logits.dtype))

  def drain(self, pristine: Self, filled: Self) -> Self:
    """The view of an epoch: without the network's opinion, and without untouched defaults."""
    empty = dict.fromkeys(("logits", "features", "log_probs", "cost", "penalty"))
    return dataclasses.replace(self.without_columns(pristine, filled), **empty)

  def take(self, rows: Array) -> Self:
    """Gathers rows in [0, N] into a batch; row number N, the number of rows here, is empty."""
    if jnp.issubdtype(rows.dtype, jnp.bool_):
      raise ValueError("rows must be row numbers, got a mask: pass jnp.flatnonzero(mask)")
    gather = lambda v, fill=0: jnp.take(v, rows, axis=0, mode="fill", fill_value=fill)
    names = ("x", "y", "logits", "features", "log_probs", "cost", "target", "keep", "weight")
    taken = {name: jax.tree.map(gather, getattr(self, name)) for name in (*names, "truth")}
    if self.group is not None:
      hard = self.group.ndim == 1
      taken["group"] = gather(self.group, self.num_groups if hard else 0)
    return dataclasses.replace(
      self,
      index=gather(self.index, NO_ADDRESS),
      valid=gather(self.valid, False),
      order=None,
      **taken,
    )

  def subset(self, rows: Array) -> Self:
    """Gathers rows into a data set of its own, with addresses from 0."""
    return dataclasses.replace(
      self.take(rows), index=jnp.arange(rows.shape[0], dtype=jnp.int32), trusted=self.trusted
    )

  def require(self, *names: str, by: str = "this transform") -> Self:
    """Returns the batch, or raises ValueError naming the first field that is not known yet."""
    for name in names:
      if getattr(self, name) is None:
        raise ValueError(f"{by} needs {name}, which is not known yet: {_REMEDY[name]}")
    return self


_FILLED = "it is filled by the network inside train_step, fit or predict"
_REMEDY = dict.fromkeys(
  ("logits", "log_probs", "cost", "target", "keep", "weight", "penalty"), _FILLED
) | {
  "group": "pass group= to Batch.from_arrays, or use a method that needs no sensitive attribute",
  "features": "use a network whose apply returns its penultimate layer",
  "trusted": "pass trusted=, a Batch of clean examples, to Batch.from_arrays",
  "truth": "pass truth= to Batch.from_arrays; only measurements may read it",
  "order": "it is written by fit when batch_size is given, and by samplers in refresh",
}
