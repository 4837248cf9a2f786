"""Streams: the batches that fit takes, labels by index, one stream for many runs."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, catalog, data, noise
from rfjax.data import _sources, _stored, _stream

pytest.importorskip("grain")

KEY = jax.random.key(0)
ROWS, BATCH, EPOCHS = 23, 8, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A small data set under the name of MNIST, prepared."""
  rng = np.random.default_rng(0)
  split = lambda rows: {
    "image": rng.integers(0, 256, (rows, 28, 28), dtype=np.uint8),
    "label": rng.integers(0, 10, rows).astype(np.int32),
  }
  found = {"train": split(ROWS), "test": split(5)}
  small = dataclasses.replace(catalog.data_set("mnist"), rows={"train": ROWS, "test": 5})
  where = tmp_path_factory.mktemp("data")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(catalog, "data_set", lambda name: small)
    patch.setattr(_sources, "read", lambda data_set, folder: found)
    data.prepare("mnist", data_dir=where, progress=False)
    yield where, found


@pytest.fixture(scope="module")
def stream(folder):
  return data.stream("mnist", batch_size=BATCH, data_dir=folder[0])


def test_an_epoch_has_every_row_once_with_its_features_and_label(folder, stream):
  found = folder[1]["train"]
  batches = list(stream.epoch(KEY))
  assert [int(b.valid.sum()) for b in batches] == [8, 8, 7]
  rows = np.concatenate([np.asarray(b.index)[np.asarray(b.valid)] for b in batches])
  np.testing.assert_array_equal(np.sort(rows), np.arange(ROWS))
  assert (rows != np.arange(ROWS)).any()
  for batch in batches:
    real = np.asarray(batch.valid)
    index = np.asarray(batch.index)[real]
    np.testing.assert_array_equal(np.asarray(batch.x)[real], found["image"][index])
    np.testing.assert_array_equal(np.asarray(batch.y)[real], found["label"][index])
    assert batch.x.shape == (BATCH, 28, 28) and batch.x.dtype == jnp.uint8
    assert (np.asarray(batch.x)[~real] == 0).all()


def test_epochs_differ_by_their_key_alone(stream):
  index = lambda key: [b.index.tolist() for b in stream.epoch(key)]
  assert index(KEY) == index(KEY) != index(jax.random.key(1))


def test_many_runs_on_one_stream_are_their_fits(folder, stream):
  """Three runs with their own labels over one stream, against `fit` on the arrays one by one."""
  network, tx = architectures.mlp([4], 10), optax.sgd(0.1)
  whole = rfjax.Batch.from_arrays(folder[1]["train"]["image"], np.asarray(stream.labels.y))
  seeds = jnp.arange(3)
  noisy = jax.vmap(
    lambda seed: rfjax.transform(noise.symmetric(0.5), stream.labels, key=jax.random.key(seed))
  )(seeds)
  step = rfjax.train_step(network, rfjax.chain(), tx)
  order_key, run_key = jax.random.split(KEY, 3)[1:]
  params, _ = network.init(jax.random.key(7), whole.x)

  @jax.jit
  def start(labels):
    return step.init(params, stream.blank(labels), key=KEY)

  def one(state, labels, batch, key):
    return step.update(state, data.join(batch, labels), key=key, step=0, epoch=0)[0]

  update = jax.jit(jax.vmap(one, (0, 0, None, None)))
  state = jax.vmap(start)(noisy)
  for epoch in range(EPOCHS):
    for batch in stream.epoch(jax.random.fold_in(order_key, epoch)):
      state = update(state, noisy, batch, run_key)
  for run in range(3):
    labels = whole.replace(y=noisy.y[run])
    expected, _ = rfjax.fit(
      network, rfjax.chain(), tx, labels, key=KEY, epochs=EPOCHS, batch_size=BATCH, params=params
    )
    mine = jax.tree.map(lambda leaf, run=run: leaf[run], state.params)
    for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(expected.params), strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5)
  assert not np.allclose(*(jax.tree.leaves(state.params)[0][i] for i in (0, 1)))


