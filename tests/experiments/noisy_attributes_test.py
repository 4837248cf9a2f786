"""The noisy-attributes experiment: pairs of methods, and a whole report of short runs."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

import rfjax
from rfjax import cli, data
from rfjax.experiments import _noisy_attributes, _noisy_attributes_tables, noisy_attributes
from rfjax.experiments._noisy_attributes import REDUCED, TRAINED

SMALL = noisy_attributes.Settings(method="corrected_gap", rates=(0.0, 0.3), epochs=5, seeds=2)


@pytest.fixture(scope="module")
def table():
  rng = np.random.default_rng(0)
  group = rng.integers(0, 2, 400)
  x = rng.normal(size=(400, 2)) + group[:, None]
  y = (x[:, 0] + rng.normal(size=400) > 0.5).astype(int)
  return data.Table(rfjax.Batch.from_arrays(x, y, group), names=("a", "b"))


@pytest.fixture(scope="module")
def trained(table):
  """Makes the jitted training of a method, once for each."""
  settings = dataclasses.replace(SMALL, epochs=60, learning_rate=0.1, bound=0.0, strength=0.3)
  return functools.cache(lambda name: jax.jit(_noisy_attributes.trainer(settings, name, table)))


@pytest.fixture
def made_up(table, monkeypatch):
  monkeypatch.setattr(_noisy_attributes.data, "table", lambda *args, **kwargs: table)


def test_every_method_is_made_and_every_correction_has_its_naive_one():
  assert set(noisy_attributes.METHODS) == {*TRAINED, *REDUCED}
  pairs = {k: v for k, v in noisy_attributes.METHODS.items() if v is not None}
  assert len(pairs) == 6 and set(pairs.values()) <= set(noisy_attributes.METHODS)


@pytest.mark.parametrize("name", noisy_attributes.METHODS)
def test_every_method_trains(table, name):
  train = _noisy_attributes.trainer(SMALL, name, table)
  assert set(jax.eval_shape(train, 0.1, np.uint32(0))) == {"accuracy", "violation"}


@pytest.mark.parametrize(
  ("name", "naive"),
  [
    ("corrected_gap", "gap"),
    ("corrected_lagrangian", "lagrangian"),
    ("tv_robust_constraints", "lagrangian"),
    ("soft_assignment_constraints", "lagrangian"),
  ],
)
def test_without_noise_a_correction_changes_nothing_and_with_noise_it_does(trained, name, naive):
  first, second = trained(name), trained(naive)
  at = lambda f, rate: np.array([f(rate, np.uint32(1))[m] for m in ("accuracy", "violation")])
  np.testing.assert_allclose(at(first, 0.0), at(second, 0.0), atol=1e-5)
  assert abs(at(first, 0.3) - at(second, 0.3)).max() > 1e-3


@pytest.mark.usefixtures("made_up")
def test_a_short_run_makes_a_whole_report(tmp_path, capsys):
  result = noisy_attributes.run(SMALL, progress=False)
  rows = noisy_attributes.rows(result)
  assert len(rows) == 2 * 2 * 2
  one = result.data["corrected_gap"].isel(rate=1, seed=1)
  mine = next(r for r in rows if (r["method"], r["rate"], r["seed"]) == ("corrected_gap", 0.3, 1))
  assert mine["violation"] == pytest.approx(float(one["violation"]))
  changed = _noisy_attributes_tables.tables(result)["corrections"]
  found = result.data["corrected_gap"]["violation"] - result.data["gap"]["violation"]
  assert changed.rows[1][2].mean == pytest.approx(float(found.isel(rate=1).mean()))
  page = noisy_attributes.report(result, tmp_path)
  assert "corrections leave less of a violation" in page.read_text(encoding="utf-8")
  arguments = "run noisy-attributes --method gap --rates 0.1 --epochs 2 --seeds 2 --json"
  assert cli.main([*arguments.split(), "--no-progress", "--out", str(tmp_path)]) == 0
  told = json.loads(capsys.readouterr().out)["rows"]
  assert set(told[0]) == {"method", "rate", "seed", "accuracy", "violation"}


@pytest.mark.parametrize(
  "arguments, name, value",
  [
    ("--method kindness", "method", "kindness"),
    ("--rates 0.5", "rates", "0.5"),
    ("--rates 0.1 0.1", "rates", "(0.1, 0.1)"),
    ("--ratio 2", "ratio", "2"),
    ("--seeds 1", "seeds", "1"),
    ("--data-dir nowhere", "nowhere", "compas"),
  ],
)
def test_bad_input_ends_with_2_and_says_what_is_wrong(arguments, name, value, capsys, monkeypatch):
  monkeypatch.delenv("RFJAX_DATA_DIR", raising=False)
  assert cli.main(["run", "noisy-attributes", *arguments.split()]) == 2
  err = capsys.readouterr().err
  assert name in err and value in err and "Traceback" not in err
