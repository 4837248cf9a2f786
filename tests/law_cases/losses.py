"""Cases of the losses."""

import jax

import rfjax
from law_cases.case import Case
from rfjax import losses


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
