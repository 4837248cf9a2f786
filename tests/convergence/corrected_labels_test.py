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
    made = filled(rfjax.Batch.from_arrays(x, y, z, num_classes=classes), jnp.asarray(many(logits)))
    return made.replace(group=z)  # of float64 where it is soft

  return make(np.array(labels), np.array(groups)), make(many(y), many(group))


filled = jax.jit(lambda data, logits: data.fill(logits))
membership = jax.jit(lambda data: data.membership)


def penalty_of(method):
  def of(logits, flow):
    filled = flow.fill(logits)
    state = method.init(filled, key=KEY, spec=None)
    return method.update(filled, state, None, **EXTRA)[0].penalty

  return lambda flow: jax.value_and_grad(of)(flow.logits, flow)


def objectives(*pairs):
  """The penalties of methods on batches with their slopes, from one program."""
  methods, flows = zip(*pairs, strict=True)
  every = lambda flows: [penalty_of(m)(flow) for m, flow in zip(methods, flows, strict=True)]
  return jax.tree.map(np.asarray, jax.jit(every)(flows))


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
    corrected = convergence.corrected_labels(inner, transition)
    found = objectives((corrected, noisy), (inner, true), (inner, noisy))
    (value, slope), (true_value, true_slope), (naive, _) = found
    np.testing.assert_allclose(value, true_value, rtol=1e-11)
    # A copy's own slope hangs on its given label: those of one row add up.
    of_rows = lambda v: np.asarray(v).reshape(ROWS, 20, -1).sum(1)
    np.testing.assert_allclose(of_rows(slope), of_rows(true_slope), rtol=1e-9, atol=1e-13)
    assert abs(naive - true_value) > 1e-3


def test_labels_and_groups_that_are_both_noisy():
  with jax.enable_x64(True):
    noisy, true = population(THREE, HARD, 100, GROUPS)
    method = convergence.corrected_labels(ODDS, THREE, group_matrix=GROUPS)
    # Where label noise hangs on the given group, the two corrections are a chain.
    alike, _ = population(np.stack([THREE[0]] * 2), HARD, 100, GROUPS)
    both = convergence.corrected_labels(
      convergence.corrected_groups(ODDS, GROUPS), np.stack([THREE[0]] * 2)
    )
    found = objectives((method, noisy), (both, alike), (ODDS, true))
    (value, _), (chained, _), (true_value, _) = found
    np.testing.assert_allclose(value, true_value, rtol=1e-11)
    np.testing.assert_allclose(chained, true_value, rtol=1e-11)


def test_copies_are_measured_as_true_labels_are():
  with jax.enable_x64(True):
    noisy, true = population(THREE, HARD)
    names = ("true_positive_rate", "negative_predictive_value", "accuracy")

    @jax.jit
    def measured(noisy, true):
      copies = convergence.label_copies(noisy, THREE)
      rates = lambda data: [metrics.group_rates(name, data, soft=True).value for name in names]
      return rates(copies), rates(true), copies.membership, noisy.membership

    found, wanted, of_copies, of_rows = jax.tree.map(np.asarray, measured(noisy, true))
    for value, want in zip(found, wanted, strict=True):
      np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(of_copies.reshape(-1, 3, 2).sum(1), of_rows, atol=1e-12)


def test_a_method_starts_from_the_corrected_data_too():
  def init(data, **unused):
    return data.membership.T @ (data.y == 1)

  with jax.enable_x64(True):
    noisy, true = population(TWO, HARD)
    method = convergence.corrected_labels(rfjax.Transform(init, writes=("penalty",)), TWO)
    starts = jax.jit(lambda noisy, true: (method.init(noisy), init(true)))
    np.testing.assert_allclose(*starts(noisy, true), rtol=1e-12)


def test_rows_without_a_group_and_padding_count_nowhere():
  member = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
  data, rows = rfjax.Batch.from_arrays(np.zeros((3, 1)), [0, 1, 1], member), np.arange(4)
  copied = jax.jit(lambda data: convergence.label_copies(data.take(rows), TWO))
  copies = copied(data)
  mass = np.abs(np.asarray(membership(copies))).sum(1).reshape(4, 2)
  assert (mass > 0).tolist() == [[True, True], [False, False], [True, True], [False, False]]
  assert copies.y.tolist() == [0, 1] * 4


def test_training_on_noisy_labels_is_fair_by_the_true_ones():
  rng = np.random.default_rng(1)
  n = 2000
  group = rng.integers(0, 2, n)
  y = (rng.uniform(size=n) < np.array([0.3, 0.7])[group]).astype(int)
  x = np.stack([rng.normal(size=n) + 2 * y, group], axis=1)
  matrices = np.array([[[1.0, 0.0], [0.4, 0.6]], [[0.7, 0.3], [0.0, 1.0]]], np.float32)
  corrupt = jax.jit(lambda d: rfjax.transform(noise.group_dependent(matrices), d, key=KEY))
  noisy = corrupt(rfjax.Batch.from_arrays(x, y, group))
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
  assert apart(np.stack([np.eye(2, dtype=np.float32)] * 2), noisy) > 0.05


def test_refusals_name_the_remedy():
  with pytest.raises(ValueError, match=r"method must write penalty alone, got .*weight"):
    convergence.corrected_labels(inprocessing.group_dro(), TWO)
  with pytest.raises(ValueError, match="transition must be invertible"):
    convergence.corrected_labels(ODDS, np.full((2, 2, 2), 0.5))
  noisy, _ = population(TWO, HARD)
  apply = lambda *args, **more: jax.eval_shape(
    penalty_of(convergence.corrected_labels(ODDS, *args, **more)), noisy
  )
  with pytest.raises(ValueError, match="of 3 classes, but the data set has num_classes 2"):
    apply(THREE)
  with pytest.raises(ValueError, match="of 3 groups, but the data set has num_groups 2"):
    apply(TWO, group_matrix=np.eye(3))
