"""Grid search against fairlearn's, over a finite class and with logistic regression."""

import jax
import numpy as np
import pytest
from constraint_oracles import Column, column_oracle, decisions, favoured
from sklearn.linear_model import LogisticRegression

import rfjax
from rfjax.fairness import inprocessing

reductions = pytest.importorskip("fairlearn.reductions")
pytestmark = pytest.mark.filterwarnings("ignore:Setting a")  # pandas, of fairlearn's code
PEERS = {"demographic_parity": "DemographicParity", "equalized_odds": "EqualizedOdds"}


def in_order(x, y, group):
  """Groups and labels first appear in their order, in which fairlearn makes its grid."""
  first = np.argsort(group * 2 + y, kind="stable")
  return x[first], y[first], group[first]


@pytest.mark.parametrize(
  ("constraint", "groups", "size"),
  [("demographic_parity", 2, 7), ("demographic_parity", 3, 20), ("equalized_odds", 2, 12)],
)
def test_all_points_and_the_best_are_those_of_fairlearn(constraint, groups, size):
  x, y, group = in_order(*decisions(6, groups=groups))
  moment = getattr(reductions, PEERS[constraint])()
  peer = reductions.GridSearch(
    Column(), moment, grid_size=size, grid_limit=1.5, constraint_weight=0.3
  )
  peer.fit(x, y, sensitive_features=group)
  with jax.enable_x64(True):

    @jax.jit
    def run(data, limit, weight):
      found = inprocessing.grid_search(
        data, constraint, grid_size=size, grid_limit=limit, constraint_weight=weight,
        oracle=column_oracle(),
      )  # fmt: skip
      return found, found.classifier.probability(data.x)

    found, said = run(rfjax.Batch.from_arrays(x, y, group), 1.5, 0.3)
    table = lambda frame: frame.loc[["+", "-"]].to_numpy().T
    flat = lambda values: np.asarray(values).reshape(size, -1)
    np.testing.assert_allclose(flat(found.multipliers), table(peer.lambda_vecs_), atol=1e-12)
    np.testing.assert_allclose(found.errors, peer.objectives_, atol=1e-12)
    np.testing.assert_allclose(flat(found.gammas), table(peer.gammas_), atol=1e-12)
    assert found.best == peer.best_idx_
    np.testing.assert_array_equal(said, peer.predict(x))


def test_with_logistic_regression_it_decides_as_fairlearn_does():
  x, y, group = in_order(*favoured(seed=2, rows=150))
  data = rfjax.Batch.from_arrays(x, y, group)

  @jax.jit
  def run(data):
    found = inprocessing.grid_search(data, "demographic_parity")
    return found, found.classifier.predict(data).logits.argmax(1)

  found, said = run(data)
  learner = LogisticRegression(solver="newton-cholesky", tol=1e-10)
  peer = reductions.GridSearch(learner, reductions.DemographicParity())
  peer.fit(x, y, sensitive_features=group)
  assert len(set(peer.objectives_)) > 3
  np.testing.assert_allclose(found.errors, peer.objectives_, atol=1e-6)
  np.testing.assert_array_equal(said, peer.predict(x))


def test_a_grid_of_one_point_is_the_plain_learner():
  x, y, group = favoured(seed=3, rows=60)

  @jax.jit
  def run(data):
    found = inprocessing.grid_search(data, "equalized_odds", grid_size=1)
    return found.multipliers, found.classifier.predict(data).logits.argmax(1)

  for given in (group, 0 * group):
    multipliers, said = jax.device_get(run(rfjax.Batch.from_arrays(x, y, given)))
    assert np.all(multipliers == 0)
    expected = LogisticRegression(solver="newton-cholesky").fit(x, y).predict(x)
    np.testing.assert_array_equal(said, expected)


def test_bad_settings_are_refused():
  x, y, group = favoured(rows=20)
  data = rfjax.Batch.from_arrays(x, y, group)
  for settings in ({"grid_size": 0}, {"grid_limit": 0.0}, {"constraint_weight": 1.1}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      inprocessing.grid_search(data, "equalized_odds", **settings)
  with pytest.raises(ValueError, match="grid_size must be 1"):
    inprocessing.grid_search(rfjax.Batch.from_arrays(x, y, 0 * group), "equalized_odds")
