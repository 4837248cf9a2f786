"""Cases of the selections."""

import jax.numpy as jnp
import numpy as np

from law_cases.case import Case
from rfjax import architectures, selection


def _turned(x, key):
  del key
  return x[:, ::-1]


PROBS = np.random.default_rng(7).dirichlet(np.ones(3), 10).astype(np.float32)


_NETWORK = architectures.mlp([5], 3)  # that of the laws


CASES = {
  "co_teaching": Case(
    make=lambda s: selection.co_teaching(s),
    neutral=lambda: selection.co_teaching(0.0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"rounding": "up"})),
    peers=2,
  ),
  "co_teaching_plus": Case(
    make=lambda s: selection.co_teaching_plus(s, warmup=1),
    neutral=lambda: selection.co_teaching_plus(0.0, warmup=2),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"warmup": -1})),
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
  "decoupling": Case(
    make=lambda s: selection.decoupling(warmup=3 * s),
    neutral=lambda: selection.decoupling(warmup=2),
    refused=(((), {"warmup": -1}),),
    peers=2,
  ),
  "divide_mix": Case(
    make=lambda s: selection.divide_mix(_turned, warmup=1, strength=s, ramp_epochs=1.0),
    neutral=lambda: selection.divide_mix(warmup=2),
    refused=(((), {"warmup": -1}), ((), {"temperature": 0.0}), ((), {"alpha": -1.0})),
    scheduled=True,
    peers=2,
    asks_again=True,
  ),
  "fine": Case(
    make=lambda s: selection.fine(s, warmup=1, every=1),
    neutral=lambda: selection.fine(warmup=1000),
    refused=(((1.5,), {}), ((-0.1,), {}), ((), {"warmup": -1}), ((), {"every": 0})),
    scheduled=True,
  ),
  "itlm": Case(
    make=lambda s: selection.itlm(s),
    neutral=lambda: selection.itlm(0.0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"every": 0})),
  ),
  "jocor": Case(
    make=lambda s: selection.jocor(s, strength=0.5),
    neutral=lambda: selection.jocor(0.0, strength=0.0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"strength": 1.5})),
    peers=2,
  ),
  "morph": Case(
    make=lambda s: selection.morph(_turned, consistency=s, length=2, max_epochs=2),
    neutral=None,
    refused=(((), {"rate": 1.0}), ((), {"consistency": -1.0}), ((), {"shift": 1.0})),
  ),
  "o2u": Case(
    make=lambda s: selection.o2u(s, stop=2),
    neutral=lambda: selection.o2u(0.0, stop=1),
    refused=(((1.0,), {"stop": 1}), ((0.1,), {"stop": -1}), ((0.1,), {"stop": 1, "start": 2})),
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
  "self_ensembling": Case(
    make=lambda s: selection.self_ensembling(
      _NETWORK, momentum=s, decay=0.9 * s, consistency=2 * s, ramp_epochs=2.0, augment=_turned
    ),
    neutral=lambda: selection.self_ensembling(_NETWORK, consistency=0.0, warmup=1000),
    refused=(
      ((_NETWORK,), {"momentum": 1.0}),
      ((_NETWORK,), {"decay": 1.5}),
      ((_NETWORK,), {"of": "both"}),
    ),
  ),
  "sigua": Case(
    make=lambda s: selection.sigua(s, ascent=0.5, ascend_rate=0.7),
    neutral=lambda: selection.sigua(0.0),
    refused=(((1.0,), {}), ((0.1,), {"ascent": -1.0}), ((0.1,), {"ascend_rate": 1.5})),
  ),
  "sigua_bc": Case(
    make=lambda s: selection.sigua_bc(s, threshold=1.0),
    neutral=lambda: selection.sigua_bc(0.5),
    refused=(((-1.0,), {}), ((), {"threshold": float("nan")}), ((), {"warmup": -1})),
  ),
  "small_loss": Case(
    make=lambda s: selection.small_loss(s),
    neutral=lambda: selection.small_loss(0.0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"rounding": "up"})),
  ),
}
