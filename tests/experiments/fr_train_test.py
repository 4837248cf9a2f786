"""The FR-Train experiment: bad input, picking, and whole reports of short runs."""

import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax import cli, data
from rfjax._cli import _device
from rfjax.experiments import _fr_train_adult as adult
from rfjax.experiments import _fr_train_common as common
from rfjax.experiments import _fr_train_compas as compas
from rfjax.experiments import _fr_train_init as init
from rfjax.experiments import _fr_train_synthetic as synthetic
from rfjax.experiments import fr_train

Settings = fr_train.Settings

BAD = [
  ("--lambda-f 0.6", "lambda_f + lambda_r", "1.0"),
  ("--lambda-f 0.5 --lambda-r 0.5", "lambda_f + lambda_r", "1.0"),
  ("--lambda-f -0.1", "lambda_f", "-0.1"),
  ("--lambda-r -2", "lambda_r", "-2"),
  ("--seeds -1", "seeds", "-1"),
  ("--seeds 0", "seeds", "0"),
  ("--seeds 4294967297", "seeds", "4294967297"),
  ("--data census", "data", "census"),
  ("--init missing.npz", "init", "missing.npz"),
  ("--data compas --data-dir nowhere", "nowhere", "compas"),
  ("--data compas --variant clean", "variant", "clean"),
  ("--data compas --init a.npz", "init", "a.npz"),
  ("--data adult --variant clean", "variant", "adult"),
  ("--data adult --attribute race", "attribute", "race"),
  ("--lanes 0", "lanes", "0"),
  ("--block 3", "block", "3"),
  ("--lambda-f much", "lambda-f", "much"),
]


