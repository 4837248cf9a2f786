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

jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / f"xla-{jax.__version__}"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(autouse=True, scope="module")
def room_for_programs():
  """Lets go of a file's programs: each holds memory maps, of which a process may have 65,530."""
  yield
  jax.clear_caches()
  gc.collect()
