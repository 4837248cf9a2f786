"""FairGAN: rows are generated that look real, and that do not tell the group."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Transform, _check, descend, player, ratio, uniform
from rfjax.fairness.preprocessing import _elements

_NAME = "fair_gan"
_TEMPERATURE, _MOMENTUM = 0.5, 0.5

_dot = functools.partial(jnp.matmul, precision="highest")


class FairGanState(NamedTuple):
  """The state of `fair_gan`, its generator.

  Attributes:
    layers: weights and biases of the generator.
    mean: [d], of the features.
    spread: [d], their standard deviation.
  """

  layers: Any
  mean: jax.Array
  spread: jax.Array


class Fakes(NamedTuple):
  """Generated rows: standardised features [B, d], labels as probabilities [B, C], labels [B]."""

  x: jax.Array
  probs: jax.Array
  y: jax.Array


def fair_gan(
  fairness: float | jax.Array = 1.0,
  *,
  noise: int = 8,
  hidden: int = 32,
  learning_rate: float | jax.Array = 0.002,
  steps: int = 1000,
) -> Transform:
  r"""FairGAN: replaces features and labels by generated ones that do not tell the group.

  A generator makes $(\hat x, \hat y)$ of noise and the group s. It plays with two discriminators,

  $$\min_G \max_{D_1, D_2}\; \mathrm{E}[\log D_1(x, y, s)]
  + \mathrm{E}[\log(1 - D_1(\hat x, \hat y, s))]
  + \lambda\, \mathrm{E}[\log D_2(s \mid \hat x, \hat y)]$$

  of which the one tells real rows from generated ones and the other one the groups of generated
  rows. At its optimum, for large $\lambda$, $\hat x$ and $\hat y$ are independent of s. All three
  are networks with one hidden layer, and take a step of Adam each on all rows; the generator goes
  up $\log D_1$ instead of down $\log(1 - D_1)$. Features are standardised inside, and labels are
  drawn with Gumbel noise, in training at the temperature 0.5. The authors generate through the
  decoder of an autoencoder, for columns of codes, which is left out: x is for numbers.

  Args:
    fairness: lambda, at least 0; may be traced.
    noise: how many normal numbers a row is made of, at least 1.
    hidden: units of each hidden layer, at least 1.
    learning_rate: of Adam at the start, above 0, falling to 0 by a cosine; may be traced.
    steps: steps of each player, at least 1.

  Returns:
    The transform of a data set, which `fitted_on=` may fit on another; it writes x and y, and needs
    group in training only. Rows without a group stay what they are.

  Raises:
    ValueError: for values out of range; when applied, where the group is missing, or x not float.

  References:
    Xu, Yuan, Zhang, Wu, FairGAN: fairness-aware generative adversarial networks, IEEE Big Data
    2018.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax.fairness import preprocessing
    >>> data = rfjax.Batch.from_arrays([[0.0], [2.0], [1.0], [3.0]], [0, 1, 0, 1], [0, 0, 1, 1])
    >>> made = rfjax.transform(preprocessing.fair_gan(steps=3), data, key=jax.random.key(0))
    >>> made.x.shape, made.group.tolist()
    ((4, 1), [0, 0, 1, 1])
  """
  _check.number("fairness", fairness, 0.0, open_high=True)
  noise, hidden = _check.count("noise", noise), _check.count("hidden", hidden)
  _check.number("learning_rate", learning_rate, 0.0, open_low=True, open_high=True)
  _check.count("steps", steps)

  def init(data: Batch, *, key: jax.Array, **unused: Any) -> FairGanState:
    del unused
    data = data.require("group", by=_NAME).with_columns("weight")
    x = _elements.features(data)
    mean, spread = _elements.moments(x, data.weight * data.valid)
    spread = jnp.where(spread > 0, spread, 1)
    real = data.replace(x=(x - mean) / spread)
    columns, groups = x.shape[1] + data.num_classes, data.num_groups
    keys = jax.random.split(key, 4)
    generator = _layers(keys[0], noise + groups, hidden, columns)
    judges = (
      _layers(keys[1], columns + groups, hidden, 1),
      _layers(keys[2], columns, hidden, groups),
    )
    tx = optax.adam(optax.cosine_decay_schedule(learning_rate, steps), b1=_MOMENTUM)

    def turn(step: Any, both: Any) -> Any:
      maker, judge = both
      draws = uniform(jax.random.fold_in(keys[3], step), real, (noise + data.num_classes,))
      fakes = generate(maker.params, draws, data.membership, noise)
      judge = descend(lambda p, f: judged(p, real, f)[0], judge, fakes, tx)
      move = lambda p, _: fooled(
        judge.params, real, generate(p, draws, data.membership, noise), fairness
      )
      return descend(move, maker, 0.0, tx), judge

    both = (player(generator, tx), player(judges, tx))
    maker, _ = jax.lax.fori_loop(0, steps, turn, both)
    return FairGanState(maker.params, mean, spread)

  def update(
    batch: Batch, state: FairGanState, params: Any = None, *, key: jax.Array, **unused: Any
  ) -> tuple[Batch, FairGanState]:
    del params, unused
    membership = batch.require("group", by=_NAME).membership
    if not jnp.issubdtype(batch.x.dtype, jnp.floating):
      raise ValueError(f"{_NAME} makes numbers, but x has dtype {batch.x.dtype}: pass x as float")
    draws = uniform(key, batch, (noise + batch.num_classes,))
    made = generate(state.layers, draws, membership, noise)
    known = jnp.any(membership > 0, axis=1)
    x = (made.x * state.spread + state.mean).astype(batch.x.dtype).reshape(batch.x.shape)
    x = jnp.where(known.reshape(-1, *[1] * (batch.x.ndim - 1)), x, batch.x)
    return batch.replace(x=x, y=jnp.where(known, made.y, batch.y)), state

  return Transform(init, update, writes=("x", "y"))


def generate(layers: Any, draws: jax.Array, membership: jax.Array, noise: int) -> Fakes:
  """Rows [B] of uniform draws [B, noise + C] and a group."""
  inside = jnp.clip(draws, 1e-6, 1 - 1e-6)
  normal = jax.scipy.special.ndtri(inside[:, :noise])
  out = _network(layers, jnp.concatenate([normal, membership], axis=1))
  classes = draws.shape[1] - noise
  scores = out[:, -classes:] - jnp.log(-jnp.log(inside[:, noise:]))
  labels = jnp.argmax(scores, axis=1).astype(jnp.int32)
  return Fakes(out[:, :-classes], jax.nn.softmax(scores / _TEMPERATURE), labels)


def judged(judges: Any, real: Batch, fakes: Fakes) -> tuple[jax.Array, jax.Array, jax.Array]:
  """What the discriminators minimise, their scores of generated rows [B], and the entropy [B]."""
  membership = real.membership
  counted = real.weight * jnp.any(membership > 0, axis=1)
  labels = jax.nn.one_hot(real.y, real.num_classes)
  score = lambda x, y: _network(judges[0], jnp.concatenate([x, y, membership], axis=1))[:, 0]
  true, made = score(real.x, labels), score(fakes.x, fakes.probs)
  told = jax.nn.log_softmax(_network(judges[1], jnp.concatenate([fakes.x, fakes.probs], axis=1)))
  entropy = -jnp.sum(membership * told, axis=1)
  each = jax.nn.softplus(-true) + jax.nn.softplus(made) + entropy
  return ratio(jnp.sum(counted * each), jnp.sum(counted)), made, entropy


def fooled(judges: Any, real: Batch, fakes: Fakes, fairness: Any) -> jax.Array:
  """What the generator minimises, []."""
  _, made, entropy = judged(judges, real, fakes)
  counted = real.weight * jnp.any(real.membership > 0, axis=1)
  each = jax.nn.softplus(-made) - fairness * entropy
  return ratio(jnp.sum(counted * each), jnp.sum(counted))


def _layers(key: jax.Array, inputs: int, hidden: int, outputs: int) -> Any:
  first, second = jax.random.split(key)
  scaled = lambda k, i, o: jax.random.normal(k, (i, o)) * (2 / i) ** 0.5
  return (
    (scaled(first, inputs, hidden), jnp.zeros(hidden)),
    (scaled(second, hidden, outputs) * 0.5, jnp.zeros(outputs)),
  )


def _network(layers: Any, x: jax.Array) -> jax.Array:
  (w, b), (v, c) = layers
  return _dot(jax.nn.leaky_relu(_dot(x, w) + b), v) + c
