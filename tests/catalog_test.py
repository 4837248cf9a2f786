"""The catalogue against the notebooks' own printout, the package, and itself."""

import dataclasses
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from rfjax import catalog
from rfjax.catalog import _reader

# What the last cells of the two notebooks of yuji-roh/fr-train print.
POISONED = """
[Lambda_f: 0.10] [Lambda_r: 0.40] Accuracy : 0.842, Disparate Impact : 0.657
[Lambda_f: 0.15] [Lambda_r: 0.40] Accuracy : 0.835, Disparate Impact : 0.704
[Lambda_f: 0.20] [Lambda_r: 0.40] Accuracy : 0.833, Disparate Impact : 0.722
[Lambda_f: 0.25] [Lambda_r: 0.40] Accuracy : 0.827, Disparate Impact : 0.745
[Lambda_f: 0.30] [Lambda_r: 0.40] Accuracy : 0.824, Disparate Impact : 0.760
[Lambda_f: 0.35] [Lambda_r: 0.40] Accuracy : 0.821, Disparate Impact : 0.764
[Lambda_f: 0.40] [Lambda_r: 0.40] Accuracy : 0.821, Disparate Impact : 0.770
[Lambda_f: 0.45] [Lambda_r: 0.40] Accuracy : 0.810, Disparate Impact : 0.786
[Lambda_f: 0.52] [Lambda_r: 0.40] Accuracy : 0.814, Disparate Impact : 0.827
"""
CLEAN = """
[Lambda_f: 0.20] [Lambda_r: 0.10] Accuracy : 0.867, Disparate Impact : 0.492
[Lambda_f: 0.30] [Lambda_r: 0.10] Accuracy : 0.866, Disparate Impact : 0.528
[Lambda_f: 0.40] [Lambda_r: 0.10] Accuracy : 0.857, Disparate Impact : 0.554
[Lambda_f: 0.50] [Lambda_r: 0.10] Accuracy : 0.858, Disparate Impact : 0.608
[Lambda_f: 0.60] [Lambda_r: 0.10] Accuracy : 0.847, Disparate Impact : 0.663
[Lambda_f: 0.70] [Lambda_r: 0.10] Accuracy : 0.837, Disparate Impact : 0.711
[Lambda_f: 0.80] [Lambda_r: 0.10] Accuracy : 0.820, Disparate Impact : 0.766
[Lambda_f: 0.85] [Lambda_r: 0.10] Accuracy : 0.807, Disparate Impact : 0.818
"""
PAPERS = [
  ("feldman2015", "Certifying and Removing Disparate Impact", 5, "KDD", 2015),
  ("hardt2016", "Equality of Opportunity in Supervised Learning", 3, "NeurIPS", 2016),
  ("lee2021", "Machine Learning Robustness, Fairness, and their Convergence", 4, "KDD", 2021),
  ("venkatasubramanian2019", "Measures, Methods and Representations", 1, "PODS", 2019),
  ("zafar2017", "Fairness Constraints: Mechanisms for Fair Classification", 4, "AISTATS", 2017),
]
FIGURE_3 = (
  *("acquire", "repair", "reweight", "generate"),
  *("constraint", "adversarial", "sampling"),
  *("adjust", "tune"),
)
FIGURE_4 = (
  *("noisy attribute", "missing attribute", "poisoned"),
  *("label noise by group", "sample selection", "in-processing"),
)
PLACES = FIGURE_3 + FIGURE_4
ROOT = pathlib.Path(__file__).parent.parent
ENTRIES = pytest.mark.parametrize("entry", catalog.entries(), ids=lambda e: e.name)


def points(published):
  settings, result = published.settings, published.result
  lambda_r = [settings["lambda_r"]] * len(settings["lambda_f"])
  columns = (settings["lambda_f"], lambda_r, result["accuracy"], result["disparate_impact"])
  return list(zip(*columns, strict=True))


@pytest.mark.parametrize(("place", "printed"), [(0, POISONED), (1, CLEAN)])
def test_published_points_are_the_notebooks(place, printed):
  numbers = [tuple(map(float, re.findall(r"\d\.\d+", r))) for r in printed.strip().splitlines()]
  assert points(catalog.entry("fr_train").published[place]) == numbers


