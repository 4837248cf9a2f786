"""What is left of a bias after equalized odds on noisy groups, in populations where it is exact."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import block_diag

import rfjax
from rfjax import convergence
from rfjax.fairness import postprocessing

KEY = jax.random.key(0)
HARDT = postprocessing.equalized_odds("error")
# A row for each label, true group, given group and decision.
Y, Z, GIVEN, SAID = (v.ravel() for v in np.indices((2, 2, 2, 2)))
# The authors' simulation: P(said 1 | y, z), and P(y, z).
RATES = np.array([[0.1, 0.0], [0.8, 0.9]])
JOINT = np.array([[0.1, 0.2], [0.6, 0.1]])
GAMMAS = np.arange(0, 1.05, 0.05)


@pytest.fixture(autouse=True)
def float64():
  with jax.enable_x64(True):
    yield


def flips(one, zero):
  """The transition of two groups, of which group 1 is given as 0 by `one`, and 0 as 1."""
  return np.array([[1 - zero, zero], [one, 1 - one]])


def population(joint, rates, by_label):
  """The weights of the rows where the noise of groups does not hang on the decision."""
  said = np.where(SAID == 1, rates[Y, Z], 1 - rates[Y, Z])
  return joint[Y, Z] * np.asarray(by_label)[Y, Z, GIVEN] * said


def table(weight, group):
  truth = rfjax.Truth(group=jnp.asarray(Z))
  data = rfjax.Batch.from_arrays(np.zeros((16, 1)), Y, group, truth=truth)
  return data.fill(4.0 * jnp.asarray(np.eye(2)[SAID])).replace(weight=jnp.asarray(weight))


audited = jax.jit(lambda weight: convergence.group_noise_audit(table(weight, GIVEN)))
bias_factor = jax.jit(convergence.equalized_odds_bias_factor, static_argnames="at_prediction")


def derived(weight):
  """The decisions of the rule fitted on given groups, on true and on given ones, and its state."""
  noisy = table(weight, GIVEN)
  state = HARDT.init(noisy, key=KEY, spec=None)
  decide = lambda data: HARDT.update(data, state, None, key=KEY)[0]
  return decide(table(weight, Z)), decide(noisy), state


EVERY = jax.jit(jax.vmap(derived))


def gaps(said, weights):
  """Distances of the true groups' rates of decision 1, [tables, y]."""
  p = np.asarray(jax.nn.softmax(said.logits)[..., 1])
  rate = lambda y, z: np.average(p, axis=1, weights=weights * ((Y == y) & (Z == z)))
  return np.stack([rate(y, 0) - rate(y, 1) for y in (0, 1)], axis=1)


def authors_factor(one, zero, p):
  first = one * p / (one * p + (1 - zero) * (1 - p))
  return first + 1 - (1 - one) * p / ((1 - one) * p + zero * (1 - p))


def test_the_rule_is_the_linear_program_of_the_authors_on_a_thousand_tables():
  rng = np.random.default_rng(0)
  weights, programs = [], []
  for _ in range(1000):
    joint, rates = rng.dirichlet(np.ones(4)).reshape(2, 2), rng.random((2, 2))
    by_label = [flips(*rng.random(2)) for _ in range(2)]
    weights.append(population(joint, rates, by_label))
    cell = np.zeros((2, 2, 2))  # y, given group, said
    np.add.at(cell, (Y, GIVEN, SAID), weights[-1])
    rate = cell / cell.sum(2, keepdims=True)
    equal = np.stack([rate[:, 0], -rate[:, 1]], axis=1).reshape(2, 4)  # by p(group, said)
    programs.append((equal, (cell[0] - cell[1]).ravel(), cell[1].sum()))
  equal, cost, base = zip(*programs, strict=True)
  found = linprog(np.concatenate(cost), A_eq=block_diag(equal), b_eq=np.zeros(2000), bounds=(0, 1))
  wanted = np.sum(np.array(cost) * found.x.reshape(1000, 4), axis=1) + np.array(base)
  weights = np.stack(weights)
  _, decided, _ = EVERY(weights)
  p = np.asarray(jax.nn.softmax(decided.logits)[..., 1])
  error = np.sum(weights * np.where(Y == 1, 1 - p, p), axis=1)
  np.testing.assert_allclose(error, wanted, atol=1e-9)


