"""RoG: discriminant analysis of scikit-learn, the trimmed estimate by a loop, and outputs only."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

import rfjax
from rfjax import architectures

KEY = jax.random.key(0)
ROWS, CLASSES, WIDTH = 60, 3, 4
RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(CLASSES), [15, 25, 20])
FEATURES = RNG.normal(size=(ROWS, WIDTH)) @ RNG.normal(size=(WIDTH, WIDTH)) + 2 * np.eye(4)[Y]
EVERY = np.ones(ROWS, bool)
PLACES = CLASSES + 1  # one class has no rows


@functools.partial(jax.jit, static_argnames=("steps", "prior"))
def fit(features, valid, fraction, steps=1, prior="counts"):
  """The classifier, and what it says of the rows."""
  fitted = architectures.generative_classifier(
    features, jnp.asarray(Y), num_classes=PLACES, key=KEY, fraction=fraction, steps=steps,
    prior=prior, valid=valid,
  )  # fmt: skip
  return fitted, architectures.generative_log_probs(fitted, features)


def moments(f, y, kept, classes=CLASSES):
  """Means, covariances and how many rows there are, of the kept rows of each class."""
  means, tied, total = [], np.zeros((f.shape[1],) * 2), len(y)
  for c in range(classes):
    rows = f[(y == c) & kept]
    means.append(rows.mean(0))
    tied += (y == c).sum() / total * np.cov(rows.T, bias=True)
  return np.array(means), tied


def trimmed(f, y, drawn, fraction, steps, classes=CLASSES):
  """Which rows are kept at last, from the draws of the first subset, and their moments."""
  number = [int(np.floor(fraction * (y == c).sum() + 1e-9)) for c in range(classes)]

  def lowest(values):
    kept = np.zeros(len(y), bool)
    for c in range(classes):
      rows = np.flatnonzero(y == c)
      kept[rows[np.argsort(values[rows], kind="stable")[: number[c]]]] = True
    return kept

  kept = lowest(drawn)
  for _ in range(steps):
    means, tied = moments(f, y, kept, classes)
    apart = f - means[y]
    kept = lowest(np.einsum("nd,de,ne->n", apart, np.linalg.pinv(tied), apart))
  return kept, *moments(f, y, kept, classes)


def draws(key, rows):
  draw = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i)))
  return np.asarray(jax.jit(lambda: draw(jnp.arange(rows)))())


@functools.cache
def reference():
  return LinearDiscriminantAnalysis(solver="lsqr").fit(FEATURES, Y)


def test_all_rows_are_linear_discriminant_analysis():
  with jax.enable_x64(True):
    fitted, said = jax.tree.map(np.asarray, fit(jnp.asarray(FEATURES), EVERY, 1.0))
  np.testing.assert_allclose(fitted.mean[:CLASSES], reference().means_, rtol=1e-8)
  np.testing.assert_allclose(fitted.covariance, reference().covariance_, rtol=1e-8)
  expected = reference().predict_proba(FEATURES)
  np.testing.assert_allclose(np.exp(said[:, :CLASSES]), expected, atol=1e-8)
  assert (said[:, CLASSES] < -100).all() and np.isfinite(said).all()
  assert fitted.kept.all()


@pytest.mark.parametrize("fraction, steps", [(0.7, 1), (0.5, 3)])
def test_the_trimmed_estimate_is_the_loop(fraction, steps):
  with jax.enable_x64(True):
    features = jnp.asarray(FEATURES)
    fitted, said = jax.tree.map(np.asarray, fit(features, EVERY, fraction, steps=steps))
    kept, means, tied = trimmed(FEATURES, Y, draws(KEY, ROWS), fraction, steps)
  np.testing.assert_array_equal(fitted.kept, kept)
  np.testing.assert_allclose(fitted.mean[:CLASSES], means, rtol=1e-9)
  np.testing.assert_allclose(fitted.covariance, tied, rtol=1e-9, atol=1e-12)
  scores = np.zeros((ROWS, CLASSES))
  for c in range(CLASSES):
    apart = FEATURES - means[c]
    scores[:, c] = -0.5 * np.einsum("nd,de,ne->n", apart, np.linalg.pinv(tied), apart)
    scores[:, c] += np.log((Y == c).mean())
  scores -= np.log(np.exp(scores).sum(1, keepdims=True))
  np.testing.assert_allclose(said[:, :CLASSES], scores, rtol=1e-8, atol=1e-10)


def test_a_uniform_prior_and_a_singular_covariance():
  flat = np.concatenate([FEATURES, FEATURES[:, :1]], 1)  # a feature twice
  with jax.enable_x64(True):
    fitted, said = fit(jnp.asarray(flat), EVERY, 1.0, prior="uniform")
    fitted, said = jax.tree.map(np.asarray, (fitted, said))
  kernel = np.linalg.solve(reference().covariance_, reference().means_.T)
  scores = FEATURES @ kernel - 0.5 * np.sum(kernel * reference().means_.T, 0)
  scores -= np.log(np.exp(scores).sum(1, keepdims=True))
  np.testing.assert_allclose(said[:, :CLASSES], scores, atol=1e-7)
  np.testing.assert_allclose(np.exp(fitted.log_prior), [1 / 3] * 3 + [0], atol=1e-12)


def test_rows_that_do_not_count_change_nothing():
  valid = np.arange(ROWS) % 4 != 0
  with jax.enable_x64(True):
    fitted, _ = fit(jnp.asarray(FEATURES), valid, 1.0)
  means, tied = moments(FEATURES[valid], Y[valid], np.ones(valid.sum(), bool))
  np.testing.assert_allclose(fitted.mean[:CLASSES], means, rtol=1e-9)
  np.testing.assert_allclose(fitted.covariance, tied, rtol=1e-9)
  np.testing.assert_array_equal(fitted.kept, valid)


NETWORK = architectures.mlp([8])


@functools.cache
def run():
  """Data, what a trained network says of them and of new rows, and what RoG makes of these."""
  rng = np.random.default_rng(3)
  clean = np.repeat([0, 1], 40)
  x = (rng.normal(size=(80, 2)) + 3 * clean[:, None]).astype(np.float32)
  y = np.where(np.arange(80) % 5 == 0, 1 - clean, clean)
  data, new = rfjax.Batch.from_arrays(x, y), rfjax.Batch.from_arrays(x + 0.1, clean)

  @jax.jit
  def said(data, new, fractions):
    state, _ = rfjax.fit(NETWORK, rfjax.chain(), optax.adam(0.02), data, key=KEY, epochs=60)
    trained, new = (rfjax.predict(NETWORK, state, rows) for rows in (data, new))
    act = lambda r: rfjax.transform(architectures.rog(r), new, key=KEY, fitted_on=trained)
    outs = jax.vmap(act)(fractions)
    return trained, new, [jax.tree.map(lambda v, i=i: v[i], outs) for i in range(2)]

  return data, *said(data, new, jnp.array([0.7, 1.0]))


def test_outputs_become_those_of_the_classifier_on_the_training_features():
  trained, new, (out, every) = jax.device_get(run()[1:])
  np.testing.assert_allclose(np.exp(out.log_probs).sum(1), 1, rtol=1e-5)
  np.testing.assert_allclose(out.cost, -out.log_probs)
  np.testing.assert_allclose(out.logits, out.log_probs, atol=1e-6)
  assert (out.logits.argmax(1) == new.y).mean() >= 0.9
  assert np.abs(out.logits - new.logits).max() > 0.1
  assert np.abs(out.logits - every.logits).max() > 0.1
  fitted = LinearDiscriminantAnalysis(solver="lsqr").fit(trained.features, trained.y)
  agree = fitted.predict(new.features) == every.logits.argmax(1)
  assert agree.mean() > 0.95


def test_in_training_it_changes_nothing():
  trained = run()[1]
  settings = {"key": KEY, "epochs": 3, "batch_size": 20}
  fit = lambda t: rfjax.fit(NETWORK, t, optax.adam(0.02), trained, **settings)[0].params
  both = jax.jit(lambda: [fit(t) for t in (rfjax.chain(), rfjax.chain(architectures.rog()))])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *both())


def test_settings_out_of_range_are_refused():
  for settings in ({"fraction": 0.0}, {"fraction": 1.1}, {"steps": -1}, {"prior": "flat"}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      architectures.rog(**settings)
  data, _, new, _ = run()
  with pytest.raises(ValueError, match="rog needs features"):
    rfjax.transform(architectures.rog(), new, key=KEY, fitted_on=data)
  with pytest.raises(ValueError, match="rog needs features"):
    rfjax.fit(architectures.logistic(), architectures.rog(), optax.sgd(0.1), data, key=KEY,
              epochs=1)  # fmt: skip
