import getpass
import importlib.metadata
import platform
import socket

import jax
import pytest

from rfjax import report


def test_versions_and_devices():
  found = report.manifest(seeds="0 to 31", lanes=1)
  assert found["python"] == platform.python_version()
  for name in ("jax", "jaxlib", "optax", "numpy"):
    assert found[name] == importlib.metadata.version(name)
  assert found["devices"] == f"{len(jax.devices())} x cpu"
  assert list(found)[-2:] == ["seeds", "lanes"] and found["lanes"] == 1


def test_nobody_and_no_place_is_named(monkeypatch):
  monkeypatch.setattr(platform, "node", lambda: "secret-host")
  shown = " ".join(map(str, report.manifest().values())).lower()
  for secret in (socket.gethostname(), getpass.getuser(), "secret-host"):
    assert secret.lower() not in shown
  assert report.manifest(a=1) == report.manifest(a=1)


@pytest.mark.parametrize("value", [None, [1], True])
def test_other_types_are_refused(value):
  with pytest.raises(ValueError, match="seeds must be text or a number"):
    report.manifest(seeds=value)


def test_its_own_names_are_refused():
  with pytest.raises(ValueError, match="jax is filled by the manifest itself"):
    report.manifest(jax="0.1")
