"""Label noise that polynomially diminishes with the margin between the two likeliest labels."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, stateless, uniform
from rfjax.noise._by_hardness import check_probs, read_probs
from rfjax.noise._draws import relabel

_CURVES = {
  1: lambda g: (1 - g**2) / 2,
  2: lambda g: 1 - g**3,
  3: lambda g: 1 - (g + g**2 + g**3) / 3,
}
_SCALINGS = {
  "paper": lambda f, c: jnp.minimum(1.0, c * f),
  "code": lambda f, c: 1 - jnp.minimum(1.0, (1 - f) / c),
}


def polynomial_margin(
  probs: ArrayLike, *, kind: int = 1, scale: float | jax.Array = 1.0, scaling: str = "paper"
) -> Transform:
  r"""Polynomial-margin diminishing noise: the closer the two likeliest labels, the more of it.

  $$g_i = p_{iu} - p_{is}, \qquad f(g) = \begin{cases} (1 - g^2) / 2 & \text{type I} \\
  1 - g^3 & \text{type II} \\ 1 - (g + g^2 + g^3) / 3 & \text{type III} \end{cases}$$

  where u and s are the likeliest and the second likeliest label of row i. The row is labelled s
  with probability min(1, c f(g_i)), and u else: the given label plays no part, but counts as the
  true one, which is kept in `truth`, unless one is there already. The rate follows from probs and
  c, and `record` says how high it is.

  The published code draws u with probability (1 - f) / c instead, so that from c = 1 on no row has
  the label s with probability below 1 - 1 / c, however sure u is. With one key and scaling, a
  larger c gives the rows of a smaller one the label s, and some more.

  Args:
    probs: p [N, C], what a network trained on the clean labels says, a row for each `Batch.index`;
      may be traced.
    kind: the type, 1, 2 or 3.
    scale: c, above 0; may be traced.
    scaling: "paper", or "code" for the rule of the published code.

  Returns:
    The transform, for `rfjax.transform`.

  Raises:
    ValueError: for values out of range, or rows that are no probabilities; when applied, for a data
      set with other classes, or with an index that has no row. Inside of compiled code such rows
      keep their labels.

  References:
    Zhang, Zheng, Wu, Goswami, Chen, Learning with Feature-Dependent Label Noise: A Progressive
    Approach, ICLR 2021.

  Examples:
    >>> import jax, rfjax
    >>> from rfjax import noise
    >>> clean = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1], num_classes=3)
    >>> pmd = noise.polynomial_margin([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]], kind=2)
    >>> rfjax.transform(pmd, clean, key=jax.random.key(0)).y.tolist()
    [0, 2]
  """
  table = check_probs("probs", probs)
  _check.choice("kind", kind, tuple(_CURVES))
  _check.number("scale", scale, 0.0, open_low=True, open_high=True)
  _check.choice("scaling", scaling, tuple(_SCALINGS))

  def apply(batch: Batch, *, key: jax.Array, **unused: Any) -> Batch:
    del unused
    found, known = read_probs("probs", table, batch)
    values, labels = jax.lax.top_k(found, 2)
    second = _SCALINGS[scaling](_CURVES[kind](values[:, 0] - values[:, 1]), scale)
    y = jnp.where(uniform(key, batch) < second, labels[:, 1], labels[:, 0])
    return relabel(batch, known, y)

  return stateless(apply, writes=("y",))
