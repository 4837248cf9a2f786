"""The ensemble against fits one by one, and its median against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, convergence, metrics, noise

KEY = jax.random.key(2)
NETWORK, TX, EPOCHS = architectures.mlp([4], 3), optax.adam(0.05), 6
ROWS, SIZES = 26, (5, 14, 7)
SOURCE = np.random.default_rng(1).permutation(np.repeat(np.arange(len(SIZES)), SIZES))


def table(rows=ROWS, classes=3, seed=0):
  rng = np.random.default_rng(seed)
  return rfjax.Batch.from_arrays(
    rng.normal(size=(rows, 2)), np.arange(rows) % classes, rng.integers(2, size=rows)
  )


def ensemble(data, key=KEY, source=SOURCE, method=None, **settings):
  method = rfjax.chain() if method is None else method
  return convergence.robust_ensemble(
    NETWORK, method, TX, data, source, key=key, epochs=EPOCHS, **settings
  )


def alone(data, number, key=KEY, method=None, **settings):
  """A fit on the rows of one source, in the order of their addresses."""
  mine = data.subset(np.flatnonzero(number == SOURCE))
  key, method = jax.random.fold_in(key, number), rfjax.chain() if method is None else method
  return rfjax.fit(NETWORK, method, TX, mine, key=key, epochs=EPOCHS, **settings)[0]


def close(states, number, want, tolerance=1e-6):
  of = jax.tree.map(lambda leaf: np.asarray(leaf)[number], states)
  for got, leaf in zip(jax.tree.leaves(of), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(got, leaf, atol=tolerance)


def permuted(data):
  order = np.random.default_rng(5).permutation(data.num_rows)
  return jax.tree.map(lambda leaf: np.asarray(leaf)[order], data)


# ---- the networks


GCE = rfjax.losses.gce(0.7)


@functools.cache
def fits_with_gce():
  every = lambda data: [alone(data, number, method=GCE) for number in range(len(SIZES))]
  return jax.jit(every)(table())


@pytest.mark.parametrize("lanes", [1, 2])
def test_each_network_is_a_fit_on_its_source(lanes):
  states = jax.jit(functools.partial(ensemble, method=GCE, lanes=lanes))(permuted(table()))
  for number, want in enumerate(fits_with_gce()):
    close(states, number, want)


def test_batches_are_those_of_a_fit_on_its_source():
  """The largest source has all of its places; a small one fits into a batch, and has one step."""
  batches = (None, 8, None)

  @jax.jit
  def run(shuffled, data):
    fits = [alone(data, number, batch_size=size) for number, size in enumerate(batches)]
    return ensemble(shuffled, batch_size=8), fits

  states, fits = run(permuted(table()), table())
  for number, want in enumerate(fits):
    close(states, number, want)


def test_batches_of_a_small_source_are_full():
  """What is recorded: how many rows each step had, and how often each row was seen."""

  def init(data, **unused):
    return jnp.zeros((EPOCHS, 8), jnp.int32), jnp.zeros(data.num_rows, jnp.int32)

  def update(batch, state, params=None, *, step, epoch, **unused):
    sizes, seen = state
    sizes = sizes.at[epoch, step % 5].add(jnp.sum(batch.valid))
    return batch, (sizes, seen.at[batch.index].add(batch.valid, mode="drop"))

  run = functools.partial(ensemble, method=rfjax.Transform(init, update), batch_size=3)
  sizes, seen = jax.tree.map(np.asarray, jax.jit(run)(table()).method)
  for number, rows in enumerate(SIZES):
    full, rest = divmod(rows, 3)
    want = np.zeros(8)
    want[: full + 1] = [3] * full + [rest]
    np.testing.assert_array_equal(sizes[number], np.tile(want, (EPOCHS, 1)))
    np.testing.assert_array_equal(seen[number], EPOCHS * (np.arange(max(SIZES)) < rows))


def test_invalid_rows_have_no_say():
  data = table()
  out = np.random.default_rng(3).random(ROWS) < 0.3
  spoilt = data.replace(
    valid=~out,
    x=np.where(out[:, None], np.float32(9), data.x),
    y=np.where(out, np.int32(0), data.y),
  )

  def fit_on_rest(data, number):
    mine = data.subset(np.flatnonzero((number == SOURCE) & ~out))
    key = jax.random.fold_in(KEY, number)
    return rfjax.fit(NETWORK, rfjax.chain(), TX, mine, key=key, epochs=EPOCHS)[0]

  fits = lambda data: [fit_on_rest(data, number) for number in range(len(SIZES))]
  got, wanted = jax.jit(lambda spoilt, data: (ensemble(spoilt), fits(data)))(spoilt, data)
  for number, want in enumerate(wanted):
    close(got, number, want)


def test_seeds_are_vmapped():
  data = table()

  def run(seed):
    states = ensemble(data, jax.random.key(seed), batch_size=8)
    return states.params, convergence.predict_median(NETWORK, states, data).logits

  alone = jax.jit(run)
  params, logits = jax.tree.map(np.asarray, jax.jit(jax.vmap(run))(np.arange(2)))
  for seed in range(2):
    one, said = alone(seed)
    np.testing.assert_allclose(logits[seed], said, atol=1e-5)
    for got, leaf in zip(jax.tree.leaves(params), jax.tree.leaves(one), strict=True):
      np.testing.assert_allclose(got[seed], leaf, atol=1e-5)


# ---- their median


SAYS = architectures.from_function(lambda key, x: jnp.zeros(x.shape), lambda params, x: params)


def median(logits):
  """The logits [N, C] of networks that say logits [S, N, C]."""
  return np.asarray(_median(jnp.asarray(logits)))


@jax.jit
def _median(logits):
  data = rfjax.Batch.from_arrays(np.zeros(logits.shape[1:]), np.arange(logits.shape[1]) % 2,
                                 num_classes=logits.shape[2])  # fmt: skip
  states = rfjax.core.TrainState(logits, (), (), ())
  return convergence.predict_median(SAYS, states, data).logits


def probs(logits):
  e = np.exp(logits - logits.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("sources", [1, 2, 3, 4, 5])
def test_the_median_is_numpys(sources, classes):
  logits = 2 * np.random.default_rng(sources).normal(size=(sources, 20, classes))
  want = np.median(probs(logits), axis=0)
  want /= want.sum(-1, keepdims=True)
  with jax.enable_x64(True):
    np.testing.assert_allclose(median(logits), np.log(want), atol=1e-12)


@pytest.mark.parametrize("sources", [1, 3, 5])
def test_for_two_classes_it_is_the_majority_vote(sources):
  logits = np.random.default_rng(sources).normal(size=(sources, 200, 2)).astype(np.float32)
  votes = (logits.argmax(-1) == 1).sum(0)
  np.testing.assert_array_equal(median(logits).argmax(-1), votes > sources / 2)


@pytest.mark.parametrize(("sources", "bad"), [(3, 1), (4, 1), (5, 2), (6, 2)])
def test_fewer_than_half_cannot_leave_what_clean_networks_say(sources, bad):
  rng = np.random.default_rng(bad)
  logits = rng.normal(size=(sources, 100, 2))
  logits[:bad] += rng.choice([-50, 50], (bad, 100, 1)) * np.array([0, 1])
  clean, found = probs(logits[bad:]), np.exp(median(logits.astype(np.float32)))
  assert (found >= clean.min(0) - 1e-6).all() and (found <= clean.max(0) + 1e-6).all()


@pytest.mark.parametrize("sources", [2, 3])
def test_large_logits_leave_finite_ones(sources):
  signs = np.random.default_rng(0).choice([-1e4, 1e4], (sources, 50, 3)).astype(np.float32)
  found = median(signs)
  assert np.isfinite(found).all() and (np.abs(np.exp(found).sum(-1) - 1) < 1e-5).all()
  opposite = np.array([[[1e4, 0]], [[0, 1e4]]], np.float32)
  np.testing.assert_allclose(median(opposite), np.log([[0.5, 0.5]]), atol=1e-6)
  alike = np.array([[[1e4, 0]], [[9e3, 0]]], np.float32)
  np.testing.assert_allclose(median(alike), [[0, -9e3 - np.log(2)]], rtol=1e-6)


def test_flipped_sources_are_outvoted():
  """Two of five, over four seeds."""
  source, network = np.arange(1000) % 5, architectures.logistic(init_scale=0.0)

  def run(seed):
    key = jax.random.key(seed)
    clean, test = rfjax.data.zafar(key, 1000), rfjax.data.zafar(jax.random.fold_in(key, 1), 2000)
    bad = noise.corrupt_sources("flip_label", source, [1, 3])
    data, how = rfjax.transform(bad, clean, key=key), {"key": key, "epochs": 200}
    states = convergence.robust_ensemble(
      network, rfjax.chain(), optax.adam(0.1), data, source, **how
    )
    plain, _ = rfjax.fit(network, rfjax.chain(), optax.adam(0.1), data, **how)
    said = convergence.predict_median(network, states, test), rfjax.predict(network, plain, test)
    return [metrics.accuracy(s) for s in said]

  voted, plain = map(np.asarray, jax.jit(jax.vmap(run))(np.arange(4)))
  assert np.all(voted > plain + 0.01)


# ---- what is refused


@pytest.mark.parametrize(
  ("source", "settings", "message"),
  [
    ([0] * ROWS, {}, r"source must have ids from 0 .* none of \[1\]: renumber"),
    ([0, 2] * (ROWS // 2), {}, r"none of \[1\]: renumber"),
    ([0, -3] * (ROWS // 2), {}, r"source must lie in \[0, 2\), got -3 .*remap source"),
    ([0.5] * ROWS, {}, "source must hold integers, got dtype float64: remap"),
    ([0, 1], {}, "source has 2 rows, but the data set has index 25: pass all rows"),
    (SOURCE, {"batch_size": 15}, "batch_size must be at most the 14 rows"),
    (SOURCE, {"lanes": 0}, "lanes must be an integer of at least 1"),
  ],
)
def test_refuses(source, settings, message):
  data = table()
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda: ensemble(data, source=source, **settings))


def test_refuses_traced_ids():
  with pytest.raises(ValueError, match="source is traced"):
    jax.eval_shape(lambda source: ensemble(table(), source=source), jnp.asarray(SOURCE))
