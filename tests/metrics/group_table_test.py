"""The table by group against the measures that it shows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import metrics

Y, SAID, GROUP = [1, 0, 1, 0, 1, 0], [1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 2, 2]


def test_it_shows_every_group_and_all_of_them():
  table = metrics.group_table(Y, SAID, GROUP, names=["a", "b", "c"], weight=[1, 1, 2, 1, 1, 1])
  assert table["group"].values.tolist() == ["a", "b", "c", "all"]
  assert table["rows"].values.tolist() == [2, 3, 2, 7]
  np.testing.assert_allclose(table["accuracy"], [1 / 2, 1, 1 / 2, 5 / 7], rtol=1e-6)
  np.testing.assert_allclose(table["true_positive_rate"], [1, 1, 0, 3 / 4], rtol=1e-6)
  assert list(table) == [
    "rows",
    "accuracy",
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
  ]


def test_intervals_are_those_of_bootstrap():
  rng = np.random.default_rng(0)
  y, group = rng.integers(3, size=60), rng.integers(2, size=60)
  logits = jnp.asarray(rng.normal(size=(60, 3)), jnp.float32)
  flow = rfjax.Batch.from_arrays(np.zeros((60, 1)), y, group).fill(logits)
  padded = flow.take(jnp.asarray([*range(60), 60]))
  key, names = jax.random.key(3), ("precision", "accuracy")
  table = metrics.group_table(padded, statistics=names, key=key, draws=60, confidence=0.9)
  assert dict(table.sizes) == {"group": 3, "class": 3}
  run = lambda data, weight: [metrics.group_rates(name, data, weight=weight) for name in names]
  bootstrap = jax.jit(lambda flow: metrics.bootstrap(run, flow, key=key, draws=60, confidence=0.9))
  found = jax.device_get(bootstrap(flow))
  for name, low, high, value in zip(names, found.low, found.high, found.estimate, strict=True):
    for column, expected in ((f"{name}_low", low), (f"{name}_high", high), (name, value)):
      shown = table[column].values.reshape(3, -1)[:2]
      np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-6)
    assert (table[f"{name}_low"] <= table[name]).all() and (
      table[name] <= table[f"{name}_high"]
    ).all()


def test_an_empty_cell_is_not_a_number_and_named():
  with pytest.warns(UserWarning, match="group_table: no row of class 1 in group 1") as caught:
    table = metrics.group_table(
      [1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1], statistics=["true_positive_rate"]
    )
  assert caught[0].filename == __file__
  np.testing.assert_array_equal(table["true_positive_rate"], [1, np.nan, 1])


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"statistics": ["kindness"]}, "statistics must be one of"),
    ({"names": ["a"]}, "names must be 3, all different"),
    ({"names": ["a", "b", "b"]}, "names must be 3, all different"),
    ({"names": ["a", "b", "all"]}, "names must be 3, all different and none of them all"),
  ],
)
def test_bad_arguments_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    metrics.group_table(Y, SAID, GROUP, **options)
