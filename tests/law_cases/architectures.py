"""Cases of networks made for noisy labels."""

import jax.numpy as jnp

from law_cases.case import Case
from rfjax import architectures


def _symmetric(s):
  return (1 - 0.5 * s) * jnp.eye(3) + 0.25 * s * (1 - jnp.eye(3))


def _prior(s):
  return jnp.array([1.0, 0.0, 0.0]) + 0.5 * s * jnp.array([-1.0, 0.5, 0.5])


_CONFUSING = [[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]


_MASK = [[1, 1, 0], [0, 1, 1], [1, 0, 1]]


CASES = {
  "c_model": Case(
    make=lambda s: architectures.c_model(_symmetric(s)),
    neutral=lambda: architectures.c_model(jnp.eye(3)),
    refused=((([[0.5, 0.6], [0.0, 1.0]],), {}), (([[1.0, 0.0]],), {})),
  ),
  "dropout_noise_model": Case(
    make=lambda s: architectures.dropout_noise_model(s),
    neutral=None,
    refused=(((1.0,), {}), ((-0.1,), {}), ((), {"on": "inputs"})),
  ),
  "masked_channel": Case(
    make=lambda s: architectures.masked_channel(_MASK, _symmetric(s)),
    neutral=lambda: architectures.masked_channel(jnp.eye(3)),
    refused=((([[1, 0], [0, 0]],), {}), (([[1, 0.5], [0, 1]],), {}), ((_MASK, jnp.eye(2)), {})),
  ),
  "nlnn": Case(
    make=lambda s: architectures.nlnn(_symmetric(s), warmup=1),
    neutral=lambda: architectures.nlnn(jnp.eye(3)),
    refused=((([[0.5, 0.6], [0.0, 1.0]],), {}), ((), {"every": 0}), ((), {"warmup": -1})),
  ),
  "noise_layer": Case(
    make=lambda s: architectures.noise_layer(s, warmup=1),
    neutral=lambda: architectures.noise_layer(0.0),
    refused=(
      ((-0.1,), {}),
      ((0.1,), {"initial": [[0.5, 0.6], [0.0, 1.0]]}),
      ((0.1,), {"warmup": -1}),
      ((0.1,), {"param": "clipped"}),
    ),
  ),
  "probabilistic_noise": Case(
    make=lambda s: architectures.probabilistic_noise(_CONFUSING, prior=_prior(s)),
    neutral=lambda: architectures.probabilistic_noise(_CONFUSING, prior=[1.0, 0.0, 0.0]),
    refused=(
      (([[0.5, 0.6], [0.0, 1.0]],), {}),
      ((jnp.eye(3),), {}),
      ((_CONFUSING,), {"prior": [0.5, 0.6, 0.2]}),
    ),
  ),
  "rog": Case(
    make=lambda s: architectures.rog(1 - 0.5 * s),
    neutral=None,
    refused=(((0.0,), {}), ((1.1,), {}), ((), {"steps": -1}), ((), {"prior": "flat"})),
  ),
  "s_model": Case(
    make=lambda s: architectures.s_model(_symmetric(s)),
    neutral=lambda: architectures.s_model(jnp.eye(3)),
    refused=((([[0.5, 0.6], [0.0, 1.0]],), {}), (([[1.0, 0.0]],), {})),
  ),
  "webly": Case(
    make=lambda s: architectures.webly(_symmetric(s)),
    neutral=lambda: architectures.webly(jnp.eye(3)),
    refused=((([[0.5, 0.6], [0.0, 1.0]],), {}), (([[1.0, 0.0]],), {})),
  ),
}
