"""Settings that every test shares: four CPU devices and a kept compilation cache."""

import gc
import os
import pathlib

os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

ROOT = pathlib.Path(__file__).parent.parent
_MAPS = pathlib.Path("/proc/self/maps")
_MANY = 10_000

jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / f"xla-{jax.__version__}"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# Tracing makes many objects, and garbage collection by its defaults takes a sixth of all time:
# what is garbage goes with the programs.
gc.disable()


def _let_go() -> None:
  if not _MAPS.exists() or _MAPS.read_bytes().count(b"\n") > _MANY:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True, scope="module")
def room_for_programs():
  """Lets go of programs when they are many: each has memory maps, a process 65,530 of them."""
  yield _let_go
  _let_go()
