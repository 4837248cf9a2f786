"""Cases of what corrects the target label."""

from law_cases.case import Case
from rfjax import architectures, refurbishment

_NETWORK = architectures.mlp([5], 3)  # that of the laws


CASES = {
  "ada_corr": Case(
    make=lambda s: refurbishment.ada_corr(
      start=0, ratio=1 + s, window=2, retroactive=s, retroactive_start=1
    ),
    neutral=lambda: refurbishment.ada_corr(ratio=float("inf"), retroactive=0.0),
    refused=(((), {"ratio": 0.5}), ((), {"retroactive": -1.0}), ((), {"window": 0})),
  ),
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
  "d2l": Case(
    make=lambda s: refurbishment.d2l(
      3 + s, warmup=0, window=2, deviations=-9.0, neighbours=2, batches=2, batch_size=4
    ),
    neutral=lambda: refurbishment.d2l(3, warmup=float("inf"), batches=2, batch_size=4),
    refused=(((0,), {}), ((3,), {"window": 0}), ((3,), {"neighbours": 1})),
  ),
  "dynamic_bootstrap": Case(
    make=lambda s: refurbishment.dynamic_bootstrap(warmup=1, alpha=0.5, strength=s),
    neutral=lambda: refurbishment.dynamic_bootstrap(warmup=2),
    refused=(((), {"warmup": -1}), ((), {"alpha": -1.0}), ((), {"strength": -1.0})),
    asks_again=True,
  ),
  "joint_optimization": Case(
    make=lambda s: refurbishment.joint_optimization(s, 1 - s, start=1, window=2),
    neutral=lambda: refurbishment.joint_optimization(0.0, 0.0, start=float("inf")),
    refused=(((-1.0,), {}), ((1.0, -1.0), {}), ((), {"window": 0}), ((), {"prior": [0.5, 0.6]})),
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
  "plc": Case(
    make=lambda s: refurbishment.plc(threshold=s, increment=0.5, few=0.5, warmup=0, window=2),
    neutral=lambda: refurbishment.plc(threshold=0.0, increment=0.0, warmup=0),
    refused=(((), {"threshold": 1.1}), ((), {"increment": -0.1}), ((), {"window": 0})),
  ),
  "sat": Case(
    make=lambda s: refurbishment.sat(s, start=1),
    neutral=lambda: refurbishment.sat(1.0, start=0),
    refused=(((1.1,), {}), ((-0.1,), {}), ((0.9,), {"start": -1})),
  ),
  "selfie": Case(
    make=lambda s: refurbishment.selfie(s, threshold=0.5, length=2, warmup=1),
    neutral=lambda: refurbishment.selfie(0.0, threshold=-1.0, warmup=0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"length": 0}), ((0.1,), {"warmup": -1})),
  ),
}
