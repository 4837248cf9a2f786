"""Sweeps against plain loops, the bits they promise, and what they compile to."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures
from rfjax.core import Batch, _sweep, fit

RNG = np.random.default_rng(0)
DATA = Batch.from_arrays(RNG.normal(size=(64, 2)), RNG.integers(0, 3, 64))
NETWORK = architectures.logistic(3)
SEEDS, QS = [0, 1, 5, 7, 2**32 - 1], [0.3, 0.7]
GRID = {"seed": SEEDS, "q": QS}


def train(seed, q):
  """A run whose power and logarithm are compiled differently where anything lets them."""
  key = jax.random.key(seed)
  gce = rfjax.pointwise(lambda b, **_: b.replace(cost=(1 - b.probs**q) / q), writes=("loss",))
  late = rfjax.stateless(lambda b, **_: b.replace(weight=b.weight * (1 + b.loss**q)))
  method = rfjax.chain(gce, rfjax.when(lambda step, epoch: step >= 1, late))
  state, log = fit(NETWORK, method, optax.sgd(0.5), DATA, key=key, epochs=3)
  return {"risk": log.risk, "end": {"params": state.params, "last": log.risk[-1]}}


def sweep(axes=GRID, train=train, devices=4, **options):
  mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("run",))
  return rfjax.sweep(train, axes, mesh=mesh, progress=False, **options)


def leaves(result):
  return {name: np.asarray(variable) for name, variable in result.data_vars.items()}


def same_bits(a, b):
  chex.assert_trees_all_equal(leaves(a), leaves(b))


@pytest.fixture(scope="module")
def result():
  return sweep()


def test_it_has_dims_coords_and_attributes(result):
  assert result["end.last"].dims == ("seed", "q")
  assert result["risk"].dims == ("seed", "q", "risk_0") and result.sizes["risk_0"] == 3
  assert result["end.params.kernel"].shape == (5, 2, 2, 2)
  assert result.seed.values.tolist() == SEEDS and result.q.values.tolist() == QS
  assert result.attrs == {"lanes": 1, "block": 4, "devices": 4}


def test_every_run_is_the_run_by_itself(result):
  alone = jax.jit(train)
  for i, seed in enumerate(SEEDS):
    for j, q in enumerate(QS):
      point = alone(jnp.uint32(seed), jnp.float32(q))
      mine = result.isel(seed=i, q=j)
      np.testing.assert_allclose(mine.risk, point["risk"], rtol=1e-5)
      kernel = point["end"]["params"]["kernel"]
      np.testing.assert_allclose(mine["end.params.kernel"], kernel, rtol=1e-5, atol=1e-6)
  assert np.unique(result.risk[..., -1]).size == 10


@pytest.mark.parametrize("block", [12, 40])
def test_the_block_changes_no_bit(result, block):
  other = sweep(block=block)
  same_bits(other, result)
  assert other.attrs["block"] == block


def test_subsets_and_orders_of_the_axes_change_no_bit(result):
  some = sweep({"q": QS[::-1], "seed": [7, 0, 2**32 - 1]})
  same_bits(some.transpose("seed", "q", ...), result.sel(seed=some.seed, q=some.q))
  one = sweep({"seed": [5], "q": [0.7]})
  same_bits(one, result.sel(seed=[5], q=[0.7]))


def test_two_devices_change_no_bit(result):
  same_bits(sweep(devices=2), result)


def test_convolutions_keep_their_bits_too():
  data = Batch.from_arrays(RNG.normal(size=(16, 6, 6, 1)), RNG.integers(0, 3, 16))
  network = architectures.cnn([3], num_classes=3)

  def train(seed, q):
    method = rfjax.losses.gce(q)
    key, tx = jax.random.key(seed), optax.sgd(0.5)
    state, log = fit(network, method, tx, data, key=key, epochs=2, batch_size=8)
    return {"risk": log.risk, "params": state.params}

  few = sweep({"seed": [0, 3], "q": [0.3]}, train, devices=2)
  many = sweep({"seed": [5, 3, 1, 2, 0, 4], "q": [0.7, 0.3]}, train, block=8)
  same_bits(few, many.sel(seed=[0, 3], q=[0.3]))


def test_one_device_agrees_to_the_last_place_or_so(result):
  chex.assert_trees_all_close(leaves(sweep(devices=1)), leaves(result), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def wide():
  return sweep(lanes=2)


def test_lanes_agree_to_rounding(result, wide):
  chex.assert_trees_all_close(leaves(wide), leaves(result), rtol=1e-5, atol=1e-6)
  assert wide.attrs == {"lanes": 2, "block": 8, "devices": 4}


def test_blocks_of_lanes_change_no_bit(wide):
  reverse = sweep({"seed": SEEDS[::-1], "q": QS}, lanes=2, block=24)
  same_bits(reverse.sel(seed=SEEDS), wide)


def test_pmap_of_vmap_agrees(result):
  seeds = jnp.asarray(SEEDS[:4], jnp.uint32).reshape(2, 2)
  runs = jax.pmap(jax.vmap(train, (0, None)), in_axes=(0, None))(seeds, jnp.float32(0.3))
  expected = result.risk.sel(q=0.3).values[:4].reshape(2, 2, 3)
  np.testing.assert_allclose(runs["risk"], expected, rtol=1e-5)


def program(train, lanes=1):
  """The lowered program of a block; the only look at what is private."""
  points = {"seed": np.arange(4, dtype=np.uint32), "q": np.float32([0.3] * 4)}
  mesh = _sweep.run_mesh()
  plan = _sweep._plan(4, lanes, 4 * lanes, mesh)
  call = _sweep.engine(train, ("q", "seed"), points, plan, mesh).call
  points = {name: np.resize(values, 4 * lanes) for name, values in points.items()}
  return call.func.lower(*call.args, np.ones(4, np.int32), points, np.int32(0), ())


def test_runs_need_no_collective_and_keep_their_branches():
  text = program(train, lanes=2).compile().as_text()
  assert not [word for word in ("all-reduce", "all-gather", "all-to-all") if word in text]
  assert "conditional(" in text


@pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_closed_over_data_is_an_argument(how):
  text = program(how(lambda seed, q: jnp.sum(DATA.x * q) + seed)).as_text()
  assert "tensor<64x2xf32>" in text and 'dense<"0x' not in text


def test_train_is_traced_once():
  calls = []

  def counted(seed):
    calls.append(seed)
    return jnp.sqrt(seed * 1.0)

  result = sweep({"seed": range(9)}, counted, block=4)
  np.testing.assert_allclose(result.value, np.sqrt(np.arange(9)), rtol=1e-6)
  assert len(calls) == 1


def test_outputs_may_be_arrays_dictionaries_and_trees():
  vector = sweep({"n": [1, 2]}, lambda n: n * jnp.arange(3))
  assert vector.value.dims == ("n", "value_0") and vector.value.values.tolist() == [
    [0, 1, 2],
    [0, 2, 4],
  ]
  tree = sweep({"flag": [True, False]}, lambda flag: ({"a": [flag, 1]}, ~flag))
  assert set(tree.data_vars) == {"value.0.a.0", "value.0.a.1", "value.1"}
  assert tree["value.0.a.0"].values.tolist() == [True, False]


def test_defaults_and_keyword_arguments_of_train_are_left_alone():
  result = sweep({"b": [1.0, 2.0]}, lambda a=3.0, *, b: a * b)
  assert result.value.values.tolist() == [3, 6]


@pytest.mark.parametrize("shape, names", [((2, 2), ("run", "data")), ((1, 4), ("data", "run"))])
def test_a_mesh_may_have_other_axes(shape, names):
  mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(shape), names)
  result = rfjax.sweep(lambda n: n * 2, {"n": range(5)}, mesh=mesh, progress=False)
  assert result.value.values.tolist() == [0, 2, 4, 6, 8]
  assert result.attrs["devices"] == dict(zip(names, shape, strict=True))["run"]


def test_a_mesh_of_make_mesh_works():
  mesh = jax.make_mesh((4,), ("run",))
  result = rfjax.sweep(lambda n: n * jnp.ones(2), {"n": [3]}, mesh=mesh, progress=False)
  assert result.value.values.tolist() == [[3, 3]]


def test_progress_goes_to_stderr_only(capfd):
  rfjax.sweep(lambda n: n, {"n": range(3)})
  out, err = capfd.readouterr()
  assert out == "" and "3/3" in err


BAD = {
  "no axes": ({}, {}, "axes must name at least one"),
  "an empty axis": ({"seed": []}, {}, "'seed' must be a non-empty list"),
  "no list": ({"seed": 3}, {}, "'seed' must be a non-empty list.*3"),
  "two axes in one": ({"seed": [[0, 1]]}, {}, "'seed' must be a non-empty list"),
  "strings": ({"seed": [0], "q": ["low"]}, {}, "'q' must hold numbers.*<U3"),
  "nothing": ({"seed": [0], "q": [None]}, {}, "'q' must hold numbers.*object"),
  "NaN": ({"seed": [0], "q": [0.5, float("nan")]}, {}, "'q' must be finite.*nan"),
  "infinity": ({"seed": [0], "q": [-float("inf")]}, {}, "'q' must be finite.*inf"),
  "a seed below 0": ({"seed": [-1], "q": QS}, {}, "seed must lie in .*got -1"),
  "a seed of 2**32": ({"seed": [0, 2**32], "q": QS}, {}, "seed must lie in .*got 4294967296"),
  "a seed and a half": ({"seed": [0.5], "q": QS}, {}, "seed must hold integers.*float64"),
  "an integer over int32": ({"seed": [0], "q": [2**40]}, {}, f"'q' must .*{2**40}"),
  "an unknown argument": (GRID | {"rate": [0.1]}, {}, "'seed', 'q'.*'rate' is no argument"),
  "a missing argument": ({"seed": [0]}, {}, "'q' is missing"),
  "a block that is no multiple": (GRID, {"block": 6}, "multiple of 4, .*got 6"),
  "a block of 0": (GRID, {"block": 0}, "block must be .*got 0"),
  "no lanes": (GRID, {"lanes": 0}, "lanes must be .*got 0"),
  "half a lane": (GRID, {"lanes": 1.5}, "lanes must be .*got 1.5"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_axes_are_refused_before_anything_runs(case):
  axes, options, message = BAD[case]

  def untouched(seed, q):
    raise AssertionError("train was called")

  with pytest.raises(ValueError, match=message):
    sweep(axes, untouched, **options)


def test_a_mesh_without_runs_is_refused():
  mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
  with pytest.raises(ValueError, match='mesh must have an axis "run"'):
    rfjax.sweep(lambda n: n, {"n": [1]}, mesh=mesh)


def test_a_result_named_as_an_axis_is_refused_before_anything_runs():
  def same_name(seed):
    return {"seed": jax.pure_callback(lambda s: ran.append(s) or s, seed, seed)}

  ran = []
  with pytest.raises(ValueError, match="seed"):
    sweep({"seed": [0]}, same_name)
  assert not ran


# ---- memory that does not suffice


def scarce(monkeypatch, most):
  """An engine whose programs hold at most so many runs; the sizes of blocks it was asked for."""
  asked, engine = [], _sweep.engine

  def make(*args):
    made = engine(*args)

    def limited(turns, points, *state):
      asked.append(len(points["seed"]))
      if asked[-1] > most:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
      return made.call(turns, points, *state)

    return made._replace(call=limited)

  monkeypatch.setattr(_sweep, "engine", make)
  return asked


def test_a_block_that_does_not_fit_is_halved_and_no_bit_changes(result, monkeypatch):
  asked = scarce(monkeypatch, most=4)
  with pytest.warns(UserWarning, match="block=") as told:
    found = sweep(block=16)
  assert asked == [16, 8, 4, 4, 4] and len(told) == 2
  assert found.attrs["block"] == 4
  same_bits(found, result)


def test_lanes_that_do_not_fit_are_named(monkeypatch):
  scarce(monkeypatch, most=4)
  with pytest.warns(UserWarning), pytest.raises(MemoryError, match=r"2 lanes .*--lanes"):
    sweep(lanes=2, block=16)


def test_other_errors_of_a_block_are_raised(monkeypatch):
  def fail(*args):
    raise jax.errors.JaxRuntimeError("INTERNAL: something else")

  monkeypatch.setattr(_sweep, "engine", lambda *args, e=_sweep.engine: e(*args)._replace(call=fail))
  with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
    sweep()
