"""Cases of the selections."""

import jax.numpy as jnp
import numpy as np

from law_cases.case import Case
from rfjax import selection


def _turned(x, key):
  del key
  return x[:, ::-1]


# Probabilities of the laws' ten rows, some of which look wrongly labelled.
PROBS = np.random.default_rng(7).dirichlet(np.ones(3), 10).astype(np.float32)

CASES = {
  "co_teaching": Case(
    make=lambda s: selection.co_teaching(s),
    neutral=lambda: selection.co_teaching(0.0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"rounding": "up"})),
    peers=2,
  ),
  "confident_learning": Case(
    make=lambda s: selection.confident_learning(PROBS, prune="class", frac_noise=s),
    neutral=lambda: selection.confident_learning(PROBS, frac_noise=0.0),
    refused=(((2 * PROBS,), {}), ((PROBS,), {"prune": "all"}), ((PROBS,), {"frac_noise": 2.0})),
  ),
  "crust": Case(
    make=lambda s: selection.crust(1 - s / 2, radius=0.2, warmup=1),
    neutral=lambda: selection.crust(warmup=1000),
    refused=(((1.5,), {}), ((-0.1,), {}), ((), {"radius": 0.0}), ((), {"capacity": 0})),
    scheduled=True,
  ),
  "fine": Case(
    make=lambda s: selection.fine(s, warmup=1, every=1),
    neutral=lambda: selection.fine(warmup=1000),
    refused=(((1.5,), {}), ((-0.1,), {}), ((), {"warmup": -1}), ((), {"every": 0})),
    scheduled=True,
  ),
  "morph": Case(
    make=lambda s: selection.morph(_turned, consistency=s, length=2, max_epochs=2),
    neutral=None,
    refused=(((), {"rate": 1.0}), ((), {"consistency": -1.0}), ((), {"shift": 1.0})),
  ),
  "prestopping": Case(
    make=lambda s: selection.prestopping(rate=s, length=2, cap=True),
    neutral=None,
    refused=(((), {}), ((), {"rate": 1.0}), ((), {"stop": -1}), ((), {"stop": 1, "cap": True})),
  ),
  "selected": Case(
    make=lambda s: selection.selected(jnp.arange(10) / 10 >= s - 0.3),
    neutral=lambda: selection.selected(np.ones(10, bool)),
    refused=((([0.5, 1.0],), {}), (([[True]],), {})),
  ),
  "small_loss": Case(
    make=lambda s: selection.small_loss(s),
    neutral=lambda: selection.small_loss(0.0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"rounding": "up"})),
  ),
}
