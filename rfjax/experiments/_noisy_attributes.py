"""The noisy-attributes experiment: one run for all methods."""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import rfjax
from rfjax import architectures, convergence, data, metrics, noise
from rfjax.core import Batch, Transform, chain
from rfjax.experiments.noisy_attributes import Settings, methods
from rfjax.fairness import inprocessing

_FRACTIONS = (0.7, 0.0, 0.3)
_ITERATIONS = 12  # of the reductions approach


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: for each method the runs, with dimensions (rate, seed).
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: dict[str, Any]
  seconds: dict[str, float]


def _gap(settings: Settings) -> Transform:
  return inprocessing.gap(settings.strength)


def _lagrangian(settings: Settings) -> Transform:
  return inprocessing.lagrangian(settings.bound, hard=False)


def _ratio(settings: Settings, matrix: jax.Array) -> Transform:
  return convergence.denoised_constraints(settings.ratio, matrix, slack=0.0, hard=False)


def _shares(matrix: jax.Array, given: Batch) -> jax.Array:
  """The shares of the true groups, as far as given ones tell."""
  return convergence.true_shares(jnp.sum(given.membership, axis=0), matrix)


def _near_groups(settings: Settings, matrix: jax.Array, given: Batch) -> Transform:
  radius = convergence.tv_radius(matrix, _shares(matrix, given))
  return convergence.tv_robust_constraints(
    radius, settings.bound, method="between_groups", hard=False
  )


def _all_assignments(settings: Settings, matrix: jax.Array, given: Batch) -> Transform:
  posterior = convergence.group_posterior(matrix, _shares(matrix, given))
  return convergence.soft_assignment_constraints(
    posterior, settings.bound, method="between_groups", hard=False
  )


# Without a correction a method is told that nothing is wrong.
TRAINED: dict[str, Callable[[Settings, jax.Array, Batch], Transform]] = {
  "plain": lambda settings, matrix, given: chain(),
  "gap": lambda settings, matrix, given: _gap(settings),
  "corrected_gap": lambda settings, matrix, given: convergence.corrected_groups(
    _gap(settings), matrix
  ),
  "lagrangian": lambda settings, matrix, given: _lagrangian(settings),
  "corrected_lagrangian": lambda settings, matrix, given: convergence.corrected_groups(
    _lagrangian(settings), matrix
  ),
  "tv_robust_constraints": _near_groups,
  "soft_assignment_constraints": _all_assignments,
  "ratio_constraints": lambda settings, matrix, given: _ratio(settings, jnp.eye(2)),
  "denoised_constraints": lambda settings, matrix, given: _ratio(settings, matrix),
}
REDUCED = ("reductions", "noise_tolerant_reductions")


def _reduced(settings: Settings, name: str, matrix: jax.Array, given: Batch) -> Any:
  bound: Any = settings.bound / 2  # which is on the distance to both groups together
  if name == "noise_tolerant_reductions":
    shares = jnp.sum(given.membership, axis=0)
    bound = convergence.noise_tolerant_bound(bound, matrix, shares, method="to_overall")
  found = inprocessing.exponentiated_gradient(
    given, "demographic_parity", difference_bound=bound, iterations=_ITERATIONS
  )
  return found.classifier.predict


def trainer(settings: Settings, name: str, table: data.Table | Batch) -> Any:
  """The run of a method, `train(rate, seed)`."""
  network, tx = architectures.logistic(), optax.adam(settings.learning_rate)

  def train(rate: Any, seed: Any) -> dict[str, Any]:
    split_key, noise_key, key = jax.random.split(jax.random.key(seed), 3)
    parts = data.split(table, key=split_key, fractions=_FRACTIONS)
    given = rfjax.transform(noise.group_symmetric(rate), parts.train, key=noise_key)
    matrix = noise.symmetric_matrix(rate, 2)
    if name in REDUCED:
      said = _reduced(settings, name, matrix, given)(parts.test)
    else:
      method = TRAINED[name](settings, matrix, given)
      state, _ = rfjax.fit(network, method, tx, given, key=key, epochs=settings.epochs)
      said = rfjax.predict(network, state, parts.test)
    soft = name in REDUCED  # whose decisions are by lot: what is expected of them
    violation = metrics.demographic_parity_difference(said, soft=soft)
    return {"accuracy": metrics.accuracy(said, soft=soft), "violation": violation}

  return train


def _rows(settings: Settings) -> data.Table:
  """The table without a test set of its own, so that splits are drawn alike for all."""
  table = data.table(settings.data, data_dir=settings.data_dir)
  return table._replace(validation_rows=0, test_rows=0)


def run(settings: Settings, *, progress: bool) -> Result:
  """Trains all methods at all rates."""
  began = time.perf_counter()
  table = _rows(settings)
  found, seconds = {}, {"reading": time.perf_counter() - began}
  for name in methods(settings):
    began = time.perf_counter()
    if progress:
      print(f"noisy-attributes: {name}", file=sys.stderr, flush=True)
    found[name] = rfjax.sweep(
      trainer(settings, name, table),
      {"rate": list(settings.rates), "seed": range(settings.seeds)},
      lanes=settings.lanes,
      block=settings.block,
      progress=progress,
    )
    seconds[name] = time.perf_counter() - began
  return Result(settings, found, seconds)
