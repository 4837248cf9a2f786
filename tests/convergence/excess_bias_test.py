"""Irreducible bias against values worked out by hand, limits, and the theorems' relations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax.convergence import excess_bias

OPPORTUNITY = {"criterion": "equal_opportunity"}


@pytest.mark.parametrize(
  ("alpha", "shares", "settings", "risk", "bias"),
  [
    # a / (1 - a) = 1/9, 2 P0 P1 = 0.32
    (0.1, (0.2, 0.8), {}, 1 / 9, 1 / 9 / 0.32),
    (0.1, (0.8, 0.2), {}, 1 / 9, 1 / 9 / 0.32),
    (0.3, (0.2, 0.8), {}, 0.32, 1.0),
    (0.1, (0.2, 0.8), {"accuracy": "kept"}, 0.0, 0.25),
    (0.3, (0.1, 0.9), {"accuracy": "kept"}, 0.0, 1.0),
    # 2 P10 = 0.2, 2 (1 - P10 - P11) = 1.0
    (0.1, (0.1, 0.4), OPPORTUNITY, 1 / 9, 5 / 9),
    (0.2, (0.4, 0.1), OPPORTUNITY, 0.2, 1.0),
    # 2 P10 = 0.4, and of the negatives 0.1 are left
    (0.2, (0.2, 0.75), OPPORTUNITY, 0.1, 0.25),
    (0.1, (0.1, 0.4), OPPORTUNITY | {"accuracy": "kept"}, 0.0, 5 / 9 * 0.75),
    (0.4, (0.1, 0.4), OPPORTUNITY | {"accuracy": "kept"}, 0.0, 0.75),
    (0.4, (0.3, 0.3), OPPORTUNITY | {"accuracy": "kept"}, 0.0, 0.0),
  ],
)
def test_values_by_hand(alpha, shares, settings, risk, bias):
  found = excess_bias(alpha, shares, **settings)
  np.testing.assert_allclose(found, (risk, bias), rtol=1e-6)


@pytest.mark.parametrize("criterion", ["demographic_parity", "equal_opportunity"])
@pytest.mark.parametrize("accuracy", ["lost", "kept"])
def test_nothing_without_an_adversary_and_more_for_smaller_groups(criterion, accuracy):
  settings = {"criterion": criterion, "accuracy": accuracy}
  alpha = jnp.linspace(0, 0.49, 50)
  rare = jnp.linspace(0.02, 0.5, 25)
  shares = jnp.stack([rare, 1 - rare], 1) * (1 if criterion == "demographic_parity" else 0.6)
  of = jax.vmap(lambda s: excess_bias(alpha, s, **settings))
  risk, bias = jax.jit(of)(shares)
  np.testing.assert_array_equal(bias[:, 0], 0)
  assert (np.diff(bias, axis=1) >= 0).all() and (bias <= 1).all() and (risk <= 1).all()
  assert (np.diff(bias, axis=0) <= 1e-6).all() and (bias[0, 10:] > 0.9).all()


def test_risk_and_bias_are_lost_in_proportion_and_without_risk_there_is_less():
  rng = np.random.default_rng(0)
  for _ in range(50):
    alpha, rare = rng.uniform(0, 0.5), rng.uniform(0.05, 0.5)
    risk, bias = excess_bias(alpha, (rare, 1 - rare))
    np.testing.assert_allclose(risk, 2 * rare * (1 - rare) * bias, rtol=1e-5)
    assert excess_bias(alpha, (rare, 1 - rare), accuracy="kept").bias <= bias + 1e-6
    joint = rare * 0.7, (1 - rare) * 0.7
    risk, bias = excess_bias(alpha, joint, criterion="equal_opportunity")
    np.testing.assert_allclose(risk, 2 * min(joint) * bias, rtol=1e-5)


@pytest.mark.parametrize(
  ("arguments", "settings", "message"),
  [
    ((0.5, (0.5, 0.5)), {}, "alpha must lie in"),
    ((-0.1, (0.5, 0.5)), {}, "alpha must lie in"),
    ((0.1, (0.0, 1.0)), {}, "shares must lie in"),
    ((0.1, (0.3, 0.3)), {}, "shares must add up to 1"),
    ((0.1, (0.6, 0.6)), OPPORTUNITY, "shares must add up to at most 1"),
    ((0.1, (0.2, 0.3, 0.5)), {}, "shares must be of two groups"),
    ((0.1, (0.5, 0.5)), {"criterion": "equalized_odds"}, "criterion must be one of"),
    ((0.1, (0.5, 0.5)), {"accuracy": "won"}, "accuracy must be one of"),
  ],
)
def test_what_is_wrong_is_refused(arguments, settings, message):
  with pytest.raises(ValueError, match=message):
    excess_bias(*arguments, **settings)
