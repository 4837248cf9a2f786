"""Cases of the selections."""

from law_cases.case import Case
from rfjax import selection


def _turned(x, key):
  del key
  return x[:, ::-1]


CASES = {
  "co_teaching": Case(
    make=lambda s: selection.co_teaching(s),
    neutral=lambda: selection.co_teaching(0.0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"rounding": "up"})),
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
  "small_loss": Case(
    make=lambda s: selection.small_loss(s),
    neutral=lambda: selection.small_loss(0.0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"rounding": "up"})),
  ),
}
