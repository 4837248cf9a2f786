"""The batch against its formulas in NumPy float64, and the rules by which it fills."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import Batch, Truth
from rfjax.core import write

ROWS, CLASSES = 6, 3
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(ROWS, CLASSES)).astype(np.float32)
Y = np.array([0, 2, 1, 1, 0, 2])
VALID = np.array([1, 1, 1, 1, 0, 0], bool)


@pytest.fixture(scope="module")
def data():
  return Batch.from_arrays(
    np.arange(ROWS * 2.0).reshape(ROWS, 2),
    Y,
    group=[0, 1, 0, 1, 1, 0],
    truth=Truth(jnp.asarray(Y[::-1].copy())),
  )


@pytest.fixture(scope="module")
def filled(data):
  return data.replace(valid=jnp.asarray(VALID)).fill(jnp.asarray(LOGITS))


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def risk(keep, weight, target, cost):
  keep, weight, target, cost = (np.asarray(v, np.float64) for v in (keep, weight, target, cost))
  return (keep * weight * (target * cost).sum(1)).sum() / max(keep.sum(), 1)


def test_fill_starts_from_cross_entropy(filled):
  np.testing.assert_allclose(filled.log_probs, log_softmax(LOGITS), atol=1e-6)
  np.testing.assert_allclose(filled.cost, -log_softmax(LOGITS), atol=1e-6)
  np.testing.assert_array_equal(filled.target, np.eye(CLASSES)[Y])
  np.testing.assert_array_equal(filled.keep, VALID)
  np.testing.assert_array_equal(filled.weight, np.ones(ROWS))
  assert filled.penalty == 0
  np.testing.assert_allclose(filled.risk, -log_softmax(LOGITS)[range(4), Y[:4]].mean(), rtol=1e-6)


def test_fill_respects_what_the_data_set_says(data):
  own = {"target": jnp.full((6, 3), 1 / 3), "keep": jnp.zeros(6), "weight": jnp.full(6, 2.0)}
  filled = data.replace(**own).fill(jnp.asarray(LOGITS))
  for name, value in own.items():
    np.testing.assert_array_equal(getattr(filled, name), value)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.0])
def test_risk_and_objective_are_the_formula(filled, scale):
  keep = scale * RNG.uniform(size=ROWS) * VALID
  weight, target = RNG.normal(size=ROWS), RNG.dirichlet(np.ones(CLASSES), ROWS)
  cost = RNG.uniform(size=(ROWS, CLASSES))
  columns = {"keep": keep, "weight": weight, "target": target, "cost": cost, "penalty": 0.25}
  batch = filled.replace(**{k: jnp.asarray(v, jnp.float32) for k, v in columns.items()})
  np.testing.assert_allclose(batch.loss, (target * cost).sum(1), rtol=1e-5)
  np.testing.assert_allclose(batch.risk, risk(keep, weight, target, cost), rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(batch.objective, batch.risk + 0.25, rtol=1e-6)


def test_weight_is_not_renormalised_and_keep_is(filled):
  np.testing.assert_allclose(filled.replace(weight=filled.weight * 3).risk, 3 * filled.risk, 1e-6)
  first = filled.replace(keep=jnp.asarray([1.0, 0, 0, 0, 0, 0]))
  np.testing.assert_allclose(first.risk, first.loss[0], rtol=1e-6)


def test_padding_rows_have_no_say(filled):
  wild = filled.fill(filled.logits.at[4:].set(jnp.asarray([50.0, -50.0, 0.0])))
  np.testing.assert_array_equal(wild.risk, filled.risk)
  gradient = jax.grad(lambda logits: filled.fill(logits).risk)(filled.logits)
  np.testing.assert_array_equal(gradient[4:], 0)
  assert np.abs(gradient[:4]).min() > 0


def test_replace_of_log_probs_gives_a_new_cost(filled):
  corrected = filled.replace(cost=filled.cost**2).replace(log_probs=filled.log_probs - 1)
  np.testing.assert_array_equal(corrected.cost, -corrected.log_probs)
  np.testing.assert_array_equal(corrected.probs, jnp.exp(filled.log_probs - 1))


def test_replace_of_logits_gives_new_log_probs_and_cost(filled):
  new = filled.replace(logits=2 * filled.logits)
  np.testing.assert_allclose(new.log_probs, log_softmax(2 * LOGITS), atol=1e-6)
  np.testing.assert_allclose(new.cost, -log_softmax(2 * LOGITS), atol=1e-6)


def test_replace_keeps_what_is_given_and_what_is_not_concerned(filled):
  both = filled.replace(log_probs=filled.log_probs - 1, cost=filled.cost)
  assert both.cost is filled.cost
  assert filled.replace(target=filled.target * 0.5).cost is filled.cost
  assert filled.replace(cost=filled.cost + 1).log_probs is filled.log_probs


def test_take_gathers_and_leaves_empty_slots(filled):
  batch = filled.take(jnp.array([3, ROWS, 0]))
  np.testing.assert_array_equal(batch.index[::2], [3, 0])
  np.testing.assert_array_equal(
    write(jnp.zeros(ROWS), batch.index, jnp.ones(3)), [1, 0, 0, 1, 0, 0]
  )
  np.testing.assert_array_equal(batch.valid, [True, False, True])
  np.testing.assert_array_equal(batch.keep, [1, 0, 1])
  np.testing.assert_array_equal(batch.membership, [[0, 1], [0, 0], [1, 0]])
  np.testing.assert_array_equal(batch.x[::2], np.asarray(filled.x)[[3, 0]])
  np.testing.assert_array_equal(batch.cost[::2], np.asarray(filled.cost)[[3, 0]])
  np.testing.assert_array_equal(batch.truth.y[::2], Y[::-1][[3, 0]])
  assert batch.truth.group is None and batch.order is None and batch.num_classes == CLASSES


def test_take_of_a_batch_leaves_empty_slots_without_an_address(data):
  part = data.take(jnp.array([0, 1, 2])).take(jnp.array([1, 3]))
  np.testing.assert_array_equal(write(jnp.zeros(ROWS), part.index, jnp.ones(2)), [0, 1, 0, 0, 0, 0])


def test_take_of_nothing_known_stays_unknown(data):
  batch = data.take(jnp.array([0, ROWS]))
  assert all(
    getattr(batch, name) is None for name in ("logits", "cost", "target", "keep", "weight")
  )
  np.testing.assert_array_equal(batch.fill(jnp.asarray(LOGITS[:2])).keep, [1, 0])


def test_subset_is_a_data_set_of_its_own(data):
  own = data.replace(trusted=data, weight=jnp.arange(6.0)).subset(jnp.array([5, 2]))
  np.testing.assert_array_equal(own.index, [0, 1])
  np.testing.assert_array_equal(own.y, [2, 1])
  np.testing.assert_array_equal(own.weight, [5, 2])
  assert own.num_rows == 2 and own.valid.all() and own.trusted is data


def test_mean_runs_over_valid_rows(filled):
  values = RNG.normal(size=(ROWS, 2)).astype(np.float32)
  np.testing.assert_allclose(filled.mean(values[:, 0]), values[:4, 0].mean(), rtol=1e-6)
  np.testing.assert_allclose(filled.mean(values), values[:4].mean(0), rtol=1e-6)
  np.testing.assert_allclose(filled.mean(jnp.arange(6)), 1.5)
  assert filled.replace(valid=jnp.zeros(6, bool)).mean(jnp.ones(6)) == 0


def test_mean_of_a_mask_is_the_share_of_rows(filled):
  np.testing.assert_allclose(filled.mean(jnp.array([1, 1, 1, 0, 1, 1], bool)), 0.75)


def test_hard_and_soft_membership(filled):
  hard = np.eye(2)[[0, 1, 0, 1, 1, 0]] * VALID[:, None]
  np.testing.assert_array_equal(filled.membership, hard)
  soft = np.array([[0.5, 0.5], [0, 0], [0.2, 0.3], [1, 0], [1, 0], [0, 1]], np.float32)
  np.testing.assert_array_equal(
    filled.replace(group=jnp.asarray(soft)).membership, soft * VALID[:, None]
  )


def test_margin_is_the_logit_against_class_0(filled):
  np.testing.assert_allclose(filled.margin, LOGITS[:, 1:] - LOGITS[:, :1], rtol=1e-6)


def test_from_arrays_fills_the_addresses_and_counts(data):
  np.testing.assert_array_equal(data.index, range(ROWS))
  assert data.valid.all() and data.x.dtype == jnp.float32 and data.y.dtype == jnp.int32
  assert (data.num_rows, data.num_classes, data.num_groups) == (ROWS, 3, 2)
  assert Batch.from_arrays([[0.0]], [0]).num_classes == 2
  assert Batch.from_arrays([[0.0]], [True], [[0.0, 0.5]]).num_groups == 2
  assert Batch.from_arrays(np.zeros((1, 2, 2), np.uint8), [0]).x.dtype == jnp.uint8


def test_batch_is_a_pytree_with_static_counts(filled):
  back = jax.jit(lambda b: b)(filled)
  assert (back.num_classes, back.num_groups) == (3, 2)
  for field in ("y", "cost", "keep", "penalty"):
    np.testing.assert_array_equal(getattr(back, field), getattr(filled, field))
  assert len(jax.tree.leaves(filled)) == 13


REMEDIES = {
  "group": "group=",
  "logits": "fit",
  "cost": "fit",
  "features": "penultimate",
  "trusted": "trusted=",
  "truth": "truth=",
  "order": "batch_size",
}


@pytest.mark.parametrize("name", REMEDIES)
def test_require_names_the_method_the_field_and_the_remedy(data, name):
  bare = dataclasses.replace(data, group=None, truth=None)
  with pytest.raises(ValueError, match=rf"^morph needs {name}, .*{REMEDIES[name]}"):
    bare.require("x", name, by="morph")


@pytest.mark.parametrize("name", ["probs", "margin", "loss", "risk", "objective"])
def test_what_is_not_known_yet_says_so(data, name):
  with pytest.raises(ValueError, match="not known yet: it is filled by the network"):
    getattr(data, name)


def test_require_returns_the_batch(filled):
  assert filled.require("cost", "group") is filled


def test_what_happens_to_the_given_arrays_later_changes_nothing():
  room = np.zeros(32 * 4 + 16, np.float32)  # an array where a device would not need a copy
  start = -room.ctypes.data % 64 // 4
  x = room[start : start + 32 * 4].reshape(32, 4)
  data = Batch.from_arrays(x, np.arange(32) % 2)
  x[:] = 1
  assert not np.asarray(data.x).any()
