"""Cases of what is robust and fair at once."""

import jax.numpy as jnp
import numpy as np
import optax

from law_cases.case import Case
from rfjax import Batch, convergence, noise
from rfjax.fairness import inprocessing


def group_noise(rate):
  """The transition of two groups of which a third of a rate is given as the other one."""
  return noise.symmetric_matrix(rate / 3, 2)


def other_domain():
  """Four rows of the laws' features, of both groups."""
  x = np.random.default_rng(7).normal(size=(4, 4))
  return Batch.from_arrays(x, np.arange(4) % 3, np.arange(4) % 2, num_classes=3)


CASES = {
  "fr_train": Case(
    make=lambda s: convergence.fr_train(0.5 * s, 0.4 * s, warmup=1, reweight_every=1),
    neutral=lambda: convergence.fr_train(0.0, 0.0, warmup=0, reweight=None),
    refused=(((-0.1, 0.1), {}), ((0.5, 0.5), {}), ((0.1, 0.1), {"condition": "z"})),
    scheduled=True,
  ),
  "fair_robust": Case(
    make=lambda s: convergence.fair_robust(0.5 * s, "demographic_parity", s, warm_start=1),
    neutral=lambda: convergence.fair_robust(0.1, warm_start=1000),
    refused=(
      ((1.0,), {}),
      ((0.1, "kindness"), {}),
      ((0.1,), {"rate": -0.1}),
      ((0.1,), {"warm_start": -1}),
      ((0.1,), {"greedy": "clever"}),
    ),
    scheduled=True,
  ),
  "fair_small_loss": Case(
    make=lambda s: convergence.fair_small_loss(s, greedy="skip"),
    # A batch that is the data set is not out of its shares.
    neutral=lambda: convergence.fair_small_loss(0.0),
    refused=(
      ((1.0,), {}),
      ((0.1, [[0.5, 0.6]]), {}),
      ((0.1, [0.5, 0.5]), {}),
      ((0.1, [[-0.5, 1.5]]), {}),
      ((0.1,), {"greedy": "clever"}),
      ((0.1,), {"rounding": "up"}),
    ),
  ),
  "prevalence_weights": Case(
    make=lambda s: convergence.prevalence_weights(
      jnp.stack([0.3 + s / 4, 0.4 + 0 * s, 0.3 - s / 4])
    ),
    neutral=None,
    refused=(
      (([0.5, 0.6],), {}),
      (([0.0, 1.0],), {}),
      (([[0.5, 0.5]],), {}),
      ((), {"nonnegative": "no"}),
    ),
    acts="data",
  ),
  "target_fair": Case(
    make=lambda s: convergence.target_fair(inprocessing.gap(s), other_domain(), batch_size=3),
    neutral=lambda: convergence.target_fair(inprocessing.gap(0.0), other_domain()),
    refused=(
      ((inprocessing.group_dro(),), {}),
      ((inprocessing.gap(1.0),), {"batch_size": 0}),
    ),
  ),
  "corrected_groups": Case(
    make=lambda s: convergence.corrected_groups(inprocessing.gap(s), group_noise(s)),
    neutral=lambda: convergence.corrected_groups(inprocessing.gap(0.0), group_noise(0.5)),
    refused=(
      ((inprocessing.gap(1.0), [[0.5, 0.5], [0.5, 0.5]]), {}),
      ((inprocessing.gap(1.0), [[0.9, 0.2], [0.5, 0.5]]), {}),
      ((inprocessing.fairbatch("demographic_parity"), [[0.9, 0.1], [0.1, 0.9]]), {}),
    ),
  ),
  "group_surrogate": Case(
    make=lambda s: convergence.group_surrogate(s * jnp.array([0.3, 0.5])),
    neutral=lambda: convergence.group_surrogate([0.0, 0.0]),
    refused=(
      (([0.1, 1.1],), {}),
      (([[0.9, 0.1], [0.1, 0.9]],), {}),
      (([[[0.5, 0.5], [0.5, 0.5]]] * 2,), {}),
    ),
  ),
  "group_peer": Case(
    make=lambda s: convergence.group_peer(1 - s * jnp.array([0.3, 0.5]), s),
    neutral=lambda: convergence.group_peer([1.0, 1.0], 0.0),
    refused=(
      (([0.0, 1.0],), {}),
      ((0.5,), {}),
      (([0.5, 0.5], -0.1), {}),
      (([0.5, 0.5],), {"partners": "one"}),
    ),
  ),
  "corrected_labels": Case(
    make=lambda s: convergence.corrected_labels(
      inprocessing.gap(s, "true_positive_rate"), s * jnp.array([0.3, 0.5])
    ),
    neutral=lambda: convergence.corrected_labels(inprocessing.gap(0.0), [0.1, 0.2]),
    refused=(
      ((inprocessing.gap(1.0), [0.1, 1.1]), {}),
      ((inprocessing.group_dro(), [0.1, 0.2]), {}),
      ((inprocessing.gap(1.0), [[[0.5, 0.5], [0.5, 0.5]]] * 2), {}),
      ((inprocessing.gap(1.0), [0.1, 0.2]), {"group_matrix": [[0.5, 0.5], [0.5, 0.5]]}),
    ),
  ),
  "error_tolerant": Case(
    make=lambda s: convergence.error_tolerant(0.9, 0.2 * s, 0.3),
    neutral=lambda: convergence.error_tolerant(0.0, 0.2, 0.2),
    refused=(
      ((1.1, 0.1, 0.3), {}),
      ((0.8, -0.1, 0.3), {}),
      ((0.8, 0.4, 0.3), {}),
      ((0.8, 0.1, 0.0), {}),
      ((0.8, 0.1, 0.3, "kindness"), {}),
      ((0.8, 0.1, 0.3), {"slack": 0.3}),
      ((0.8, 0.1, 0.3), {"sizes": [0.2, 0.8]}),
      ((0.8, 0.1, 0.3), {"temperature": 0.0}),
      ((0.8, 0.1, 0.3), {"radius": -1.0}),
    ),
  ),
  "proxy_equalized_odds": Case(
    make=lambda s: convergence.proxy_equalized_odds(s, s * jnp.array([0.3, 0.5])),
    neutral=lambda: convergence.proxy_equalized_odds(0.0, delta=[0.5, 0.7]),
    refused=(
      ((1.0,), {}),
      ((1.0, [0.1, 1.1]), {}),
      ((-1.0, [0.1, 0.1]), {}),
      ((1.0,), {"delta": [0.0, 0.5]}),
      ((1.0, [0.1, 0.1]), {"method": "worst"}),
    ),
    num_classes=2,
  ),
  "bias_and_noise_correction": Case(
    make=lambda s: convergence.bias_and_noise_correction(
      s * jnp.array([0.3, 0.5]), learning_rate=0.5
    ),
    neutral=lambda: convergence.bias_and_noise_correction([0.0, 0.0], learning_rate=0.0),
    refused=(
      (([0.1, 1.1],), {}),
      (([0.1, 0.1], "kindness"), {}),
      (([0.1, 0.1],), {"learning_rate": -1.0}),
      (([0.1, 0.1],), {"every": 0}),
    ),
    num_classes=2,
  ),
  "denoised_constraints": Case(
    make=lambda s: convergence.denoised_constraints(0.9 * s, group_noise(s)),
    neutral=lambda: convergence.denoised_constraints(0.0, group_noise(0.5), least_share=0.0),
    refused=(
      ((1.1, [[0.9, 0.1], [0.1, 0.9]]), {}),
      ((0.8, [[0.5, 0.5], [0.5, 0.5]]), {}),
      ((0.8, [[0.9, 0.1], [0.1, 0.9]]), {"statistic": "kindness"}),
      ((0.8, [[0.9, 0.1], [0.1, 0.9]]), {"slack": -0.1}),
      ((0.8, [[0.9, 0.1], [0.1, 0.9]]), {"radius": -1.0}),
    ),
  ),
  "tv_robust_constraints": Case(
    make=lambda s: convergence.tv_robust_constraints(0.5 * s, 0.1 * s),
    neutral=lambda: convergence.tv_robust_constraints(0.5, 2.0),
    refused=(
      ((1.1, 0.1), {}),
      ((0.1, -0.1), {}),
      ((0.1, 0.1, "kindness"), {}),
      ((0.1, 0.1), {"method": "to_nobody"}),
      ((0.1, 0.1), {"multiplier_radius": -1.0}),
      ((0.1, 0.1), {"temperature": 0.0}),
    ),
  ),
  "soft_assignment_constraints": Case(
    make=lambda s: convergence.soft_assignment_constraints(group_noise(s), 0.1 * s),
    neutral=lambda: convergence.soft_assignment_constraints(group_noise(0.5), 2.0),
    refused=(
      (([[0.9, 0.2], [0.1, 0.9]], 0.1), {}),
      (([[0.9, 0.1], [0.1, 0.9]], -0.1), {}),
      (([[0.9, 0.1], [0.1, 0.9]], 0.1, "kindness"), {}),
      (([[0.9, 0.1], [0.1, 0.9]], 0.1), {"radius": -1.0}),
    ),
  ),
  "flea": Case(
    make=lambda s: convergence.flea(np.arange(10) % 3, l2=0.5 + s, steps=3),
    neutral=lambda: convergence.flea(np.arange(10) % 3, 3, steps=3),
    refused=(
      (([0, 2],), {}),
      (([0, 1], 3), {}),
      (([0, 1],), {"l2": 0.0}),
      (([0, 1],), {"steps": 0}),
    ),
    acts="data",
    num_classes=2,
  ),
  "hierarchical_term": Case(
    make=lambda s: convergence.hierarchical_term(np.arange(10) % 3, -2 * s, 2 * s),
    neutral=lambda: convergence.hierarchical_term(np.arange(10) % 3, 0.0, 0.0),
    refused=(
      (([0, 2],), {}),
      (([0, 1], np.inf), {}),
      (([0, 1],), {"tau": np.nan}),
    ),
  ),
  "chi_square_dro": Case(
    make=lambda s: convergence.chi_square_dro(1 - 0.9 * s),
    neutral=lambda: convergence.chi_square_dro(1.0),
    refused=(
      ((), {}),
      ((0.2,), {"radius": 1.0}),
      ((0.0,), {}),
      ((0.2,), {"bound": "loose"}),
      ((), {"radius": -1.0}),
    ),
  ),
  "adversarial_reweighting": Case(
    make=lambda s: convergence.adversarial_reweighting(
      pretrain_steps=1, hidden=(4,), tx=optax.adagrad(0.1 + s)
    ),
    neutral=lambda: convergence.adversarial_reweighting(pretrain_steps=1000),
    refused=(
      ((), {"pretrain_steps": -1}),
      ((), {"inputs": "z"}),
      ((), {"hidden": (0,)}),
      ((), {"hidden": 32}),
    ),
    scheduled=True,
  ),
}
