"""The checks that scikit-learn has for estimators, and the expected failures with their reasons."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from rfjax.sklearn import Classifier, Postprocessor, Preprocessor

FLOAT32 = "training is in float32, where weights of 2 and rows twice differ by rounding"
EXPECTED = {"Classifier": {"check_sample_weight_equivalence_on_dense_data": FLOAT32}}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")


@parametrize_with_checks(
  [Classifier(epochs=100), Postprocessor(LogisticRegression()), Preprocessor()],
  expected_failed_checks=lambda estimator: EXPECTED.get(type(estimator).__name__, {}),
)
def test_the_checks_of_scikit_learn(estimator, check):
  check(estimator)


def test_weights_are_rows_repeated_but_for_rounding():
  rng = np.random.default_rng(0)
  x, y, weight = rng.normal(size=(20, 3)), np.arange(20) % 2, rng.integers(0, 3, 20)
  weighted = Classifier(epochs=50).fit(x, y, sample_weight=weight)
  repeated = Classifier(epochs=50).fit(np.repeat(x, weight, 0), np.repeat(y, weight))
  plain = Classifier(epochs=50).fit(x, y)
  said = weighted.predict_proba(x)
  np.testing.assert_allclose(said, repeated.predict_proba(x), atol=1e-5)
  assert np.abs(said - plain.predict_proba(x)).max() > 1e-3
