"""What the tests of losses share: NumPy formulas against whole cost matrices, and their edges."""

import dataclasses
import functools
import types

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax

KEY = jax.random.key(0)
ROWS, CLASSES = 5, 4
LOGITS = 2.0 * np.random.default_rng(0).normal(size=(ROWS, CLASSES))

# Every pattern in which float32 may lose a probability: to 0, to 1, to a tie, to a subnormal.
EDGES = np.array(
  [
    [1e4, -1e4, -1e4, -1e4],
    [1e4, 1e4, -1e4, -1e4],
    [-1e4, -1e4, -1e4, 1e4],
    [1e4, 0.0, 0.0, 0.0],
    [-1e4, 1e4, 0.0, 3.0],
    [0.0, 0.0, 0.0, -1e4],
    [1e4, 1e4, 1e4, 1e4],
    [0.0, -17.0, -50.0, -87.0],
    [0.0, -88.5, -95.0, -104.0],
    [0.0, 0.0, 0.0, 0.0],
  ]
)


def batch(logits, y=None, target=None):
  """Filled rows, of labels 0, 1, ... in turn unless they are given."""
  rows, classes = logits.shape
  y = np.arange(rows) % classes if y is None else y
  made = rfjax.Batch.from_arrays(np.zeros((rows, 1), np.float32), y, num_classes=classes)
  made = made.fill(logits)
  return made if target is None else made.replace(target=target)


def apply(method, flow, key=KEY, step=3):
  """The batch after one update."""
  extra = {"key": key, "step": step, "epoch": 1, "forward": None}
  return method.update(flow, method.init(flow, key=key, spec=None), (), **extra)[0]


def cost(method, logits, **extra):
  """The cost matrix of rows with the logits, compiled."""
  return jax.jit(lambda z: apply(method, batch(z), **extra).cost)(logits)


def _with_slopes(method, logits):
  """Costs [B, C], and their derivatives [B, C, B, C] by all logits."""
  run = lambda z: (apply(method, batch(z)).cost,) * 2
  slopes, costs = jax.jacrev(run, has_aux=True)(logits)
  return costs, slopes


def costs_of(formula, logits, *setting):
  """Costs by a loop in float64: `formula(log_probs, k, *setting)` is that of label k."""
  result = np.zeros(logits.shape, np.asarray(logits).dtype)
  for i, z in enumerate(logits):
    log_probs = z - z.real.max()
    log_probs = log_probs - np.log(np.exp(log_probs).sum())
    for k in range(len(z)):
      result[i, k] = np.asarray(formula(log_probs, k, *setting)).astype(result.dtype)
  return result


def oracle(formula, logits, *setting):
  """Costs and their derivatives, the latter by complex steps, exact to rounding."""
  rows, classes = logits.shape
  slopes = np.zeros((rows, classes, rows, classes))
  for j in range(classes):
    moved = costs_of(formula, logits + 1e-30j * np.eye(classes)[j], *setting)
    slopes[np.arange(rows), :, np.arange(rows), j] = moved.imag / 1e-30
  return costs_of(formula, logits, *setting), slopes


def _traced(make, settings, logits):
  """Costs and slopes with the settings as lanes of one vmap, [S, ...]."""
  columns = [np.asarray(column, logits.dtype) for column in zip(*settings, strict=True)]
  run = lambda z, *setting: _with_slopes(make(*setting), z)
  return host.run(jax.vmap(run, (None, *(0 for _ in columns))), logits, *columns)


def _fixed(make, settings, logits):
  """The same with the settings as Python numbers."""
  run = lambda z: [_with_slopes(make(*setting), z) for setting in settings]
  return jax.tree.map(lambda *lanes: np.stack(lanes), *host.run(run, logits))


FIXED = 3  # so many settings are tried as Python numbers too: those that may branch come first


def follows(make, formula, settings, *, static=False, logits=LOGITS):
  """Costs and derivatives of `make(*setting)` are those of the formula, in both precisions.

  Settings are lanes of one vmap, and the first ones Python numbers too; static ones only that.
  """
  wanted = [oracle(formula, logits, *setting) for setting in settings]
  runs = [(_fixed, settings, float), (_fixed, settings, np.float32)]
  if not static:
    runs = [(_traced, settings, float), (_traced, settings, np.float32)]
    runs += [(_fixed, settings[:FIXED], np.float32)]
  for run, chosen, dtype in runs:
    rtol, atol = (1e-10, 1e-11) if dtype is float else (1e-5, 2e-6)
    with jax.enable_x64(dtype is float):
      found = run(make, chosen, np.asarray(logits, dtype))
    for i, what in enumerate(("cost", "gradient")):
      assert found[i].dtype == dtype
      for one, values, setting in zip(found[i], wanted, chosen, strict=False):
        scale, name = max(1.0, np.abs(values[i]).max()), f"{what} {setting} {dtype} {run.__name__}"
        np.testing.assert_allclose(one, values[i], rtol=rtol, atol=atol * scale, err_msg=name)