def test_join_takes_labels_groups_truth_and_columns_by_index():
  rows = rfjax.Batch.from_arrays(np.zeros((5, 1)), [0, 1, 0, 1, 1], [0, 1, 1, 0, 0])
  weighted = rows.replace(weight=jnp.arange(5.0), y=1 - rows.y, truth=rfjax.Truth(rows.y))
  batch = rows.take(jnp.array([3, 5, 0])).replace(x=jnp.array([[9.0], [0], [7]]))
  joined = data.join(batch, weighted)
  assert joined.x.tolist() == [[9], [0], [7]] and joined.valid.tolist() == [True, False, True]
  assert joined.y[::2].tolist() == [0, 1] and joined.weight.tolist() == [3, 0, 0]
  assert joined.group[::2].tolist() == [0, 0] and joined.truth.y[::2].tolist() == [1, 0]
  np.testing.assert_array_equal(joined.index, batch.index)


def test_labels_have_no_features_and_blank_has_zeros_of_their_shape(stream):
  assert stream.labels.x.shape == (ROWS, 0) and stream.labels.num_classes == 10
  blank = stream.blank()
  assert blank.x.shape == (ROWS, 28, 28) and blank.x.dtype == jnp.uint8 and not blank.x.any()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"name": "mnits"}, "did you mean 'mnist'"),
    ({"name": "compas"}, "no pictures"),
    ({"split": "valid"}, "split must be one of 'train', 'test'"),
    ({"batch_size": 0}, "batch_size"),
    ({"batch_size": 10**9}, "at most"),
    ({"image_size": 32}, "leave it out"),
    ({"label": "lable"}, "did you mean 'label'"),
    ({"label": "image"}, "column of mnist 'image': choose one of label"),
    ({"threads": 0}, "threads"),
  ],
)
def test_refuses_what_no_stream_has(folder, monkeypatch, change, message):
  settings = {"name": "mnist", "batch_size": 4, "data_dir": folder[0]} | change
  if "name" in change:
    monkeypatch.undo()
    monkeypatch.setattr(catalog, "data_set", catalog._reader.data_set)
  with pytest.raises(ValueError, match=message):
    data.stream(settings.pop("name"), **settings)


def test_without_grain_there_is_no_stream(folder, monkeypatch):
  monkeypatch.setitem(sys.modules, "grain", None)
  with pytest.raises(ValueError, match=r"streams need grain: pip install 'rfjax\[stream\]'"):
    data.stream("mnist", batch_size=4, data_dir=folder[0])


def test_needs_records(tmp_path):
  with pytest.raises(FileNotFoundError, match="rfjax data prepare mnist"):
    data.stream("mnist", batch_size=4, data_dir=tmp_path)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (64, 64), (10, 100)])
def test_square_covers_and_cuts_at_the_centre(shape):
  pytest.importorskip("PIL")
  across = np.broadcast_to(np.linspace(0, 255, shape[1]), shape)
  picture = np.stack([across.astype(np.uint8)] * 3, axis=-1)
  cut = _stream._square(picture, 32)
  assert cut.shape == (32, 32, 3) and cut.dtype == np.uint8
  assert abs(float(cut.mean()) - 127.5) < 4
  share = min(shape) / shape[1]
  assert abs(float(cut[16, -1, 0]) - float(cut[16, 0, 0]) - 255 * share) < 16


def test_cached_labels_are_those_of_the_records(folder):
  found = _stored.read_records(catalog.data_set("mnist"), folder[0])
  cached = _stored.cached(catalog.data_set("mnist"), folder[0])
  for split in ("train", "test"):
    for name in ("image", "label"):
      np.testing.assert_array_equal(found[split][name], cached[split][name])
      np.testing.assert_array_equal(found[split][name], folder[1][split][name])