def test_fr_train_entry():
  entry = catalog.entry("fr_train")
  assert (entry.kind, entry.part, entry.figure, entry.box) == ("method", "III", 4, "equal merger")
  assert (entry.family, entry.writes) == ("convergence", ("weight", "penalty"))
  assert [p.settings["epochs"] for p in entry.published] == [10000, 4000]


@ENTRIES
def test_entry_is_well_formed(entry):
  assert entry.kind in ("method", "measure", "noise", "estimator")
  assert entry.part in ("I", "II", "III")
  assert entry.checked in ("paper", "code", "memory")
  assert entry.figure in (None, 1, 2, 3, 4)
  assert entry.verified
  assert all(re.fullmatch(r"C|[ABDE]\d", place) or place in PLACES for place in entry.survey)
  assert set(entry.paper) <= set(catalog.references())
  if entry.kind == "method":
    assert bool(entry.neutral) != bool(entry.neutral_reason)


@ENTRIES
def test_entry_names_something_of_its_family(entry):
  assert callable(getattr(importlib.import_module(f"rfjax.{entry.family}"), entry.name))


def test_names_are_told_apart():
  names = [e.name for e in (*catalog.entries(), *catalog.experiments())]
  assert len(set(names)) == len(names)
  assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in names)  # they become folders


def test_experiments_train_catalogued_methods():
  methods = {e.name for e in catalog.entries()}
  for experiment in catalog.experiments():
    assert set(experiment.methods) <= methods
    assert set(experiment.paper) <= set(catalog.references())
    assert experiment.module.startswith("rfjax.experiments.")


@pytest.mark.parametrize(("key", "title", "authors", "venue", "year"), PAPERS)
def test_papers(key, title, authors, venue, year):
  reference = catalog.references()[key]
  assert title in reference["title"]
  assert (len(reference["author"]), reference["year"]) == (authors, year)
  assert f"({venue})" in reference["booktitle"]


@pytest.mark.parametrize("key", catalog.references())
def test_bibtex_parses_back(key):
  head, *lines, last = catalog.bibtex(key).splitlines()
  reference = catalog.references()[key]
  assert head == f"@{reference['type']}{{{key}," and last == "}"
  fields = dict(re.fullmatch(r"  (\w+) = \{(.*)\},", line).groups() for line in lines)
  assert fields["author"].split(" and ") == reference["author"]
  assert all(name.count(",") == 1 for name in reference["author"])
  assert fields["title"] == "{" + reference["title"] + "}"
  assert int(fields["year"]) == reference["year"]
  assert ("booktitle" in fields) != ("journal" in fields)
  assert not set("&%$#_~^\\") & set("".join(fields.values()))  # TeX would stumble over them


@pytest.mark.parametrize(
  ("look_up", "name", "message"),
  [
    (catalog.entry, "fr_tran", "unknown entry 'fr_tran': did you mean 'fr_train'?"),
    (catalog.bibtex, "roh2021", "unknown reference 'roh2021': did you mean 'roh2020'?"),
    (catalog.bibtex, "", "unknown reference '': choose one of "),
  ],
)
def test_unknown_names_are_refused_with_advice(look_up, name, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    look_up(name)


def test_a_wrong_key_in_a_file_names_file_and_entry():
  fields = {f.name: "" for f in dataclasses.fields(catalog.Experiment)}
  with pytest.raises(ValueError, match=r"experiments\.toml, 'demo'.*'summry'"):
    _reader._record(catalog.Experiment, "experiments", {**fields, "name": "demo", "summry": ""})
  with pytest.raises(ValueError, match=r"noise\.toml, 'flip'.*missing.*'kind'"):
    _reader._entry("noise", {"name": "flip"})
  with pytest.raises(ValueError, match=r"noise\.toml, 'paper'.*missing.*'settings'"):
    _reader._entry("noise", {"published": [{"name": "paper", "data_set": "", "result": {}}]})


def test_the_catalogue_reads_with_the_standard_library():
  code = (
    "import sys; from rfjax import catalog; catalog.entries(), catalog.bibtex('roh2020');"
    "print({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names))"
  )
  found = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
  )
  others = set(re.findall(r"'(\w+)'", found.stdout))
  assert not others & {"jax", "numpy", "rich", "tyro", "optax", "chex"}
  assert "rfjax" in others