def survives(make, formula, settings, *, static=False):
  """Costs are right, and all derivatives finite, in float32 at the edges, traced or not."""
  z = EDGES.astype(np.float32)
  runs = [(_fixed, settings)] if static else [(_traced, settings), (_fixed, settings[:FIXED])]
  for run, chosen in runs:
    costs, slopes = run(make, chosen, z)
    bad = np.argwhere(~np.isfinite(slopes))
    assert not len(bad), f"gradient {run.__name__} at setting, row, ...: {bad[:5].tolist()}"
    for one, setting in zip(costs, chosen, strict=True):
      values = costs_of(formula, EDGES, *setting)
      name = f"{setting} {run.__name__}"
      np.testing.assert_allclose(one, values, rtol=1e-5, atol=1e-5, err_msg=name)


def is_a_loss(method, writes=("loss",)):
  """It changes the cost only, in update and in refresh alike, and padding rows pull at nothing."""
  assert method.writes == writes
  extra = {"key": KEY, "step": 3, "epoch": 1, "forward": None}

  def both(flow):
    state = method.init(flow, key=KEY, spec=None)
    flows = [getattr(method, name)(flow, state, (), **extra)[0] for name in ("update", "refresh")]
    for field in dataclasses.fields(flow):
      if field.name != "cost":
        assert getattr(flows[0], field.name) is getattr(flow, field.name), field.name
    return [f.cost for f in flows]

  flow, _ = _plain_and_padded()
  update, refresh = host.run(both, flow)
  assert update.shape == flow.cost.shape and update.dtype == flow.cost.dtype
  np.testing.assert_allclose(refresh, update, rtol=1e-6)
  padding_pulls_at_nothing(method)


@functools.cache
def _plain_and_padded():
  """The rows of LOGITS, and among two empty ones."""

  def run():
    flow = batch(jnp.asarray(LOGITS, jnp.float32))
    return flow, flow.take(jnp.array([0, 1, ROWS, 2, 3, 4, ROWS + 1]))

  return host.run(run)


def padding_pulls_at_nothing(method):
  """The risk of a batch and its gradient stay what they are when empty rows join it."""
  flow, padded = _plain_and_padded()
  assert not padded.valid[2] and padded.index[6] == rfjax.core.NO_ADDRESS
  wide = np.insert(LOGITS, [2, 5], EDGES[4], axis=0).astype(np.float32)
  slope = jax.value_and_grad(lambda z, b: apply(method, b.fill(z)).risk)
  run = lambda *args: (slope(*args[:2]), slope(*args[2:]))
  (value, gradient), (more, pulled) = host.run(run, flow.logits, flow, wide, padded)
  np.testing.assert_allclose(more, value, rtol=1e-5)
  np.testing.assert_array_equal(np.asarray(pulled)[[2, 6]], 0)
  np.testing.assert_allclose(np.delete(pulled, [2, 6], 0), gradient, rtol=1e-5, atol=1e-7)
  assert np.abs(gradient).max() > 1e-3


def _batch(logits, y=None, target=None):
  return jax.jit(lambda z: batch(z, y, target))(logits)


def _apply(method, flow, key=KEY, step=3):
  return _numbers(jax.jit(lambda flow, key: apply(method, flow, key, step))(flow, key))


def _cost(method, logits, **extra):
  return _numbers(cost(method, logits, **extra))


def _numbers(tree):
  """Arrays of NumPy, except inside of compiled code."""
  return jax.tree.map(lambda v: v if isinstance(v, jax.core.Tracer) else np.asarray(v), tree)


@pytest.fixture
def check():
  names = (oracle, follows, survives, is_a_loss, padding_pulls_at_nothing)
  functions = {function.__name__: function for function in names}
  compiled = {"batch": _batch, "apply": _apply, "cost": _cost, "update": apply}
  return types.SimpleNamespace(EDGES=EDGES, **functions, **compiled)
