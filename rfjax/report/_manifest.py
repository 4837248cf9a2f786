"""How a report was made: versions, devices and settings, but never when, where and by whom."""

import collections
import importlib.metadata
import platform
import sys

from rfjax._version import __version__

_LIBRARIES = ("jax", "jaxlib", "optax", "numpy")


def manifest(**more: str | int | float) -> dict[str, str | int | float]:
  """What the numbers of a report depend on.

  No times and no names of hosts and users are in it, so that a page has the same bytes whenever and
  wherever the same work is done on the same kind of machine.

  Args:
    **more: settings to add, such as seeds, lanes and the command; text or numbers.

  Returns:
    Python's and the libraries' versions, the platform, the devices, and `more`, in this order.

  Raises:
    ValueError: for other types in `more`, and for names that the manifest fills itself.

  Examples:
    >>> from rfjax import report
    >>> list(report.manifest(seeds=32))
    ['python', 'rfjax', 'jax', 'jaxlib', 'optax', 'numpy', 'platform', 'devices', 'seeds']
  """
  import jax

  kinds = collections.Counter(device.device_kind for device in jax.devices())
  found: dict[str, str | int | float] = {
    "python": ".".join(map(str, sys.version_info[:3])),
    "rfjax": __version__,
    **{name: importlib.metadata.version(name) for name in _LIBRARIES},
    "platform": f"{platform.system()} {platform.machine()}",
    "devices": ", ".join(f"{count} x {kind}" for kind, count in sorted(kinds.items())),
  }
  for name, value in more.items():
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
      raise ValueError(f"{name} must be text or a number, got {value!r}: pass str({name})")
    if name in found:
      raise ValueError(f"{name} is filled by the manifest itself: choose another name")
  return found | more
