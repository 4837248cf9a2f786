"""What the tests of experiments share: made-up pictures in the place of MNIST."""

import contextlib
import dataclasses

import numpy as np
import pytest

from rfjax import catalog
from rfjax.data import _sources


@contextlib.contextmanager
def _pictures(train):
  """In its body, MNIST has some training pictures of ten classes, and 50 for the test set."""
  rng = np.random.default_rng(0)
  means = rng.integers(40, 216, (10, 28, 28))

  def split(rows):
    label = (np.arange(rows) % 10).astype(np.int32)
    image = np.clip(means[label] + rng.normal(0, 40, (rows, 28, 28)), 0, 255).astype(np.uint8)
    return {"image": image, "label": label}

  found = {"train": split(train), "test": split(50)}
  small = dataclasses.replace(catalog.data_set("mnist"), rows={"train": train, "test": 50})
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(catalog, "data_set", lambda name: small)
    patch.setattr(_sources, "read", lambda data_set, folder: found)
    yield


@pytest.fixture(scope="session")
def made_up():
  return _pictures
