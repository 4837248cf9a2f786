"""Cases of what corrects the target label."""

from law_cases.case import Case
from rfjax import architectures, refurbishment

_NETWORK = architectures.mlp([5], 3)  # that of the laws


CASES = {
  "bootstrap_hard": Case(
    make=lambda s: refurbishment.bootstrap_hard(1 - s),
    neutral=lambda: refurbishment.bootstrap_hard(1.0),
    refused=(((1.1,), {}), ((-0.1,), {})),
  ),
  "bootstrap_soft": Case(
    make=lambda s: refurbishment.bootstrap_soft(1 - s),
    neutral=lambda: refurbishment.bootstrap_soft(1.0),
    refused=(((1.1,), {}), ((-0.1,), {})),
  ),
  "dynamic_bootstrap": Case(
    make=lambda s: refurbishment.dynamic_bootstrap(warmup=1, alpha=0.5, strength=s),
    neutral=lambda: refurbishment.dynamic_bootstrap(warmup=2),
    refused=(((), {"warmup": -1}), ((), {"alpha": -1.0}), ((), {"strength": -1.0})),
    asks_again=True,
  ),
  "mlc": Case(
    make=lambda s: refurbishment.mlc(s, hidden=4, embedding=2, skip=True, trusted_batch_size=4),
    neutral=None,
    refused=(((-0.1,), {}), ((), {"hidden": 0}), ((), {"trusted_batch_size": 0})),
  ),
  "mlnt": Case(
    make=lambda s: refurbishment.mlnt(
      _NETWORK, strength=s, rate=0.1, num_sets=3, num_neighbors=3, start=1, full=4
    ),
    neutral=lambda: refurbishment.mlnt(_NETWORK, strength=0.0),
    refused=(
      ((_NETWORK,), {"strength": -0.1}),
      ((_NETWORK,), {"start": 5, "full": 5}),
      ((_NETWORK,), {"order": 3}),
    ),
    scheduled=True,
  ),
  "selfie": Case(
    make=lambda s: refurbishment.selfie(s, threshold=0.5, length=2, warmup=1),
    neutral=lambda: refurbishment.selfie(0.0, threshold=-1.0, warmup=0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"length": 0}), ((0.1,), {"warmup": -1})),
  ),
}
