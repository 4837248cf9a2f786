"""Importing is light: what only some functions use is imported by these."""

import subprocess
import sys

import pytest

HEAVY = ("flax", "tensorflow_datasets", "xarray", "pandas", "matplotlib", "sklearn", "scipy.stats")


def _imported(code):
  probe = f"import sys; {code}; print([n for n in {(*HEAVY, 'jax')!r} if n in sys.modules])"
  done = subprocess.run(
    [sys.executable, "-W", "ignore", "-c", probe], capture_output=True, text=True, check=True
  )
  return done.stdout.strip()


def test_importing_the_package_imports_nothing():
  assert _imported("import rfjax") == "[]"


@pytest.mark.parametrize(
  "code",
  [
    "import rfjax; rfjax.fit, rfjax.sweep, rfjax.Batch",
    "from rfjax import architectures, convergence, data, metrics, noise, report",
  ],
)
def test_using_it_imports_jax_and_no_heavy_library(code):
  assert _imported(code) == "['jax']"