@pytest.mark.parametrize("by_group", [(1, 1), (0.5, 1), (1, 0.5)])
def test_the_sweep_of_the_authors(by_group):
  before, share = RATES[:, 0] - RATES[:, 1], JOINT / JOINT.sum(1, keepdims=True)
  noise = np.stack([flips(*(gamma * np.array(by_group))) for gamma in GAMMAS])
  weights = np.stack([population(JOINT, RATES, [h, h]) for h in noise])
  on_true, on_given, state = EVERY(weights)
  after, also = gaps(on_true, weights), gaps(on_given, weights)
  # Of each gamma and label.
  factor = lambda **how: np.asarray(
    bias_factor(np.repeat(noise, 2, axis=0), np.tile(share, (len(GAMMAS), 1)), **how)
  ).reshape(-1, 2)
  one, zero = noise[:, 1, :1], noise[:, 0, 1:]
  official = authors_factor(one, zero, share[:, 1])
  np.testing.assert_allclose(factor(), official, rtol=1e-12, atol=1e-14)
  # What is left exactly, from how often the given groups are wrong.
  wrong = share[None, :, ::-1] * noise[:, ::-1, :].diagonal(axis1=1, axis2=2)[:, None]
  wrong = wrong / np.einsum("yg,ngh->nyh", share, noise)
  slopes = np.diff(np.asarray(state.accept), axis=2)[:, :, 0]
  np.testing.assert_allclose(after, np.einsum("nyh,nh->ny", wrong, slopes) * before, atol=1e-12)
  after, also, before = np.abs(after), np.abs(also), np.abs(before)
  assert (after <= factor() * before + 1e-12).all()
  fair = (one + zero <= 1 + 1e-9)[:, 0]
  assert (after[fair] <= before + 1e-12).all() and (after[0] < 1e-12).all()
  assert (after - before).max() > 0.05  # nor can it be so whatever the noise
  given = factor(at_prediction="given")
  np.testing.assert_allclose(given, 1 - (1 - one - zero) * (1 - official), atol=1e-12)
  assert (given <= 1 + 1e-12).all()  # as it is with noisy groups at prediction
  assert (also <= given * before + 1e-12).all()


def rates_after(slope, rates, matrix, posterior, at_prediction):
  """The rates of true groups, up to what all share, by a rule of slopes [G] for given groups."""
  groups = len(slope)
  mixed = lambda h, g: slope[h] * (rates[g] - posterior[h] @ rates)
  if at_prediction == "true":
    return np.array([mixed(g, g) for g in range(groups)])
  return np.array([sum(matrix[g, h] * mixed(h, g) for h in range(groups)) for g in range(groups)])


@pytest.mark.parametrize("groups", [2, 3, 4])
@pytest.mark.parametrize("at_prediction", ["true", "given"])
def test_the_factor_is_the_worst_over_all_rules_and_rates(at_prediction, groups):
  rng = np.random.default_rng(groups)
  matrix, shares = rng.dirichlet(np.ones(groups), groups), rng.dirichlet(np.ones(groups))
  joint = shares[:, None] * matrix
  posterior = (joint / joint.sum(0)).T
  worst = 0.0
  corners = itertools.product(*[(-1, 1)] * groups, *[(0, 1)] * groups)
  for corner in map(np.array, corners):
    after = rates_after(corner[:groups], corner[groups:], matrix, posterior, at_prediction)
    worst = max(worst, np.ptp(after))
  factor = bias_factor(matrix, shares, at_prediction=at_prediction)
  np.testing.assert_allclose(factor, worst, rtol=1e-12)


