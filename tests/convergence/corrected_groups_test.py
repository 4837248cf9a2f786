"""Noise of the attribute is taken back exactly in a population where it acts exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, convergence, correction, metrics, noise, selection
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
TWO = np.array([[0.7, 0.3], [0.1, 0.9]])
THREE = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.0, 0.2, 0.8]])
BY_LABEL = np.stack([TWO, [[0.9, 0.1], [0.4, 0.6]]])


def population(matrix, rows=12, seed=0):
  """Ten copies of each row, of which each given group has its tenths: (noisy, true) flows."""
  rng = np.random.default_rng(seed)
  groups = matrix.shape[-1]
  y, group = np.arange(rows) % 2, rng.integers(0, groups, rows)
  group[:groups] = np.arange(groups)
  logits, x, given = rng.normal(size=(rows, 2)), rng.normal(size=(rows, 2)), []
  for label, g in zip(y, group, strict=True):
    row = matrix[label, g] if matrix.ndim == 3 else matrix[g]
    given.append(np.repeat(np.arange(groups), np.rint(10 * row).astype(int)))
  tenfold = lambda v: np.repeat(v, 10, axis=0)
  make = lambda z: filled(
    rfjax.Batch.from_arrays(tenfold(x), tenfold(y), z, num_groups=groups),
    jnp.asarray(tenfold(logits)),
  )
  return make(np.concatenate(given)), make(tenfold(group))


filled = jax.jit(lambda data, logits: data.fill(logits))


def objective_of(method):
  def of(logits, flow):
    filled = flow.fill(logits)
    state = method.init(filled, key=KEY, spec=None)
    extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
    return method.update(filled, state, None, **extra)[0].objective

  return lambda flow: jax.value_and_grad(of)(flow.logits, flow)


@pytest.mark.parametrize("matrix", [TWO, THREE, BY_LABEL])
@pytest.mark.parametrize(
  "inner",
  [
    inprocessing.gap(2.0, ("true_positive_rate", "false_positive_rate")),
    inprocessing.gap(2.0, method="to_overall"),
    inprocessing.covariance(2.0),
  ],
)
def test_a_penalty_is_that_of_the_true_groups(matrix, inner):
  with jax.enable_x64(True):
    noisy, true = population(matrix)
    corrected = objective_of(convergence.corrected_groups(inner, matrix))
    plain = objective_of(inner)
    every = jax.jit(lambda noisy, true: (corrected(noisy), plain(true), plain(noisy)))
    found = jax.tree.map(np.asarray, every(noisy, true))
    (value, slope), (true_value, true_slope), (naive, _) = found
    np.testing.assert_allclose(value, true_value, rtol=1e-12)
    # A copy's own slope hangs on its given group: those of one row add up.
    of_rows = lambda v: np.asarray(v).reshape(-1, 10, 2).sum(1)
    np.testing.assert_allclose(of_rows(slope), of_rows(true_slope), rtol=1e-10, atol=1e-14)
    assert abs(naive - true_value) > 1e-3


def test_rates_of_corrected_membership_are_the_true_ones():
  with jax.enable_x64(True):
    noisy, true = population(THREE)
    rates = lambda data: metrics.group_rates("precision", data, soft=True).value

    @jax.jit
    def measured(noisy, true):
      member = convergence.corrected_membership(noisy.membership, THREE)
      return member, rates(noisy.replace(group=member)), rates(true)

    member, found, wanted = measured(noisy, true)
    np.testing.assert_allclose(np.asarray(member).sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_missing_groups_stay_missing():
  given = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
  member = np.asarray(jax.jit(lambda z: convergence.corrected_membership(z, TWO))(given))
  np.testing.assert_array_equal(member[1], 0)
  np.testing.assert_allclose(member @ TWO, given, atol=1e-6)


def test_shares_and_posterior_are_bayes():
  with jax.enable_x64(True):
    true = np.array([0.2, 0.5, 0.3])
    joint = true[:, None] * THREE
    shares = jax.jit(lambda: convergence.true_shares(joint.sum(0), THREE))()
    posterior = jax.jit(lambda: convergence.group_posterior(THREE, true))()
    np.testing.assert_allclose(shares, true, rtol=1e-12)
    np.testing.assert_allclose(posterior, (joint / joint.sum(0)).T, rtol=1e-12)
  never = jax.jit(lambda: convergence.group_posterior([[1.0, 0.0], [1.0, 0.0]], [0.5, 0.5]))()
  np.testing.assert_array_equal(never, [[0.5, 0.5], [0.0, 1.0]])
  impossible = jax.jit(lambda: convergence.true_shares([1.0, 0.0], TWO))()
  np.testing.assert_array_equal(impossible, [1.0, 0.0])


def test_part_one_estimates_the_transition_of_groups():
  rng = np.random.default_rng(0)
  group = rng.integers(0, 2, 4000)
  x = np.where(group, 3.0, -3.0)[:, None] + rng.normal(size=(4000, 1))
  data = rfjax.Batch.from_arrays(x, rng.integers(0, 2, 4000), group)
  network, tx = architectures.mlp([8], 2), optax.adam(0.02)

  @jax.jit
  def run(data):
    noisy = rfjax.transform(noise.group_matrix(TWO), data, key=KEY)
    rows = convergence.groups_as_labels(noisy)
    state, _ = rfjax.fit(network, rfjax.chain(), tx, rows, key=KEY, epochs=100)
    said = rfjax.predict(network, state, rows)
    joint = selection.confident_joint(said.y, said.probs)
    return rows, correction.transition_from_joint(joint)

  @jax.jit
  def hide(data):
    hidden = rfjax.transform(noise.group_missing(0.5), data, key=KEY)
    return hidden, convergence.groups_as_labels(hidden)

  rows, transition = run(data)
  np.testing.assert_array_equal(rows.truth.y, group)
  np.testing.assert_allclose(transition, TWO, atol=0.05)
  assert rows.group is None and rows.num_classes == 2
  hidden, seen = jax.tree.map(np.asarray, hide(data))
  np.testing.assert_array_equal(seen.valid, hidden.group.sum(1) > 0)
  np.testing.assert_array_equal(seen.y[seen.valid], group[seen.valid])


def test_refusals_name_the_remedy():
  gap = inprocessing.gap(1.0)
  with pytest.raises(ValueError, match=r"must be invertible.*merge them"):
    convergence.corrected_groups(gap, [[0.5, 0.5], [0.5, 0.5]])
  with pytest.raises(ValueError, match="got a sampler"):
    convergence.corrected_groups(inprocessing.fairbatch("demographic_parity"), TWO)
  noisy, _ = population(TWO)
  with pytest.raises(ValueError, match="of 3 groups, but the data set has num_groups 2"):
    jax.eval_shape(objective_of(convergence.corrected_groups(gap, THREE)), noisy)
  member = np.zeros((4, 2))
  with pytest.raises(ValueError, match="y must be given"):
    convergence.corrected_membership(member, BY_LABEL)
  with pytest.raises(ValueError, match="one column for each of the 3 groups"):
    convergence.corrected_membership(member, THREE)
