"""How the laws make each catalogued method: one line a method."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rfjax import convergence


class Case(NamedTuple):
  """A method at work.

  Attributes:
    make: the method from the one setting that sweeps vary, its rate or strength in [0, 1).
    neutral: the method at the settings that make it plain cross-entropy, or None.
    refused: settings that the factory must refuse, as (arguments, keywords).
    scheduled: whether it has a branch on step or epoch that vmap must not flatten.
    peers: how many runs it looks at.
  """

  make: Callable[[Any], Any]
  neutral: Callable[[], Any] | None
  refused: tuple[tuple[tuple, dict], ...]
  scheduled: bool = False
  peers: int = 1


CASES = {
  "fr_train": Case(
    make=lambda s: convergence.fr_train(0.5 * s, 0.4 * s, warmup=1, reweight_every=1),
    neutral=lambda: convergence.fr_train(0.0, 0.0, warmup=0, reweight=None),
    refused=(((-0.1, 0.1), {}), ((0.5, 0.5), {}), ((0.1, 0.1), {"condition": "z"})),
    scheduled=True,
  ),
}
