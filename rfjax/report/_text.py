"""Text from outside, made safe for one line of a terminal, a page or a figure."""

import html


def plain(text: object) -> str:
  """One printable line: runs of white space become a space, control characters go.

  So neither escape sequences of terminals nor characters that XML forbids nor marks that turn the
  direction of writing get any further.
  """
  return "".join(c for c in " ".join(str(text).split()) if c.isprintable())


def escaped(text: object) -> str:
  """One line, escaped for the text and the attributes of HTML."""
  return html.escape(plain(text))
