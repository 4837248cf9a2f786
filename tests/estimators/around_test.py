"""The estimators around others: they give what `rfjax.transform` gives, by lots of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import rfjax
from rfjax import metrics
from rfjax.fairness import postprocessing, preprocessing
from rfjax.sklearn import Postprocessor, Preprocessor
from rfjax.sklearn._postprocessor import _addresses

ROWS = 80


@pytest.fixture(scope="module")
def people():
  rng = np.random.default_rng(1)
  sex = rng.integers(0, 2, ROWS)
  x = rng.normal(size=(ROWS, 2)) + np.stack([sex, 0 * sex], 1)
  y = (x.sum(1) + rng.normal(size=ROWS) > 0.5).astype(int)
  return x, np.array(["no", "yes"])[y], np.array(["f", "m"])[sex]


def _odds(y, probs, sex):
  return float(
    metrics.equalized_odds_difference((y == "yes").astype(int), probs, (sex == "m").astype(int))
  )


def test_equalized_odds_are_equal_where_they_were_fitted(people):
  x, y, sex = people
  made = Postprocessor(LogisticRegression(), postprocessing.equalized_odds())
  made.fit(x, y, sensitive_features=sex)
  probs = made.predict_proba(x, sensitive_features=sex)[:, 1]
  assert _odds(y, probs, sex) < 1e-6 < _odds(y, made.estimator_.predict_proba(x)[:, 1], sex)
  logits = np.log(made.estimator_.predict_proba(x)).astype(np.float32)
  data = rfjax.Batch.from_arrays(x, (y == "yes").astype(int), (sex == "m").astype(int))
  fair = rfjax.transform(
    postprocessing.equalized_odds(), data.fill(jnp.asarray(logits)), key=jax.random.key(0)
  )
  np.testing.assert_allclose(probs, fair.probs[:, 1], atol=1e-6)


def test_a_fitted_estimator_stays_as_it_is_and_decisions_will_do(people):
  x, y, sex = people
  base = LinearSVC().fit(x[:40], y[:40])
  kept = base.coef_.copy()
  made = Postprocessor(base, postprocessing.equalized_odds(), prefit=True)
  made.fit(x[40:], y[40:], sensitive_features=sex[40:])
  assert made.estimator_ is base and made.groups_ == ["f", "m"]
  np.testing.assert_array_equal(base.coef_, kept)
  probs = made.predict_proba(x[40:], sensitive_features=sex[40:])[:, 1]
  assert _odds(y[40:], probs, sex[40:]) < 1e-6


def test_decisions_by_lot_are_certain_and_repeat(people):
  x, y, sex = people
  lots = [
    Postprocessor(
      LogisticRegression(), postprocessing.equalized_odds(randomize=True), random_state=seed
    )
    .fit(x, y, sensitive_features=sex)
    .predict_proba(x, sensitive_features=sex)[:, 1]
    for seed in (0, 0, 1)
  ]
  assert set(lots[0].round(6)) == {0.0, 1.0}
  np.testing.assert_array_equal(lots[0], lots[1])
  assert (lots[0] != lots[2]).any()


@pytest.mark.parametrize("base", [LogisticRegression(), LinearSVC()])
def test_a_row_has_one_lot_alone_or_among_others_and_lots_keep_the_chances(base):
  rng = np.random.default_rng(2)
  sex = np.where(rng.random(4000) < 0.5, "f", "m")
  x = rng.normal(size=(4000, 2)) + 0.7 * (sex == "m")[:, None]
  y = (x.sum(1) + rng.normal(size=4000) > 0.7).astype(int)
  base.fit(x, y)
  fit = lambda method: Postprocessor(base, method, prefit=True).fit(x, y, sensitive_features=sex)
  chance = fit(postprocessing.equalized_odds()).predict_proba(x, sensitive_features=sex)[:, 1]
  made = fit(postprocessing.equalized_odds(randomize=True))
  lots = made.predict(x, sensitive_features=sex)
  for one in np.unique(chance.round(4)):
    cell = np.isclose(chance, one, atol=1e-4)
    assert abs(lots[cell].mean() - one) < 4 * np.sqrt(one * (1 - one) / cell.sum()) + 1e-4
  unsure = np.flatnonzero((chance > 0.05) & (chance < 0.95))[:30]
  alone = [made.predict(x[[i]], sensitive_features=sex[[i]])[0] for i in unsure]
  assert alone == lots[unsure].tolist() and set(alone) == {0, 1}


def test_a_lot_hangs_on_the_values_of_a_row_and_not_on_their_type():
  mixed = np.array([[1, "a"], [2.0, None]], object)
  for one, two in ([[[0, 1]], [[-0.0, 1.0]]], [mixed[:1], [[1, "a"]]]):
    np.testing.assert_array_equal(*(_addresses(np.asarray(v, object), None) for v in (one, two)))
  member = np.eye(2, dtype=np.float32)
  of = [_addresses(mixed, member), _addresses(mixed, member[::-1]), _addresses(mixed[::-1], member)]
  assert len(set(np.concatenate(of))) == 4 and of[0].max() < 2**31 - 1


def test_groups_that_nobody_has_seen_are_refused(people):
  x, y, sex = people
  made = Postprocessor(LogisticRegression(), postprocessing.equalized_odds())
  made.fit(x, y, sensitive_features=sex)
  with pytest.raises(ValueError, match="a group that fit has seen, got x in 2 of 3"):
    made.predict(x[:3], sensitive_features=["x", "f", "x"])
  with pytest.raises(ValueError, match="needs group"):
    made.predict(x[:3])
  with pytest.raises(ValueError, match="labels that the estimator knows, got 'perhaps'"):
    Postprocessor(made.estimator_, made.method, prefit=True).fit(
      x, np.where(y == "no", "perhaps", y), sensitive_features=sex
    )
  with pytest.raises(ValueError, match="estimator must be a classifier"):
    Postprocessor().fit(x, y)


def test_a_repair_gives_weights_labels_and_features(people):
  x, y, sex = people
  frame = pd.DataFrame(x, columns=["a", "b"])
  made = Preprocessor(preprocessing.reweighing()).set_output(transform="pandas")
  made.fit(frame, y, sensitive_features=sex)
  out = made.transform(frame, sensitive_features=sex)
  assert list(out.columns) == ["a", "b"]
  np.testing.assert_array_equal(out.to_numpy(), x)  # float64, as they were
  _, labels, weight = made.repair(frame, y, sensitive_features=sex)
  data = rfjax.Batch.from_arrays(x, (y == "yes").astype(int), (sex == "m").astype(int))
  direct = rfjax.transform(preprocessing.reweighing(), data, key=jax.random.key(0))
  np.testing.assert_allclose(weight, direct.weight, rtol=1e-6)
  assert labels.tolist() == y.tolist()
  how = {"sensitive_features": sex, "sample_weight": np.full(ROWS, 3.0)}  # nothing divides them
  np.testing.assert_allclose(
    made.fit(frame, y, **how).repair(frame, y, **how)[2], 3 * weight, rtol=1e-6
  )
  with pytest.raises(ValueError, match="one label for each row"):
    made.repair(frame, np.where(y == "no", "perhaps", y), sensitive_features=sex)


def test_a_repair_of_features_is_seen():
  shift = rfjax.Transform(update=lambda batch, state, *_, **__: (batch.replace(x=batch.x + 1), ()))
  out = Preprocessor(shift).fit([[0.0], [1.0]]).transform([[2.0]])
  assert out.tolist() == [[3.0]]
