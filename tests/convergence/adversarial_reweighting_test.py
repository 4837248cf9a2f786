"""ARL against its recursion in NumPy, and against what it promises of groups and of noise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, convergence

KEY = jax.random.key(0)
ROWS, STEPS, CLASSES, PRETRAIN, RATE = 9, 20, 3, 4, 0.7


def batches():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(STEPS, ROWS, 2))
  y, cost = rng.integers(0, CLASSES, (STEPS, ROWS)), rng.gamma(1.0, 1.0, (STEPS, ROWS, CLASSES))
  keep = (rng.random((STEPS, ROWS)) < 0.8) * (np.arange(ROWS) < ROWS - 2)
  return x, y, cost, keep.astype(float), rng.integers(0, 3, (STEPS, ROWS)) / 2


def by_hand(layers, include_y):
  """Each step's weights and the adversary after it; gradients written out, and Adagrad."""
  layers = [[np.array(v) for v in (layer["kernel"], layer["bias"])] for layer in layers]
  squares = [[np.full_like(v, 0.1) for v in layer] for layer in layers]
  found = []
  for step, (x, y, cost, keep, weight) in enumerate(zip(*batches(), strict=True)):
    seen = np.concatenate([x, np.eye(CLASSES)[y][:, 1:]], 1) if include_y else x
    values = [seen]
    for kernel, bias in layers:
      values.append(values[-1] @ kernel + bias)
    s, mass = 1 / (1 + np.exp(-values[-1][:, 0])), keep * weight
    p, v = mass / mass.sum(), mass / keep.sum() * cost[np.arange(ROWS), y]
    mean = p @ s
    if step < PRETRAIN:
      found.append((weight, layers[0][0].copy()))
      continue
    found.append((weight * (1 + s / mean), None))
    slope = ((v / mean - p * (v @ s) / mean**2) * s * (1 - s))[:, None]
    for (kernel, bias), square, value in zip(
      layers[::-1], squares[::-1], values[-2::-1], strict=True
    ):
      gradients = value.T @ slope, slope.sum(0)
      slope = slope @ kernel.T
      for param, old, gradient in zip((kernel, bias), square, gradients, strict=True):
        old += gradient**2
        param += RATE * gradient / np.sqrt(old + 1e-7)
    found[-1] = (found[-1][0], layers[0][0].copy())
  return [np.array(v) for v in zip(*found, strict=True)]


@pytest.mark.parametrize(("hidden", "include_y"), [((), True), ((3,), False)])
def test_twenty_steps(hidden, include_y):
  with jax.enable_x64(True):
    made = convergence.adversarial_reweighting(
      pretrain_steps=PRETRAIN, hidden=hidden, include_y=include_y, tx=optax.adagrad(RATE)
    )
    data = rfjax.Batch.from_arrays(np.zeros((ROWS, 2)), np.arange(ROWS) % CLASSES)

    def step(state, at):
      number, x, y, cost, keep, weight = at
      flow = data.replace(x=x, y=y, keep=keep, weight=weight, valid=jnp.arange(ROWS) < ROWS - 2)

      def risk(cost):
        filled = flow.fill(jnp.zeros((ROWS, CLASSES))).replace(cost=cost)
        out, new = made.update(filled, state, None, step=number, unknown=0)
        return out.risk, (out.weight, new)

      slope, (weight, new) = jax.grad(risk, has_aux=True)(cost)
      return new, (weight, new.adversary.params[0]["kernel"], slope)

    @jax.jit
    def run(columns):
      start = made.init(data, key=KEY, spec=None)
      return start, jax.lax.scan(step, start, columns)[1]

    columns = [np.arange(STEPS), *batches()]
    start, (weight, kernel, slope) = jax.tree.map(np.asarray, run(columns))
    expected = by_hand(start.adversary.params, include_y)
    np.testing.assert_allclose(weight, expected[0], rtol=1e-9)
    np.testing.assert_allclose(kernel, expected[1], rtol=1e-9)
    assert np.abs(kernel[-1] - kernel[0]).max() > 0.1
    _, _, _, keep, given = batches()
    share = keep / keep.sum(1, keepdims=True)
    np.testing.assert_allclose(slope.sum(2), share * expected[0], rtol=1e-9)  # the model's own
    mass = share * given
    mean = (share * weight).sum(1) / mass.sum(1)
    np.testing.assert_allclose(mean, np.where(np.arange(STEPS) < PRETRAIN, 1, 2), rtol=1e-9)


