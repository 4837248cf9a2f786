"""The noise-tolerant bound against the authors' formula, populations, draws, and a learner."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import convergence, metrics, noise
from rfjax.fairness import inprocessing


def tables(rng):
  """A share of group 1, rates of a decision by group, and two rates of noise."""
  share, rates, flips = rng.uniform(0.1, 0.9), rng.uniform(size=2), rng.uniform(0, 0.45, 2)
  return np.array([1 - share, share]), rates, flips, np.array(
    [[1 - flips[0], flips[0]], [flips[1], 1 - flips[1]]]
  )  # fmt: skip


def authors(flips, given_share):
  """1 - alpha - beta as the authors estimate it, of P(given 1 | 0), P(given 0 | 1)."""
  minus, plus = flips
  share = (given_share - minus) / (1 - plus - minus)
  return 1 - (1 - share) * minus / given_share - share * plus / (1 - given_share)


@functools.partial(jax.jit, static_argnums=3)
def bound_of(bound, matrix, given, method="between_groups"):
  return convergence.noise_tolerant_bound(bound, matrix, given, method=method)


@pytest.mark.parametrize("method", ["between_groups", "to_overall"])
def test_it_is_what_a_population_makes_of_the_bound(method):
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    for _ in range(20):
      share, rates, flips, matrix = tables(rng)
      joint = share[:, None] * matrix
      given = joint.sum(0)
      noisy = joint.T @ rates / given

      def apart(rates, share):
        if method == "between_groups":
          return np.ptp(rates)
        return np.abs(rates - rates @ share).max()

      found = bound_of(apart(rates, share), matrix, given, method)
      np.testing.assert_allclose(found, apart(noisy, given), rtol=1e-10)
      between = bound_of(1.0, matrix, 7 * given)
      np.testing.assert_allclose(between, authors(flips, given[1]), rtol=1e-10)


def test_it_is_what_a_million_draws_show():
  rng = np.random.default_rng(1)
  group = rng.random(1_000_000) < 0.3
  yes = rng.random(group.size) < np.where(group, 0.7, 0.2)
  struck = rng.random(group.size) < np.where(group, 0.25, 0.1)
  noisy = group ^ struck
  apart = lambda z: yes[z].mean() - yes[~z].mean()
  matrix, given = np.array([[0.9, 0.1], [0.25, 0.75]]), np.array([np.sum(~noisy), np.sum(noisy)])
  found = bound_of(apart(group), matrix, given)
  assert abs(float(found) - apart(noisy)) < 3e-3


def test_without_noise_it_is_the_bound_and_it_may_be_traced():
  for method in ("between_groups", "to_overall"):
    found = functools.partial(convergence.noise_tolerant_bound, 0.1, np.eye(2), [3, 7])
    np.testing.assert_allclose(jax.jit(lambda: found(method=method))(), 0.1, rtol=1e-6)
  rates = np.linspace(0, 0.4, 3, dtype=np.float32)
  by_rate = lambda r: convergence.noise_tolerant_bound(
    0.1, jnp.array([[1 - r, r], [r, 1 - r]]), jnp.array([1.0, 1.0])
  )
  np.testing.assert_allclose(jax.jit(jax.vmap(by_rate))(rates), 0.1 * (1 - 2 * rates), rtol=1e-5)


def test_the_reductions_approach_meets_the_bound_on_the_true_groups():
  rng = np.random.default_rng(0)
  rows = 3000
  group = rng.integers(0, 2, rows)
  x = np.stack([rng.normal(size=rows) + group, rng.normal(size=rows)], axis=1)
  y = (x.sum(1) + rng.normal(size=rows) > 0.5).astype(int)
  data = rfjax.Batch.from_arrays(x, y, group)
  matrix = [[0.7, 0.3], [0.3, 0.7]]
  corrupt = lambda data: rfjax.transform(noise.group_matrix(matrix), data, key=jax.random.key(0))
  noisy = jax.jit(corrupt)(data)

  @jax.jit
  def disparity(noisy, data, bound):
    found = inprocessing.exponentiated_gradient(
      noisy, "demographic_parity", difference_bound=bound, iterations=8
    )
    said = found.classifier.predict(data, key=jax.random.key(0))
    return metrics.demographic_parity_difference(said, soft=True)

  given = np.asarray(jax.jit(lambda data: data.membership.sum(0))(noisy))
  bound = bound_of(0.05, np.array(matrix), given, "to_overall")
  tolerant, naive = (disparity(noisy, data, np.float32(b)) for b in (bound, 0.05))
  # Two groups of equal size: 0.05 to both together is 0.1 between them.
  assert tolerant < 0.13 < 0.17 < naive


def test_refusals_name_the_remedy():
  with pytest.raises(ValueError, match="use corrected_groups for more"):
    convergence.noise_tolerant_bound(0.1, np.eye(3), [1, 1, 1])
  with pytest.raises(ValueError, match="given_shares must be of two groups"):
    convergence.noise_tolerant_bound(0.1, np.eye(2), [1, 1, 1])
  with pytest.raises(ValueError, match="bound must"):
    convergence.noise_tolerant_bound(-0.1, np.eye(2), [1, 1])
