"""Sphinx settings: the API pages are made of the docstrings."""

import re

from rfjax._version import __version__

project = "rfjax"
release = __version__
extensions = [
  "myst_parser",
  "sphinx.ext.autodoc",
  "sphinx.ext.mathjax",
  "sphinx.ext.napoleon",
]
myst_enable_extensions = ["dollarmath"]
html_theme = "pydata_sphinx_theme"
autodoc_typehints = "description"
exclude_patterns = ["_build"]
napoleon_use_ivar = True


def _displays(app, what, name, obj, options, lines):
  """Turns $$ ... $$ into the math directive that autodoc understands."""
  text = "\n".join(lines)
  display = lambda m: "\n.. math::\n\n" + re.sub(r"^\s*", "   ", m[1].strip(), flags=re.M) + "\n"
  lines[:] = re.sub(r"\$\$(.*?)\$\$", display, text, flags=re.S).split("\n")


def setup(app):
  """Registers the above with Sphinx."""
  app.connect("autodoc-process-docstring", _displays)
