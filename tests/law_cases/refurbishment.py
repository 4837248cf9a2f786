"""Cases of what corrects the target label."""

from law_cases.case import Case
from rfjax import refurbishment

CASES = {
  "mlc": Case(
    make=lambda s: refurbishment.mlc(s, hidden=4, embedding=2, skip=True, trusted_batch_size=4),
    neutral=None,
    refused=(((-0.1,), {}), ((), {"hidden": 0}), ((), {"trusted_batch_size": 0})),
  ),
  "selfie": Case(
    make=lambda s: refurbishment.selfie(s, threshold=0.5, length=2, warmup=1),
    neutral=lambda: refurbishment.selfie(0.0, threshold=-1.0, warmup=0),
    refused=(((1.0,), {}), ((-0.1,), {}), ((0.1,), {"length": 0}), ((0.1,), {"warmup": -1})),
  ),
}
