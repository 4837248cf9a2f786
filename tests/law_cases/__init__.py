"""How the laws make each catalogued method: a file a family, one line a method."""

import importlib
import pathlib

_FAMILIES = sorted(p.stem for p in pathlib.Path(__file__).parent.glob("[a-z]*.py"))
CASES = {
  name: case
  for family in _FAMILIES
  if family != "case"
  for name, case in importlib.import_module(f"law_cases.{family}").CASES.items()
}
