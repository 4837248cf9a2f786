"""Thresholds by race: a small run on made-up rows against loops, its page, and what is refused."""

import csv
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import data
from rfjax.experiments import _hardt, hardt

needs_files = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR names no folder of data"
)
SETTINGS = hardt.Settings(false_positive_cost=2.0, grid_size=50, seeds=2)
ROWS = 160


def made_up(data_dir):
  """Two groups, of which the first has lower scores; the last column is a score from 1 to 10."""
  rng = np.random.default_rng(0)
  group = np.arange(ROWS) % 2
  y = (rng.random(ROWS) < 0.4 + 0.2 * group).astype(int)
  x = rng.normal(size=(ROWS, 2)) + y[:, None] + 0.5 * group[:, None]
  decile = np.clip(np.round(5.5 - 2 * (y - 0.5) - group + rng.normal(size=ROWS)), 1, 10)
  batch = rfjax.Batch.from_arrays(np.append(x, decile[:, None], axis=1), y, group)
  return data.Table(batch, ("a", "b", "decile_score"), (0, 1), groups=("North", "South"))


@pytest.fixture(scope="module")
def result():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(_hardt, "read", made_up)
    found = hardt.run(SETTINGS, progress=False)
  return found


def best(score, y, cost):
  """The threshold of least loss, by a loop over what lies in the middle between two scores."""
  known = np.unique(score)
  cuts = [np.inf, *((known[1:] + known[:-1]) / 2)[::-1], -np.inf]  # of equal ones the highest
  loss = [cost * ((score > c) & (y == 0)).sum() + ((score <= c) & (y == 1)).sum() for c in cuts]
  return cuts[np.argmin(loss)]


def test_thresholds_on_scores_are_those_of_a_loop(result):
  rows = {
    (r["decisions"], r["group"], r["seed"]): r
    for r in hardt.rows(result)
    if r["scores"] == "COMPAS score"
  }
  for seed in (0, 1):
    parts = data.split(made_up(None), key=jax.random.key(seed), fractions=(0.2, 0.3, 0.5))
    fitting, held_out = (
      [np.asarray(v) for v in (-p.x[:, -1], p.y, p.group)] for p in (parts.validation, parts.test)
    )
    for decisions in ("single threshold", "maximum profit"):
      for g, name in enumerate(result.groups):
        of = slice(None) if decisions == "single threshold" else fitting[2] == g
        score, y = (v[held_out[2] == g] for v in held_out[:2])
        above = score > best(fitting[0][of], fitting[1][of], 2.0)
        found = rows[decisions, name, seed]
        assert found["accuracy"] == pytest.approx((above == y).mean())
        assert found["true_positive_rate"] == pytest.approx(above[y == 1].mean())
        assert found["false_positive_rate"] == pytest.approx(above[y == 0].mean())
        assert found["selection_rate"] == pytest.approx(above.mean())
        wrong = 2 * (above & (y == 0)).sum() + (~above & (y == 1)).sum()
        assert found["loss"] == pytest.approx(wrong / len(y))


def test_what_all_groups_have_is_the_mean_of_the_groups(result):
  rows = hardt.rows(result)
  assert len(rows) == 2 * 5 * 3 * 2
  sizes = {}  # of the groups on the held-out halves: all rows, and those of each label
  for seed in (0, 1):
    split = data.split(made_up(None), key=jax.random.key(seed), fractions=(0.2, 0.3, 0.5))
    y, group = (np.asarray(v) for v in (split.test.y, split.test.group))
    sizes[seed] = {label: [(group[y == label] == g).sum() for g in (0, 1)] for label in (0, 1)}
    sizes[seed][None] = [(group == g).sum() for g in (0, 1)]
  counted = {"true_positive_rate": 1, "false_positive_rate": 0}
  for block in range(0, len(rows), 6):  # of one way to decide: both runs of all, and of each group
    for every, one, two in zip(*(rows[block + i : block + i + 2] for i in (0, 2, 4)), strict=True):
      assert [r["group"] for r in (every, one, two)] == ["all", *result.groups]
      assert len({(r["scores"], r["decisions"], r["seed"]) for r in (every, one, two)}) == 1
      for measure in _hardt.MEASURES:
        weights = sizes[every["seed"]][counted.get(measure)]
        mean = np.average([one[measure], two[measure]], weights=weights)
        assert every[measure] == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("name", _hardt.SCORES)
