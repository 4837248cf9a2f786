"""Cleans what matplotlib writes as SVG, so that it may stand inside of a page."""

import re
from xml.etree import ElementTree

MEASURED = "DejaVu Sans"  # matplotlib ships it: layouts do not depend on the fonts of a machine
_DROPPED = ("metadata", "style")
_URL = re.compile(r"(?<=url\(#)[^)]+(?=\))")


def clean(svg: str, *, prefix: str, alt: str) -> str:
  """Keeps the drawing and drops the rest.

  Document type, metadata with the date, names of groups and the style sheet, which would hold for
  the whole page, go; ids that are in use get names that are unique in it; the size follows it.

  Args:
    svg: a document that matplotlib wrote.
    prefix: starts every id.
    alt: what the drawing shows.

  Returns:
    One <svg> element.
  """
  root = ElementTree.fromstring(svg)
  for parent in list(root.iter()):
    for child in [child for child in parent if _local(child.tag) in _DROPPED]:
      parent.remove(child)
  names = {old: f"{prefix}{i}" for i, old in enumerate(_used(root))}
  for element in root.iter():
    element.tag = _local(element.tag)
    attributes = ((_local(k), _renamed(_local(k), v, names)) for k, v in element.attrib.items())
    element.attrib = {k: v for k, v in attributes if v}
  root.attrib = {
    "xmlns": "http://www.w3.org/2000/svg",
    "viewBox": root.attrib["viewBox"],
    "role": "img",
    "aria-label": alt,
    "style": "stroke-linejoin: round; stroke-linecap: butt",
  }
  ElementTree.indent(root, space="")
  return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
  return name.rpartition("}")[2]


def _used(root: ElementTree.Element) -> list[str]:
  """Ids that something refers to, each once, in the order of their use."""
  found: dict[str, None] = {}
  for element in root.iter():
    for name, value in element.attrib.items():
      found |= dict.fromkeys([value[1:]] if _local(name) == "href" else _URL.findall(value))
  return list(found)


def _renamed(name: str, value: str, names: dict[str, str]) -> str:
  """The new value of an attribute; empty where it is an id that nothing refers to."""
  match name:
    case "id":
      return names.get(value, "")
    case "href":
      return "#" + names[value[1:]]
  return _URL.sub(lambda m: names[m[0]], value).replace(f"'{MEASURED}'", "system-ui")
