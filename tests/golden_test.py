"""The published points of FR-Train, from the authors' initial weights."""

import dataclasses

import pytest

from rfjax.experiments import fr_train
from rfjax.experiments._fr_train_common import PUBLISHED
from rfjax.experiments._fr_train_init import OFFICIAL


@pytest.mark.parametrize("variant, points", [("poisoned", 9), ("clean", 8)])
def test_fr_train_reaches_every_published_point(variant, points):
  settings = fr_train.Settings(variant=variant, init=OFFICIAL)
  rows = fr_train.rows(fr_train.run(settings, progress=False))
  published = PUBLISHED[variant]
  expected = list(
    zip(
      published.settings["lambda_f"],
      published.result["accuracy"],
      published.result["disparate_impact"],
      strict=True,
    )
  )
  found = [
    (row["lambda_f"], round(row["accuracy"], 3), round(row["disparate_impact"], 3)) for row in rows
  ]
  assert found == expected and len(found) == points
  assert all(row["seed"] is None and len(row["init"]) == 64 for row in rows)


def test_settings_are_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    fr_train.Settings().variant = "clean"