def test_what_is_fitted_on_the_rows_shown_is_equal_and_within_the_hulls(result, name):
  curves = _hardt.curves(result, name)
  of = dict(zip(_hardt.DECISIONS, curves.points, strict=True))
  assert np.ptp(of["equal opportunity"][:, 1]) < 1e-5
  assert np.ptp(of["equalized odds"], axis=0).max() < 1e-5
  assert np.ptp(of["maximum profit"], axis=0).max() > 0.05
  grid = np.linspace(0, 1, curves.hull.shape[1])
  for g in range(2):
    assert (curves.curve[g] <= curves.hull[g] + 5e-3).all()
    for x, y in curves.points[:, g]:
      assert y <= np.interp(x, grid, curves.hull[g]) + 5e-3  # corners lie between grid places
    assert (np.diff(curves.curve[g]) >= -1e-6).all()
    assert (np.diff(curves.hull[g], 2) < 1e-5).all()
  x, y = of["equalized odds"][0]
  np.testing.assert_allclose(y, np.interp(x, grid, curves.hull.min(0)), atol=5e-3)


def test_the_curve_joins_the_thresholds(result):
  rows = data.split(made_up(None), key=jax.random.key(0), fractions=(0.2, 0.3, 0.5)).validation
  score, y, group = (np.asarray(v) for v in (-rows.x[:, -1], rows.y, rows.group))
  curve = _hardt.curves(result, "COMPAS score").curve
  grid = np.linspace(0, 1, curve.shape[1])
  for g in range(2):
    cuts = [np.inf, *np.unique(score[group == g])[::-1]]
    x, t = (np.array([(score[(group == g) & (y == a)] >= c).mean() for c in cuts]) for a in (0, 1))
    inside = np.abs(grid[:, None] - x).min(axis=1) > 1e-4  # a curve may rise at a corner
    np.testing.assert_allclose(curve[g][inside], np.interp(grid, x, t)[inside], atol=1e-5)


def test_the_page_has_figures_tables_and_the_gaps(result, tmp_path):
  page = hardt.report(result, tmp_path)
  text = page.read_text(encoding="utf-8")
  assert text.count("<figure>") == 2 and text.count("<table") == 4
  assert "South less North" in text and page.with_suffix(".png").is_file()
  tables = hardt.tables(result)
  gaps = {row[0]: row for row in tables["gaps-COMPAS"].rows}
  rates = {row[:2]: row for row in tables["rates-COMPAS"].rows}
  one, two = (rates["single threshold", g][3].mean for g in result.groups)
  assert gaps["single threshold"][3].mean == pytest.approx(two - one)
  assert gaps["maximum profit"][2].mean == gaps["maximum profit"][2].half_width == 0


@pytest.mark.parametrize(
  "bad", [{"false_positive_cost": 0.0}, {"grid_size": 0}, {"seeds": 1}, {"seeds": 2**33}]
)
def test_settings_out_of_range_are_refused(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    hardt.run(hardt.Settings(**bad))


@needs_files
def test_the_decile_score_stands_beside_its_row():
  """Rates of those called medium or high risk, counted from the file by another way."""
  path = pathlib.Path(os.environ["RFJAX_DATA_DIR"], "compas", "compas-scores-two-years.csv")
  with path.open(encoding="utf-8") as file:
    kept = [
      row
      for row in csv.DictReader(file)
      if row["days_b_screening_arrest"]
      and abs(int(row["days_b_screening_arrest"])) <= 30
      and row["is_recid"] != "-1"
      and row["c_charge_degree"] != "O"
      and row["score_text"] != "N/A"
    ]
  table = _hardt.read(None)
  assert table.batch.num_rows == 5278
  decile, y, group = (
    np.asarray(v) for v in (table.batch.x[:, -1], table.batch.y, table.batch.group)
  )
  for g, race in enumerate(("African-American", "Caucasian")):
    for label, offended in ((1, "0"), (0, "1")):
      of = [r for r in kept if r["race"] == race and r["two_year_recid"] == offended]
      high = np.mean([int(r["decile_score"]) >= 5 for r in of])
      np.testing.assert_allclose((decile[(group == g) & (y == label)] >= 5).mean(), high)
  assert jnp.all(table.batch.x[:, -1] >= 1) and jnp.all(table.batch.x[:, -1] <= 10)
