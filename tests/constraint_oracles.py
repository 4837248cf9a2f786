"""What tests of constraints share: rows on which a group is favoured, runs, and rates by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.base import BaseEstimator

import rfjax
from rfjax import architectures, metrics
from rfjax.fairness import inprocessing

NETWORK = architectures.logistic()


def favoured(seed=0, rows=400):
  """Features, labels and groups, of which group 1 is labelled 1 more often."""
  rng = np.random.default_rng(seed)
  group = rng.integers(0, 2, rows)
  y = (rng.random(rows) < np.where(group == 1, 0.7, 0.35)).astype(int)
  columns = [rng.normal(size=rows) + 1.2 * y + 0.8 * group, rng.normal(size=rows) + y, 1.0 * group]
  return np.stack(columns, axis=1), y, group


def filled(seed, rows=60, groups=3, classes=2, missing_cell=False):
  rng = np.random.default_rng(seed)
  y, group = rng.integers(0, classes, rows), rng.integers(0, groups, rows)
  if missing_cell:
    y[group == 1] = 0
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, group, num_classes=classes)
  return data.fill(jnp.asarray(rng.normal(size=(rows, classes))))


def by_hand(flow, statistic, method, bound, temperature=None):
  """The constraints in float64, cell by cell; of decisions where there is no temperature."""
  z = np.asarray(flow.logits, np.float64)
  if temperature is None:
    p = np.eye(z.shape[1])[z.argmax(1)]
  else:
    p = np.exp(z / temperature) / np.exp(z / temperature).sum(1, keepdims=True)
  y, group = np.eye(z.shape[1])[np.asarray(flow.y)], np.asarray(flow.group)
  parts = {
    "selection_rate": (p, np.ones_like(p)),
    "true_positive_rate": (y * p, y),
    "false_omission_rate": (y * (1 - p), 1 - p),
  }[statistic]
  if z.shape[1] == 2:
    parts = [part[:, 1:] for part in parts]
  top, bottom = ([part[group == g].sum(0) for g in range(flow.num_groups)] for part in parts)
  found = []
  if method == "between_groups":
    for g, h in itertools.permutations(range(flow.num_groups), 2):
      for t, b, u, c in zip(top[g], bottom[g], top[h], bottom[h], strict=True):
        found.append(t / b - u / c - bound if b > 0 and c > 0 else 0.0)
    return np.array(found)
  overall = sum(top) / sum(bottom)
  for sign in (1, -1):
    for g in range(flow.num_groups):
      for t, b, r in zip(top[g], bottom[g], overall, strict=True):
        found.append(sign * (t / b - r) - bound if b > 0 else 0.0)
  return np.array(found)


def train(method, data, epochs, tx):
  """A full-batch run, compiled: its state, and hard gaps and accuracies of the last 100 epochs."""

  def watch(state, view):
    said = rfjax.predict(NETWORK, state, data)
    return metrics.demographic_parity_difference(said), metrics.accuracy(said)

  @jax.jit
  def run(data):
    return rfjax.fit(NETWORK, method, tx, data, key=jax.random.key(0), epochs=epochs, observe=watch)

  state, log = run(data)
  gaps, accuracies = (np.asarray(v[-100:]) for v in log.observed)
  return state, gaps, accuracies


def step(method):
  """One update of a batch and a state, compiled."""
  extra = {"key": jax.random.key(0), "step": 0, "epoch": 0, "forward": None}
  return jax.jit(lambda flow, state: method.update(flow, state, None, **extra))


def adam(rate=0.05):
  return optax.adam(rate)


def decisions(seed=0, rows=80, count=25, groups=2):
  """A finite class: every column is the decisions of a hypothesis; the first two are constant."""
  rng = np.random.default_rng(seed)
  y, group = rng.integers(0, 2, rows), rng.integers(0, groups, rows)
  right = rng.random((rows, count)) < 0.5 + 0.4 * rng.random(count)
  columns = np.where(right, y[:, None], 1 - y[:, None]) * 1.0
  favours = rng.random((rows, count)) < 0.5 * rng.random(count)
  columns = np.where(favours, group[:, None] > 0, columns)
  columns[:, 0], columns[:, 1] = 0, 1
  return columns, y, group


class Column(BaseEstimator):
  """For fairlearn: the column with the least weighted error."""

  def fit(self, x, y, sample_weight):
    self.best_ = np.argmin(np.abs(x - np.asarray(y)[:, None]).T @ np.asarray(sample_weight))
    return self

  def predict(self, x):
    return x[:, self.best_]


def column_oracle():
  """For us, the same."""
  return inprocessing.Oracle(
    init=lambda x: jnp.zeros((), jnp.int32),
    fit=lambda x, y, w, _: jnp.argmin(w @ jnp.abs(x - y[:, None])).astype(jnp.int32),
    decide=lambda h, x: x[:, h],
  )
