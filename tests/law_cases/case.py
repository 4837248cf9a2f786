"""What the laws need to know of a method."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax


class Case(NamedTuple):
  """A method at work.

  Attributes:
    make: the method from the one setting that sweeps vary, its rate or strength in [0, 1).
    neutral: the method at the settings that make it plain cross-entropy, or None.
    refused: settings that the factory must refuse, as (arguments, keywords).
    scheduled: whether it has a branch on step or epoch that vmap must not flatten.
    peers: how many runs it looks at.
    asks_again: whether it replaces what the network said by what it says of other features.
    acts: where: in "training", on the "data" before it by `rfjax.transform`, or on the "output".
    num_classes: of the laws' data.
    tx: for a method that acts on gradients the optax transformation, of the same setting; its
      `make` and `neutral` are then the empty chain.
    appends: how many rows it adds to those that are there, padding included.
  """

  make: Callable[[Any], Any]
  neutral: Callable[[], Any] | None
  refused: tuple[tuple[tuple, dict], ...]
  scheduled: bool = False
  peers: int = 1
  asks_again: bool = False
  acts: str = "training"
  num_classes: int = 3
  tx: Callable[[Any], optax.GradientTransformation] | None = None
  appends: int = 0
