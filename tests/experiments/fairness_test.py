"""The fairness experiment: what is picked, the hull, and a whole report of short runs."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray

import rfjax
from rfjax import cli, data
from rfjax.experiments import _fairness, _fairness_tables, fairness
from rfjax.experiments._fairness_methods import RECIPES, STATISTICS

SMALL = fairness.Settings(method="reweighing,gap,equalized_odds", epochs=5, seeds=2)


@pytest.fixture(scope="module")
def table():
  rng = np.random.default_rng(0)
  group = rng.integers(0, 2, 200)
  x = rng.normal(size=(200, 3)) + group[:, None]
  y = (x[:, 0] + rng.normal(size=200) > 0.5).astype(int)
  return data.Table(rfjax.Batch.from_arrays(x, y, group), names=("a", "b", "c"))


@pytest.fixture
def made_up(table, monkeypatch):
  monkeypatch.setattr(_fairness.data, "table", lambda *args, **kwargs: table)


def test_every_named_method_has_a_recipe():
  assert tuple(RECIPES) == tuple(fairness.METHODS)
  assert tuple(STATISTICS) == fairness.CRITERIA
  assert all(len(set(r.strengths)) == len(r.strengths) > 0 for r in RECIPES.values())


@pytest.mark.parametrize("name", fairness.METHODS)
def test_every_method_trains(table, name):
  recipe = RECIPES[name]
  settings = dataclasses.replace(SMALL, criterion=fairness.METHODS[name][-1])
  train = _fairness.trainer(settings, recipe, table)
  found = jax.eval_shape(train, np.uint32(0), np.float32(recipe.strengths[0]))
  assert set(found) == {"validation", "test"}
  assert set(found["test"]) == {"accuracy", *STATISTICS}


@pytest.mark.parametrize("name", fairness.METHODS)
def test_every_method_can_be_asked_for_its_criteria(table, name):
  recipe = RECIPES[name]
  told = (_fairness.favoured(table),) if recipe.favours else ()
  for criterion in fairness.METHODS[name]:
    if recipe.learn is None:
      assert isinstance(recipe.make(criterion, recipe.strengths[0], *told), rfjax.Transform)
    else:
      learn = lambda given: recipe.learn(criterion, recipe.strengths[0], given)(given)
      said = jax.eval_shape(learn, table.batch)
      assert said.logits.shape == (table.batch.num_rows, 2)


def test_reject_option_takes_from_the_favoured_group_whatever_its_number(table):
  other = table._replace(batch=table.batch.replace(group=1 - table.batch.group))
  assert [_fairness.favoured(t) for t in (table, other)] == [1, 0]
  settings = dataclasses.replace(SMALL, epochs=100)
  train = _fairness.trainer(settings, RECIPES["reject_option"], other)
  found = jax.jit(train)(np.uint32(0), np.float32(0.05))["validation"]
  assert found["demographic_parity"] <= 0.05 + 1e-6  # the bound that it was asked for
  assert found["accuracy"] > 0.7  # of the other group's rows it would take, or leave, nearly all


def test_who_is_favoured_is_not_read_from_the_test_set(table):
  y = table.batch.y.at[-100:].set(1 - table.batch.group[-100:])
  given = table._replace(batch=table.batch.replace(y=y))
  assert [_fairness.favoured(t) for t in (given, given._replace(test_rows=100))] == [0, 1]


def _result(**points):
  """A result of made-up methods, of (validation, test) pairs (disparity, accuracy) [K] each."""
  found = {}
  for name, (validation, test) in points.items():
    parts = {"validation": validation, "test": test}
    values = {
      f"{part}.{measure}": (("strength", "seed"), np.array([[p[i], p[i]] for p in at]))
      for part, at in parts.items()
      for i, measure in enumerate(("demographic_parity", "accuracy"))
    }
    found[name] = xarray.Dataset(values)
  return _fairness.Result(dataclasses.replace(SMALL, tolerance=0.1), found, {})


def test_validation_picks_the_most_accurate_within_the_tolerance_else_the_fairest():
  result = _result(
    a=([(0.3, 0.9), (0.1, 0.7), (0.05, 0.8)], [(0.4, 0.1), (0.3, 0.2), (0.2, 0.3)]),
    b=([(0.3, 0.9), (0.2, 0.7)], [(0.4, 0.1), (0.3, 0.2)]),
  )
  assert _fairness_tables.picked(result, "a").tolist() == [2, 2]
  assert _fairness_tables.picked(result, "b").tolist() == [1, 1]
  assert _fairness_tables.chosen(result, "a", "accuracy").tolist() == [0.3, 0.3]


def test_the_hull_is_the_hull_of_all_that_coins_could_give():
  rng = np.random.default_rng(1)
  points = rng.uniform(size=(30, 2))
  others = rng.uniform(size=(30, 2))  # what validation says makes the hull, and no test set
  result = _result(a=(points[:15], others[:15]), b=(points[15:], others[15:]))
  found = [points[15 * (name == "b") + i] for name, i in _fairness_tables.hull(result)]
  corners = set()
  for angle in np.linspace(0, np.pi / 2, 20_001)[1:-1]:  # the best of every price of fairness
    corners.add(int(np.argmax(points @ [-np.sin(angle), np.cos(angle)])))
  assert {tuple(p) for p in found} == {tuple(points[i]) for i in corners}
  assert (np.diff(np.array(found)[:, 0]) > 0).all()


@pytest.mark.usefixtures("made_up")
def test_a_short_run_makes_a_whole_report(tmp_path):
  result = fairness.run(SMALL, progress=False)
  rows = fairness.rows(result)
  assert len(rows) == 2 * sum(len(RECIPES[name].strengths) for name in result.data)
  first = result.data["gap"].isel(strength=1, seed=1)
  mine = [r for r in rows if r["method"] == "gap" and r["seed"] == 1][1]
  assert mine["strength"] == RECIPES["gap"].strengths[1]
  assert mine["equalized_odds"] == pytest.approx(float(first["test.equalized_odds"]))
  plain, odds = (next(r for r in rows if r["method"] == n) for n in ("plain", "equalized_odds"))
  assert odds["validation_equalized_odds"] < 1e-5 < plain["validation_equalized_odds"]
  page = fairness.report(result, tmp_path)
  text = page.read_text(encoding="utf-8")
  assert "unmitigated" in text and "along the hull of all methods together" in text
  assert (tmp_path / f"{page.stem}.png").exists()
  table = fairness.tables(result)["methods"]
  assert [row[0] for row in table.rows] == ["plain", *SMALL.method.split(",")]


@pytest.mark.parametrize(
  "arguments, name, value",
  [
    ("--method kindness", "method", "kindness"),
    ("--method massaging --criterion equalized_odds", "massaging", "equalized_odds"),
    ("--tolerance -1", "tolerance", "-1"),
    ("--seeds 1", "seeds", "1"),
    ("--learning-rate 0", "learning_rate", "0"),
    ("--data-dir nowhere", "nowhere", "compas"),
  ],
)
def test_bad_input_ends_with_2_and_says_what_is_wrong(arguments, name, value, capsys, monkeypatch):
  monkeypatch.delenv("RFJAX_DATA_DIR", raising=False)
  assert cli.main(["run", "fairness", *arguments.split()]) == 2
  err = capsys.readouterr().err
  assert name in err and value in err and "Traceback" not in err
