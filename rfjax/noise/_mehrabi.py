"""Mehrabi et al.'s anchoring attacks: copies of two rows with the labels that widen the gap."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Transform, _check, group_mean, stateless, uniform
from rfjax.noise import _append
from rfjax.noise._draws import first

KINDS = ("random", "non_random")
_BLOCK = 128


class Feasible(NamedTuple):
  """The points that a sanitising defence would let pass, for one label.

  Attributes:
    centre: [d], the mean of the label's rows.
    normal: [d], the unit vector between the means of both labels.
    radius: [], the largest distance from the centre.
    width: [], the largest distance along the normal.
  """

  centre: jax.Array
  normal: jax.Array
  radius: jax.Array
  width: jax.Array


def feasible(x: jax.Array, y: jax.Array, valid: jax.Array, percentile: Any) -> Feasible:
  """The feasible sets of labels 0 and 1, as one `Feasible` with a leading axis of 2.

  Args:
    x: features [N, d].
    y: labels [N], 0 or 1.
    valid: bool [N].
    percentile: of the distances of a label's own rows, in [0, 100].

  Returns:
    The sets.
  """
  mask = valid & (y == jnp.arange(2)[:, None])
  centre = group_mean(x, mask.T.astype(x.dtype))[0]
  apart = centre[0] - centre[1]
  normal = apart / jnp.maximum(jnp.linalg.norm(apart), jnp.finfo(x.dtype).tiny)
  away = x - centre[:, None]
  along = jnp.abs(jnp.matmul(away, normal, precision="highest"))
  bound = lambda d: jnp.nanpercentile(jnp.where(mask, d, jnp.nan), percentile, axis=1)
  radius, width = bound(jnp.linalg.norm(away, axis=-1)), bound(along)
  return Feasible(centre, jnp.stack([normal, normal]), radius, width)


def project(x: jax.Array, onto: Feasible, slab: bool) -> jax.Array:
  r"""The nearest point of a ball, or of a ball and a slab with one centre c.

  $$\min_z \lVert z - x \rVert \quad\text{s.t.}\quad \lVert z - c \rVert \le r
  \quad\text{and}\quad |v^\top (z - c)| \le w$$

  Args:
    x: [d].
    onto: c, v, r and w.
    slab: whether the second constraint holds.

  Returns:
    z, [d].
  """
  tiny = jnp.finfo(x.dtype).tiny
  shrink = lambda part, limit: (
    part * jnp.minimum(1, limit / jnp.maximum(jnp.linalg.norm(part), tiny))
  )
  away = x - onto.centre
  ball = shrink(away, onto.radius)
  if not slab:
    return onto.centre + ball
  along = jnp.sum(away * onto.normal)
  clipped = jnp.clip(along, -onto.width, onto.width)
  across = away - along * onto.normal
  # Where the ball alone leaves the slab, the slab's face cuts the ball in a smaller one.
  room = jnp.sqrt(jnp.maximum(onto.radius**2 - clipped**2, 0))
  face = clipped * onto.normal + shrink(across, room)
  inside = jnp.abs(jnp.sum(ball * onto.normal)) <= onto.width
  return onto.centre + jnp.where(inside, ball, face)


def most_neighbours(x: jax.Array, mask: jax.Array, tolerance: Any, index: jax.Array) -> jax.Array:
  """The masked row to which most masked rows are near in every feature, int32 [].

  Args:
    x: features [N, d].
    mask: bool [N].
    tolerance: the largest difference in a feature of rows that are near.
    index: addresses [N]; of rows with equally many, the one with the lowest is taken.

  Returns:
    The row number.
  """

  def neighbours(row: jax.Array) -> jax.Array:
    return jnp.sum(mask & (jnp.abs(x - row) <= tolerance).all(axis=1))

  counts = jax.lax.map(neighbours, x, batch_size=_BLOCK)
  return first(jnp.where(mask, -counts, 1), index)


def mehrabi(
  rate: float | jax.Array,
  *,
  kind: str = "random",
  advantaged: int | jax.Array | None = None,
  tolerance: float | jax.Array | tuple[float | jax.Array, float | jax.Array] = (1.0, 3.0),
  percentile: float | jax.Array | None = 90.0,
  slab: bool = True,
  capacity: int | None = None,
) -> Transform:
  r"""Appends copies of two anchors with the other label: the anchoring attacks RAA and NRAA.

  The one anchor a is a row of the advantaged group with label 0, the other one, b, is a row of the
  disadvantaged group with label 1, and of m = floor(rate n) appended rows

  $$m_1 = \mathrm{round}(m\, n_0 / n) \text{ are } (\Pi_1 x_a,\; 1), \qquad
  m - m_1 \text{ are } (\Pi_0 x_b,\; 0)$$

  with n_0 of the n rows of label 0, and the groups of their anchors: so the advantaged group gets
  false positives and the other one false negatives. The random attack (RAA) draws the anchors; the
  non-random one (NRAA) takes the rows with most rows of their own group and label within the
  tolerance in every feature. $\Pi_y$ projects onto what a sanitising defence lets pass for label y:
  a ball around the label's mean, and a slab across the line between both means, as wide as the
  percentile of the label's own rows. The authors' constraints of features that are not negative or
  are integers are left out. `truth` says of an appended row what is true of its anchor. Apply it by
  `rfjax.transform`.

  Args:
    rate: appended rows as a share of the valid rows, in [0, 1]; may be traced.
    kind: "random" or "non_random".
    advantaged: the advantaged group, 0 or 1; the one with the larger share of positive labels when
      None. May be traced.
    tolerance: of the non-random attack for a and for b, or one for both, at least 0, in units of x;
      may be traced.
    percentile: in [0, 100]; may be traced. No projection when None.
    slab: whether the slab bounds the points too, and not only the ball.
    capacity: slots for appended rows, of which those that the rate leaves over are padding; needed
      where the rate is traced. What the rate makes of all rows when None.

  Returns:
    The transform, of data sets with two classes and two groups.

  Raises:
    ValueError: for values out of range; when applied, for data without rows to take an anchor from.
      Inside of compiled code such data are left as they are.

  References:
    Mehrabi, Naveed, Morstatter, Galstyan, Exacerbating Algorithmic Bias through Fairness Attacks,
    AAAI 2021.
    Koh, Steinhardt, Liang, Stronger Data Poisoning Attacks Break Data Sanitization Defenses,
    Machine Learning, 2022 (the feasible set).

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1], [0, 1, 0, 1])
    >>> attack = noise.mehrabi(0.5, advantaged=1, percentile=None)
    >>> poisoned = rfjax.transform(attack, clean, key=jax.random.key(0))
    >>> poisoned.x[4:].tolist(), poisoned.y[4:].tolist(), poisoned.group[4:].tolist()
    ([[1.0], [2.0]], [1, 0], [1, 0])
  """
  _append.check_rate(rate, capacity)
  _check.choice("kind", kind, KINDS)
  if advantaged is not None:
    _append.check_side("advantaged", advantaged)
  near = _pair(tolerance)
  if percentile is not None:
    _check.number("percentile", percentile, 0.0, 100.0)

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    _append.check_data("mehrabi", batch, moves=percentile is not None)
    live = _append.slots(rate, capacity, batch)
    best = _advantaged(batch) if advantaged is None else jnp.asarray(advantaged, jnp.int32)
    masks = _sources(batch, best)
    live &= _check_sources(masks)
    anchor = _anchors(batch, masks, kind, near, key)
    y = (jnp.arange(live.size) < _positives(batch, live)).astype(jnp.int32)
    source = anchor[1 - y]
    rows = jax.tree.map(lambda v: v[source], _append.rows_of(batch))._replace(y=y)
    if percentile is not None:
      x = _project_anchors(batch, anchor, percentile, slab)[1 - y]
      rows = rows._replace(x=x.reshape(rows.x.shape))
    return _append.append(batch, rows, live)

  return stateless(apply, writes=_append.WRITES)


def _pair(tolerance: Any) -> tuple[Any, Any]:
  """The tolerance of either anchor."""
  many = isinstance(tolerance, (tuple, list)) or np.ndim(tolerance) == 1
  pair = tuple(tolerance) if many else (tolerance, tolerance)
  if len(pair) != 2:
    raise ValueError(f"tolerance must be one number or a pair, got {len(pair)} of them")
  for value in pair:
    _check.number("tolerance", value, 0.0)
  return pair


def _advantaged(batch: Batch) -> jax.Array:
  """The group with the larger share of positive labels, int32 []."""
  return jnp.argmax(group_mean(batch.y, batch.membership)[0])


def _sources(batch: Batch, advantaged: jax.Array) -> jax.Array:
  """The rows to take the anchors from, bool [2, N]."""
  spared = batch.valid & (batch.group == advantaged) & (batch.y == 0)
  return jnp.stack([spared, batch.valid & (batch.group != advantaged) & (batch.y == 1)])


def _check_sources(masks: jax.Array) -> jax.Array:
  """Whether both anchors can be had, bool []; refuses where it is known that they cannot."""
  found = masks.any(axis=1)
  if not _check.traced(found) and not bool(found.all()):
    missing = "advantaged group with label 0" if not found[0] else "other group with label 1"
    raise ValueError(f"mehrabi needs a row of the {missing}: swap the groups by advantaged=")
  return found.all()


def _anchors(
  batch: Batch, masks: jax.Array, kind: str, tolerance: tuple[Any, Any], key: jax.Array
) -> jax.Array:
  """The row numbers of both anchors, int32 [2]."""
  if kind == "random":
    u = uniform(key, batch)
    return jnp.stack([first(jnp.where(mask, -u, 1), batch.index) for mask in masks])
  x = batch.x.reshape(batch.num_rows, -1)
  pairs = zip(masks, tolerance, strict=True)
  return jnp.stack([most_neighbours(x, mask, near, batch.index) for mask, near in pairs])


def _positives(batch: Batch, live: jax.Array) -> jax.Array:
  """How many of the appended rows are labelled 1: the share of 0 in the data, []."""
  return jnp.round(jnp.sum(live) * batch.mean(1 - batch.y))


def _project_anchors(batch: Batch, anchor: jax.Array, percentile: Any, slab: bool) -> jax.Array:
  """Both anchors, the first within the bounds of label 1 and the other of label 0, [2, d]."""
  x = batch.x.reshape(batch.num_rows, -1)
  sets = feasible(x, batch.y, batch.valid, percentile)
  onto = jax.tree.map(lambda v: v[::-1], sets)
  return jax.vmap(lambda row, to: project(row, to, slab))(x[anchor], onto)
