"""The surrogate has the clean cost for its mean, by enumeration of the noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import convergence, losses, noise

KEY = jax.random.key(0)
TWO = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.05, 0.95]]])
THREE = np.array(
  [
    [[0.7, 0.1, 0.2], [0.0, 0.8, 0.2], [0.3, 0.1, 0.6]],
    [[0.9, 0.1, 0.0], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]],
  ]
)
HARD = np.array([0, 1, 1, 0, 1, 0])
SOFT = np.array([[1, 0], [0, 1], [0.3, 0.7], [0.5, 0.2], [0, 0], [0.6, 0.4]])


def filled(group, classes, logits, y=None):
  y = np.arange(len(group)) % classes if y is None else y
  x = np.zeros((len(group), 1), np.float32)
  data = rfjax.Batch.from_arrays(x, y, group, num_classes=classes, num_groups=2)
  return fill(data, jnp.asarray(logits))


fill = jax.jit(lambda data, logits: data.fill(logits))
take = jax.jit(lambda data, rows: data.take(rows))


def corrected(transition, flow, act="update"):
  method = convergence.group_surrogate(transition)
  extra = {"key": KEY, "step": 0, "epoch": 0, "forward": None}
  state = method.init(flow, key=KEY, spec=None)
  return getattr(method, act)(flow, state, (), **extra)[0].cost


def of_rows(transition, group):
  """The matrix of each row, as `noise.group_dependent` mixes them."""
  member = np.eye(2)[group] if group.ndim == 1 else np.asarray(group, float)
  mix = lambda row: sum(m * t for m, t in zip(row, transition, strict=True))
  return [mix(row) + (1 - row.sum()) * np.eye(transition.shape[-1]) for row in member]


@pytest.mark.parametrize("group", [HARD, SOFT])
@pytest.mark.parametrize("transition", [TWO, THREE])
@pytest.mark.parametrize("loss", [rfjax.chain(), losses.gce(0.7)])
def test_its_mean_over_the_noise_is_the_cost_of_the_true_label(transition, group, loss):
  classes = transition.shape[-1]
  with jax.enable_x64(True):
    flow = filled(group, classes, np.random.default_rng(0).normal(size=(len(group), classes)))

    @jax.jit
    def costs(flow):
      flow = loss.update(flow, loss.init(flow, key=KEY), (), key=KEY, step=0, epoch=0)[0]
      return corrected(transition, flow), flow.cost

    found, cost = map(np.asarray, costs(flow))
    group = np.asarray(flow.group)
  for i, matrix in enumerate(of_rows(transition, group)):
    for y in range(classes):
      mean = sum(matrix[y, given] * found[i, given] for given in range(classes))
      np.testing.assert_allclose(mean, cost[i, y], rtol=1e-12, atol=1e-12)
  assert np.abs(found - cost)[:2].min() > 1e-3
  if group.ndim == 2:
    np.testing.assert_array_equal(found[4], cost[4])


def test_two_classes_by_the_papers_formula():
  with jax.enable_x64(True):
    flow = filled(HARD, 2, np.random.default_rng(1).normal(size=(6, 2)))
    found = np.asarray(jax.jit(lambda flow: corrected(TWO, flow))(flow))
    cost = np.asarray(flow.cost)
  for i, a in enumerate(HARD):
    wrong = [TWO[a, 0, 1], TWO[a, 1, 0]]  # P(given != y | y)
    for y in (0, 1):
      signed = (1 - wrong[1 - y]) * cost[i, y] - wrong[y] * cost[i, 1 - y]
      np.testing.assert_allclose(found[i, y], signed / (1 - wrong[0] - wrong[1]), rtol=1e-12)


def test_it_takes_back_what_group_dependent_noise_does():
  cycle = np.stack([np.eye(3), np.roll(np.eye(3), 1, axis=1)])  # 0 -> 1 -> 2 -> 0 in group 1
  clean = filled(HARD, 3, np.random.default_rng(2).normal(size=(6, 3)))

  @jax.jit
  def run(clean):
    noisy = rfjax.transform(noise.group_dependent(cycle), clean, key=KEY)
    return noisy.y, corrected(cycle, noisy)

  given, cost = map(np.asarray, run(clean))
  assert (given != np.asarray(clean.y)).tolist() == HARD.astype(bool).tolist()
  found = cost[np.arange(6), given]
  np.testing.assert_allclose(found, np.asarray(clean.cost)[np.arange(6), clean.y], rtol=1e-6)


def test_rates_are_symmetric_noise_and_may_be_traced():
  flow = filled(HARD, 3, np.random.default_rng(3).normal(size=(6, 3)).astype(np.float32))
  rates = np.array([[0.0, 0.0], [0.1, 0.4]], np.float32)
  found = np.asarray(jax.jit(jax.vmap(corrected, (0, None)))(rates, flow))
  np.testing.assert_array_equal(found[0], flow.cost)
  matrices = np.stack([noise.symmetric_matrix(float(rate), 3) for rate in rates[1]])
  ways = lambda flow: (corrected(matrices, flow), corrected([0.1, 0.4], flow, "refresh"))
  for other in jax.jit(ways)(flow):
    np.testing.assert_allclose(found[1], other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("group", [HARD, SOFT.astype(np.float32)])
def test_padding_keeps_its_cost_and_far_logits_stay_finite(group):
  wide = filled(group, 2, 1e4 * np.float32(np.random.default_rng(4).normal(size=(6, 2))))
  wide = take(wide, np.array([0, 1, 6, 2, 3, 4, 5, 6]))

  def risk(logits):
    flow = wide.fill(logits)
    return flow.replace(cost=corrected(TWO, flow)).risk

  slope = np.asarray(jax.jit(jax.grad(risk))(wide.logits))
  assert np.isfinite(slope).all() and np.any(slope != 0)
  np.testing.assert_array_equal(slope[~np.asarray(wide.valid)], 0)


def test_refusals_name_the_remedy():
  blind = np.stack([np.eye(2), np.full((2, 2), 0.5)])
  with pytest.raises(ValueError, match=r"transition must be invertible.*tells nothing of the true"):
    convergence.group_surrogate(blind)
  with pytest.raises(ValueError, match="transition must lie in"):
    convergence.group_surrogate([0.1, 1.1])
  with pytest.raises(ValueError, match="transition must have 3 axes"):
    convergence.group_surrogate(np.eye(2))
  flow = filled(HARD, 2, np.zeros((6, 2), np.float32))
  with pytest.raises(ValueError, match="transition must be invertible"):
    corrected([0.5, 0.1], flow)
  with pytest.raises(ValueError, match="of 3 groups, but the data set has num_groups 2"):
    corrected([0.1, 0.1, 0.1], flow)
  with pytest.raises(ValueError, match="of 3 classes, but the data set has num_classes 2"):
    corrected(THREE, flow)
  swap = np.stack([np.eye(2), np.eye(2)[::-1]])  # each invertible, but not their mean
  corrected(swap, flow)
  half = filled(np.full((6, 2), 0.5), 2, np.zeros((6, 2), np.float32))
  with pytest.raises(ValueError, match=r"transition, mixed by membership, must be invertible"):
    corrected(swap, half)