@pytest.mark.parametrize("arguments, name, value", BAD)
def test_bad_input_ends_with_2_and_says_what_is_wrong(
  arguments, name, value, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(_device, "prepare", lambda distributed: "")
  monkeypatch.delenv("RFJAX_DATA_DIR", raising=False)
  monkeypatch.setattr(common, "train", lambda *args, **kwargs: pytest.fail("it trained"))
  assert cli.main(["run", "fr-train", *arguments.split()]) == 2
  out, err = capsys.readouterr()
  assert name in err and value in err and "Traceback" not in err and not out
  assert not list(tmp_path.iterdir())


def _save(path, **changes):
  arrays = {name: np.zeros(shape, np.float32) for name, shape in init.SHAPES.items()} | changes
  np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
  return path


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"generator_kernel": None}, "must hold generator_kernel.*got fairness_kernel"),
    ({"more": np.zeros(1)}, "must hold .*more"),
    ({"fairness_kernel": np.zeros((2, 1))}, r"fairness_kernel must .*\(1, 1\).*\(2, 1\)"),
    ({"fairness_kernel": np.full((1, 1), np.nan)}, "fairness_kernel must be finite"),
    ({"robustness_kernel_2": np.zeros((16, 1), int)}, "robustness_kernel_2 must be finite floats"),
    ({"fairness_kernel": np.array([[None]])}, "no readable .npz"),
  ],
)
def test_initial_weights_of_another_layout_are_refused(changes, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    init.read(_save(tmp_path / "init.npz", **changes))


def test_a_file_that_is_no_npz_is_refused(tmp_path):
  path = tmp_path / "init.npz"
  path.write_text("no weights")
  with pytest.raises(ValueError, match=r"no readable \.npz"):
    init.read(path)


def test_the_official_weights_are_84_numbers():
  start = init.read(init.OFFICIAL)
  kernels = (start.params["kernel"], *(p["kernel"] for p in start.players[1].values()))
  assert sum(k.size for k in kernels) + start.players[0]["kernel"].size == 84


def test_picks_the_most_accurate_fair_setting_or_the_fairest():
  accuracy = np.array([[0.9, 0.8, 0.7], [0.9, 0.8, 0.7], [0.5, 0.6, 0.6]])
  impact = np.array([[0.7, 0.8, 0.95], [0.5, 0.4, 0.79], [0.8, 0.81, 0.9]])
  np.testing.assert_array_equal(compas.select(accuracy, impact), [1, 2, 1])


@pytest.fixture
def short(monkeypatch):
  """Schedules of a few steps."""
  monkeypatch.setattr(common, "WARMUP", 2)
  schedules = {name: s._replace(epochs=12) for name, s in common.SCHEDULES.items()}
  monkeypatch.setattr(common, "SCHEDULES", schedules)


def test_synthetic_report_counts_what_agrees(short, tmp_path):
  settings = Settings(lambda_f=(0.1, 0.3), init=init.OFFICIAL, seeds=3)
  result = fr_train.run(settings, progress=False)
  rows = fr_train.rows(result)
  assert [row["seed"] for row in rows] == [None, None, 0, 1, 2, 0, 1, 2]
  assert synthetic._agreement(result) == (0, 2), "12 epochs must not reach the published points"
  page = fr_train.report(result, tmp_path).read_text(encoding="utf-8")
  assert "0 of 2 published points" in page and "<script" not in page
  table = fr_train.tables(result)["points"].to_csv()
  assert table.splitlines()[0].startswith("λ_f,accuracy published,DI published")
  assert {path.suffix for path in tmp_path.iterdir()} == {".html", ".md", ".csv", ".json", ".png"}
  again = fr_train.run(settings, progress=False)
  assert fr_train.rows(again) == rows


@pytest.mark.skipif(not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set")
def test_compas_report_compares_by_pairs(short, tmp_path):
  settings = Settings(data="compas", lambda_f=(0.3,), seeds=3)
  result = fr_train.run(settings, progress=False)
  assert len(fr_train.rows(result)) == 2 * 2 * 3
  found = compas._chosen(result)
  assert tuple(found) == (compas.CONSTANT, compas.CLEAN, "plain", "fairness only",
                          "robustness only", "FR-Train")  # fmt: skip
  gap = found["FR-Train"]["accuracy"] - found["plain"]["accuracy"]
  text = compas.sentences(result)[0]
  assert f"{gap.mean():+.3f}" in text
  page = fr_train.report(result, tmp_path).read_text(encoding="utf-8")
  assert "constant answer" in page and "among men" in page


def test_validation_sets_are_the_first_rows_with_the_labels_of_either():
  truth, crowd = np.arange(40) % 2, np.arange(40) % 3 == 0
  table = data.Table(
    rfjax.Batch.from_arrays(
      np.arange(40.0)[:, None], crowd.astype(int), np.arange(40) // 20,
      truth=rfjax.Truth(y=jnp.asarray(truth)),
    )
  )  # fmt: skip
  split, _ = adult._split(table, 3)
  at = lambda rows: np.asarray(rows.x)[:, 0].astype(int)
  np.testing.assert_array_equal(split.train.y, truth[at(split.train)])
  np.testing.assert_array_equal(split.test.y, truth[at(split.test)])
  for said, who in ((truth, 0), (crowd, 1)):
    trusted = adult._trusted(split, 0.05, who)
    np.testing.assert_array_equal(trusted.valid, [True, False, False, False])
    np.testing.assert_array_equal(trusted.y, said[at(split.validation)])


@pytest.mark.skipif(not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR is not set")
def test_adult_report_compares_validation_sets(short, tmp_path):
  settings = Settings(data="adult", lambda_f=(0.3, 0.5), seeds=2)
  result = fr_train.run(settings, progress=False)
  rows = fr_train.rows(result)
  assert len(rows) == 3 * 2 * (1 + 6)
  found = adult._chosen(result)["FR-Train", 0.05, "crowd"]
  mine = [
    r for r in rows
    if r["lambda_r"] and r["validation_share"] == 0.05 and r["validation_labels"] == "crowd"
  ]  # fmt: skip
  for seed, (fair, accuracy) in enumerate(zip(found["λ_f"], found["accuracy"], strict=True)):
    of = [r for r in mine if r["seed"] == seed and r["lambda_f"] > 0]
    allowed = [r for r in of if r["validation_disparate_impact"] >= 0.8]
    best = max(allowed, key=lambda r: r["validation_accuracy"]) if allowed else (
      max(of, key=lambda r: r["validation_disparate_impact"])
    )  # fmt: skip
    assert (best["lambda_f"], best["accuracy"]) == (fair, accuracy)
  page = fr_train.report(result, tmp_path).read_text(encoding="utf-8")
  assert "FR-Train, 1% crowd" in page and "fairness only" in page


def test_settings_files_of_the_repository_are_read(monkeypatch, capsys):
  monkeypatch.setattr(_device, "prepare", lambda distributed: "")
  files = sorted((pathlib.Path(__file__).parents[2] / "experiments").glob("*/*.toml"))
  assert len(files) >= 5
  for path in files:
    assert cli.main(["run", str(path), "--seeds", "-1"]) == 2
    assert "seeds must be an integer of at least" in capsys.readouterr().err