def flow(**changes):
  rng = np.random.default_rng(1)
  data = rfjax.Batch.from_arrays(rng.normal(size=(8, 2)), np.arange(8) % 2, np.arange(8) % 4 // 2)
  logits = rng.normal(size=(8, 2)).astype(np.float32)
  return data, jax.jit(lambda data: data.fill(logits))(data).replace(**changes)


def test_an_adversary_that_says_the_same_of_all_doubles_the_risk():
  data, filled = flow()
  made = convergence.adversarial_reweighting(pretrain_steps=0)
  late = convergence.adversarial_reweighting(pretrain_steps=1)

  @jax.jit
  def weighed(data, filled, bias):
    state = made.init(data, key=KEY, spec=None)
    constant = jax.tree.map(jnp.zeros_like, state.adversary.params)
    constant[0]["bias"] = bias
    same = state._replace(adversary=state.adversary._replace(params=constant))
    out, resting = late.update(filled, state, None, step=0)
    return made.update(filled, same, None, step=0)[0].weight, (out.weight, resting, state)

  for bias in (0.0, 3.0, -8.0):
    weight, _ = weighed(data, filled, np.float32([bias]))
    np.testing.assert_allclose(weight, 2, rtol=1e-6)
  weight, (plain, resting, state) = weighed(data, filled, np.float32([-100]))
  np.testing.assert_allclose(weight, 1, rtol=1e-6)
  np.testing.assert_array_equal(plain, 1)
  assert all(map(np.array_equal, jax.tree.leaves(resting), jax.tree.leaves(state)))


@pytest.mark.parametrize(("inputs", "width"), [("x", 3), ("features", 6), ("group", 3)])
def test_the_adversary_sees_what_it_is_told_to_see(inputs, width):
  features = np.random.default_rng(2).normal(size=(8, 5)).astype(np.float32)
  data, filled = flow(features=features)
  made = convergence.adversarial_reweighting(pretrain_steps=0, inputs=inputs)
  spec = rfjax.core.Spec(filled.logits, filled.features)
  state = jax.jit(lambda data, spec: made.init(data, key=KEY, spec=spec))(data, spec)
  assert state.adversary.params[0]["kernel"].shape == (width, 1)

  @jax.jit
  def seen(filled):
    def risk(features):
      out = made.update(filled.replace(features=features), state, None, step=0)[0]
      return out.risk, out.weight

    return jax.grad(risk, has_aux=True)(filled.features)

  slope, weight = seen(filled)
  changed = {"x": np.asarray(data.x) + 1, "features": features**2}
  for name, value in (changed | {"group": 1 - np.asarray(data.group)}).items():
    _, other = seen(filled.replace(**{name: value}))
    assert np.allclose(weight, other) == (name != inputs)
  np.testing.assert_array_equal(slope, 0)  # the model does not hide from it


def population(rng, rows=300):
  """Two groups who need opposite signs of a feature; another feature tells who is who."""
  group, y = (np.arange(rows) % 5 == 0).astype(int), rng.integers(0, 2, rows)
  sign = 2.0 * y - 1
  x = [np.where(group, -sign, sign), 0.5 * sign + 0.5 * rng.normal(size=rows), 2.0 * group - 1]
  return np.stack(x, 1) + 0.1 * rng.normal(size=(rows, 3)), y, group


def test_a_group_that_features_tell_of_is_heard_and_noise_less_than_by_its_losses():
  made = convergence.adversarial_reweighting(pretrain_steps=5, tx=optax.adagrad(1.0))

  @jax.jit
  @jax.vmap
  def run(x, y):
    data, network = rfjax.Batch.from_arrays(x, y, num_classes=2), architectures.logistic()

    def fitted(method):
      state, _ = rfjax.fit(network, method, optax.adam(0.1), data, key=KEY, epochs=100)
      return state, rfjax.predict(network, state, data)

    (_, plain), (state, said) = fitted(rfjax.chain()), fitted(made)
    weight = made.update(said, state.method, None, step=100)[0].weight
    by_loss = convergence.chi_square_risk(said.loss, 0.2**-0.5).weight
    return plain.logits.argmax(1), said.logits.argmax(1), weight, by_loss

  rng = np.random.default_rng(3)
  x, y, group = (np.stack(v) for v in zip(*(population(rng) for _ in range(4)), strict=True))
  plain, robust, weight, _ = run(x, y)
  right = lambda said: [np.mean(said == y, axis=1, where=group == g) for g in (0, 1)]
  assert (np.min(right(robust), axis=0) > np.min(right(plain), axis=0) + 0.08).all()
  assert (np.mean(weight, axis=1, where=group == 1) > 2.5).all()
  flipped = rng.random(y.shape) < 0.2
  _, _, weight, by_loss = run(x, np.where(flipped, 1 - y, y))
  share = lambda weight: (weight * flipped).sum(1) / weight.sum(1)
  assert (share(weight) < 0.75 * share(by_loss)).all()


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"pretrain_steps": -1}, "pretrain_steps must be"),
    ({"hidden": (0,)}, "hidden must be"),
    ({"inputs": "z"}, "inputs must be one of"),
  ],
)
def test_what_is_wrong_is_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    convergence.adversarial_reweighting(**settings)


def test_what_the_adversary_lacks_is_named():
  data = rfjax.Batch.from_arrays(np.zeros((4, 1)), [0, 1, 0, 1])
  for inputs in ("group", "features"):
    made = convergence.adversarial_reweighting(inputs=inputs)
    with pytest.raises(ValueError, match=f"adversarial_reweighting needs {inputs}"):
      made.init(data, key=KEY, spec=None)
