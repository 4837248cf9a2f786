"""What others call by the same name: one table of their figures, defects included.

Read in fairlearn 0.15, AIF360 0.6.1, and the public code of FairBatch, FR-Train and Zafar et al.
Where theirs ends in an error because of a division by zero, the figure here is NaN or infinite.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from rfjax.core import _check
from rfjax.metrics._cells import rate
from rfjax.metrics._gap import DIFFERENCE, RATIO, Aggregate, Gap, Method
from rfjax.metrics._rows import Rows

Convention = Literal["rfjax", "fairlearn", "aif360", "fairbatch", "fr_train", "zafar"]

# By the name of a measure: how it compares, and which rates.
_MEASURES: dict[str, tuple[Gap, tuple[str, ...]]] = {
  "demographic_parity_difference": (DIFFERENCE, ("selection_rate",)),
  "demographic_parity_ratio": (RATIO, ("selection_rate",)),
  "disparate_impact": (RATIO, ("selection_rate",)),
  "equal_opportunity_difference": (DIFFERENCE, ("true_positive_rate",)),
  "equal_opportunity_ratio": (RATIO, ("true_positive_rate",)),
  "equalized_odds_difference": (DIFFERENCE, ("true_positive_rate", "false_positive_rate")),
  "equalized_odds_ratio": (RATIO, ("true_positive_rate", "false_positive_rate")),
}
_RATIOS = ("demographic_parity_ratio", "disparate_impact")

Compare = dict[str, Callable[[jax.Array, jax.Array], jax.Array]]
_NONE: Compare = {}


class Peer(NamedTuple):
  """How another code computes: what it lacks is not in its dictionaries.

  Attributes:
    measures: the names of ours that it has.
    difference: of rates [G] and the rate of all together [], by method; the first is its default.
    ratio: likewise.
    difference_of_odds: joins the figures of true and false positive rates, by aggregate.
    ratio_of_odds: likewise.
    without_rows: the rate of a group in which nobody has the label of the rate.
    groups: how many it compares; None for any number.
  """

  measures: tuple[str, ...]
  difference: Compare = _NONE
  ratio: Compare = _NONE
  difference_of_odds: Compare = _NONE
  ratio_of_odds: Compare = _NONE
  without_rows: float = jnp.nan
  groups: int | None = None


def _folded(rates: jax.Array, overall: jax.Array) -> jax.Array:
  quotient = rates / overall
  return jnp.nanmin(jnp.where(quotient > 1, 1 / quotient, quotient))


def _skipping(first: jax.Array, second: jax.Array) -> jax.Array:
  return jnp.nanmean(jnp.stack([first, second]))


# As in Python, the first of two unless the second is larger (smaller): NaN if the first is NaN.
_first_max = lambda first, second: jnp.where(second > first, second, first)
_first_min = lambda first, second: jnp.where(second < first, second, first)

_PEERS = {
  "fairlearn": Peer(
    measures=tuple(name for name in _MEASURES if name != "disparate_impact"),
    difference={
      "between_groups": lambda rates, overall: jnp.nanmax(rates) - jnp.nanmin(rates),
      "to_overall": lambda rates, overall: jnp.nanmax(jnp.abs(rates - overall)),
    },
    ratio={
      "between_groups": lambda rates, overall: jnp.nanmin(rates) / jnp.nanmax(rates),
      "to_overall": _folded,
    },
    difference_of_odds={"worst_case": _first_max, "mean": _skipping},
    ratio_of_odds={"worst_case": _first_min, "mean": _skipping},
    without_rows=0.0,
  ),
  "aif360": Peer(
    measures=(*_RATIOS, *(name for name in _MEASURES if "difference" in name)),
    difference={"between_groups": lambda rates, overall: rates[0] - rates[1]},
    ratio={"between_groups": lambda rates, overall: rates[0] / rates[1]},
    difference_of_odds={
      "worst_case": lambda true, false: _first_max(jnp.abs(false), jnp.abs(true)),
      "mean": lambda true, false: (false + true) / 2,
    },
    groups=2,
  ),
  "fairbatch": Peer(
    measures=tuple(name for name in _MEASURES if "difference" in name),
    difference={"to_overall": lambda rates, overall: jnp.max(jnp.abs(rates - overall))},
    difference_of_odds={"worst_case": jnp.maximum},
  ),
  "fr_train": Peer(
    measures=_RATIOS,
    ratio={"between_groups": lambda rates, overall: jnp.min(rates) / jnp.max(rates)},
    groups=2,
  ),
  "zafar": Peer(
    measures=_RATIOS,
    ratio={"between_groups": lambda rates, overall: rates[0] / rates[1] * 100},
    groups=2,
  ),
}


def figure(
  rows: Rows, convention: Convention, method: Method | None, agg: Aggregate = "worst_case"
) -> jax.Array:
  """The measure that the rows are read for, by a convention, []."""
  _check.choice("convention", convention, get_args(Convention))
  gap, names = _MEASURES[rows.measure]
  if convention == "rfjax":
    rates = [rate(rows, name) for name in names]
    return gap.of(*rates, method="between_groups" if method is None else method, agg=agg)
  peer = _PEERS[convention]
  compare, join = (
    (peer.difference, peer.difference_of_odds)
    if gap is DIFFERENCE
    else (peer.ratio, peer.ratio_of_odds)
  )
  _check_peer(rows, convention, peer)
  used: str = next(iter(compare)) if method is None else method
  of_convention = f"of the convention {convention!r}"
  _check.choice(f"method {of_convention}", used, tuple(compare))
  found = [compare[used](*_rates(rows, name, peer.without_rows)) for name in names]
  if len(found) == 1:
    return found[0]
  _check.choice(f"agg {of_convention}", agg, tuple(join))
  return join[agg](*found)


def _check_peer(rows: Rows, convention: str, peer: Peer) -> None:
  if rows.measure not in peer.measures:
    have = ("rfjax", *(name for name, other in _PEERS.items() if rows.measure in other.measures))
    raise ValueError(
      f"convention must be one of {', '.join(map(repr, have))} for {rows.measure}, got"
      f" {convention!r}, which has no such measure"
    )
  if peer.groups not in (None, rows.num_groups):
    raise ValueError(
      f"convention {convention!r} compares group 0 (unprivileged) with group 1 (privileged), so"
      f" num_groups must be 2, got {rows.num_groups}: merge the groups into two"
    )
  if rows.num_classes not in (None, 2):
    raise ValueError(
      f"convention must be 'rfjax' for more than two classes, got {convention!r} and num_classes"
      f" {rows.num_classes}"
    )


def _rates(rows: Rows, name: str, without_rows: float) -> tuple[jax.Array, jax.Array]:
  """The rates [G], of which one without rows may count, and the rate of all together []."""
  sums = rate(rows, name, warn=False)
  everybody = rate(rows, "selection_rate", warn=False).size
  hits, size, mass = (jnp.append(v[:, 0], jnp.sum(v)) for v in (*sums, everybody))
  value = jnp.where((size == 0) & (mass > 0), without_rows, hits / size)
  return value[:-1], value[-1]
