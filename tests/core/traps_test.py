"""What would fail silently, or with a raw error, if the core did not see to it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.core import NO_ADDRESS, Batch, Transform, _check

KEY = jax.random.key(0)
ROWS = 6
NETWORK = architectures.logistic()


@pytest.fixture(scope="module")
def data():
  return Batch.from_arrays(np.linspace(-1, 1, ROWS)[:, None], [0, 0, 1, 0, 1, 1])


def fit(data, method, **options):
  options = {"epochs": 2, "batch_size": 3, "key": KEY} | options
  return rfjax.fit(NETWORK, method, optax.adam(0.1), data, **options)


def test_a_sampler_that_declares_nothing_still_skips_its_empty_batches(data):
  def serve(rows):
    def refresh(flow, state, params=None, **_):
      order = jnp.full((rows, 3), ROWS).at[0].set(jnp.arange(3))
      return flow.replace(order=order), state

    return Transform(refresh=refresh)

  one, many = (fit(data, serve(rows))[0] for rows in (1, 4))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), one.params, many.params)


def test_a_pointwise_function_that_declares_nothing_acts_once_on_a_weight(data):
  heavy = rfjax.pointwise(lambda b, **_: b.replace(weight=3 * b.weight))
  _, plain = fit(data, rfjax.chain(), epochs=1, batch_size=None)
  _, log = fit(data, heavy, epochs=1, batch_size=None)
  np.testing.assert_allclose(log.risk, 3 * plain.risk, rtol=1e-6)


@pytest.mark.parametrize("name", ["order", "log_probs", "y"])
def test_scaled_refuses_what_it_cannot_mix(data, name):
  flow = data.fill(jnp.zeros((ROWS, 2)))
  t = rfjax.stateless(lambda b, **_: b.replace(**{name: jnp.zeros((ROWS, 2), int)[:, 0]}))
  with pytest.raises(ValueError, match=f"scaled cannot mix {name}"):
    rfjax.scaled(0.5, t).update(flow, (), None, step=0)


def test_writes_must_name_fields():
  with pytest.raises(ValueError, match=r"writes of transform 0 must be one of .*'wieght'"):
    rfjax.chain(rfjax.stateless(lambda b, **_: b, writes=("wieght",)))


def test_when_with_a_sampler_needs_batches(data):
  sampler = Transform(
    refresh=lambda d, s, p=None, **_: (d.replace(order=jnp.zeros((1, 2), jnp.int32)), s)
  )
  with pytest.raises(ValueError, match="pass batch_size="):
    fit(data, rfjax.when(lambda step, epoch: epoch > 0, sampler), batch_size=None)


def test_a_new_label_gives_a_new_target(data):
  flow = data.fill(jnp.zeros((ROWS, 2)))
  new = flow.replace(y=1 - flow.y)
  np.testing.assert_array_equal(new.target, 1 - flow.target)
  assert data.replace(y=1 - data.y).target is None


def test_a_transform_of_a_data_set_finds_weights_and_leaves_no_defaults(data):
  double = rfjax.stateless(lambda b, **_: b.replace(weight=2 * b.weight))
  new = rfjax.transform(double, data, key=KEY)
  np.testing.assert_array_equal(new.weight, 2)
  assert new.keep is None and new.target is None
  flip = rfjax.stateless(lambda b, **_: b.replace(y=1 - b.y))
  assert rfjax.transform(flip, data, key=KEY).target is None


def test_a_run_can_make_its_own_data():
  def train(seed):
    x = jax.random.normal(jax.random.key(seed), (5, 2))
    return Batch.from_arrays(x, jnp.zeros(5, int), num_classes=2).y.sum()

  assert jax.jit(train)(0) == 0
  with pytest.raises(ValueError, match="num_classes and num_groups must be given"):
    jax.jit(lambda x: Batch.from_arrays(x, jnp.zeros(5, int)).y)(jnp.ones((5, 2)))
  with pytest.raises(ValueError, match="x has shape"):
    jax.jit(lambda x: Batch.from_arrays(x, jnp.zeros(4, int), num_classes=2).y)(jnp.ones((5, 2)))


@pytest.mark.parametrize(
  "clean, message",
  [
    (Batch.from_arrays(np.ones((2, 3)), [0, 1]), r"trusted has rows of shape \(3,\)"),
    (Batch.from_arrays(np.ones((2, 1)), [0, 2]), "trusted has 3 classes but the data 2"),
  ],
)
def test_trusted_examples_must_be_of_the_same_kind(clean, message):
  with pytest.raises(ValueError, match=message):
    Batch.from_arrays(np.ones((2, 1)), [0, 1], trusted=clean)


def test_parameters_of_peers_need_an_axis(data):
  params = NETWORK.init(KEY, data.x)[0]
  with pytest.raises(ValueError, match="leading axis of 2 peers"):
    fit(data, rfjax.chain(), peers=2, params=params)


def test_a_mask_is_no_list_of_rows(data):
  with pytest.raises(ValueError, match="flatnonzero"):
    data.take(data.valid)


def test_an_empty_slot_has_no_address_in_any_memory(data):
  index = data.take(jnp.array([ROWS])).index
  np.testing.assert_array_equal(index, NO_ADDRESS)
  np.testing.assert_array_equal(rfjax.core.read(jnp.ones(3), index), 0)


def test_text_is_no_number():
  with pytest.raises(ValueError, match=r"rate must be a number, got '0\.5'"):
    _check.number("rate", "0.5")


@pytest.mark.parametrize("build", [architectures.mlp, architectures.cnn])
def test_widths_must_be_a_list(build):
  with pytest.raises(ValueError, match=r"must be a list of widths, got 128: pass \[128\]"):
    build(128)
