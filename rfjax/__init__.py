"""Robust and fair machine learning as composable JAX transforms.

Three words to learn: `Batch`, `Transform`, `chain`. Everything else is the name of a method in its
field, in the module of its family. Names load when they are first used.
"""

import lazy_loader

from rfjax._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
