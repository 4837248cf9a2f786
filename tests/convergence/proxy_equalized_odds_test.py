"""Proxy rates: exact where decisions hang on the given label alone; the authors' formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import convergence, metrics
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
TRANSITION = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]])
DELTA = np.array([0.6, 0.5])
ODDS = inprocessing.gap(2.0, ("true_positive_rate", "false_positive_rate"))
BALANCED = np.array([[20, 20], [30, 30]])  # rows of group a and label y


def penalty(method, flow):
  return method.update(flow, method.init(flow, key=KEY), None, key=KEY, step=0, epoch=0)[0].penalty


def memorized(counts, transition=TRANSITION):
  """Rows whose logits hang on the group and the given label, in exact shares: (noisy, true)."""
  score = np.array([[-0.4, 0.9], [0.3, 1.7]])
  rows = []
  for a, y, given in np.ndindex(2, 2, 2):
    rows += [(a, y, given)] * round(counts[a, y] * transition[a, y, given])
  group, y, given = np.array(rows).T
  assert len(group) == counts.sum()
  logits = np.stack([np.zeros(len(y)), score[group, given]], axis=1)
  make = lambda y: rfjax.Batch.from_arrays(np.zeros((len(y), 1)), y, group).fill(
    jnp.asarray(logits)
  )
  return make(given), make(y)


def samples(rows=40, groups=3, dtype=float):
  rng = np.random.default_rng(1)
  y, group = rng.integers(0, 2, rows), rng.integers(0, groups, rows)
  logits = jnp.asarray(rng.normal(size=(rows, 2)), dtype)
  return rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group).fill(logits)


@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
def test_rates_are_true_where_decisions_hang_on_the_given_label(method):
  with jax.enable_x64(True):
    noisy, true = memorized(np.array([[20, 40], [30, 10]]))
    rates = [metrics.group_rates(s, true, soft=True) for s in
             ("true_positive_rate", "false_positive_rate")]  # fmt: skip
    even = [metrics.Rate(r.value, jnp.ones_like(r.value)) for r in rates]  # each group counts once
    wanted = 2 * sum(metrics.difference(r, method=method) for r in even)
    found = penalty(convergence.proxy_equalized_odds(2.0, TRANSITION, method=method), noisy)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    if method == "between_groups":
      np.testing.assert_allclose(found, penalty(ODDS, true), rtol=1e-12)
    assert abs(penalty(ODDS, noisy) - wanted) > 1e-2
    # The authors' code takes each group's rates of the other label.
    swapped = convergence.proxy_equalized_odds(2.0, TRANSITION, method=method, official=True)
    assert abs(penalty(swapped, noisy) - wanted) > 1e-3


def test_of_balanced_groups_delta_is_enough():
  with jax.enable_x64(True):
    noisy, true = memorized(BALANCED)
    found = penalty(convergence.proxy_equalized_odds(2.0, delta=DELTA), noisy)
    np.testing.assert_allclose(found, penalty(ODDS, true), rtol=1e-12)
    official = penalty(convergence.proxy_equalized_odds(2.0, delta=DELTA, official=True), noisy)
    assert abs(official - found) > 1e-3  # it takes the mean decision of all groups


def test_where_noise_ignores_features_corrected_labels_are_right_and_the_proxy_is_not():
  counts = np.array([[20, 40], [30, 10]])
  with jax.enable_x64(True):
    # Decisions hang on the true label, so that rates by the given ones come closer.
    _, true = memorized(counts, np.stack([np.eye(2)] * 2))
    given = []
    for a, y in np.ndindex(2, 2):
      ones = round(counts[a, y] * TRANSITION[a, y, 1])
      given += [0] * (counts[a, y] - ones) + [1] * ones
    noisy = true.replace(y=jnp.array(given, jnp.int32))
    exact = penalty(convergence.corrected_labels(ODDS, TRANSITION), noisy)
    np.testing.assert_allclose(exact, penalty(ODDS, true), rtol=1e-12)
    proxy = penalty(convergence.proxy_equalized_odds(2.0, TRANSITION), noisy)
    assert abs(proxy - exact) > 0.05


def authors(flow, errors=None, delta=None):
  """The rates of the authors' code, less their mean over groups: the largest of each event."""
  p = np.exp(flow.logits[:, 1]) / np.exp(flow.logits).sum(1)
  y, group = np.asarray(flow.y), np.asarray(flow.group)
  rates = []
  for a in range(3):
    one, zero = (p[(group == a) & (y == k)].mean() for k in (1, 0))
    if delta is None:
      pair = [
        (1 - errors[a][0]) * one + errors[a][0] * zero,
        (1 - errors[a][1]) * zero + errors[a][1] * one,
      ]
    else:
      pair = [(p.mean() + delta[a] * (one - zero)) / 2, (p.mean() + delta[a] * (zero - one)) / 2]
    rates.append(pair)
  return np.abs(rates - np.mean(rates, axis=0)).max(0).sum()


