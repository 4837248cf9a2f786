"""The docs cover every public name, and the README says what the catalogue holds."""

import importlib
import inspect
import pathlib
import re

import pytest

from rfjax import catalog

ROOT = pathlib.Path(__file__).parent.parent
FAMILIES = (
  "aggregation",
  "architectures",
  "catalog",
  "convergence",
  "core",
  "correction",
  "data",
  "fairness.inprocessing",
  "fairness.postprocessing",
  "fairness.preprocessing",
  "losses",
  "metrics",
  "noise",
  "refurbishment",
  "report",
  "reweighting",
  "selection",
  "sklearn",
)


def _public(module):
  public = (n for n, v in vars(module).items() if n[0] != "_" and not inspect.ismodule(v))
  return {n for n in public if callable(getattr(module, n)) or n.islower()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_api_page_lists_exactly_the_public_names(family):
  page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
  listed = set(re.findall(rf"^\.\. auto\w+:: rfjax\.{family}\.(\w+)$", page, flags=re.M))
  assert listed == _public(importlib.import_module(f"rfjax.{family}"))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_public_name_is_documented(family):
  module = importlib.import_module(f"rfjax.{family}")
  for name in _public(module):
    value = getattr(module, name)
    assert not callable(value) or (value.__doc__ or "").strip(), name


def test_the_families_are_the_modules_of_the_stub():
  stub = (ROOT / "rfjax" / "__init__.pyi").read_text(encoding="utf-8")
  rooms = dict.fromkeys(family.partition(".")[0] for family in FAMILIES)
  assert re.findall(r"^from \. import (\w+) as", stub, flags=re.M) == list(rooms)


def test_the_readme_names_every_entry_of_the_catalogue():
  readme = (ROOT / "README.md").read_text(encoding="utf-8")
  missing = [entry.name for entry in catalog.entries() if f"`{entry.name}`" not in readme]
  assert not missing


def _run(page, *shorter):
  """The names that the Python of a page leaves, with smaller settings."""
  blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
  names = {}
  for block in blocks:
    for long, short in shorter:
      block = block.replace(long, short)
    exec(block, names)
  return names


def test_the_python_of_the_readme_runs():
  names = _run(ROOT / "README.md", ("epochs=2400", "epochs=2"), ("range(8)", "range(1)"))
  assert dict(names["result"].sizes) == {"seed": 1, "lambda_f": 3}


def test_the_recipes_of_the_compositions_run():
  names = _run(ROOT / "docs" / "compositions.md", ("2000", "100"), ("=60", "=2"), ("=100", "=20"))
  assert names["both"].params["kernel"].shape[0] == 2  # two networks
  assert names["log"].risk.shape == (3, 2)
  assert names["transition"].method[1].shares.shape == (2, 2)
  assert names["penalised"].params.keys() == names["worst"].params.keys()


def test_the_sweep_of_the_page_on_scaling_runs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  names = _run(ROOT / "docs" / "scaling.md", ("epochs=20", "epochs=2"), ("every=10", "every=1"))
  assert names["result"].attrs["runs_found"] == 0 and list(tmp_path.glob("runs/*/*.npz"))


def test_nothing_names_a_place_of_one_machine():
  home = re.compile(r"/(?:root|home)/\w")
  texts = [*ROOT.glob("rfjax/**/*.py"), *ROOT.glob("docs/*.md"), *ROOT.glob("*.txt")]
  assert not [str(path) for path in texts if home.search(path.read_text(encoding="utf-8"))]
  assert "://" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")
