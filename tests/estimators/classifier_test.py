"""The classifier is `rfjax.fit`, with arrays and data frames at its door."""

import copy

import jax
import numpy as np
import optax
import pandas as pd
import pytest
import sklearn
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rfjax
from rfjax import architectures, losses, metrics
from rfjax.fairness import inprocessing, preprocessing
from rfjax.sklearn import Classifier

ROWS = 60


@pytest.fixture(scope="module")
def people():
  rng = np.random.default_rng(0)
  sex = rng.integers(0, 2, ROWS)
  x = rng.normal(size=(ROWS, 2)) + np.stack([sex, 0 * sex], 1)
  paid = (x.sum(1) + rng.normal(size=ROWS) > 0.5).astype(int)
  return pd.DataFrame({"a": x[:, 0], "b": x[:, 1]}), paid, np.array(["f", "m"])[sex]


def test_it_is_fit(people):
  x, y, sex = people
  chain = (losses.gce(0.5), inprocessing.gap(0.5))
  tx = optax.sgd(0.5)
  network = architectures.mlp([4])
  made = Classifier(chain, network=network, tx=tx, epochs=7, batch_size=16, random_state=3)
  made.fit(x, y, sensitive_features=sex)
  data = rfjax.Batch.from_arrays(x.to_numpy(), y, (sex == "m").astype(int))
  how = {"key": jax.random.key(3), "epochs": 7, "batch_size": 16}
  run = jax.jit(lambda data: rfjax.fit(network, rfjax.chain(*chain), tx, data, **how))
  state, log = run(data)
  np.testing.assert_array_equal(made.log_.risk, log.risk)
  logits = np.asarray(rfjax.predict(network, state, data).logits)
  np.testing.assert_allclose(made.decision_function(x), logits[:, 1] - logits[:, 0], atol=1e-6)
  assert made.groups_ == ["f", "m"] and list(made.feature_names_in_) == ["a", "b"]


def test_a_penalty_and_a_repair_see_the_groups(people):
  x, y, sex = people
  apart = {}
  for name, made in {
    "plain": Classifier(),
    "gap": Classifier(inprocessing.gap(2.0)),
    "reweighing": Classifier(preprocessing=preprocessing.reweighing()),
  }.items():
    probs = made.fit(x, y, sensitive_features=sex).predict_proba(x)[:, 1]
    group = (sex == "m").astype(int)
    apart[name] = float(metrics.demographic_parity_difference(y, probs, group))
  assert apart["gap"] < 0.05 < apart["reweighing"] < apart["plain"]


def test_classes_keep_their_names_and_crossed_groups_their_values(people):
  x, y, sex = people
  names = np.array(["no", "yes", "perhaps"])[(y + (np.arange(ROWS) % 3 == 0)) % 3]
  features = pd.DataFrame({"sex": sex, "old": np.arange(ROWS) % 2})
  made = Classifier(inprocessing.gap(0.1), epochs=5).fit(x, names, sensitive_features=features)
  assert made.classes_.tolist() == ["no", "perhaps", "yes"]
  assert made.groups_ == [("f", 0), ("f", 1), ("m", 0), ("m", 1)]
  assert made.predict_proba(x).shape == (ROWS, 3)
  assert set(made.predict(x)) <= {"no", "yes", "perhaps"}


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA])
def test_a_missing_group_counts_in_no_group(people, nothing):
  x, y, sex = people
  some = sex.astype(object)
  some[:20] = nothing
  given = some if nothing is None else pd.Series(some)
  made = Classifier(inprocessing.gap(5.0), epochs=50).fit(x, y, sensitive_features=given)
  group = np.stack([sex == "f", sex == "m"], 1) * (np.arange(ROWS) >= 20)[:, None]
  data = rfjax.Batch.from_arrays(x.to_numpy(), y, group.astype(np.float32))
  run = lambda data: rfjax.fit(
    architectures.logistic(), inprocessing.gap(5.0), optax.adam(0.05), data,
    key=jax.random.key(0), epochs=50,
  )  # fmt: skip
  np.testing.assert_allclose(made.log_.penalty, jax.jit(run)(data)[1].penalty, rtol=1e-5)


def test_it_works_in_pipelines_and_searches(people):
  x, y, sex = people
  with sklearn.config_context(enable_metadata_routing=True):
    made = Classifier(epochs=20).set_fit_request(sensitive_features=True)
    line = make_pipeline(StandardScaler(), made)
    grid = {"classifier__method": [None, inprocessing.gap(1.0)]}
    search = GridSearchCV(line, grid, cv=2).fit(x, y, sensitive_features=sex)
    scores = cross_validate(line, x, y, cv=2, params={"sensitive_features": sex})["test_score"]
  assert search.best_score_ >= 0.6 and scores.mean() > 0.6
  assert line[-1].__sklearn_tags__().estimator_type == "classifier"


def test_it_repeats_its_bits_for_any_number_of_rows(people):
  x, y, _ = people
  one, two = (Classifier(epochs=5).fit(x, y) for _ in range(2))
  np.testing.assert_array_equal(one.decision_function(x), two.decision_function(x))
  alone = np.concatenate([one.decision_function(x[i : i + 1]) for i in range(ROWS)])
  np.testing.assert_array_equal(alone, one.decision_function(x))
  other = Classifier(epochs=5, random_state=np.random.RandomState(1)).fit(x, y)
  assert (other.decision_function(x) != one.decision_function(x)).any()


def test_a_function_makes_one_network_that_compiles_once_and_stays(people):
  x, y, _ = people
  made, traced = [], []

  def network(classes):
    plain = architectures.mlp([3], classes)
    made.append(classes)
    return plain._replace(apply=lambda *a, **k: traced.append(1) or plain.apply(*a, **k))

  fitted = Classifier(network=network, epochs=2).fit(x, y)
  said = fitted.predict_proba(pd.concat([x] * 9))[:ROWS]  # blocks
  before = len(traced)
  np.testing.assert_array_equal(fitted.predict_proba(x), said)
  assert made == [2] and len(traced) == before
  fitted.set_params(network=architectures.mlp([5]))
  np.testing.assert_array_equal(fitted.predict_proba(x), said)
  copied = copy.deepcopy(fitted)  # as a pickle does, it makes anew what was made
  np.testing.assert_array_equal(copied.predict_proba(x), said)
  assert made == [2, 2]


@pytest.mark.parametrize(
  ("settings", "arguments", "says"),
  [
    ({"method": "gap"}, {}, "method must be a Transform"),
    ({"epochs": -1}, {}, "epochs must be"),
    ({"random_state": -1}, {}, r"random_state must lie in \[0, 2\*\*32\), got -1"),
    ({"random_state": 2**32}, {}, "random_state must lie in"),
    ({}, {"sensitive_features": [None] * ROWS}, "without missing values"),
    ({}, {"sensitive_features": [0] * (ROWS - 1)}, f"must have {ROWS} rows"),
    ({"method": inprocessing.gap(1.0)}, {}, "needs group"),
  ],
)
def test_what_cannot_be_used_is_refused(people, settings, arguments, says):
  with pytest.raises(ValueError, match=says):
    Classifier(**settings).fit(*people[:2], **arguments)
