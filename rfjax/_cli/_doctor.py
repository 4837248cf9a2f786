"""rfjax doctor: whether this installation works, and what it found."""

import argparse
import importlib.metadata
import json
import pathlib
import platform
from typing import Any

import rfjax
from rfjax._cli import _device
from rfjax._places import data_folder

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy", "tensorflow-datasets", "xarray")


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"


def _data(option: pathlib.Path | None) -> dict[str, Any]:
  """The data folder: --data-dir, else RFJAX_DATA_DIR, else ./data."""
  through, path = data_folder(option)
  found = path.is_dir()
  sets = sorted(p.name for p in path.iterdir() if p.is_dir() and p.name[0] != ".") if found else []
  return {"through": through, "path": str(path), "found": found, "sets": sets}


def _jax() -> dict[str, Any]:
  cache = _device.prepare()
  import jax

  from rfjax.core import _sweep

  total = int(jax.jit(lambda a, b: a + b)(2, 3))
  if total != 5:
    raise RuntimeError(f"a jitted 2 + 3 gave {total}")
  return {
    "devices": [str(device) for device in jax.devices()],
    "lanes": _sweep.default_lanes(_sweep.run_mesh()),
    "cache": cache,
  }


def _findings(data_dir: pathlib.Path | None) -> dict[str, Any]:
  found = {
    "rfjax": rfjax.__version__,
    "python": platform.python_version(),
    "packages": {package: _version(package) for package in _PACKAGES},
    "cores": _device.cores(),
    "data": _data(data_dir),
  }
  try:
    return {**found, **_jax(), "works": True, "error": ""}
  except Exception as error:  # whatever stops JAX is what the user has come to see
    return {**found, "works": False, "error": f"{type(error).__name__}: {error}"}


def examine(options: argparse.Namespace) -> int:
  """Prints versions, devices and data, and whether JAX computes; exit code 1 where it does not."""
  found = _findings(options.data_dir)
  if options.json:
    print(json.dumps(found, indent=2))
    return 0 if found["works"] else 1
  data = found.pop("data")
  sets = ", ".join(data["sets"]) if data["sets"] else "nothing found"
  lines = {"rfjax": found["rfjax"], "python": found["python"], **found["packages"]}
  lines |= {"cores": found["cores"], "data": f"{data['path']} through {data['through']}: {sets}"}
  if found["works"]:
    lines |= {"devices": ", ".join(found["devices"]), "default lanes": found["lanes"]}
    lines |= {"compilation cache": found["cache"], "jitted addition": "works"}
  else:
    lines["jitted addition"] = f"FAILED, {found['error']}"
  for key, value in lines.items():
    print(f"{key:<21}{value}")
  return 0 if found["works"] else 1
