"""How the laws make each catalogued method: one line a method."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

import rfjax
from rfjax import convergence, losses


class Case(NamedTuple):
  """A method at work.

  Attributes:
    make: the method from the one setting that sweeps vary, its rate or strength in [0, 1).
    neutral: the method at the settings that make it plain cross-entropy, or None.
    refused: settings that the factory must refuse, as (arguments, keywords).
    scheduled: whether it has a branch on step or epoch that vmap must not flatten.
    peers: how many runs it looks at.
    asks_again: whether it replaces what the network said by what it says of other features.
    tx: for a method that acts on gradients the optax transformation, of the same setting; its
      `make` and `neutral` are then the empty chain.
  """

  make: Callable[[Any], Any]
  neutral: Callable[[], Any] | None
  refused: tuple[tuple[tuple, dict], ...]
  scheduled: bool = False
  peers: int = 1
  asks_again: bool = False
  tx: Callable[[Any], optax.GradientTransformation] | None = None


def _shaken(x, key):
  return x * (1 + 0.1 * jax.random.normal(key))


def _nce():
  return losses.normalized(losses.cross_entropy())


CASES = {
  "active_passive": Case(
    make=lambda s: losses.active_passive(_nce(), losses.rce(), alpha=1 - s, beta=s),
    neutral=lambda: losses.active_passive(losses.cross_entropy(), losses.mae(), beta=0.0),
    refused=(
      ((rfjax.chain(), losses.mae()), {}),
      ((losses.mae(), losses.peer_loss()), {}),
      ((losses.mae(), losses.mae()), {"alpha": -1.0}),
    ),
  ),
  "bi_tempered": Case(
    make=lambda s: losses.bi_tempered(1 - s, 1 + s),
    neutral=lambda: losses.bi_tempered(1.0, 1.0),
    refused=(((1.1, 1.2), {}), ((0.8, 0.9), {}), ((), {"steps": 0})),
  ),
  "cdr": Case(
    make=lambda s: rfjax.chain(),
    neutral=rfjax.chain,
    refused=(((1.0,), {}), ((-0.1,), {})),
    tx=lambda s: losses.cdr(s),
  ),
  "cross_entropy": Case(
    make=lambda s: losses.cross_entropy(0.1 * s),
    neutral=losses.cross_entropy,
    refused=(((1.0,), {}), ((-0.1,), {})),
  ),
  "dmi": Case(make=lambda s: losses.dmi(), neutral=None, refused=()),
  "elr": Case(
    make=lambda s: losses.elr(3 * s),
    neutral=lambda: losses.elr(0.0),
    refused=(((-1.0,), {}), ((1.0,), {"decay": 1.0}), ((1.0,), {"clip": 0.5})),
  ),
  "focal": Case(
    make=lambda s: losses.focal(2 * s),
    neutral=lambda: losses.focal(0.0),
    refused=(((-0.1,), {}),),
  ),
  "fr_train": Case(
    make=lambda s: convergence.fr_train(0.5 * s, 0.4 * s, warmup=1, reweight_every=1),
    neutral=lambda: convergence.fr_train(0.0, 0.0, warmup=0, reweight=None),
    refused=(((-0.1, 0.1), {}), ((0.5, 0.5), {}), ((0.1, 0.1), {"condition": "z"})),
    scheduled=True,
  ),
  "gce": Case(
    make=lambda s: losses.gce(s),
    neutral=lambda: losses.gce(0.0),
    refused=(((1.1,), {}), ((-0.1,), {})),
  ),
  "generalized_jensen_shannon": Case(
    make=lambda s: losses.generalized_jensen_shannon(0.05 + s, _shaken),
    neutral=None,
    refused=(((1.0, _shaken), {}), ((0.5, _shaken), {"num_views": 0})),
  ),
  "jensen_shannon": Case(
    make=lambda s: losses.jensen_shannon(0.05 + s),
    neutral=None,
    refused=(((0.0,), {}), ((1.0,), {})),
  ),
  "label_smoothing": Case(
    make=lambda s: losses.label_smoothing(s),
    neutral=lambda: losses.label_smoothing(0.0),
    refused=(((1.1,), {}), ((-0.1,), {})),
  ),
  "mae": Case(make=lambda s: losses.mae(), neutral=None, refused=()),
  "mixup": Case(
    make=lambda s: losses.mixup(0.5),
    neutral=lambda: losses.mixup(0.0),
    refused=(((-0.1,), {}),),
    asks_again=True,
  ),
  "negative_learning": Case(
    make=lambda s: losses.negative_learning(selective_from=1, positive_from=2, gamma=s),
    neutral=None,
    refused=(((), {"num_labels": 0}), ((), {"selective_from": -1}), ((), {"gamma": 1.1})),
  ),
  "normalized": Case(
    make=lambda s: losses.normalized(losses.focal(s)),
    neutral=None,
    refused=(((rfjax.chain(),), {}), ((losses.peer_loss(),), {})),
  ),
  "npcl": Case(
    make=lambda s: losses.npcl(s, warmup=1),
    neutral=None,
    refused=(((1.0,), {}), ((0.2,), {"warmup": -1})),
  ),
  "peer_loss": Case(
    make=lambda s: losses.peer_loss(s, sampled=True),
    neutral=lambda: losses.peer_loss(0.0),
    refused=(((-0.1,), {}),),
  ),
  "phuber": Case(
    make=lambda s: losses.phuber(2 + s),
    neutral=lambda: losses.phuber(1e30),
    refused=(((1.0,), {}), ((2.0,), {"q": 1.1})),
  ),
  "rce": Case(make=lambda s: losses.rce(), neutral=None, refused=(((0.0,), {}), ((1.0,), {}))),
  "sce": Case(
    make=lambda s: losses.sce(s, 1 - s),
    neutral=lambda: losses.sce(1.0, 0.0),
    refused=(((-1.0,), {}), ((1.0, -1.0), {}), ((1.0, 1.0), {"clip": 0.0})),
  ),
  "taylor": Case(make=lambda s: losses.taylor(3), neutral=None, refused=(((0,), {}),)),
  "truncated_gce": Case(
    make=lambda s: losses.truncated_gce(s, 0.3, start=1, every=1),
    neutral=lambda: losses.truncated_gce(0.0, 0.0),
    refused=(((1.1,), {}), ((0.7, 1.5), {}), ((), {"start": -1}), ((), {"every": 0})),
    scheduled=True,
  ),
  "unhinged": Case(make=lambda s: losses.unhinged(), neutral=None, refused=()),
}
