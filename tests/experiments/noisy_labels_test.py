"""The noisy-labels experiment: its methods, a small run, its rows and page, and what it refuses."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, metrics
from rfjax.experiments import (
  _noisy_labels,
  _noisy_labels_methods,
  _noisy_labels_tables,
  noisy_labels,
)
from rfjax.experiments._noisy_labels_methods import RECIPES

SMALL = noisy_labels.Settings(
  data="mnist",
  images=60,
  rate=0.4,
  method="gce,npcl,cdr,small_loss,selfie,morph_alone",
  epochs=12,
  batch_size=18,
  seeds=2,
)
RATED = ("npcl", "cdr", "small_loss", "selfie")


@pytest.fixture(scope="module")
def pictures(made_up):
  with made_up(80):
    yield


@pytest.fixture(scope="module")
def result(pictures):
  return noisy_labels.run(SMALL, progress=False)


@pytest.mark.parametrize(("optimizer", "last"), [("sgd", 0.0), ("adam", 0.1)])
def test_the_rate_of_sgd_falls_to_0_and_that_of_adam_stays(optimizer, last):
  settings = dataclasses.replace(SMALL, optimizer=optimizer, learning_rate=0.1)
  tx, steps = _noisy_labels._optimizer(settings, 9), []
  params, state = np.zeros(1), None
  state, step = tx.init(params), jax.jit(tx.update)
  for _ in range(10):
    update, state = step(np.ones(1) * (not steps), state, params)  # one push, then none
    steps.append(float(-update[0]))
  assert steps[0] == pytest.approx(0.1, rel=1e-4)
  assert (steps[-1] == pytest.approx(0.0, abs=1e-6)) == (last == 0.0)


def test_every_named_method_has_a_recipe():
  assert tuple(RECIPES) == noisy_labels.METHODS


@pytest.mark.parametrize("name", noisy_labels.METHODS)
def test_every_method_is_traced(pictures, name):
  settings = dataclasses.replace(SMALL, noise="pair", epochs=4)
  split = _noisy_labels.data.load("mnist", fractions=(1.0, 0.0))
  train = _noisy_labels._trainer(settings, RECIPES[name], split.train, split.test)
  found = jax.eval_shape(train, np.uint32(0), np.float32(0.4))
  assert found["test"].shape == found["memorized"].shape == (4,)


def test_rows_pick_by_validation_and_share_the_noise(result):
  rows = noisy_labels.rows(result)
  assert [r["method"] for r in rows[::2]] == ["cross_entropy", *SMALL.method.split(",")]
  for seed in (0, 1):
    mine = [r for r in rows if r["seed"] == seed]
    assert len({r["label_hash"] for r in mine}) == len({r["label_rate"] for r in mine}) == 1
    assert 0.2 < mine[0]["label_rate"] < 0.6
  for row in rows:
    i = row["seed"]
    curve = {m: result.data[row["method"]][m].values[i] for m in ("validation", "test")}
    assert row["last"] == pytest.approx(curve["test"][-1])
    assert row["best"] == pytest.approx(curve["test"].max())
    assert curve["validation"][row["selected_epoch"] - 1] == curve["validation"].max()
    assert row["selected"] == pytest.approx(curve["test"][row["selected_epoch"] - 1])
    assert (row["told"] == "rate") == (row["method"] in RATED)


def test_the_tables_have_paired_differences_to_the_baseline(result):
  tables, rows = noisy_labels.tables(result), noisy_labels.rows(result)
  names = ("cross_entropy", "small_loss", "gce")
  for table, kind, column in (("last", "last", 3), ("selected", "selected", 2)):
    values = {n: [r[kind] for r in rows if r["method"] == n] for n in names}
    cells = {row[0]: row for row in tables[table].rows}
    assert cells["gce"][column - 1].mean == pytest.approx(np.mean(values["gce"]))
    for rival, at in (("cross_entropy", column), ("small_loss", column + 1)):
      difference = np.mean(np.subtract(values["gce"], values[rival]))
      assert cells["gce"][at].mean == pytest.approx(difference)
      assert cells[rival][at].mean == cells[rival][at].half_width == 0


def test_choices_are_told_of_what_keeps_or_relabels(result):
  tables = noisy_labels.tables(result)
  cells = {row[0]: row for row in tables["kept"].rows}
  assert "small_loss" in cells and not {"cross_entropy", "gce"} & set(cells)
  assert [row[0] for row in tables["relabelled"].rows] == ["selfie"]
  kept, precision, recall, f1 = (cells["small_loss"][i].mean for i in (1, 2, 3, 4))
  assert 0.4 < kept < 0.8  # of batches of 18, 18 and 18 rows, each 0.6 rounded down
  rates = result.data["cross_entropy"].label_rate.values
  assert recall == pytest.approx(np.mean(precision * kept / (1 - rates)), abs=0.05)
  assert min(precision, recall) <= f1 <= max(precision, recall)


def test_transitions_stand_beside_the_crossing_of_plain_training(result):
  (row,) = noisy_labels.tables(result)["transition"].rows
  table, plain = result.data["morph_alone"], result.data["cross_entropy"]
  stopped = table.stopped.values[:, -1]
  assert row[2] == ", ".join(map(str, stopped))
  crossing = _noisy_labels_tables.crossings(result)
  for seed, at in enumerate(crossing):
    met = plain.fitted_recall.values[seed] >= plain.fitted_precision.values[seed]
    assert (at == 0 and not met.any()) or (met[at - 1] and not met[: at - 1].any())
  # Up to its transition MORPH is plain training.
  for seed, epochs in enumerate(stopped):
    same = None if epochs < 0 else int(epochs)
    np.testing.assert_allclose(
      table.test.values[seed, :same], plain.test.values[seed, :same], atol=1e-6
    )


def test_the_gap_to_true_labels_is_told_where_they_are_run(result):
  assert "gap" not in noisy_labels.tables(result)
  data = dict(result.data) | {"true_labels": result.data["cross_entropy"].copy(deep=True)}
  data["true_labels"].test.values[:, -1] = [1.0, 0.9]
  data["cross_entropy"] = data["cross_entropy"].copy(deep=True)
  data["cross_entropy"].test.values[:, -1] = [0.5, 0.4]
  data["gce"] = data["gce"].copy(deep=True)
  data["gce"].test.values[:, -1] = [0.9, 0.8]
  cells = {row[0]: row[1] for row in noisy_labels.tables(result._replace(data=data))["gap"].rows}
  assert cells["gce"].mean == pytest.approx(0.8)
  assert not {"cross_entropy", "true_labels"} & set(cells)


def test_an_oracle_learns_from_the_true_labels(pictures):
  settings = dataclasses.replace(SMALL, method="true_labels", rate=0.9, noise="permuted")
  found = noisy_labels.run(settings, progress=False)
  ends = {name: table.test.values[:, -1].mean() for name, table in found.data.items()}
  assert ends["true_labels"] > ends["cross_entropy"] + 0.3


def test_reeds_matrix_is_that_of_the_noise():
  matrix = np.asarray(_noisy_labels_methods.transition("permuted", 0.46, "mnist"))
  np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
  np.testing.assert_allclose(np.diag(matrix), 0.54, rtol=1e-6)
  assert [int(np.argsort(row)[-2]) for row in matrix] == [7, 9, 0, 4, 2, 1, 3, 5, 6, 8]
  pair = np.asarray(_noisy_labels_methods.transition("pair", 0.4, "mnist"))
  np.testing.assert_allclose([pair[i, (i + 1) % 10] for i in range(10)], 0.4, rtol=1e-6)


@pytest.mark.parametrize("data", ["mnist", "fashion_mnist"])
def test_asymmetric_noise_strikes_half_of_the_classes(data):
  matrix = np.asarray(_noisy_labels_methods.transition("asymmetric", 0.4, data))
  np.testing.assert_allclose(1 - np.diag(matrix).mean(), 0.2, rtol=1e-6)


def test_collapses_are_told_with_their_step(result):
  broken = dict(result.data)
  broken["gce"] = broken["gce"].copy(deep=True)
  broken["gce"].diverged_step.values[1, -1] = 7
  notes = noisy_labels.tables(result._replace(data=broken))["last"].notes
  assert "gce diverged first in seed 1 (step 7)." in notes
  assert noisy_labels.tables(result)["last"].notes[1:] == (
    "Trained for longer than 12 epochs: selfie 3 times.",
  )


def test_cross_entropy_learns_and_memorizes(result):
  table = result.data["cross_entropy"]
  assert (table.test.values.max(axis=1) > 0.5).all()
  assert (table.memorized.values[:, -1] > table.memorized.values[:, 0]).all()


def test_the_page_has_tables_and_figures(result, tmp_path):
  page = noisy_labels.report(result, tmp_path)
  text = page.read_text(encoding="utf-8")
  assert text.count("<figure>") == 2 and text.count("<table") == 5
  assert "npcl" in text and page.with_suffix(".png").is_file()


@pytest.mark.parametrize(
  ("bad", "match"),
  [
    ({"method": "gcee"}, "unknown method 'gcee': did you mean 'gce'"),
    ({"rate": 1.0}, "rate"),
    ({"images": 9}, "images"),
    ({"batch_size": 9001}, "batch_size must be at most the 9000"),
    ({"learning_rate": 0.0}, "learning_rate"),
    ({"seeds": 1}, "seeds"),
    ({"epochs": 0}, "epochs"),
  ],
)
def test_settings_out_of_range_are_refused(bad, match):
  with pytest.raises(ValueError, match=match):
    noisy_labels.run(noisy_labels.Settings(**bad))


def test_the_cycles_of_o2u_are_of_batches():
  method = RECIPES["o2u"].rounds(
    _noisy_labels_methods.Run(0.4, "pair", np.eye(10), epochs=3, steps=15, rows=20)
  )
  x = np.zeros((20, 2), np.float32)
  data = rfjax.Batch.from_arrays(x, np.arange(20) % 10, num_classes=10)

  @jax.jit
  def train(data):
    _, log = method(
      architectures.logistic(10), optax.scale_by_schedule(lambda step: 0.0), data, epochs=3,
      batch_size=4, key=jax.random.key(0), after=metrics.watch(),
      observe=lambda state, view: optax.tree_utils.tree_get(state.opt, "count"),
    )  # fmt: skip
    return log.observed

  assert train(data).tolist() == 3 * [5, 10, 15]


def test_a_rate_by_the_epoch_is_one_by_the_step_where_epochs_are_alike():
  settings = dataclasses.replace(SMALL, epochs=3, learning_rate=0.1)
  params = np.ones(1)
  for by_epoch, steps in ((True, 3), (False, 3)):
    tx = _noisy_labels._optimizer(settings, steps, by_epoch=by_epoch)
    tx, state = optax.with_extra_args_support(tx), None
    state, moves, step = tx.init(params), [], jax.jit(tx.update)
    for epoch in range(4):
      update, state = step(np.ones(1), state, params, epoch=epoch)
      moves.append(float(update[0]))
    if by_epoch:
      first = moves
  np.testing.assert_allclose(moves, first, rtol=1e-6)
  assert moves[-1] == 0 > moves[0]


def test_shares_of_nothing_are_left_out(result):
  data = dict(result.data)
  data["selfie"] = data["selfie"].copy(deep=True)
  data["selfie"].relabelled.values[:, -1] = [0.3, 0.0]
  (row,) = noisy_labels.tables(result._replace(data=data))["relabelled"].rows
  assert row[1].mean == pytest.approx(0.15) and row[2] is None
