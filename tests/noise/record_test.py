"""The record of noise: rates by hand, and a hash that tells label sets apart."""

import jax
import jax.numpy as jnp
import numpy as np

import rfjax
from rfjax import noise

Y = np.array([0, 1, 2, 0, 1])


def dataset(y=Y, group=None, **truth):
  truth = {name: jnp.asarray(v) for name, v in truth.items()}
  x = np.zeros((len(y), 1))
  kinds = {"num_classes": 3} | ({} if group is None else {"num_groups": 2})
  return rfjax.Batch.from_arrays(x, y, group, truth=rfjax.Truth(**truth), **kinds)


def finalizer(h):
  for mixer, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
    h ^= h >> shift
    h = h * mixer % 2**32
  return h ^ h >> 16


def test_rates_by_hand():
  found = noise.record(dataset())
  assert float(found.label_rate) == 0
  wrong = dataset(group=[0, 1, 0, 1, 0])
  wrong = wrong.replace(truth=rfjax.Truth(jnp.array([1, 1, 2, 0, 0]), jnp.array([0, 0, 0, 1, 0])))
  found = noise.record(wrong)
  np.testing.assert_allclose([found.label_rate, found.group_rate], [0.4, 0.2], rtol=1e-6)


def test_soft_groups_count_where_they_differ_or_are_missing():
  soft = jnp.array([[1.0, 0], [0, 0], [0, 1], [0.5, 0.5], [1, 0]])
  data = dataset(group=np.array([0, 1, 1, 1, 0]))
  data = data.replace(truth=rfjax.Truth(group=data.group), group=soft)
  np.testing.assert_allclose(noise.record(data).group_rate, 0.4, rtol=1e-6)


def test_padding_does_not_count():
  data = dataset().replace(truth=rfjax.Truth(jnp.array([1, 1, 2, 0, 1])))
  padded = data.take(jnp.append(jnp.arange(5), jnp.full(3, 5)))
  one, two = noise.record(data), noise.record(padded)
  np.testing.assert_allclose(two.label_rate, 0.2, rtol=1e-6)
  assert one.label_hash == two.label_hash


def test_hash_is_the_formula():
  expected = sum(finalizer((finalizer(i) + int(y)) % 2**32) for i, y in enumerate(Y)) % 2**32
  assert int(noise.record(dataset()).label_hash) == expected
  assert noise.record(dataset()).label_hash.dtype == jnp.uint32


def test_hash_tells_label_sets_apart_and_not_their_order():
  data = dataset()
  order = jnp.array([3, 1, 4, 0, 2])
  assert noise.record(data.take(order)).label_hash == noise.record(data).label_hash
  hashes = {int(noise.record(dataset((Y + s) % 3)).label_hash) for s in range(3)}
  swapped = Y.copy()
  swapped[[0, 1]] = swapped[[1, 0]]
  assert len(hashes | {int(noise.record(dataset(swapped)).label_hash)}) == 4


def test_compiles_and_vectorises():
  clean = dataset(np.arange(300) % 3)
  run = lambda seed: noise.record(
    rfjax.transform(noise.symmetric(0.2), clean, key=jax.random.key(seed))
  )
  many = jax.jit(jax.vmap(run))(jnp.arange(4))
  for i in range(4):
    assert run(i).label_hash == many.label_hash[i]
  assert len(set(many.label_hash.tolist())) == 4
