"""The command line, in process against a small experiment, and in fresh processes for the rest."""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import types
from typing import Literal

import jax
import numpy as np
import pytest

import rfjax
from rfjax import catalog, cli

ROOT = pathlib.Path(__file__).parent.parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
START = "import sys; from rfjax import cli; code = cli.main(sys.argv[1:]); "


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the demo."""

  seeds: int = 4
  """How many seeds."""
  rates: tuple[float, ...] = (0.5,)
  """Noise rates."""
  poisoned: bool = True
  """Whether labels are flipped."""
  kind: Literal["a", "b"] = "a"
  """Which of the two."""
  init: pathlib.Path | None = None
  """A file of weights."""


class Table:
  def to_text(self):
    return "accuracy\n0.75\n"


class Demo(types.ModuleType):
  """An experiment that trains nothing and remembers how it was called."""

  Settings = Settings
  error = None

  def run(self, settings, *, progress):
    self.called = (settings, progress)
    if self.error is not None:
      raise self.error
    return settings

  def rows(self, result):
    seeds = np.arange(result.seeds)
    return [{"seed": s, "accuracy": np.float32(0.5), "gap": np.nan} for s in seeds]

  def tables(self, result):
    return {"Demo": Table()}

  def report(self, result, directory):
    directory.mkdir(parents=True)
    page = directory / "index.html"
    page.write_text("<p>demo</p>")
    return page


@pytest.fixture
def demo(monkeypatch, tmp_path):
  module = Demo("rfjax.experiments.demo")
  monkeypatch.setitem(sys.modules, module.__name__, module)
  experiment = catalog.Experiment("demo", module.__name__, "Shows nothing.")
  monkeypatch.setattr(catalog, "experiments", lambda: (experiment,))
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", jax.config.jax_compilation_cache_dir)
  monkeypatch.chdir(tmp_path)
  return module


def process(*arguments, code=START + "sys.exit(code)", stdout=subprocess.PIPE, **variables):
  """Runs the command line in a process of its own."""
  kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX", "XLA", "RFJAX"))}
  path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
  return subprocess.run(
    [sys.executable, "-c", code, *map(str, arguments)],
    env=kept | {"PYTHONPATH": path} | {k: str(v) for k, v in variables.items()},
    stdout=stdout,
    stderr=subprocess.PIPE,
    text=True,
  )


# ---- light commands


@pytest.mark.parametrize(
  "command",
  ["--help", "--version", "list", "list --json", "info fr_train", "cite --all", "run --help"],
)
def test_light_commands_are_light(command):
  code = START + "import time; print(code, time.process_time(), *sys.modules, file=sys.stderr)"
  best = float("inf")
  for _ in range(3):  # threads of one core slow each other down, in processor time too
    found = process(*command.split(), code=code)
    exit_code, seconds, *modules = found.stderr.split()
    assert exit_code == "0" and found.stdout
    assert not {"jax", "numpy", "optax", "tyro", "xarray"} & set(modules)
    best = min(best, float(seconds))
    if best < 0.5:
      return
  pytest.fail(f"{command} takes {best} s of a processor at best")


def test_help_of_an_experiment_imports_no_jax():
  code = START + "print(code, *sys.modules, file=sys.stderr)"
  found = process("run", "fr-train", "--help", code=code)
  exit_code, *modules = found.stderr.split()
  assert exit_code == "0" and "--seeds" in found.stdout
  assert not {"jax", "numpy"} & set(modules)


def test_version(capsys):
  assert cli.main(["--version"]) == 0
  assert capsys.readouterr().out == f"rfjax {rfjax.__version__}\n"


def test_list_as_json_holds_every_field(capsys):
  assert cli.main(["list", "--json"]) == 0
  listed = json.loads(capsys.readouterr().out)
  assert listed == json.loads(json.dumps([dataclasses.asdict(e) for e in catalog.entries()]))
  assert {f.name for f in dataclasses.fields(catalog.Entry)} == set(listed[0])


def test_list_filters(capsys):
  assert cli.main(["list", "--json", "--kind", "method", "--part", "III"]) == 0
  names = [e["name"] for e in json.loads(capsys.readouterr().out)]
  assert names == [e.name for e in catalog.entries() if (e.kind, e.part) == ("method", "III")]
  assert "fr_train" in names
  assert cli.main(["list", "--json", "--kind", "estimator", "--part", "I"]) == 0
  assert "fr_train" not in capsys.readouterr().out


def test_list_gives_each_entry_and_experiment_a_line(capsys):
  assert cli.main(["list"]) == 0
  lines = capsys.readouterr().out.splitlines()
  row = next(line for line in lines if line.split()[:1] == ["fr_train"])
  assert re.split(r"\s{2,}", row.strip())[1:] == (
    ["method", "III", "equal merger", "roh2020", "group, trusted", "code"]
  )
  first = {line.split()[0] for line in lines if line.strip()}
  assert {e.name for e in (*catalog.entries(), *catalog.experiments())} <= first


def test_info(capsys):
  assert cli.main(["info", "fr_train"]) == 0
  text = capsys.readouterr().out
  assert "disparate_impact: [0.657, 0.704" in text and "@inproceedings{roh2020," in text
  assert cli.main(["info", "fr_train", "--json"]) == 0
  shown = json.loads(capsys.readouterr().out)
  assert shown["published"][1]["settings"]["lambda_r"] == 0.1
  assert cli.main(["info", "fr-train", "--json"]) == 0
  assert json.loads(capsys.readouterr().out)["module"] == "rfjax.experiments.fr_train"


def test_cite_gives_each_reference_once(capsys):
  assert cli.main(["cite", "fr_train", "hardt2016", "fr-train", "roh2020"]) == 0
  text = capsys.readouterr().out
  assert re.findall(r"@\w+\{(\w+),", text) == ["roh2020", "hardt2016"]
  assert cli.main(["cite", "--all"]) == 0
  assert re.findall(r"@\w+\{(\w+),", capsys.readouterr().out) == list(catalog.references())


@pytest.mark.parametrize(
  ("command", "message"),
  [
    ("lst", "rfjax: unknown command 'lst': did you mean 'list'?"),
    ("info fr_tran", "rfjax: unknown name 'fr_tran': did you mean 'fr_train'?"),
    ("cite roh2021", "rfjax: unknown name 'roh2021': did you mean 'roh2020'?"),
    ("run fr-trian", "rfjax: unknown experiment 'fr-trian': did you mean 'fr-train'?"),
    ("run none.toml", "rfjax: no settings file none.toml"),
    ("sweep fr-train", "rfjax: store is missing: pass --store DIR"),
    ("run fr-train --checkpoint-every 5", "rfjax: store is missing: pass --store DIR"),
    ("sweep fr-train --store s --checkpoint-every 0", "rfjax: checkpoint-every must be at least 1"),
    ("cite", "rfjax: cite needs names or --all: for instance `rfjax cite fr_train`"),
    ("cite hardt2016 --all", "rfjax: cite needs names or --all"),
    ("", "the following arguments are required: COMMAND"),
    ("list --kind loss", "invalid choice: 'loss'"),
  ],
)
def test_wrong_usage_exits_with_2_and_says_why(command, message, capsys):
  assert cli.main(command.split()) == 2
  found = capsys.readouterr()
  assert message in found.err and not found.out


def test_a_run_that_memory_does_not_hold_exits_with_1(monkeypatch, capsys):
  def run(command):
    raise MemoryError("pass a smaller lanes (--lanes)")

  monkeypatch.setattr("rfjax._cli._run.run", run)
  assert cli.main(["run", "fr-train"]) == 1
  assert capsys.readouterr().err == "rfjax: pass a smaller lanes (--lanes)\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_gets_no_traceback(unbuffered):
  reader, writer = os.pipe()
  os.close(reader)
  with os.fdopen(writer, "w") as gone:
    found = process("cite", "--all", stdout=gone, PYTHONUNBUFFERED=unbuffered)
  assert (found.returncode, found.stderr) == (1, "")


# ---- doctor


def test_doctor_sets_jax_up(tmp_path):
  """The devices, and a compiled program in the cache, show what reached JAX."""
  data = tmp_path / "data"
  (data / "adult").mkdir(parents=True)
  found = process("doctor", "--json", XDG_CACHE_HOME=tmp_path, RFJAX_DATA_DIR=data)
  assert found.returncode == 0
  shown = json.loads(found.stdout)
  assert shown["works"] and shown["lanes"] == 1
  assert len(shown["devices"]) == max(2, CORES)
  assert shown["packages"]["jax"] == importlib.metadata.version("jax")
  cache = tmp_path / "rfjax" / "xla"
  assert shown["cache"] == str(cache) and list(cache.iterdir())
  assert shown["data"] == (
    {"through": "RFJAX_DATA_DIR", "path": str(data), "found": True, "sets": ["adult"]}
  )


def test_doctor_leaves_what_is_set(tmp_path):
  flag = "--xla_force_host_platform_device_count=3"
  cache = tmp_path / "cache"
  code = START + "import jax; print(jax.config.jax_persistent_cache_min_entry_size_bytes)"
  found = process("doctor", code=code, XLA_FLAGS=flag, JAX_COMPILATION_CACHE_DIR=cache)
  assert "cpu:2" in found.stdout and "cpu:3" not in found.stdout
  assert list(cache.iterdir())
  assert found.stdout.endswith("\n-1\n")


def test_doctor_exits_with_1_where_jax_does_not_work():
  found = process("doctor", JAX_PLATFORMS="abacus")
  assert found.returncode == 1
  assert "jitted addition      FAILED" in found.stdout and "abacus" in found.stdout


@pytest.mark.parametrize(
  ("option", "variable", "through"),
  [("one", "two", "--data-dir"), (None, "two", "RFJAX_DATA_DIR"), (None, None, "./data")],
)
def test_doctor_looks_for_data_in_order(option, variable, through, demo, monkeypatch, capsys):
  monkeypatch.delenv("RFJAX_DATA_DIR", raising=False)
  for name in ("one", "two", "data"):
    pathlib.Path(name, f"in_{name}").mkdir(parents=True)
  if variable:
    monkeypatch.setenv("RFJAX_DATA_DIR", variable)
  assert cli.main(["doctor", "--json", *(["--data-dir", option] if option else [])]) == 0
  shown = json.loads(capsys.readouterr().out)["data"]
  path = option or variable or "data"
  assert (shown["through"], shown["path"], shown["sets"]) == (through, path, [f"in_{path}"])


# ---- run


def test_run_prints_tables_and_then_the_report(demo, capsys, tmp_path):
  assert cli.main(["run", "demo", "--seeds", "2", "--rates", "0.1", "0.2", "--no-poisoned"]) == 0
  assert demo.called == (Settings(seeds=2, rates=(0.1, 0.2), poisoned=False), True)
  found = capsys.readouterr()
  assert found.out == "Demo\n\naccuracy\n0.75\n\nreport: results/demo/index.html\n"
  assert (tmp_path / "results/demo/index.html").is_file()
  assert [line.split(": ")[0] for line in found.err.splitlines()] == ["demo"] * 3


def test_run_as_json_prints_nothing_else(demo, capsys, tmp_path):
  assert cli.main(["run", "demo", "--json", "--seeds", "2", "--out", "elsewhere"]) == 0
  found = capsys.readouterr()
  refuse = lambda word: pytest.fail(f"{word} is not JSON")
  shown = json.loads(found.out, parse_constant=refuse)
  assert shown == {
    "experiment": "demo",
    "settings": {"seeds": 2, "rates": [0.5], "poisoned": True, "kind": "a", "init": None},
    "rows": [{"seed": s, "accuracy": 0.5, "gap": None} for s in (0, 1)],
  }
  assert found.err.splitlines()[-1] == "report: elsewhere/demo/index.html"


def test_run_without_progress_is_silent(demo, capsys):
  assert cli.main(["run", "demo", "--no-progress"]) == 0
  assert demo.called[1] is False
  assert not capsys.readouterr().err


def write(text):
  pathlib.Path("frozen.toml").write_text(text)
  return "frozen.toml"


FROZEN = """
experiment = "demo"
[settings]
seeds = 7
rates = [0.25, -1]
poisoned = false
kind = "b"
init = "w.npz"
"""


def test_frozen_settings_and_what_overrides_them(demo):
  frozen = Settings(7, (0.25, -1.0), False, "b", pathlib.Path("w.npz"))
  assert cli.main(["run", write(FROZEN), "--no-progress"]) == 0
  assert demo.called[0] == frozen
  arguments = ["--seeds", "9", "--poisoned", "--out", "again"]
  assert cli.main(["run", write(FROZEN), *arguments]) == 0
  assert demo.called[0] == dataclasses.replace(frozen, seeds=9, poisoned=True)


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ('experiment = "demo"\nsetings = 1', "did you mean 'settings'?"),
    ('experiment = "demmo"', "unknown experiment 'demmo': did you mean 'demo'?"),
    ("[settings]", "frozen.toml must name its experiment"),
    ('experiment = "demo"\nsettings = 3', "settings must be a table"),
    ("experiment = demo", "rfjax: frozen.toml: "),
    ('experiment = "demo"\n[settings]\nseedz = 3', "--seedz"),
    ('experiment = "demo"\n[settings]\nseeds = 3.5', "3.5"),
    ('experiment = "demo"\n[settings]\nkind = "c"', "frozen.toml are not those"),
    ('experiment = "demo"\n[settings]\nhelp = true', "frozen.toml are not those"),
  ],
)
def test_bad_settings_files_are_refused(text, message, demo, capsys):
  assert cli.main(["run", write(text)]) == 2
  assert message in capsys.readouterr().err
  assert not hasattr(demo, "called")


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ("--seedz 3", "--seedz"),
    ("--seeds three", "three"),
    ("--kind c", "--kind"),
    ("--settings.seeds 3", "--settings.seeds"),
  ],
)
def test_bad_options_exit_with_2(arguments, message, demo, capsys):
  assert cli.main(["run", "demo", *arguments.split()]) == 2
  found = capsys.readouterr()
  assert message in found.err and not found.out
  assert not hasattr(demo, "called")


def test_help_of_an_experiment_shows_its_settings_and_the_general_ones(demo, capsys):
  assert cli.main(["run", "demo", "--help"]) == 0
  text = capsys.readouterr().out
  for word in ("rfjax run demo", "Shows nothing.", "--seeds", "How many seeds", "--out", "--json"):
    assert word in text


@pytest.mark.parametrize(
  ("error", "code", "said"),
  [
    (ValueError("seeds must be at least 1, got 0"), 2, "rfjax: seeds must be at least 1, got 0"),
    (FileNotFoundError("no data set adult"), 2, "rfjax: no data set adult"),
    (KeyboardInterrupt(), 130, "rfjax: interrupted"),
  ],
)
def test_what_a_run_raises_becomes_one_line(error, code, said, demo, capsys):
  demo.error = error
  assert cli.main(["run", "demo", "--no-progress"]) == code
  found = capsys.readouterr()
  assert found.err == said + "\n" and not found.out


def test_a_failed_run_shows_where(demo):
  """Any other error is a fault to report: Python's traceback and exit code 1 are the answer."""
  demo.error = RuntimeError("diverged")
  with pytest.raises(RuntimeError, match="diverged"):
    cli.main(["run", "demo"])