def test_official_is_the_authors_formula():
  errors, delta = [[0.1, 0.3], [0.4, 0.1], [0.0, 0.2]], [0.6, 0.5, 0.8]
  matrices = np.array([[[1 - e0, e0], [e1, 1 - e1]] for e0, e1 in errors])
  settings = {"method": "to_overall", "official": True}
  with jax.enable_x64(True):
    flow = samples()
    known = penalty(convergence.proxy_equalized_odds(2.0, matrices, **settings), flow)
    np.testing.assert_allclose(known, 2 * authors(flow, errors), rtol=1e-12)
    estimated = penalty(convergence.proxy_equalized_odds(2.0, delta=delta, **settings), flow)
    np.testing.assert_allclose(estimated, 2 * authors(flow, delta=delta), rtol=1e-12)


def test_no_noise_is_the_gap_and_groups_without_a_label_are_left_out():
  flow = samples(dtype=np.float32)
  compiled = lambda method, flow: jax.jit(lambda f: penalty(method, f))(flow)  # warns of nothing
  found = penalty(convergence.proxy_equalized_odds(2.0, [0.0, 0.0, 0.0]), flow)
  np.testing.assert_allclose(found, penalty(ODDS, flow), rtol=1e-6)
  lacking = flow.replace(y=jnp.where(flow.group == 2, 1, flow.y))
  member = flow.membership.at[:, 2].set(0)
  for settings in ({"transition": [0.1, 0.2, 0.3]}, {"delta": [0.5, 0.6, 0.7]}):
    method = convergence.proxy_equalized_odds(2.0, **settings)
    without = compiled(method, flow.replace(group=member))
    np.testing.assert_allclose(compiled(method, lacking), without, rtol=1e-5)


def test_far_logits_are_finite_and_rates_may_be_traced():
  flow = samples(dtype=np.float32).take(jnp.arange(42))

  def of(logits, delta, temperature):
    method = convergence.proxy_equalized_odds(1.0, delta=delta, temperature=temperature)
    return penalty(method, flow.fill(logits))

  deltas = jnp.array([[0.5, 0.6, 0.7], [1.0, 0.2, 0.4]])
  many = jax.jit(jax.vmap(jax.value_and_grad(of), (None, 0, None)))
  value, slope = many(flow.logits, deltas, 2.0)
  np.testing.assert_allclose(value[1], of(flow.logits / 2, deltas[1], 1.0), rtol=1e-5)
  assert np.all(slope[:, ~flow.valid] == 0) and np.isfinite(slope).all() and np.any(slope != 0)
  value, slope = many(1e4 * flow.logits, deltas, 1.0)
  assert np.isfinite(value).all() and np.isfinite(slope).all()


def test_refusals_name_the_remedy():
  for settings in ({}, {"transition": [0.1, 0.1], "delta": [0.5, 0.5]}):
    with pytest.raises(ValueError, match="one of transition and delta must be given"):
      convergence.proxy_equalized_odds(1.0, **settings)
  with pytest.raises(ValueError, match=r"delta must lie in \(0, 1\]"):
    convergence.proxy_equalized_odds(1.0, delta=[0.0, 0.5])
  with pytest.raises(ValueError, match="delta is of 2 groups, but the data set has num_groups 3"):
    penalty(convergence.proxy_equalized_odds(1.0, delta=[0.5, 0.5]), samples())
  data = rfjax.Batch.from_arrays(np.zeros((3, 1)), [0, 1, 2], [0, 1, 0]).fill(jnp.zeros((3, 3)))
  with pytest.raises(ValueError, match="num_classes must be 2"):
    penalty(convergence.proxy_equalized_odds(1.0, [0.1, 0.1]), data)
