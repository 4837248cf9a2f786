"""Label noise is taken back exactly from rates by group, in a population where it acts exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, convergence, metrics, noise
from rfjax.fairness import inprocessing

KEY = jax.random.key(0)
TWO = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.1, 0.9]]])
THREE = np.array(
  [
    [[0.7, 0.1, 0.2], [0.0, 0.8, 0.2], [0.3, 0.1, 0.6]],
    [[0.9, 0.1, 0.0], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]],
  ]
)
GROUPS = np.array([[0.7, 0.3], [0.2, 0.8]])
ROWS = 12
EXTRA = {"key": KEY, "step": 0, "epoch": 0, "forward": None}


def population(transition, group, copies=10, group_noise=None):
  """Copies of each row, of which each given label, and group, has its share: (noisy, true)."""
  rng = np.random.default_rng(0)
  classes = transition.shape[-1]
  y, logits = np.arange(ROWS) % classes, rng.normal(size=(ROWS, classes))
  labels, groups = [], []
  for label, z in zip(y, group, strict=True):
    row = np.eye(2)[z] if group.ndim == 1 else z
    share = row @ transition[:, label] + (1 - row.sum()) * np.eye(classes)[label]
    joint = np.outer(share, [1.0] if group_noise is None else group_noise[z])
    for times, (k, g) in zip(
      np.rint(copies * joint).astype(int).ravel(), np.ndindex(joint.shape), strict=True
    ):
      labels += [k] * times
      groups += [z if group_noise is None else g] * times
  many = lambda v: np.repeat(v, copies, axis=0)
  assert len(labels) == ROWS * copies

  def make(y, z):
    z, x = jnp.asarray(z), np.zeros((ROWS * copies, 1))
    made = rfjax.Batch.from_arrays(x, y, z, num_classes=classes).fill(jnp.asarray(many(logits)))
    return made.replace(group=z)  # of float64 where it is soft

  return make(np.array(labels), np.array(groups)), make(many(y), many(group))


def objective(method, flow):
  def of(logits, flow):
    filled = flow.fill(logits)
    state = method.init(filled, key=KEY, spec=None)
    return method.update(filled, state, None, **EXTRA)[0].penalty

  return jax.jit(jax.value_and_grad(of))(flow.logits, flow)


HARD = np.random.default_rng(5).integers(0, 2, ROWS)
SOFT = np.array([[0.5, 0.5], [1, 0], [0.5, 0.5], [0, 1], [0, 0], [0.5, 0.0]] * 2)
ODDS = inprocessing.gap(2.0, ("true_positive_rate", "false_positive_rate"))
CASES = [
  (TWO, HARD, ODDS),
  (THREE, HARD, ODDS),
  (TWO, SOFT, inprocessing.gap(2.0, ("accuracy", "precision"), method="to_overall")),
  (TWO, HARD, inprocessing.mmd(2.0, label=1)),
  (TWO, HARD, inprocessing.wasserstein(2.0, label=0)),
  (THREE, HARD, inprocessing.mistreatment_covariance(2.0, "false_negative")),
  (TWO, HARD, inprocessing.bounded_group_loss(2.0, 0.1)),
]


@pytest.mark.parametrize(("transition", "group", "inner"), CASES)
def test_a_penalty_is_that_of_the_true_labels(transition, group, inner):
  with jax.enable_x64(True):
    noisy, true = population(transition, group, 20)
    value, slope = objective(convergence.corrected_labels(inner, transition), noisy)
    true_value, true_slope = objective(inner, true)
    np.testing.assert_allclose(value, true_value, rtol=1e-11)
    # A copy's own slope hangs on its given label: those of one row add up.
    of_rows = lambda v: np.asarray(v).reshape(ROWS, 20, -1).sum(1)
    np.testing.assert_allclose(of_rows(slope), of_rows(true_slope), rtol=1e-9, atol=1e-13)
    naive, _ = objective(inner, noisy)
    assert abs(naive - true_value) > 1e-3


def test_labels_and_groups_that_are_both_noisy():
  with jax.enable_x64(True):
    noisy, true = population(THREE, HARD, 100, GROUPS)
    method = convergence.corrected_labels(ODDS, THREE, group_matrix=GROUPS)
    np.testing.assert_allclose(objective(method, noisy)[0], objective(ODDS, true)[0], rtol=1e-11)
    # Where label noise hangs on the given group, the two corrections are a chain.
    noisy, _ = population(np.stack([THREE[0]] * 2), HARD, 100, GROUPS)
    both = convergence.corrected_labels(
      convergence.corrected_groups(ODDS, GROUPS), np.stack([THREE[0]] * 2)
    )
    np.testing.assert_allclose(objective(both, noisy)[0], objective(ODDS, true)[0], rtol=1e-11)


def test_copies_are_measured_as_true_labels_are():
  with jax.enable_x64(True):
    noisy, true = population(THREE, HARD)
    copies = convergence.label_copies(noisy, THREE)
    for name in ("true_positive_rate", "negative_predictive_value", "accuracy"):
      found = metrics.group_rates(name, copies, soft=True)
      wanted = metrics.group_rates(name, true, soft=True)
      np.testing.assert_allclose(found.value, wanted.value, rtol=1e-12)
    np.testing.assert_allclose(
      copies.membership.reshape(-1, 3, 2).sum(1), noisy.membership, atol=1e-12
    )


def test_a_method_starts_from_the_corrected_data_too():
  def init(data, **unused):
    return data.membership.T @ (data.y == 1)

  with jax.enable_x64(True):
    noisy, true = population(TWO, HARD)
    method = convergence.corrected_labels(rfjax.Transform(init, writes=("penalty",)), TWO)
    np.testing.assert_allclose(method.init(noisy), init(true), rtol=1e-12)


def test_rows_without_a_group_and_padding_count_nowhere():
  member = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
  data = rfjax.Batch.from_arrays(np.zeros((3, 1)), [0, 1, 1], member).take(jnp.array([0, 1, 2, 3]))
  copies = convergence.label_copies(data, TWO)
  mass = np.abs(np.asarray(copies.membership)).sum(1).reshape(4, 2)
  assert (mass > 0).tolist() == [[True, True], [False, False], [True, True], [False, False]]
  assert copies.y.tolist() == [0, 1] * 4


def test_training_on_noisy_labels_is_fair_by_the_true_ones():
  rng = np.random.default_rng(1)
  n = 2000
  group = rng.integers(0, 2, n)
  y = (rng.uniform(size=n) < np.array([0.3, 0.7])[group]).astype(int)
  x = np.stack([rng.normal(size=n) + 2 * y, group], axis=1)
  matrices = jnp.array([[[1.0, 0.0], [0.4, 0.6]], [[0.7, 0.3], [0.0, 1.0]]])
  noisy = rfjax.transform(
    noise.group_dependent(matrices), rfjax.Batch.from_arrays(x, y, group), key=KEY
  )
  network, tx = architectures.logistic(), optax.adam(0.05)
  names = ("true_positive_rate", "false_positive_rate")

  @jax.jit
  def apart(seen, data):
    """The gap by true labels, of a penalty that sees labels corrected by the matrices."""
    method = rfjax.chain(
      convergence.group_surrogate(matrices),
      convergence.corrected_labels(inprocessing.gap(3.0, names), seen),
    )
    state, _ = rfjax.fit(network, method, tx, data, key=KEY, epochs=100)
    said = rfjax.predict(network, state, data).replace(y=data.truth.y)
    return metrics.difference(*[metrics.group_rates(s, said, soft=True) for s in names])

  assert apart(matrices, noisy) < 0.03
  assert apart(jnp.stack([jnp.eye(2)] * 2), noisy) > 0.05


def test_refusals_name_the_remedy():
  with pytest.raises(ValueError, match=r"method must write penalty alone, got .*weight"):
    convergence.corrected_labels(inprocessing.group_dro(), TWO)
  with pytest.raises(ValueError, match="transition must be invertible"):
    convergence.corrected_labels(ODDS, np.full((2, 2, 2), 0.5))
  noisy, _ = population(TWO, HARD)
  with pytest.raises(ValueError, match="of 3 classes, but the data set has num_classes 2"):
    objective(convergence.corrected_labels(ODDS, THREE), noisy)
  three_groups = np.eye(3)
  with pytest.raises(ValueError, match="of 3 groups, but the data set has num_groups 2"):
    objective(convergence.corrected_labels(ODDS, TWO, group_matrix=three_groups), noisy)
