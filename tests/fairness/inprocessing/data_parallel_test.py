"""Rows spread over four devices: group statistics are those of all rows, and so is a step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rfjax
from rfjax import architectures, metrics
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
ROWS, PADDED = 44, 48
MESH = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
SPREAD = jax.NamedSharding(MESH, jax.P("data"))


def batch():
  """Rows sorted by group, so that devices see different ones and the last one mostly padding."""
  rng = np.random.default_rng(0)
  code = np.sort(rng.integers(3, size=ROWS))
  x, y = rng.normal(size=(ROWS, 4)) + code[:, None], rng.integers(2, size=ROWS)
  data = rfjax.Batch.from_arrays(x, y, code)
  return jax.jit(rfjax.Batch.take)(data, np.append(np.arange(ROWS), [ROWS] * (PADDED - ROWS)))


def test_a_step_of_several_penalties_is_that_of_one_device():
  method = rfjax.chain(
    inprocessing.gap(0.5, "precision", decay=0.5),
    inprocessing.mmd(2.0, width=0.5, label=1),
    inprocessing.wasserstein(1.0),
    inprocessing.fair_projection(1.0),
  )
  network = architectures.logistic()
  step = rfjax.train_step(network, method, optax.sgd(1.0))
  flow = batch()
  start = jax.jit(lambda flow: step.init(network.init(KEY, flow.x)[0], flow, key=KEY))(flow)
  update = jax.jit(functools.partial(step.update, key=KEY, step=0, epoch=0))
  shared = jax.tree.map(lambda leaf: jax.device_put(leaf, SPREAD), flow)
  assert len(shared.x.sharding.device_set) == 4
  alone, together = jax.device_get((update(start, flow), update(start, shared)))
  for one, four in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
    np.testing.assert_allclose(four, one, rtol=2e-5, atol=2e-6)
  plain = rfjax.train_step(network, rfjax.chain(), optax.sgd(1.0)).update
  plain = jax.jit(functools.partial(plain, key=KEY, step=0, epoch=0))
  without, _ = jax.device_get(plain(start._replace(method=()), flow))
  moved = alone[0].params["kernel"] - without.params["kernel"]
  assert np.abs(moved).max() > 0.05


def test_sums_that_are_added_before_they_are_divided_are_those_of_all_rows():
  flow = batch()
  flow = jax.jit(lambda flow: flow.fill(jnp.sin(flow.x[:, :2])))(flow)

  @jax.jit
  @functools.partial(jax.shard_map, mesh=MESH, in_specs=jax.P("data"), out_specs=jax.P())
  def everywhere(y, probs, member, weight):
    rate = metrics.group_rates("true_positive_rate", y, probs, member, weight=weight)
    return jax.lax.psum(rate, "data"), jax.lax.pmean(rate.value, "data")

  @jax.jit
  def both(flow):
    valid = flow.valid.astype(jnp.float32)
    rate, averaged = everywhere(flow.y, jax.nn.softmax(flow.logits), flow.membership, valid)
    alone = metrics.group_rates("true_positive_rate", flow, soft=True)
    return rate, averaged, alone, metrics.difference(rate), metrics.difference(alone)

  rate, averaged, alone, gap, gap_alone = jax.device_get(both(flow))
  np.testing.assert_allclose(rate.value, alone.value, rtol=1e-5)
  np.testing.assert_allclose(gap, gap_alone, rtol=1e-5)
  assert np.abs(averaged - alone.value).max() > 0.1  # which averages of ratios are not
