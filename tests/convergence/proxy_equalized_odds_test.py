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


def penalties(*pairs):
  """Of methods on batches, from one program."""
  methods, flows = zip(*pairs, strict=True)
  every = lambda flows: [penalty(m, flow) for m, flow in zip(methods, flows, strict=True)]
  return np.asarray(jax.jit(every)(flows))


filled = jax.jit(lambda data, logits: data.fill(logits))


def memorized(counts, transition=TRANSITION):
  """Rows whose logits hang on the group and the given label, in exact shares: (noisy, true)."""
  score = np.array([[-0.4, 0.9], [0.3, 1.7]])
  rows = []
  for a, y, given in np.ndindex(2, 2, 2):
    rows += [(a, y, given)] * round(counts[a, y] * transition[a, y, given])
  group, y, given = np.array(rows).T
  assert len(group) == counts.sum()
  logits = np.stack([np.zeros(len(y)), score[group, given]], axis=1)
  make = lambda y: filled(
    rfjax.Batch.from_arrays(np.zeros((len(y), 1)), y, group), jnp.asarray(logits)
  )
  return make(given), make(y)


def samples(rows=40, groups=3, dtype=float):
  rng = np.random.default_rng(1)
  y, group = rng.integers(0, 2, rows), rng.integers(0, groups, rows)
  logits = jnp.asarray(rng.normal(size=(rows, 2)), dtype)
  return filled(rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group), logits)


@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
def test_rates_are_true_where_decisions_hang_on_the_given_label(method):
  with jax.enable_x64(True):
    noisy, true = memorized(np.array([[20, 40], [30, 10]]))

    @jax.jit
    def by_true_labels(true):
      names = ("true_positive_rate", "false_positive_rate")
      rates = [metrics.group_rates(s, true, soft=True) for s in names]
      even = [metrics.Rate(r.value, jnp.ones_like(r.value)) for r in rates]  # groups count once
      return 2 * sum(metrics.difference(r, method=method) for r in even)

    proxy = convergence.proxy_equalized_odds(2.0, TRANSITION, method=method)
    # The authors' code takes each group's rates of the other label.
    swapped = convergence.proxy_equalized_odds(2.0, TRANSITION, method=method, official=True)
    pairs = (proxy, noisy), (ODDS, true), (ODDS, noisy), (swapped, noisy)
    found, odds, naive, official = penalties(*pairs)
    wanted = np.asarray(by_true_labels(true))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    if method == "between_groups":
      np.testing.assert_allclose(found, odds, rtol=1e-12)
    assert abs(naive - wanted) > 1e-2
    assert abs(official - wanted) > 1e-3


def test_of_balanced_groups_delta_is_enough():
  with jax.enable_x64(True):
    noisy, true = memorized(BALANCED)
    proxy = convergence.proxy_equalized_odds(2.0, delta=DELTA)
    official = convergence.proxy_equalized_odds(2.0, delta=DELTA, official=True)
    found, odds, official = penalties((proxy, noisy), (ODDS, true), (official, noisy))
    np.testing.assert_allclose(found, odds, rtol=1e-12)
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
    noisy = true.replace(y=np.array(given, np.int32))
    corrected = convergence.corrected_labels(ODDS, TRANSITION)
    proxy = convergence.proxy_equalized_odds(2.0, TRANSITION)
    exact, odds, proxy = penalties((corrected, noisy), (ODDS, true), (proxy, noisy))
    np.testing.assert_allclose(exact, odds, rtol=1e-12)
    assert abs(proxy - exact) > 0.05


def authors(flow, errors=None, delta=None):
  """The rates of the authors' code, less their mean over groups: the largest of each event."""
  logits = np.asarray(flow.logits)
  p = np.exp(logits[:, 1]) / np.exp(logits).sum(1)
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
    by_rates = convergence.proxy_equalized_odds(2.0, matrices, **settings)
    by_delta = convergence.proxy_equalized_odds(2.0, delta=delta, **settings)
    known, estimated = penalties((by_rates, flow), (by_delta, flow))
    np.testing.assert_allclose(known, 2 * authors(flow, errors), rtol=1e-12)
    np.testing.assert_allclose(estimated, 2 * authors(flow, delta=delta), rtol=1e-12)


def test_no_noise_is_the_gap_and_groups_without_a_label_are_left_out():
  flow = samples(dtype=np.float32)
  noiseless = convergence.proxy_equalized_odds(2.0, [0.0, 0.0, 0.0])
  np.testing.assert_allclose(*penalties((noiseless, flow), (ODDS, flow)), rtol=1e-6)
  group = np.asarray(flow.group)
  lacking = flow.replace(y=np.where(group == 2, np.int32(1), flow.y))
  member = np.eye(3, dtype=np.float32)[group] * [1, 1, 0]
  left_out = flow.replace(group=member.astype(np.float32))
  for settings in ({"transition": [0.1, 0.2, 0.3]}, {"delta": [0.5, 0.6, 0.7]}):
    method = convergence.proxy_equalized_odds(2.0, **settings)
    found, without = penalties((method, lacking), (method, left_out))  # warns of nothing
    np.testing.assert_allclose(found, without, rtol=1e-5)


def test_far_logits_are_finite_and_rates_may_be_traced():
  flow = jax.jit(lambda data: data.take(np.arange(42)))(samples(dtype=np.float32))

  def of(logits, delta, temperature):
    method = convergence.proxy_equalized_odds(1.0, delta=delta, temperature=temperature)
    return penalty(method, flow.fill(logits))

  deltas = np.array([[0.5, 0.6, 0.7], [1.0, 0.2, 0.4]], np.float32)
  many = jax.jit(jax.vmap(jax.value_and_grad(of), (None, 0, None)))
  logits, valid = np.asarray(flow.logits), np.asarray(flow.valid)
  value, slope = map(np.asarray, many(logits, deltas, 2.0))
  np.testing.assert_allclose(value[1], jax.jit(of)(logits / 2, deltas[1], 1.0), rtol=1e-5)
  assert np.all(slope[:, ~valid] == 0) and np.isfinite(slope).all() and np.any(slope != 0)
  value, slope = map(np.asarray, many(np.float32(1e4) * logits, deltas, 1.0))
  assert np.isfinite(value).all() and np.isfinite(slope).all()


def test_refusals_name_the_remedy():
  refused = lambda method, flow: jax.eval_shape(lambda flow: penalty(method, flow), flow)
  for settings in ({}, {"transition": [0.1, 0.1], "delta": [0.5, 0.5]}):
    with pytest.raises(ValueError, match="one of transition and delta must be given"):
      convergence.proxy_equalized_odds(1.0, **settings)
  with pytest.raises(ValueError, match=r"delta must lie in \(0, 1\]"):
    convergence.proxy_equalized_odds(1.0, delta=[0.0, 0.5])
  with pytest.raises(ValueError, match="delta is of 2 groups, but the data set has num_groups 3"):
    refused(convergence.proxy_equalized_odds(1.0, delta=[0.5, 0.5]), samples())
  data = rfjax.Batch.from_arrays(np.zeros((3, 1)), [0, 1, 2], [0, 1, 0])
  with pytest.raises(ValueError, match="num_classes must be 2"):
    refused(convergence.proxy_equalized_odds(1.0, [0.1, 0.1]), filled(data, np.zeros((3, 3))))
