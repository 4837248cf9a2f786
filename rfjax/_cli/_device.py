"""Sets JAX up for a command: at least two host devices, and a compilation cache that is kept."""

import os
import pathlib

_HOST_DEVICES = "--xla_force_host_platform_device_count"


def cores() -> int:
  """How many CPU cores this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def _split_host() -> None:
  """Makes XLA see a device a core, and two at least: one-device programs differ in last bits."""
  flags = os.environ.get("XLA_FLAGS", "")
  if _HOST_DEVICES not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} {_HOST_DEVICES}={max(2, cores())}".strip()


def _default_cache() -> pathlib.Path:
  home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(home) / "rfjax" / "xla"


def prepare(distributed: bool = False) -> str:
  """Imports JAX, set up for a command.

  Args:
    distributed: join the other processes of the job.

  Returns:
    The folder of the persistent compilation cache.
  """
  _split_host()
  import jax

  folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(_default_cache())
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  if distributed:
    jax.distributed.initialize()
  return folder
