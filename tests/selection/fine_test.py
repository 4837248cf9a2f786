"""FINE against NumPy's singular vectors, scikit-learn's mixture, and the authors' schedule."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import rfjax
from rfjax import architectures, selection

ROWS, WIDTH, CLASSES = 90, 6, 4  # the last class has one row, which has no features


def draw(seed=0):
  """Features near a direction of the true class, and labels of which some are wrong."""
  rng = np.random.default_rng(seed)
  truth = rng.integers(3, size=ROWS)
  directions = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0][:3]
  features = directions[truth] * rng.gamma(4.0, size=(ROWS, 1)) + 0.5 * rng.normal(
    size=(ROWS, WIDTH)
  )
  y = np.where(rng.random(ROWS) < 0.3, (truth + 1) % 3, truth)
  y[5], features[5] = 3, 0
  return features, y, truth


def posterior(scores):
  """Of the upper of two normal distributions, from the same start."""
  v = ((scores - scores.mean()) / scores.std())[:, None]
  start = {"weights_init": [0.5, 0.5], "means_init": [v.min(0), v.max(0)]}
  mixture = GaussianMixture(
    2, tol=0, max_iter=100, reg_covar=1e-6, precisions_init=np.ones((2, 1, 1)), **start
  )
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    mixture.fit(v)
  return mixture.predict_proba(v)[:, np.argmax(mixture.means_)]


def select(features, y, rows, before, threshold, squared=True, anchored=True):
  """Scores and selected rows, class by class."""
  score, chosen = np.zeros(len(y)), np.zeros(len(y), bool)
  for k in np.unique(y[rows]):
    mine = rows & (y == k)
    base = mine & before if anchored and (mine & before).any() else mine
    v = np.linalg.svd(features[base])[2][0]
    norm = np.linalg.norm(features[mine], axis=1)
    score[mine] = np.abs(features[mine] @ v) / np.where(norm > 0, norm, 1)
    if squared:
      score[mine] **= 2
    few = np.ptp(score[mine]) < 1e-14
    chosen[mine] = few | (posterior(score[mine]) > threshold if not few else False)
  return score, chosen


def data_of(features, y, valid=None, keep=None):
  data = rfjax.Batch.from_arrays(np.zeros((ROWS, 1)), y, num_classes=CLASSES)
  data = data if valid is None else data.replace(valid=jnp.asarray(valid))
  data = data if keep is None else data.replace(keep=jnp.asarray(np.asarray(keep, float)))
  return filled(data, features)


@jax.jit
def filled(data, features):
  return data.fill(jnp.zeros((ROWS, CLASSES)), features)


@jax.jit
def started(data):
  return selection.fine().init(data, key=None, spec=None)


@functools.partial(jax.jit, static_argnames=("squared", "anchored", "warmup", "every"))
def refreshed(data, state, epoch, threshold, warmup=0, every=1, **settings):
  method = selection.fine(threshold, warmup=warmup, every=every, **settings)
  return method.refresh(data, state, epoch=epoch)[1]


@pytest.mark.parametrize("squared, anchored", [(True, True), (False, True), (True, False)])
def test_two_refreshes_are_the_loop_over_classes(squared, anchored):
  settings = {"squared": squared, "anchored": anchored}
  rng, state, before = np.random.default_rng(4), None, np.ones(ROWS, bool)
  valid, keep = rng.random(ROWS) < 0.9, rng.random(ROWS) < 0.9
  for turn, threshold in enumerate((0.5, 0.8)):
    features, y, truth = draw(turn)
    y, truth = draw(0)[1:] if turn else (y, truth)
    with jax.enable_x64(True):
      data = data_of(features, y, valid, keep)
      state = started(data) if state is None else state
      state = refreshed(data, state, turn, threshold, **settings)
    score, chosen = select(features, y, valid & keep, before, threshold, **settings)
    np.testing.assert_allclose(state.score, score, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(state.selected, chosen)
    before = chosen
  assert chosen.any() and not chosen[valid & keep].all()


def test_selected_rows_are_mostly_right_and_single_ones_stay():
  features, y, truth = draw()
  data = data_of(features.astype(np.float32), y)
  state = jax.device_get(refreshed(data, started(data), 0, 0.5))
  chosen = state.selected
  assert (y == truth)[chosen].mean() > 0.9 > (y == truth).mean() + 0.1
  assert chosen[5] and np.isfinite(state.score).all()


def test_the_schedule_is_that_of_the_authors():
  """Theirs, in epochs from 1, is epoch % every == 1 and epoch > warmup."""
  features, y, _ = draw()
  data = data_of(features.astype(np.float32), y)
  method = selection.fine()
  state = started(data)
  assert np.asarray(state.selected).all()
  at = jax.jit(lambda epoch: method.refresh(data, state, epoch=epoch)[1].selected.all())
  fits = [epoch for epoch in range(1, 100) if not at(epoch - 1)]
  assert fits == [e for e in range(1, 100) if e % 10 == 1 and e > 40]


def test_a_step_keeps_what_is_selected():
  features, y, _ = draw()
  data = data_of(features.astype(np.float32), y)
  method = selection.fine(warmup=0)
  rows = np.array([4, ROWS, 8, 50, 51])

  @jax.jit
  def stepped(data):
    _, state = method.refresh(data, method.init(data, key=None, spec=None), epoch=0)
    batch = data.take(rows).replace(keep=jnp.array([1, 0, 0.5, 1, 1]))
    out, after = method.update(batch, state, ())
    assert after is state
    return state.selected, out.keep

  selected, keep = stepped(data)
  wanted = np.array([1, 0, 0.5, 1, 1]) * np.append(selected, 0)[rows]
  np.testing.assert_array_equal(keep, wanted)
  assert method.writes == ("keep",)


def test_training_finds_wrong_labels():
  rng = np.random.default_rng(2)
  truth = rng.integers(3, size=90)
  x = 3 * np.eye(3)[truth] + rng.normal(size=(90, 3))
  y = np.where(rng.random(90) < 0.25, (truth + 1) % 3, truth)
  data = rfjax.Batch.from_arrays(x.astype(np.float32), y)
  run = jax.jit(lambda data: rfjax.fit(
    architectures.mlp([16], 3), selection.fine(warmup=4, every=2), optax.adam(0.02), data,
    key=jax.random.key(0), epochs=7, batch_size=30, observe=lambda state, _: state.method.selected,
  ))  # fmt: skip
  _, log = run(data)
  chosen = np.asarray(log.observed)
  assert chosen[:4].all()
  np.testing.assert_array_equal(chosen[4], chosen[5])
  assert (y == truth)[chosen[-1]].mean() > (y == truth).mean() + 0.1


def test_without_features_the_network_is_named():
  data = data_of(draw()[0], draw()[1]).replace(features=None)
  method = selection.fine(warmup=0)
  with pytest.raises(ValueError, match="fine needs features"):
    method.refresh(data, method.init(data, key=None, spec=None), epoch=0)


@pytest.mark.parametrize(
  "settings", [{"threshold": -0.1}, {"threshold": 1.1}, {"warmup": -1}, {"every": 0}]
)
def test_settings_out_of_range_are_refused(settings):
  with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
    selection.fine(**settings)