def test_empty_groups_and_matrices_by_label():
  noise, other = flips(0.2, 0.3), flips(0.4, 0.1)
  factor = lambda matrix, shares: np.asarray(bias_factor(matrix, np.array(shares)))
  both = np.asarray(
    convergence.equalized_odds_bias_factor(np.stack([noise, other]), [[0.5, 0.5], [0.3, 0.7]])
  )
  np.testing.assert_allclose(both, [factor(noise, [0.5, 0.5]), factor(other, [0.3, 0.7])])
  np.testing.assert_allclose(factor(noise, [5.0, 5.0]), both[0])  # counts are shares
  wide = np.eye(3)
  wide[:2, :2] = noise
  np.testing.assert_allclose(factor(wide, [0.5, 0.5, 0.0]), both[0])  # nobody is of group 2
  assert factor(noise, [1.0, 0.0]) == 0  # there is no other group to be apart from
  assert factor(np.array([[1.0, 0.0], [1.0, 0.0]]), [0.5, 0.5]) == np.inf
  assert factor(noise, [0.5, 0.5]) == both[0]


def test_an_audit_finds_the_noise_and_whether_the_decision_hangs_on_it():
  by_label = np.stack([flips(0.2, 0.3), flips(0.4, 0.1)])
  weight = population(JOINT, RATES, by_label)
  found = audited(weight)
  np.testing.assert_allclose(found.transition, by_label, rtol=1e-12)
  np.testing.assert_allclose(found.shares, JOINT / JOINT.sum(1, keepdims=True), rtol=1e-12)
  assert np.asarray(found.dependence) < 1e-12
  weight = np.random.default_rng(0).random(16)
  found = audited(weight)
  worst = 0.0
  for y, z, h, k in itertools.product(range(2), repeat=4):
    given = weight[(Y == y) & (Z == z)].sum()
    share = lambda rows, y=y, z=z: weight[(Y == y) & (Z == z) & rows].sum() / given
    worst = max(
      worst, abs(share((GIVEN == h) & (SAID == k)) - share(GIVEN == h) * share(SAID == k))
    )
  np.testing.assert_allclose(found.dependence, worst, rtol=1e-12)
  assert worst > 0.05


def test_an_audit_leaves_out_what_it_does_not_know():
  rng, n = np.random.default_rng(1), 40
  y, z, given = rng.integers(0, 3, n), rng.integers(0, 2, n), rng.dirichlet(np.ones(2), n)
  weight, logits, place = rng.random(n), rng.normal(size=(n, 3)), np.arange(n)
  given[:5] = 0

  @jax.jit
  def audit(valid, true):
    truth = rfjax.Truth(group=jnp.asarray(true))
    data = rfjax.Batch.from_arrays(np.zeros((n, 1)), y, given, num_classes=3, truth=truth)
    filled = data.fill(jnp.asarray(logits))
    columns = {"weight": jnp.asarray(weight), "valid": jnp.asarray(valid)}
    return convergence.group_noise_audit(filled.replace(group=jnp.asarray(given), **columns))

  found = audit(place < 30, z)
  mine = (place >= 5) & (place < 30) & (y == 2) & (z == 1)
  np.testing.assert_allclose(
    np.asarray(found.transition)[2, 1], weight[mine] @ given[mine] / weight[mine].sum(), rtol=1e-12
  )
  nobody = audit(place >= 0, np.zeros(n, int))
  np.testing.assert_array_equal(np.asarray(nobody.transition)[:, 1], [[0, 1]] * 3)
  assert np.isfinite(nobody.dependence)


def test_refusals_name_the_remedy():
  with pytest.raises(ValueError, match="at_prediction must be"):
    convergence.equalized_odds_bias_factor(np.eye(2), [0.5, 0.5], at_prediction="none")
  with pytest.raises(ValueError, match="shares must have one number for each of the 2 groups"):
    convergence.equalized_odds_bias_factor(np.eye(2), [0.5, 0.2, 0.3])
  with pytest.raises(ValueError, match="one row for each of the 2 labels"):
    convergence.equalized_odds_bias_factor(np.stack([np.eye(2)] * 2), np.ones((3, 2)))
  with pytest.raises(ValueError, match="shares"):
    convergence.equalized_odds_bias_factor(np.eye(2), [-0.5, 0.5])
  data = rfjax.Batch.from_arrays(np.zeros((16, 1)), Y, GIVEN, truth=rfjax.Truth(group=Z))
  with pytest.raises(ValueError, match="needs the true groups: pass truth"):
    convergence.group_noise_audit(data.replace(truth=None, logits=np.zeros((16, 2))))
  with pytest.raises(ValueError, match="needs logits"):
    convergence.group_noise_audit(data)
