"""The peer term takes noise out of the risk, by enumeration of all given labels."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import convergence, losses

KEY = jax.random.key(0)
TWO = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.05, 0.95]]])
# Of three classes: what a label may become hangs on the true one only by staying it.
GOALS, KEPT = np.array([[0.1, 0.2, 0.1], [0.05, 0.0, 0.25]]), np.array([0.6, 0.7])
THREE = KEPT[:, None, None] * np.eye(3) + GOALS[:, None, :]
GROUP = np.array([0, 1, 1, 0, 1])
SOFT = np.array([[1, 0], [0, 1], [0.25, 0.75], [0.5, 0.25], [0, 0]])
LOGITS = np.random.default_rng(0).normal(size=(5, 3))


def filled(y, group=GROUP, logits=LOGITS, classes=3):
  groups = group.shape[1] if group.ndim == 2 else int(group.max()) + 1
  made = functools.partial(rfjax.Batch.from_arrays, num_classes=classes, num_groups=groups)
  data = made(np.zeros((len(y), 1), np.float32), y, group)
  return fill(data, jnp.asarray(logits[:, :classes]))


fill = jax.jit(lambda data, logits: data.fill(logits))


def of(method, flow):
  return method.update(flow, (), (), key=KEY, step=0, epoch=0)[0]


def risk_of(method, flow):
  return float(jax.jit(lambda flow: of(method, flow).risk)(flow))


def cost_of(method, flow):
  return np.asarray(jax.jit(lambda flow: of(method, flow).cost)(flow))


def mean_over_noise(flow, transition, delta, **settings):
  """The mean of the risk over all labels that may be given, each by its probability."""
  classes = transition.shape[-1]
  given = np.array(list(itertools.product(range(classes), repeat=flow.num_rows)))
  chance = np.prod(transition[GROUP, np.asarray(flow.y), given], axis=1)
  method = convergence.group_peer(delta, **settings)
  risk = jax.jit(jax.vmap(lambda y: of(method, flow.replace(y=y)).risk))
  assert abs(chance.sum() - 1) < 1e-12
  return float(chance @ np.asarray(risk(jnp.asarray(given))))


@pytest.mark.parametrize("transition", [TWO, THREE])
def test_the_mean_over_the_noise_is_the_clean_peer_risk(transition):
  classes = transition.shape[-1]
  delta = (np.trace(transition, axis1=1, axis2=2) - 1) / (classes - 1)
  wrong = transition[:, 1, 0] + transition[:, 0, 1]
  np.testing.assert_allclose(delta, 1 - wrong if classes == 2 else KEPT, rtol=1e-12)
  with jax.enable_x64(True):
    flow = filled(np.array([0, 1, 0, 1, 1]), classes=classes)
    clean = risk_of(convergence.group_peer([1.0, 1.0], 1.0), flow)
    noisy = mean_over_noise(flow, transition, delta, alpha=1.0)
    np.testing.assert_allclose(noisy, clean, rtol=1e-12)
    # With partners from all rows it is another number, unless all groups are alike.
    other = mean_over_noise(flow, transition, delta, alpha=1.0, partners="all")
    clean = risk_of(convergence.group_peer([1.0, 1.0], 1.0, partners="all"), flow)
    assert abs(other - clean) > 1e-2


def test_one_group_alone_is_shrunk_by_delta():
  with jax.enable_x64(True):
    flow = filled(np.array([0, 1, 0, 1, 1]), classes=2)
    only = flow.replace(keep=np.asarray(GROUP == 1, float))
    clean = risk_of(convergence.group_peer([1.0, 1.0], 1.0), only)
    noisy = mean_over_noise(only, TWO, [1.0, 1.0], alpha=1.0)
    np.testing.assert_allclose(noisy, (1 - 0.4 - 0.05) * clean, rtol=1e-12)


def test_all_partners_are_the_mean_over_the_authors_permutations():
  y, delta, alpha = np.array([0, 1, 1, 0]), np.array([0.5, 0.8]), 0.3
  group, logits = np.array([0, 1, 1, 1]), LOGITS[:4]
  with jax.enable_x64(True):
    flow = filled(y, group, logits, 2)
    cost = np.asarray(flow.cost)
    found = risk_of(convergence.group_peer(delta, alpha, partners="all"), flow)
  wanted, orders = [], list(itertools.permutations(range(4)))
  for rows, labels in itertools.product(orders, orders):
    peer = cost[np.array(rows), y[np.array(labels)]]
    wanted.append(np.mean((cost[np.arange(4), y] - alpha * peer) / delta[group]))
  np.testing.assert_allclose(found, np.mean(wanted), rtol=1e-12)


def test_rows_of_soft_membership_are_split_and_without_a_group_stay():
  y, delta, alpha = np.array([0, 1, 2, 1, 0]), np.array([0.5, 0.8]), 0.7
  with jax.enable_x64(True):
    flow = filled(y, SOFT)
    cost = np.asarray(flow.cost)
    found = cost_of(convergence.group_peer(delta, alpha), flow)
  labels = np.eye(3)[y]
  wanted = (1 - SOFT.sum(1))[:, None] * cost
  for a in range(2):
    share = SOFT[:, a] @ labels / SOFT[:, a].sum()
    wanted += SOFT[:, a, None] / delta[a] * (cost - alpha * (cost @ share)[:, None])
  np.testing.assert_allclose(found, wanted, rtol=1e-12)
  np.testing.assert_array_equal(found[4], cost[4])


@pytest.mark.parametrize("partners", ["group", "all"])
def test_of_one_group_it_is_peer_loss_and_without_a_peer_a_weight(partners):
  flow = filled(np.array([0, 1, 2, 1, 0]), np.zeros(5, int))
  method = convergence.group_peer([1.0], 0.7, partners=partners)
  halved = convergence.group_peer([0.5], 0.0, partners=partners)

  @jax.jit
  def run(flow):
    flow = flow.take(np.array([0, 5, 1, 2, 3, 4, 5]))  # with padding
    costs = of(method, flow).cost, of(losses.peer_loss(0.7), flow).cost
    return flow.valid, costs, (of(halved, flow).risk, flow.risk)

  valid, (found, wanted), (half, whole) = jax.tree.map(np.asarray, run(flow))
  np.testing.assert_allclose(found[valid], wanted[valid], rtol=1e-6)
  np.testing.assert_allclose(half, 2 * whole, rtol=1e-6)


@pytest.mark.parametrize("partners", ["group", "all"])
def test_far_logits_are_finite_and_strengths_may_be_traced(partners):
  flow = filled(np.array([0, 1, 2, 1, 0]))

  def risk(delta, alpha, scale):
    spread = flow.fill(scale * flow.logits)
    return of(convergence.group_peer(delta, alpha, partners=partners), spread).risk

  deltas, alphas = np.float32([[0.5, 1.0], [0.9, 0.2]]), np.float32([0.0, 0.5])
  many = jax.jit(jax.vmap(jax.value_and_grad(risk, argnums=2), (0, 0, None)))
  single = jax.jit(risk)
  for scale in (1.0, 1e4):
    value, slope = map(np.asarray, many(deltas, alphas, scale))
    assert np.isfinite(value).all() and np.isfinite(slope).all() and (slope != 0).all()
    np.testing.assert_allclose(value[1], single(deltas[1], alphas[1], scale), rtol=1e-5)


def test_refusals_name_the_remedy():
  for delta in ([0.0, 1.0], [0.5, 1.1]):
    with pytest.raises(ValueError, match=r"delta must lie in \(0, 1\]"):
      convergence.group_peer(delta)
  with pytest.raises(
    ValueError, match=r"delta must have one number for each group, got shape \(\)"
  ):
    convergence.group_peer(0.5)
  with pytest.raises(ValueError, match="partners must be one of"):
    convergence.group_peer([0.5, 0.5], partners="one")
  with pytest.raises(ValueError, match="of 3 groups, but the data set has num_groups 2"):
    of(convergence.group_peer([0.5, 0.5, 0.5]), filled(np.array([0, 1, 2, 1, 0])))
