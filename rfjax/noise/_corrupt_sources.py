"""Manipulations of whole data sources: the adversaries that FLEA is tested against."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import NO_ADDRESS, Batch, Transform, _check, rank, stateless, uniform
from rfjax.noise._draws import first, with_truth
from rfjax.noise._group_flip import hard_group


class _Sources(NamedTuple):
  """Which source each row is of, int32 [B], and which sources are malicious, bool [S]."""

  of_row: jax.Array
  malicious: jax.Array

  @property
  def struck(self) -> jax.Array:
    return jnp.take(self.malicious, self.of_row, mode="fill", fill_value=False)


def _shuffle(values: jax.Array, batch: Batch, of_row: jax.Array, key: jax.Array) -> jax.Array:
  """Permutes values [B] inside of each source: the k-th row takes from the k-th drawn one."""
  place = jnp.lexsort((batch.index, of_row))
  drawn = jnp.lexsort((batch.index, uniform(key, batch), of_row))
  return jnp.zeros_like(values).at[place].set(values[drawn])


def _donors(struck: jax.Array, pool: jax.Array, order_by: jax.Array, index: jax.Array) -> jax.Array:
  """The row that each struck row becomes, int32 [B]: the pool's in order, and again from its start.

  Other rows, and all where the pool is empty, stay what they are.
  """
  size = jnp.sum(pool)
  order = jnp.lexsort((index, order_by, ~pool))
  place = rank(jnp.where(struck, index, NO_ADDRESS)) % jnp.maximum(size, 1)
  return jnp.where(struck & (size > 0), order[place], jnp.arange(index.size))


def _resampled(batch: Batch, mine: jax.Array, group: int, key: jax.Array) -> jax.Array:
  """The donors of one source: in `group` negatives become positives, elsewhere the reverse."""
  u = uniform(key, batch)
  favoured = batch.group == group
  wrong = batch.y != favoured
  donors = jnp.arange(batch.num_rows)
  for side in (favoured, ~favoured):
    pool = batch.valid & side & ~wrong
    donors = jnp.where(side, _donors(mine & side & wrong, pool, u, batch.index), donors)
  return donors


def _anchored(batch: Batch, mine: jax.Array, group: int, key: jax.Array) -> jax.Array:
  """The donors of one source: the neighbours, with the other label, of one row of each label."""
  u = uniform(key, batch)
  x = batch.x.reshape(batch.num_rows, -1).astype(jnp.float32)
  harmed = batch.group == group
  donors = jnp.arange(batch.num_rows)
  for label, side in ((0, ~harmed), (1, harmed)):
    own = mine & (batch.y == label)
    anchors = own & side
    anchor = x[first(jnp.where(anchors, u, jnp.inf), batch.index)]
    distance = jnp.sum((x - anchor) ** 2, axis=1)
    pool = batch.valid & side & (batch.y != label) & jnp.any(anchors)
    donors = jnp.where(own, _donors(own, pool, distance, batch.index), donors)
  return donors


def _replace_rows(
  find: Callable[..., jax.Array], batch: Batch, sources: _Sources, group: int, key: jax.Array
) -> Batch:
  """Replaces rows by others, with their truth, source by source."""

  def one(source: jax.Array, donors: jax.Array) -> jax.Array:
    mine = sources.struck & (sources.of_row == source)
    found = find(batch, mine, group, jax.random.fold_in(key, source))
    return jnp.where(mine, found, donors)

  rows = jnp.arange(batch.num_rows)
  donors = jax.lax.fori_loop(0, sources.malicious.size, one, rows)
  names = ("x", "y", "group")
  taken = {name: getattr(batch, name)[donors] for name in names}
  truth = jax.tree.map(lambda v: v[donors], with_truth(batch, "y", "group"))
  return batch.replace(truth=truth, **taken)


_VALUES: dict[str, Callable[..., dict[str, jax.Array]]] = {
  "flip_group": lambda batch, of_row, key: {"group": 1 - batch.group},
  "flip_label": lambda batch, of_row, key: {"y": 1 - batch.y},
  "flip_both": lambda batch, of_row, key: {"y": 1 - batch.y, "group": 1 - batch.group},
  "shuffle_group": lambda batch, of_row, key: {"group": _shuffle(batch.group, batch, of_row, key)},
  "copy_label_to_group": lambda batch, of_row, key: {"group": batch.y},
  "copy_group_to_label": lambda batch, of_row, key: {"y": batch.group},
}
_ROWS = {"resample": _resampled, "random_anchor": _anchored}
_WRITES = {
  "flip_group": ("group",),
  "flip_label": ("y",),
  "flip_both": ("y", "group"),
  "shuffle_group": ("group",),
  "copy_label_to_group": ("group",),
  "copy_group_to_label": ("y",),
  "resample": ("x", "y"),
  "random_anchor": ("x", "y", "group"),
}
_TWO_CLASSES = ("flip_label", "flip_both", "resample", "random_anchor")
_TWO_GROUPS = ("flip_group", "flip_both", "resample", "random_anchor")


def _check_counts(kind: str, batch: Batch) -> None:
  classes, groups = batch.num_classes, batch.num_groups
  if kind != "flip_label":
    hard_group(batch, kind)
  if kind in _TWO_CLASSES and classes != 2:
    raise ValueError(f"{kind} needs two classes, got num_classes {classes}")
  if kind in _TWO_GROUPS and groups != 2:
    raise ValueError(f"{kind} needs two groups, got num_groups {groups}")
  if kind == "copy_label_to_group" and classes > groups:
    raise ValueError(f"{kind} needs a group for each class, got {groups} for {classes}")
  if kind == "copy_group_to_label" and groups > classes:
    raise ValueError(f"{kind} needs a class for each group, got {classes} for {groups}")


def _mask(malicious: Any, source: Any) -> jax.Array:
  """Which sources are malicious, bool [S]."""
  count = None if _check.traced(source) else int(np.max(source)) + 1
  values = malicious if _check.traced(malicious) else np.asarray(malicious)
  if values.size == 0:
    return jnp.zeros(count or 1, bool)
  if values.dtype.kind == "b":
    if values.ndim != 1 or values.size < (count or 1):
      raise ValueError(
        f"malicious has shape {values.shape}, but source has ids up to {(count or 1) - 1}: pass one"
        " bool each, or a list of ids"
      )
    return jnp.asarray(values)
  if _check.traced(malicious):
    raise ValueError(f"malicious is traced with dtype {values.dtype}: pass a bool for each source")
  ids, count = _check.labels("malicious", values, count, 1)
  return jnp.asarray(np.isin(np.arange(count), ids))


def _of_row(source: Any, batch: Batch) -> jax.Array:
  """The source of each row, by its address; padding has none."""
  size = np.shape(source)[0]
  if not _check.traced(batch.index, batch.valid):
    last = int(np.max(np.asarray(batch.index), where=np.asarray(batch.valid), initial=-1))
    if last >= size:
      raise ValueError(f"source has {size} rows, but the data set has index {last}: pass all rows")
  found = jnp.take(jnp.asarray(source), batch.index, mode="fill", fill_value=NO_ADDRESS)
  return jnp.where(batch.valid, found, NO_ADDRESS).astype(jnp.int32)


def corrupt_sources(
  kind: str, source: ArrayLike, malicious: Sequence[int] | ArrayLike, *, group: int = 1
) -> Transform:
  r"""Manipulates all rows that come from malicious sources.

  With y' = 1 - y, z' = 1 - z and v the given `group`, a row (x, y, z) of a malicious source becomes

  $$\begin{aligned}
  \texttt{flip\_group}:&\quad (x, y, z') \\
  \texttt{flip\_label}:&\quad (x, y', z) \\
  \texttt{flip\_both}:&\quad (x, y', z') \\
  \texttt{shuffle\_group}:&\quad (x, y, z_\pi) \\
  \texttt{copy\_label\_to\_group}:&\quad (x, y, y) \\
  \texttt{copy\_group\_to\_label}:&\quad (x, z, z) \\
  \texttt{resample}:&\quad (x_j, y_j, z_j),\ z_j = z,\ y_j = [z = v] \\
  \texttt{random\_anchor}:&\quad (x_j, y_j, z_j),\ z_j = v \text{ if } y = 1 \text{ else } 1 - v,\
  y_j = y'
  \end{aligned}$$

  The permutation stays inside of the source. Rows j come from all sources, as they were before.
  `resample` keeps the rows with y = [z = v] and draws the others without replacement: so v has
  positives only, and the other group negatives only. `random_anchor` draws two anchors of the
  source, a negative one outside of v and a positive one of v; a row with label y takes one of the
  rows j that are nearest to the anchor of label y, by the Euclidean distance of x. Rows j are used
  over again where there are too few; where there is none, or no anchor, rows stay what they are.
  Rows j bring their own truth along. The other kinds keep the true labels and groups that they
  change in `truth`, unless they are there already, and leave x as it is, even where a column of it
  holds the attribute.

  Args:
    kind: one of the manipulations above.
    source: the source of each row, int [N] from 0, addressed by `index`; may be traced.
    malicious: ids of sources, or bool [num_sources], which may be traced.
    group: v, for `resample` and `random_anchor`, 0 or 1.

  Returns:
    The transform, for `rfjax.transform`; of data sets with two classes and two groups where it says
    y' and z' or v, and with a group for each class, or a class for each group, where it copies.

  Raises:
    ValueError: for an unknown kind, or ids that are no source; when applied, for a data set of
      other classes or groups, with soft membership where groups are used, or with rows that have no
      source.

  References:
    Iofinova, Konstantinov, Lampert, FLEA: Provably Robust Fair Multisource Learning from Unreliable
    Training Data, TMLR 2022.
    Mehrabi, Naveed, Morstatter, Galstyan, Exacerbating Algorithmic Bias through Fairness Attacks,
    AAAI 2021 (random anchors).

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0]] * 4, [0, 1, 0, 1], group=[0, 0, 1, 1])
    >>> flip = noise.corrupt_sources("flip_group", source=[0, 0, 1, 1], malicious=[1])
    >>> rfjax.transform(flip, clean, key=jax.random.key(0)).group.tolist()
    [0, 0, 0, 0]
  """
  _check.choice("kind", kind, tuple(_WRITES))
  _check.choice("group", group, (0, 1))
  if not _check.traced(source):
    source, _ = _check.labels("source", source, None, 1)
  mask = _mask(malicious, source)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    _check_counts(kind, batch)
    sources = _Sources(_of_row(source, batch), mask)
    if kind in _ROWS:
      return _replace_rows(_ROWS[kind], batch, sources, group, key)
    values = _VALUES[kind](batch, sources.of_row, key)
    truth = with_truth(batch, *values)
    new = {n: jnp.where(sources.struck, v, getattr(batch, n)) for n, v in values.items()}
    return batch.replace(truth=truth, **new)

  return stateless(apply, writes=_WRITES[kind])
