"""What the tests of learned weights share: noisy rows, trusted rows, and two small networks."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import architectures

KEY = jax.random.key(0)
ROWS, CLASSES, TRUSTED = 8, 3, 5
RNG = np.random.default_rng(0)
X, CLEAN_X = RNG.normal(size=(ROWS, 4)), RNG.normal(size=(TRUSTED, 4))
Y, CLEAN_Y = RNG.integers(0, CLASSES, ROWS), RNG.integers(0, CLASSES, TRUSTED)
MLP = architectures.mlp([6], CLASSES)
LINEAR = architectures.from_function(
  lambda key, x: 0.3 * jax.random.normal(key, (x.shape[1], CLASSES)), lambda w, x: x @ w
)


def dataset(x=X, y=Y, clean_x=CLEAN_X, clean_y=CLEAN_Y, classes=CLASSES):
  make = lambda x, y, **more: rfjax.Batch.from_arrays(x, y, num_classes=classes, **more)
  return make(x, y, trusted=make(clean_x, clean_y))


def forward_of(network):
  """The `forward` of a training step, of a network without statistics."""

  def forward(params, flow, key=None):
    logits, features, _ = network.apply(params, (), flow.x, key=key, train=True)
    return flow.fill(logits, features)

  return forward


def uneven(params, network=MLP):
  """A filled batch with padding, uneven columns, and targets that are not the given labels."""
  rng = np.random.default_rng(1)
  flow = dataset().take(jnp.asarray([3, 0, ROWS, 7, 5, 1, ROWS, 2]))
  keep = jnp.asarray(rng.choice([0.0, 0.5, 1.0], ROWS, p=[0.2, 0.3, 0.5])) * flow.valid
  target = jnp.asarray(rng.dirichlet(np.ones(CLASSES), ROWS))
  flow = flow.replace(keep=keep, target=target, weight=jnp.asarray(rng.uniform(0.5, 2, ROWS)))
  return forward_of(network)(params, flow)


def update(t, flow, params, network=MLP, state=None, key=KEY, step=0):
  shapes = [jax.ShapeDtypeStruct((ROWS, n), jnp.result_type(float)) for n in (CLASSES, 6)]
  spec = rfjax.core.Spec(*shapes)
  state = t.init(flow, key=KEY, spec=spec) if state is None else state
  extra = {"key": key, "step": step, "epoch": step, "forward": forward_of(network)}
  return t.update(flow, state, params, **extra)


@pytest.fixture
def meta():
  names = ("ROWS CLASSES TRUSTED X Y CLEAN_X CLEAN_Y MLP LINEAR KEY").split()
  return types.SimpleNamespace(
    **{name: globals()[name] for name in names},
    dataset=dataset, forward_of=forward_of, uneven=uneven, update=update,
  )  # fmt: skip
