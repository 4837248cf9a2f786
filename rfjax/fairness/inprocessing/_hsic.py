"""HSIC penalty: scores and groups become independent, by kernels."""

import jax

from rfjax.core import Transform
from rfjax.fairness.inprocessing._elements import Score, score_penalty
from rfjax.metrics._score_hsic import hsic_of
from rfjax.metrics._scores import Kernel, check_kernel


def hsic(
  strength: float | jax.Array,
  *,
  label: int | None = None,
  kernel: Kernel = "gaussian",
  width: float | jax.Array = 1.0,
  score: Score = "probability",
) -> Transform:
  r"""Adds the Hilbert-Schmidt independence criterion of scores and groups.

  $$\mathrm{penalty} \leftarrow \mathrm{penalty} + \frac{\lambda}{n^2}\, \mathrm{tr}(K H L H)$$

  as `metrics.score_hsic` measures it. Groups are weighted by their sizes, where `mmd` takes all
  pairs alike.

  Args:
    strength: lambda, at least 0; may be traced. Values are small: tens to hundreds are usual.
    label: as in `mmd`.
    kernel: as in `metrics.score_mmd`.
    width: as in `metrics.score_mmd`.
    score: as in `mmd`.

  Returns:
    The transform; it writes penalty, and needs group in training only.

  Raises:
    ValueError: for values out of range, or where the group is missing.

  References:
    Gretton, Bousquet, Smola, Schölkopf, Measuring statistical dependence with Hilbert-Schmidt
    norms, ALT 2005.
    Han, Chi, Chen, et al., FFB: a fair fairness benchmark for in-processing group fairness methods,
    ICLR 2024 (as a penalty).

  Examples:
    >>> import rfjax
    >>> from rfjax.fairness import inprocessing
    >>> independent = inprocessing.hsic(50.0, score="features")
  """
  check_kernel(kernel, width)
  return score_penalty("hsic", strength, score, label, lambda s: hsic_of(s, kernel, width))
