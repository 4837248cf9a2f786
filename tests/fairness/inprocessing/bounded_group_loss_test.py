"""The bounded group loss against a loop, and behind a loss and a selection."""

import jax
import jax.numpy as jnp
import numpy as np

import rfjax
from rfjax import losses
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)


def filled(rows=40):
  rng = np.random.default_rng(0)
  y, code = rng.integers(3, size=rows), np.arange(rows) % 4
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, code)
  return data.fill(jnp.asarray(rng.normal(size=(rows, 3)) * (1 + code[:, None]), jnp.float32))


def penalty(method, flow):
  state = method.init(flow, key=KEY, spec=None)
  return method.update(flow, state, None, key=KEY, step=0, epoch=0, forward=None)[0].penalty


def by_hand(loss, code, rows, bound):
  means = [loss[[i for i in rows if code[i] == g]].mean() for g in sorted({code[i] for i in rows})]
  return sum(max(m - bound, 0) for m in means)


def test_it_is_what_the_mean_losses_exceed():
  flow = filled()
  code = np.asarray(flow.group)
  loss = -np.asarray(jax.nn.log_softmax(flow.logits), np.float64)[np.arange(40), flow.y]
  for bound in (0.0, 1.5):
    method = inprocessing.bounded_group_loss(0.5, bound)
    expected = by_hand(loss, code, range(40), bound)
    np.testing.assert_allclose(penalty(method, flow), 0.5 * expected, rtol=1e-5)
  means = sorted(loss[code == g].mean() for g in range(4))
  assert means[0] < 1.5 < means[-1]


def test_it_reads_the_loss_of_the_chain_over_the_rows_that_are_kept():
  flow = filled()
  code, y = np.asarray(flow.group), np.asarray(flow.y)
  p = np.asarray(jax.nn.softmax(flow.logits), np.float64)[np.arange(40), y]
  kept = [i for i in range(40) if i % 3 and code[i] != 2]  # a group of which no row is kept
  flow = flow.replace(keep=jnp.zeros(40).at[jnp.asarray(kept)].set(1), weight=jnp.arange(40.0))
  method = rfjax.chain(losses.gce(0.7), inprocessing.bounded_group_loss(1.0, 0.3))
  np.testing.assert_allclose(
    penalty(method, flow), by_hand((1 - p**0.7) / 0.7, code, kept, 0.3), rtol=1e-5
  )


def test_a_bound_below_all_losses_gives_every_group_one_share():
  flow = filled()
  method = inprocessing.bounded_group_loss(1.0, -1.0)
  slope = jax.grad(lambda cost: penalty(method, flow.replace(cost=cost)))(flow.cost)
  for g in range(4):
    np.testing.assert_allclose(slope[flow.group == g].sum(), 1, rtol=1e-6)
