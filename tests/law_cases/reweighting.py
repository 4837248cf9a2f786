"""Cases of what weighs examples."""

import jax.numpy as jnp

from law_cases.case import Case
from rfjax import reweighting


def _symmetric(s):
  return (1 - 0.5 * s) * jnp.eye(3) + 0.25 * s * (1 - jnp.eye(3))


CASES = {
  "importance": Case(
    make=lambda s: reweighting.importance(_symmetric(s)),
    neutral=lambda: reweighting.importance(jnp.eye(3)),
    refused=((([[0.5, 0.6], [0.0, 1.0]],), {}), ((jnp.eye(3),), {"largest": 0.0})),
  ),
}
