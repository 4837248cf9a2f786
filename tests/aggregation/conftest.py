"""The real crowds, where the files are there."""

import csv
import os
import pathlib

import numpy as np
import pytest


@pytest.fixture(scope="session")
def folder():
  if not os.environ.get("RFJAX_DATA_DIR"):
    pytest.skip("RFJAX_DATA_DIR is not set")
  return pathlib.Path(os.environ["RFJAX_DATA_DIR"])


def rows(path):
  with open(path, newline="", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def scored(folder, name):
  """Scores 1 to 4 and worker ids, [N, 11] each, and true labels [N]."""
  table = rows(folder / "crowd_adult_compas" / f"{name}_crowdsourcing_data.csv")
  score = np.array([[int(row[f"ans_{i}"]) for i in range(1, 12)] for row in table])
  worker = np.array([[row[f"worker_id_{i}"] for i in range(1, 12)] for row in table])
  return score, worker, np.array([int(int(row["true_label"]) > 0) for row in table])


@pytest.fixture(scope="session")
def adult(folder):
  return scored(folder, "AdultCensus")


@pytest.fixture(scope="session")
def compas(folder):
  return scored(folder, "COMPAS")


@pytest.fixture(scope="session")
def bluebirds(folder):
  """Label, worker and item of each answer, and the true labels of the items in sorted order."""
  table = rows(folder / "crowd_bluebirds" / "answer.csv")
  truth = rows(folder / "crowd_bluebirds" / "truth.csv")
  label = [int(row["answer"]) for row in table]
  worker, item = ([row[name] for row in table] for name in ("worker", "question"))
  y = [int(row["truth"]) for row in sorted(truth, key=lambda row: row["question"])]
  return label, worker, item, np.array(y)
