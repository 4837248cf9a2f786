"""Runs over several devices: batches are laid out by rows, and the results are the same."""

import jax
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, selection
from rfjax.core import Batch, _sweep, fit
from rfjax.fairness import inprocessing

RNG = np.random.default_rng(0)
DATA = Batch.from_arrays(RNG.normal(size=(32, 5)), RNG.integers(0, 2, 32), RNG.integers(0, 2, 32))
NETWORK = architectures.mlp([6], 2)
AXES = {"seed": range(3), "strength": [0.0, 1.0]}
METHOD = {
  "penalty": lambda s: inprocessing.gap(s),
  "selection": lambda s: selection.small_loss(0.25 + 0.1 * s),
}


def make(kind, batch_size=8, data=DATA):
  def train(seed, strength):
    state, log = fit(
      NETWORK, METHOD[kind](strength), optax.adam(0.05), data, key=jax.random.key(seed), epochs=3,
      batch_size=batch_size,
    )  # fmt: skip
    return {"risk": log.risk, "params": state.params}

  return train


def mesh(runs, data):
  devices = np.array(jax.devices()[: runs * data])
  if data == 1:
    return jax.sharding.Mesh(devices, ("run",))
  return jax.sharding.Mesh(devices.reshape(runs, data), ("run", "data"))


def sweep(train, runs, data, **options):
  return rfjax.sweep(train, AXES, mesh=mesh(runs, data), progress=False, **options)


@pytest.mark.parametrize(("kind", "batch_size"), [("penalty", 8), ("selection", None)])
def test_two_devices_a_run_give_the_same_results(kind, batch_size):
  train = make(kind, batch_size)
  one, two = sweep(train, 2, 1), sweep(train, 2, 2)
  assert two.attrs["devices"] == 2
  for name in one:
    np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_lanes_and_a_mesh_given_the_other_way_round():
  train = make("penalty")
  devices = np.array(jax.devices()[:4]).reshape(2, 2)
  turned = jax.sharding.Mesh(devices, ("data", "run"))
  got = rfjax.sweep(train, AXES, mesh=turned, lanes=2, progress=False)
  for name, values in sweep(train, 2, 1).items():
    np.testing.assert_allclose(got[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


def compiled(data):
  points = {"seed": np.arange(2, dtype=np.uint32), "strength": np.float32([0, 1])}
  over = mesh(2, data)
  plan = _sweep._plan(2, 1, 2, over)
  call = _sweep.engine(make("penalty"), ("seed", "strength"), points, plan, over).call
  return call.func.lower(*call.args, np.ones(2, np.int32), points, np.int32(0), ()).compile()


def test_each_device_has_half_of_a_batch_and_they_exchange_sums():
  alone, shared = compiled(1).as_text(), compiled(2).as_text()
  assert "all-reduce" not in alone and "all-reduce" in shared
  # The hidden layer of a batch of 8 rows.
  assert "f32[8,6]" in alone and "f32[4,6]" in shared and "f32[8,6]" not in shared


def test_batches_that_cannot_be_shared_are_refused():
  with pytest.raises(ValueError, match=r"multiples of the 2 devices .*batch_size"):
    sweep(make("penalty", 7), 2, 2)


def test_a_row_count_that_cannot_be_shared_stays_whole():
  odd = DATA.subset(np.arange(31))
  one, two = (sweep(make("selection", 4, odd), 2, n) for n in (1, 2))
  np.testing.assert_allclose(two["risk"], one["risk"], rtol=1e-4)


def test_a_store_holds_such_runs_apart(tmp_path):
  train = make("penalty")
  shared = sweep(train, 2, 2, store=tmp_path)
  assert sweep(train, 2, 1, store=tmp_path).attrs["runs_found"] == 0
  again = sweep(train, 2, 2, store=tmp_path)
  assert again.attrs["runs_found"] == 6 and again.equals(shared)
