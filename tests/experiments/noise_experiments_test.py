"""Memorization and crowd: small runs, their rows and pages, and what is refused."""

import os

import numpy as np
import pytest

from rfjax.experiments import crowd, memorization

needs_files = pytest.mark.skipif(
  not os.environ.get("RFJAX_DATA_DIR"), reason="RFJAX_DATA_DIR names no folder of data"
)


@pytest.fixture(scope="module")
def memorized(made_up, tmp_path_factory):
  """The experiment on 40 made-up pictures of 28 x 28, whose labels can be learned."""
  with made_up(60):
    settings = memorization.Settings(
      data="mnist", images=40, rates=(0.25,), hidden=32, epochs=25, batch_size=10, seeds=2
    )
    result = memorization.run(settings, progress=False)
  return result, memorization.report(result, tmp_path_factory.mktemp("out"))


def test_every_variant_has_a_row_a_seed(memorized):
  rows = memorization.rows(memorized[0])
  assert len(rows) == 2 * (4 + 3)
  found = {(row["pictures"], row["rate"]) for row in rows}
  labels = {("as they are", rate) for rate in (0.0, 0.25, 0.5, 1.0)}
  assert found == labels | {
    (p, 0.0) for p in ("shuffled pixels", "random pixels", "Gaussian pictures")
  }


def test_the_network_fits_all_and_generalises_from_true_labels_alone(memorized):
  by = {(r["pictures"], r["rate"], r["seed"]): r for r in memorization.rows(memorized[0])}
  for row in by.values():
    assert row["train_accuracy"] >= 0.99 and row["epochs_to_fit"] <= 15, row
  for seed in (0, 1):
    assert by["as they are", 0.0, seed]["test_accuracy"] > 0.9
    assert by["shuffled pixels", 0.0, seed]["test_accuracy"] > 0.9
    assert by["as they are", 1.0, seed]["test_accuracy"] < 0.5
    assert by["Gaussian pictures", 0.0, seed]["test_accuracy"] < 0.5
    hashes = {by["as they are", rate, seed]["label_hash"] for rate in (0.0, 0.25, 0.5, 1.0)}
    assert len(hashes) == 4
  assert by["as they are", 0.0, 0]["label_rate"] == 0 < by["as they are", 0.25, 0]["label_rate"]


def test_the_page_has_both_tables_and_figures(memorized):
  text = memorized[1].read_text(encoding="utf-8")
  assert text.count("<figure>") == 2 and text.count("<table") == 2
  assert "random labels" in text and memorized[1].with_suffix(".png").is_file()


@pytest.mark.parametrize(
  "bad",
  [
    {"rates": (1.5,)},
    {"images": 0},
    {"batch_size": 9000},
    {"learning_rate": 0.0},
    {"learning_rate": float("inf")},
    {"seeds": 1},
    {"epochs": 0},
    {"hidden": -1},
  ],
)
def test_memorization_refuses_settings_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    memorization.run(memorization.Settings(**bad))


@pytest.mark.parametrize("bad", [{"least": 1.5}, {"seeds": 1}, {"steps": 0}])
def test_crowd_refuses_settings_out_of_range(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    crowd.run(crowd.Settings(**bad))


# Share of negatives called positive, and of positives called negative, by a majority of eleven.
PUBLISHED = {
  ("Adult", "all"): (0.380827, 0.173342),
  ("Adult", "Female"): (0.3174, 0.2719),
  ("Adult", "Male"): (0.4181, 0.1570),
  ("Adult", "Black"): (0.2963, 0.2429),
  ("Adult", "White"): (0.3928, 0.1700),
  ("COMPAS", "all"): (0.280702, 0.400943),
  ("COMPAS", "Caucasian"): (0.1869, 0.6364),
  ("COMPAS", "Non-caucasian"): (0.3636, 0.3185),
  ("COMPAS", "Female"): (0.1923, 0.5000),
  ("COMPAS", "Male"): (0.3068, 0.3779),
}


@needs_files
def test_crowd_has_the_known_noise_of_every_group(tmp_path):
  result = crowd.run(crowd.Settings(seeds=2, steps=20), progress=False)
  rows = crowd.rows(result)
  full = {
    (r["data"], r["group"]): r for r in rows if r["seed"] is None and r["labels"] == "majority"
  }
  for place, rates in PUBLISHED.items():
    found = (full[place]["one_if_zero"], full[place]["zero_if_one"])
    np.testing.assert_allclose(found, rates, atol=5.1e-5)
  halves = [r for r in rows if r["seed"] is not None and r["group"] == "all"]
  assert {r["rows"] for r in halves if r["data"] == "Adult"} == {1523}
  assert {r["rows"] for r in halves if r["data"] == "COMPAS"} == {220}
  assert "Human label noise" in crowd.report(result, tmp_path).read_text(encoding="utf-8")
