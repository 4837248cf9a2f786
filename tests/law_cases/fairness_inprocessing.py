"""Cases of what makes training fair."""

import rfjax
from law_cases.case import Case
from rfjax.fairness import inprocessing

CASES = {
  "gap": Case(
    make=lambda s: inprocessing.gap(s, ("selection_rate", "precision"), decay=0.5),
    neutral=lambda: inprocessing.gap(0.0),
    refused=(((-0.1,), {}), ((1.0, "kindness"), {}), ((1.0,), {"temperature": 0.0})),
  ),
  "mmd": Case(
    make=lambda s: inprocessing.mmd(s, width=0.5),
    neutral=lambda: inprocessing.mmd(0.0),
    refused=(((-1.0,), {}), ((1.0,), {"width": 0.0}), ((1.0,), {"kernel": "cubic"})),
  ),
  "hsic": Case(
    make=lambda s: inprocessing.hsic(s, score="margin", kernel="laplacian"),
    neutral=lambda: inprocessing.hsic(0.0),
    refused=(((-1.0,), {}), ((1.0,), {"width": -1.0}), ((1.0,), {"score": "rank"})),
  ),
  "correlation": Case(
    make=lambda s: inprocessing.correlation(s),
    neutral=lambda: inprocessing.correlation(0.0),
    refused=(((-1.0,), {}), ((1.0,), {"agg": "sum"}), ((1.0,), {"label": -1})),
  ),
  "wasserstein": Case(
    make=lambda s: inprocessing.wasserstein(s),
    neutral=lambda: inprocessing.wasserstein(0.0),
    refused=(((-1.0,), {}), ((1.0,), {"method": "to_me"}), ((1.0,), {"label": 0.5})),
  ),
  "covariance": Case(
    make=lambda s: inprocessing.covariance(s, tolerance=0.01),
    neutral=lambda: inprocessing.covariance(0.0),
    refused=(((-1.0,), {}), ((1.0,), {"tolerance": -0.1})),
  ),
  "covariance_constraint": Case(
    make=lambda s: inprocessing.covariance_constraint(0.1 * s),
    neutral=lambda: inprocessing.covariance_constraint(strength=0.0),
    refused=(((-1.0,), {}), ((), {"strength": -1.0}), ((), {"rate": 2.0})),
  ),
  "mistreatment_covariance": Case(
    make=lambda s: inprocessing.mistreatment_covariance(s, "false_negative"),
    neutral=lambda: inprocessing.mistreatment_covariance(0.0),
    refused=(((-1.0,), {}), ((1.0, "some"), {}), ((1.0,), {"tolerance": -0.1})),
  ),
  "relative_gap": Case(
    make=lambda s: inprocessing.relative_gap(s, order=2),
    neutral=lambda: inprocessing.relative_gap(0.0),
    refused=(((-1.0,), {}), ((1.0,), {"order": 0.5}), ((1.0,), {"violation": "max"})),
  ),
  "fair_projection": Case(
    make=lambda s: inprocessing.fair_projection(s),
    neutral=lambda: inprocessing.fair_projection(0.0),
    refused=(((-1.0,), {}), ((1.0, "kindness"), {}), ((1.0,), {"steps": 0})),
  ),
  "lagrangian": Case(
    make=lambda s: inprocessing.lagrangian(0.1 * s, ("selection_rate", "true_positive_rate")),
    neutral=lambda: inprocessing.lagrangian(0.1, radius=0.0),
    refused=(((-0.1,), {}), ((0.1, "kindness"), {}), ((0.1,), {"radius": -1.0})),
  ),
  "proxy_lagrangian": Case(
    make=lambda s: inprocessing.proxy_lagrangian(0.1 * s, method="to_overall"),
    neutral=lambda: inprocessing.proxy_lagrangian(0.1, floor=0.0),
    refused=(((-0.1,), {}), ((0.1,), {"regret": "none"}), ((0.1,), {"floor": 1.0})),
  ),
  "prejudice_remover": Case(
    make=lambda s: inprocessing.prejudice_remover(s),
    neutral=lambda: inprocessing.prejudice_remover(0.0),
    refused=(((-1.0,), {}),),
  ),
  "bounded_group_loss": Case(
    make=lambda s: inprocessing.bounded_group_loss(s, 0.1),
    neutral=lambda: inprocessing.bounded_group_loss(0.0),
    refused=(((-1.0,), {}), ((1.0, "low"), {})),
  ),
  "counterfactual_logit_pairing": Case(
    make=lambda s: inprocessing.counterfactual_logit_pairing(s, lambda batch: -batch.x),
    neutral=lambda: inprocessing.counterfactual_logit_pairing(0.0, lambda batch: -batch.x),
    refused=(
      ((-1.0, lambda batch: batch.x), {}),
      ((1.0, 0.0), {}),
      ((1.0, lambda batch: batch.x), {"distance": "cosine"}),
    ),
  ),
  "fairbatch": Case(
    make=lambda s: inprocessing.fairbatch("demographic_parity", s),
    neutral=lambda: inprocessing.fairbatch(rate=0.0),
    refused=((("kindness",), {}), ((), {"rate": -0.1})),
  ),
  "fairbatch_reweight": Case(
    make=lambda s: inprocessing.fairbatch_reweight("equalized_odds", s),
    neutral=lambda: inprocessing.fairbatch_reweight(rate=0.0),
    refused=((("kindness",), {}), ((), {"rate": -0.1})),
  ),
  "group_dro": Case(
    make=lambda s: inprocessing.group_dro(s, adjustment=[1.0, 2.0]),
    neutral=None,
    refused=(
      ((-0.1,), {}),
      ((), {"adjustment": -1.0}),
      ((), {"adjustment": [[1.0]]}),
      ((), {"fraction": 0.0}),
      ((), {"decay": 1.0}),
    ),
  ),
  "adversarial_debiasing": Case(
    make=lambda s: inprocessing.adversarial_debiasing(s, "equalized_odds", steps=2),
    neutral=lambda: inprocessing.adversarial_debiasing(0.0),
    refused=(((-0.1,), {}), ((1.0, "kindness"), {}), ((1.0,), {"steps": 0})),
  ),
  "project_against": Case(
    make=lambda s: rfjax.chain(),
    neutral=lambda: rfjax.chain(),
    refused=(((), {"per_leaf": "kindness"}),),
    tx=lambda s: inprocessing.project_against(),
  ),
  "gradient_reversal": Case(
    make=lambda s: inprocessing.gradient_reversal(s, "equalized_odds", hidden=(3,)),
    neutral=lambda: inprocessing.gradient_reversal(0.0),
    refused=(
      ((-0.1,), {}),
      ((1.0, "kindness"), {}),
      ((1.0,), {"inputs": "labels"}),
      ((1.0,), {"hidden": (0,)}),
      ((1.0,), {"steps": 0}),
    ),
  ),
  "laftr": Case(
    make=lambda s: inprocessing.laftr(s, "equalized_odds", reconstruction=s),
    neutral=lambda: inprocessing.laftr(0.0),
    refused=(
      ((-0.1,), {}),
      ((1.0, "kindness"), {}),
      ((1.0,), {"reconstruction": -1.0}),
      ((1.0,), {"hidden": (0,)}),
      ((1.0,), {"steps": 0}),
    ),
  ),
  "gradient_surgery": Case(
    make=lambda s: rfjax.chain(),
    neutral=lambda: rfjax.chain(),
    refused=(),
    tx=lambda s: inprocessing.gradient_surgery(),
  ),
}
