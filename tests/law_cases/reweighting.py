"""Cases of what weighs examples."""

import jax.numpy as jnp

from law_cases.case import Case
from rfjax import reweighting


def _symmetric(s):
  return (1 - 0.5 * s) * jnp.eye(3) + 0.25 * s * (1 - jnp.eye(3))


_HALF = ((0.5, 50), (0.2, 50))


CASES = {
  "active_bias": Case(
    make=lambda s: reweighting.active_bias(1, smoothing=0.05 + s),
    neutral=lambda: reweighting.active_bias(1000),
    refused=(((-1,), {}), ((), {"smoothing": -0.1})),
  ),
  "importance": Case(
    make=lambda s: reweighting.importance(_symmetric(s)),
    neutral=lambda: reweighting.importance(jnp.eye(3)),
    refused=((([[0.5, 0.6], [0.0, 1.0]],), {}), ((jnp.eye(3),), {"largest": 0.0})),
  ),
  "l2rw": Case(
    make=lambda s: reweighting.l2rw(minimum=0.1 * s, trusted_batch_size=4),
    neutral=lambda: reweighting.l2rw(minimum=1e20),
    refused=(((), {"minimum": -0.1}), ((), {"trusted_batch_size": 0})),
  ),
  "mentor_net": Case(
    make=lambda s: reweighting.mentor_net(steps=6, percentile=s, decay=0.2, dropout=_HALF),
    neutral=lambda: reweighting.mentor_net(epochs=1, burn_in=100, dropout=((0.0, 100),)),
    refused=(((), {}), ((), {"epochs": 0}), ((), {"epochs": 1, "percentile": 1.1})),
  ),
  "meta_weight_net": Case(
    make=lambda s: reweighting.meta_weight_net(s, hidden=5),
    neutral=None,
    refused=(((-0.1,), {}), ((), {"hidden": 0}), ((), {"trusted_batch_size": 0})),
  ),
}
