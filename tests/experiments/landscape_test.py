"""The landscape: what goes wrong with its data, who is needed, and a whole report of short runs."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import rfjax
from rfjax import cli, data
from rfjax.core._sweep import stored_in
from rfjax.experiments import _landscape, _landscape_tables, landscape
from rfjax.experiments._landscape import RECIPES, Wrong

SMALL = landscape.Settings(
  label_noise=(0.0, 0.2), attribute_noise=(0.0,), bias=(0.0, 0.4), epochs=4, rows=200, seeds=2
)


@pytest.fixture(scope="module")
def rows():
  return jax.device_get(jax.jit(lambda: data.zafar(jax.random.key(0), 4000))())


@pytest.fixture(scope="module")
def spoil():
  @jax.jit
  def act(rows, label_noise, attribute_noise, bias):
    wrong = Wrong(label_noise, attribute_noise)
    return _landscape.spoiled(rows, 1, wrong, bias, jax.random.key(1))

  return lambda *given: jax.device_get(act(*given))


def test_every_method_has_a_recipe_of_a_family():
  assert set(RECIPES) == set(landscape.METHODS)
  assert set(landscape.METHODS.values()) == set(landscape.FAMILIES)


@pytest.mark.parametrize("name", landscape.METHODS)
def test_every_method_trains(name):
  train = _landscape.trainer(SMALL, name, None, 1)
  found = jax.eval_shape(train, 0.1, 0.2, 0.3, np.uint32(0))
  assert set(found) == {"accuracy", "disparity"}


def test_rows_of_a_table_are_standardised_by_the_training_part(monkeypatch):
  rng = np.random.default_rng(0)
  group = np.arange(400) % 2
  x = np.stack([rng.normal(size=400) * 10 + 50 + group, group], axis=1)
  batch = rfjax.Batch.from_arrays(x, (x[:, 0] > 50).astype(int), group)
  table = data.Table(batch, names=("wide", "group"), numeric=(0,))
  seen = []
  split = data.split
  monkeypatch.setattr(
    _landscape.data, "split", lambda *a, **k: seen.append(split(*a, **k)) or seen[0]
  )
  settings = dataclasses.replace(SMALL, data="compas", epochs=1)
  train = _landscape.trainer(settings, "plain", table, 1)
  parts = jax.jit(lambda seed: (train(0.0, 0.0, 0.0, seed), seen[0])[1])(np.uint32(0))
  assert len(seen) == 1
  assert sum(part.num_rows for part in parts) == settings.rows == 200
  np.testing.assert_allclose(parts.train.x[:, 0].mean(), 0, atol=1e-5)
  np.testing.assert_allclose(parts.train.x[:, 0].std(), 1, atol=1e-5)
  assert abs(parts.test.x[:, 0].mean()) > 1e-3
  whole = dataclasses.replace(settings, rows=0)
  assert _landscape._rows(whole, table, jax.random.key(0)).num_rows == 400


def test_faults_are_of_the_rows_that_they_are_said_to_be_of(rows, spoil):
  y, group = np.asarray(rows.y), np.asarray(rows.group)
  clean = spoil(rows, 0.0, 0.0, 0.0)
  assert (clean.y == y).all() and (clean.group == group).all()
  biased = np.asarray(spoil(rows, 0.0, 0.0, 0.4).y)
  assert (biased[group == 1] == y[group == 1]).all() and (biased[y == 0] == 0).all()
  assert np.mean(biased[(group == 0) & (y == 1)] == 0) == pytest.approx(0.4, abs=0.05)
  flipped = np.asarray(spoil(rows, 0.1, 0.0, 0.0).y)
  assert (flipped != y).sum() == 400 and (group[flipped != y] == 1).all()
  moved = spoil(rows, 0.0, 0.25, 0.0)
  assert np.mean(np.asarray(moved.group) != group) == pytest.approx(0.25, abs=0.03)
  assert (moved.truth.group == group).all() and (moved.truth.y == y).all()


def test_higher_rates_strike_the_rows_of_lower_ones(rows, spoil):
  low, high = spoil(rows, 0.0, 0.1, 0.2), spoil(rows, 0.0, 0.3, 0.4)
  for name in ("y", "group"):
    true = getattr(rows, name)
    struck = [np.asarray(getattr(r, name) != true) for r in (low, high)]
    assert 0 < struck[0].sum() < struck[1].sum() and not (struck[0] & ~struck[1]).any()


def test_the_correction_is_told_the_noise():
  @jax.jit
  def penalties():
    flow = data.zafar(jax.random.key(2), 50).fill(jnp.zeros((50, 2)))
    logits = jax.random.normal(jax.random.key(3), (50, 2))
    given = lambda name, rate: (
      RECIPES[name](SMALL, Wrong(0.0, rate))
      .update(flow.fill(logits), (), None, key=jax.random.key(0), step=0, epoch=0, forward=None)[0]
      .penalty
    )
    return given("corrected_gap", 0.0), given("corrected_gap", 0.3), given("gap", 0.3)

  untold, told, naive = penalties()
  np.testing.assert_allclose(untold, naive, rtol=1e-5)
  assert told > naive


def _made_up(chance=-10.0, **scores):
  """A result of (accuracy, disparity) [cells, 2] a method; seeds differ alike in all of them."""
  found = {}
  dims = ("label_noise", "attribute_noise", "bias", "seed")
  for name, cells in scores.items():
    seeds = np.array([[c, (c[0] + 0.1, c[1])] for c in cells])  # [cells, seeds, 2]
    shape = (2, 1, 2, 2)
    values = {m: seeds[..., i].reshape(shape) for i, m in enumerate(("accuracy", "disparity"))}
    found[name] = xarray.Dataset({m: (dims, v) for m, v in values.items()})
  return _landscape.Result(SMALL, found, chance, {})


def test_the_simplest_family_that_is_enough_is_named():
  result = _made_up(
    plain=[(0.8, 0.0), (0.8, 0.3), (0.6, 0.1), (0.6, 0.4)],
    small_loss=[(0.8, 0.0), (0.8, 0.3), (0.8, 0.1), (0.7, 0.3)],
    gap=[(0.8, 0.0), (0.8, 0.1), (0.6, 0.0), (0.7, 0.2)],
    fair_robust=[(0.8, 0.0), (0.8, 0.1), (0.8, 0.1), (0.8, 0.1)],
  )
  families = list(_landscape_tables.speakers(result))
  assert families == ["plain", "robust", "fair", "both"]
  named = [families[i] for i in _landscape_tables.needed(result).ravel()]
  assert named == ["plain", "fair", "robust", "both"]


def test_a_difference_within_its_interval_needs_nobody():
  result = _made_up(plain=[(0.8, 0.2)] * 4, gap=[(0.8, 0.2)] * 4)
  noisy = result.data["gap"]["accuracy"].values
  noisy += np.array([-0.1, 0.12])  # better in the mean, and not in every seed
  assert (_landscape_tables.needed(result) == 0).all()


def test_cells_are_marked_where_no_family_is_better_than_the_same_answer():
  scores = {"plain": [(0.5, 0.4)] * 4, "gap": [(0.5, 0.3), (0.9, 0.1), (0.9, 0.1), (0.5, 0.0)]}
  result = _made_up(chance=0.6, **scores)
  result.data["gap"]["accuracy"].values[..., 1] -= 0.1  # now seeds are alike
  np.testing.assert_array_equal(
    _landscape_tables.in_vain(result).ravel(), [True, False, False, True]
  )
  made = _landscape_tables.tables(result)["landscape"].to_csv()
  assert made.count("*") == 2


def test_a_short_run_makes_a_whole_report_and_goes_on_from_its_store(tmp_path, capsys):
  settings = dataclasses.replace(SMALL, method="plain,gap")
  with stored_in(tmp_path / "store"):
    result = landscape.run(settings, progress=False)
  rows = landscape.rows(result)
  assert len(rows) == 2 * 2 * 1 * 2 * 2
  one = result.data["gap"].isel(label_noise=1, attribute_noise=0, bias=1, seed=1)
  mine = next(
    r for r in rows if (r["method"], r["label_noise"], r["bias"], r["seed"]) == ("gap", 0.2, 0.4, 1)
  )
  assert mine["disparity"] == pytest.approx(float(one["disparity"]))
  page = landscape.report(result, tmp_path)
  assert "Which corner needs which family" in page.read_text(encoding="utf-8")
  arguments = (
    "sweep landscape --method gap --label-noise 0 0.2 --attribute-noise 0 --bias 0 0.4 --epochs 4"
    f" --rows 200 --seeds 2 --json --no-progress --store {tmp_path / 'store'} --out {tmp_path}"
  )
  assert cli.main(arguments.split()) == 0
  told = json.loads(capsys.readouterr().out)["rows"]
  assert told == [r for r in rows if r["method"] == "gap"]


@pytest.mark.parametrize(
  "arguments, name, value",
  [
    ("--method kindness", "method", "kindness"),
    ("--label-noise 1.5", "label_noise", "1.5"),
    ("--attribute-noise 0.5", "attribute_noise", "0.5"),
    ("--bias 0 0", "bias", "(0.0, 0.0)"),
    ("--rows 10", "rows", "10"),
    ("--seeds 1", "seeds", "1"),
    ("--data compas --data-dir nowhere", "nowhere", "compas"),
  ],
)
def test_bad_input_ends_with_2_and_says_what_is_wrong(arguments, name, value, capsys, monkeypatch):
  monkeypatch.delenv("RFJAX_DATA_DIR", raising=False)
  assert cli.main(["run", "landscape", *arguments.split()]) == 2
  err = capsys.readouterr().err
  assert name in err and value in err and "Traceback" not in err
