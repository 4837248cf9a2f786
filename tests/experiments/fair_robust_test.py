"""The FairRobust experiment: recipes, where mergers lie, and a whole report of short runs."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import xarray

import rfjax
from rfjax import cli, data
from rfjax.experiments import _fair_robust, _fair_robust_tables, fair_robust
from rfjax.experiments._fair_robust import RECIPES

CELL = ("general", "dp")
SMALL = fair_robust.Settings(noise="general", criterion="dp", method="all", epochs=3, seeds=2)


@pytest.fixture(scope="module")
def parts():
  @jax.jit
  def make():
    drawn = data.zafar(jax.random.key(0), 260)
    noisy = rfjax.transform(rfjax.noise.symmetric(0.1), drawn, key=jax.random.key(1))
    return data.split(noisy, key=jax.random.key(2))

  return make()


def test_every_named_method_has_a_recipe_of_a_family():
  assert tuple(RECIPES) == tuple(fair_robust.METHODS)
  assert set(fair_robust.METHODS.values()) == {"baseline", "robust", "fair", "merger"}
  assert set(_fair_robust.EPOCHS) == set(fair_robust.cells(fair_robust.Settings()))


@pytest.mark.parametrize("name", fair_robust.METHODS)
def test_every_method_trains(parts, name):
  recipe = RECIPES[name]
  train = _fair_robust.trainer(recipe, "eqodds", 3, parts.train, parts.test)
  found = jax.eval_shape(train, np.uint32(0), np.float32(recipe.strengths[0]))
  assert set(found) == {"accuracy", "disparity"}


def test_the_run_is_the_authors_setting():
  told = {p.name: p.settings for p in rfjax.catalog.entry("fair_robust").published}
  assert len(told) == 4
  for (noise, criterion), epochs in _fair_robust.EPOCHS.items():
    wanted = _fair_robust.CRITERIA[criterion]
    settings = told[f"{_fair_robust.LABELS[noise]}, {wanted.replace('_', ' ')}"]
    assert settings["epochs"] == epochs and settings["noise_rate"] == _fair_robust.NOISE_RATE
    assert settings["batch_size"] == _fair_robust.BATCH_SIZE
    assert settings["model_rate"] == _fair_robust.LEARNING_RATE
    assert RECIPES["fair_robust"].strengths == (settings["rate"],)


def _made_up(**points):
  """A result of points (disparity, accuracy) [K, 2] a method; the second seed is .01 higher."""
  found = {}
  for name, at in points.items():
    values = {
      m: (("strength", "seed"), np.array([[p[i], p[i] + 0.01 * i] for p in at]))
      for i, m in enumerate(("disparity", "accuracy"))
    }
    found[(name, *CELL)] = xarray.Dataset(values)
  return _fair_robust.Result(SMALL, found, {})


def test_distance_is_to_the_coin_that_is_as_fair():
  result = _made_up(
    plain=[(0.3, 0.8)],
    fairbatch=[(0.1, 0.7), (0.2, 0.7)],
    gce=[(0.4, 0.7), (0.3, 0.5)],
    gce_gap=[(0.2, 0.78), (0.05, 0.72), (0.3, 0.7), (0.1, 0.7)],
  )
  assert _fair_robust_tables.corners(result, CELL) == [("fairbatch", 0), ("plain", 0)]
  found = [_fair_robust_tables.distance(result, CELL, "gce_gap", i) for i in range(4)]
  np.testing.assert_allclose([f.mixture for f in found], [[v, v] for v in (0.03, 0.02, -0.1, 0.0)])
  assert [f.fairer for f in found] == [False, True, False, False]


def test_a_short_run_makes_a_whole_report(parts, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(_fair_robust.data, "table", lambda *args, **kwargs: None)
  monkeypatch.setattr(_fair_robust.data, "split", lambda *args, **kwargs: parts)
  settings = dataclasses.replace(SMALL, method="plain,fairbatch,fair_robust")
  result = fair_robust.run(settings, progress=False)
  rows = fair_robust.rows(result)
  assert len(rows) == 2 * (1 + 2 + 1)
  assert {r["noise"] for r in rows} == {"general"} and {r["criterion"] for r in rows} == {"dp"}
  one = result.data["fairbatch", "general", "dp"].isel(strength=1, seed=1)
  mine = [r for r in rows if r["method"] == "fairbatch" and r["seed"] == 1][1]
  assert mine["disparity"] == pytest.approx(float(one["disparity"]))
  page = fair_robust.report(result, tmp_path)
  assert "Mergers against the hull" in page.read_text(encoding="utf-8")
  assert cli.main(
    f"run fair-robust --noise general --criterion dp --epochs 2 --seeds 2 --json --out {tmp_path}"
    " --no-progress".split()
  ) == 0  # fmt: skip
  told = json.loads(capsys.readouterr().out)
  assert set(told["rows"][0]) == {
    *("method", "strength", "noise", "criterion", "seed", "accuracy", "disparity")
  }
  assert [r["method"] for r in told["rows"]] == ["fair_robust"] * 2


@pytest.mark.parametrize(
  "arguments, name, value",
  [
    ("--method kindness", "method", "kindness"),
    ("--noise loud", "noise", "loud"),
    ("--seeds 1", "seeds", "1"),
    ("--epochs 0", "epochs", "0"),
    ("--data-dir nowhere", "nowhere", "fair_robust"),
  ],
)
def test_bad_input_ends_with_2_and_says_what_is_wrong(arguments, name, value, capsys, monkeypatch):
  monkeypatch.delenv("RFJAX_DATA_DIR", raising=False)
  assert cli.main(["run", "fair-robust", *arguments.split()]) == 2
  err = capsys.readouterr().err
  assert name in err and value in err and "Traceback" not in err
