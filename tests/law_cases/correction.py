"""Cases of corrections by a transition matrix."""

import jax.numpy as jnp
import optax

from law_cases.case import Case
from rfjax import correction


def _symmetric(s):
  return (1 - 0.5 * s) * jnp.eye(3) + 0.25 * s * (1 - jnp.eye(3))


CASES = {
  "backward": Case(
    make=lambda s: correction.backward(_symmetric(s)),
    neutral=lambda: correction.backward(jnp.eye(3)),
    refused=(
      (([[0.5, 0.6], [0.0, 1.0]],), {}),
      (([[0.5, 0.5], [0.5, 0.5]],), {}),
      ((jnp.eye(3),), {"ridge": -1.0}),
    ),
  ),
  "forward": Case(
    make=lambda s: correction.forward(_symmetric(s)),
    neutral=lambda: correction.forward(jnp.eye(3)),
    refused=((([[0.5, 0.6], [0.0, 1.0]],), {}), (([[1.0, 0.0]],), {})),
  ),
  "gold_loss_correction": Case(
    make=lambda s: correction.gold_loss_correction(_symmetric(s), jnp.arange(10) < 3),
    neutral=lambda: correction.gold_loss_correction(jnp.eye(3), jnp.arange(10) < 3),
    refused=(
      (([[0.5, 0.6], [0.0, 1.0]], [True, False]), {}),
      ((jnp.eye(3), jnp.arange(3)), {}),
      ((jnp.eye(3), [[True]]), {}),
    ),
  ),
  "t_revision": Case(
    make=lambda s: correction.t_revision(_symmetric(s), optax.adam(0.01), largest=2.0),
    neutral=lambda: correction.t_revision(jnp.eye(3)),
    refused=((([[0.5, 0.6], [0.0, 1.0]],), {}), ((jnp.eye(3),), {"largest": 0.0})),
  ),
  "vol_min_net": Case(
    make=lambda s: correction.vol_min_net(s),
    neutral=lambda: correction.vol_min_net(initial=-200.0),
    refused=(((-1.0,), {}), ((), {"initial": float("inf")})),
  ),
}
