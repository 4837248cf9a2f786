"""Gold loss correction: both losses by a loop, its recipe step by step, and what it is for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, correction

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
C = np.array([[0.6, 0.4, 0.0], [0.1, 0.7, 0.2], [0.25, 0.25, 0.5]])
ROWS = 9
Y = np.arange(ROWS) % 3
GOLD = np.arange(ROWS) >= 5
LOGITS = 2 * RNG.normal(size=(ROWS, 3))


def dataset():
  return rfjax.Batch.from_arrays(RNG.normal(size=(ROWS, 2)), Y, num_classes=3)


def update(method, flow, name="update"):
  state = method.init(dataset(), key=KEY, spec=None)
  return getattr(method, name)(flow, state, None, key=KEY, step=0, epoch=0, forward=None)


def test_gold_rows_have_cross_entropy_and_silver_rows_the_forward_loss():
  rows = np.array([7, 1, 6, ROWS, 0, 8, 4])
  expected = []
  for i, z in zip(rows, LOGITS[:7], strict=True):
    p = np.exp(z) / np.exp(z).sum()
    given = p if i < ROWS and GOLD[i] else np.array([sum(p * C[:, j]) for j in range(3)])
    expected.append(np.log(given))
  with jax.enable_x64(True):
    method = correction.gold_loss_correction(C, GOLD)
    act = jax.jit(lambda data, z: update(method, data.take(rows).fill(z)))
    out, state = act(dataset(), LOGITS[:7])
    np.testing.assert_allclose(out.log_probs, expected, rtol=1e-10)
    np.testing.assert_allclose(out.cost, -np.array(expected), rtol=1e-10)
    np.testing.assert_array_equal(state, C)
    said = lambda data, z, name: update(method, data.fill(z), name)[0].log_probs
    ways = jax.jit(lambda data, z: [said(data, z, name) for name in ("refresh", "update")])
    np.testing.assert_array_equal(*ways(dataset(), LOGITS))
  assert method.writes == ("log_probs",)


def test_all_gold_is_cross_entropy_and_none_is_forward_correction():
  for gold, plain in ((np.ones(ROWS, bool), rfjax.chain()), (~(Y < 3), correction.forward(C))):
    methods = correction.gold_loss_correction(C, gold), plain
    said = lambda data, z: [update(m, data.fill(z))[0].log_probs for m in methods]
    np.testing.assert_array_equal(*jax.jit(said)(dataset(), LOGITS.astype(np.float32)))


def test_gradients_of_gold_rows_do_not_see_the_matrix():
  far = np.where(np.eye(3)[Y[::-1]] > 0, 200.0, -200.0)
  slope = lambda c: jax.grad(
    lambda z: update(correction.gold_loss_correction(c, GOLD), dataset().fill(z))[0].risk
  )
  plain = lambda z: jax.nn.softmax(z) - jax.nn.one_hot(Y, 3)
  of = jax.jit(lambda z: (slope(C)(z), slope(np.eye(3))(z), plain(z)))
  for z in (LOGITS, far):
    one, two, wanted = map(np.asarray, of(z.astype(np.float32)))
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one[GOLD], two[GOLD])
    np.testing.assert_allclose(one[GOLD], wanted[GOLD] / ROWS, atol=1e-6)


def problem(rows=300, rate=0.8, gold=15):
  """Three clouds; most labels of two of them say the next class, a few trusted rows do not."""
  rng = np.random.default_rng(1)
  centers = 2.0 * np.stack([np.cos([0, 2.1, 4.2]), np.sin([0, 2.1, 4.2])], 1)
  clean = np.arange(rows + gold) % 3
  x = (centers[clean] + 0.4 * rng.normal(size=(rows + gold, 2))).astype(np.float32)
  y = np.where(rng.random(rows + gold) < rate * (clean < 2), (clean + 1) % 3, clean)
  make = lambda at, labels: rfjax.Batch.from_arrays(x[at], labels[at], clean[at] % 2, num_classes=3)
  first, last = slice(0, rows), slice(rows, rows + gold)
  weight = jnp.asarray(rng.uniform(0.5, 1.5, rows), jnp.float32)
  truth = rfjax.Truth(y=jnp.asarray(clean[:rows]))
  return make(first, y).replace(weight=weight, truth=truth, trusted=make(last, clean))


NETWORK, TX = architectures.mlp([16], 3), optax.adam(0.03)
SETTINGS = {"epochs": 12, "batch_size": 50}


@jax.jit
def recipe(data):
  look = lambda state, view: view.replace(order=None, trusted=None)
  return correction.glc_rounds(NETWORK, TX, data, key=KEY, observe=look, **SETTINGS)


@jax.jit
def by_hand(data):
  """The two trainings, step by step; returns the matrix and both networks."""
  gold = data.trusted
  first, _ = rfjax.fit(NETWORK, rfjax.chain(), TX, data, key=KEY, **SETTINGS)
  said = jax.nn.softmax(rfjax.predict(NETWORK, first, gold).logits)
  of = [(gold.y == i)[:, None] for i in range(3)]
  matrix = jnp.stack([jnp.sum(said * rows, 0) / jnp.sum(rows) for rows in of])
  x, y = (jnp.concatenate([getattr(data, n), getattr(gold, n)]) for n in ("x", "y"))
  both = rfjax.Batch.from_arrays(x, y, num_classes=3)
  both = both.replace(weight=jnp.append(data.weight, jnp.ones(gold.num_rows)))
  method = correction.gold_loss_correction(matrix, np.arange(315) >= 300)
  key = jax.random.fold_in(KEY, 1)
  second, log = rfjax.fit(NETWORK, rfjax.chain(method), TX, both, key=key, **SETTINGS)
  return first, second, log.risk


def test_the_recipe_is_its_two_trainings():
  data = problem()
  (state, log), (_, second, risk) = recipe(data), by_hand(data)
  np.testing.assert_allclose(state.method[0], second.method[0], rtol=1e-5)
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4)
  jax.tree.map(close, state.params, second.params)
  np.testing.assert_allclose(log.risk, risk, atol=1e-4)
  joined = jax.tree.map(lambda leaf: np.asarray(leaf)[0], log.observed)
  for name in ("x", "y", "group"):
    parts = getattr(data, name), getattr(data.trusted, name)
    np.testing.assert_array_equal(getattr(joined, name), np.concatenate(parts))
  np.testing.assert_array_equal(joined.index, np.arange(315))
  np.testing.assert_array_equal(joined.weight, np.append(data.weight, np.ones(15)))
  np.testing.assert_array_equal(joined.truth.y, np.append(data.truth.y, data.trusted.y))
  assert joined.valid.all() and joined.truth.group is None


def test_the_recipe_finds_noise_that_turns_the_majority():
  data = problem()
  state, first = recipe(data)[0], by_hand(data)[0]
  truth = np.array([[0.2, 0.8, 0.0], [0.0, 0.2, 0.8], [0.0, 0.0, 1.0]])
  assert np.abs(np.asarray(state.method[0]) - truth).sum() / 3 < 0.3
  said = jax.jit(lambda params: rfjax.predict(NETWORK, first._replace(params=params), data).logits)
  right = lambda s: np.mean(np.argmax(said(s.params), -1) == np.asarray(data.truth.y))
  assert right(state) > 0.95 and right(first) < 0.5


def test_what_stands_behind_acts_in_both_trainings_and_padding_stays_padding():
  seen = []

  def refresh(data, state, params, **unused):
    seen.append(data)
    return data, state

  data, spy = problem(30), rfjax.Transform(refresh=refresh)
  rows = np.append(np.arange(14), 15)
  trusted = jax.jit(lambda data: data.take(rows))(data.trusted)
  jax.eval_shape(
    lambda data: correction.glc_rounds(NETWORK, TX, data, key=KEY, after=spy, epochs=1),
    data.replace(truth=None, group=None, trusted=trusted.replace(keep=np.ones(15, np.float32))),
  )
  assert [view.num_rows for view in seen] == [30, 45]
  assert seen[1].truth is None and seen[1].group is None and seen[1].trusted.num_rows == 15
  assert seen[1].keep.shape == seen[1].weight.shape == seen[1].valid.shape == (45,)


@pytest.mark.parametrize(
  ("arguments", "what"),
  [
    (([[0.5, 0.6], [0.0, 1.0]], np.ones(2, bool)), "transition must"),
    ((C, np.ones((2, 2), bool)), "gold must"),
    ((C, np.arange(3)), "gold must"),
    ((C, [0.0, 1.0]), "gold must"),
  ],
)
def test_bad_arguments_are_refused(arguments, what):
  with pytest.raises(ValueError, match=what):
    correction.gold_loss_correction(*arguments)


def test_what_does_not_fit_the_data_is_refused():
  method = correction.gold_loss_correction(C, GOLD[:4])
  with pytest.raises(ValueError, match="gold must have one value for each of the 9 rows"):
    method.init(dataset(), key=KEY, spec=None)
  with pytest.raises(ValueError, match="transition is of 2 classes"):
    correction.gold_loss_correction(np.eye(2), GOLD).init(dataset(), key=KEY, spec=None)
  with pytest.raises(ValueError, match="glc_rounds needs trusted"):
    correction.glc_rounds(NETWORK, TX, dataset(), key=KEY, epochs=1)
  other = dataset().replace(x=jnp.zeros((ROWS, 2), jnp.uint8))
  with pytest.raises(ValueError, match="trusted must have x of dtype"):
    correction.glc_rounds(NETWORK, TX, other.replace(trusted=dataset()), key=KEY, epochs=1)
