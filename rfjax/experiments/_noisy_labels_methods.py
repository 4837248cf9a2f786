"""The methods of the noisy-labels experiment, at settings that were written down before its runs.

They are the published ones where a paper has some for pictures of this size, and the factories'
defaults elsewhere; what is measured in epochs is scaled to the epochs of the run. Those of
peer_loss and dmi were changed after a first run in which both diverged.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import rfjax
from rfjax import losses
from rfjax.core import Transform


class Run(NamedTuple):
  """What a method may be fitted to.

  Attributes:
    rate: the share of wrong labels; may be traced.
    noise: "symmetric", "pair" or "asymmetric".
    epochs: of the run.
    steps: of the run.
  """

  rate: Any
  noise: str
  epochs: int
  steps: int


class Recipe(NamedTuple):
  """How the experiment makes a method.

  Attributes:
    make: the transform for a run.
    tx: what goes in front of the optimizer for a run, or None.
    needs_rate: whether it is given the true noise rate, as in its paper.
  """

  make: Callable[[Run], Transform]
  tx: Callable[[Run], optax.GradientTransformation] | None = None
  needs_rate: bool = False


def _shifted(x: jax.Array, key: jax.Array) -> jax.Array:
  """The pictures of a batch moved by up to two pixels, [B, H, W]."""
  shift = jax.random.randint(key, (2,), -2, 3)
  return jnp.roll(jnp.roll(x, shift[0], axis=1), shift[1], axis=2)


def _nce() -> Transform:
  return losses.normalized(losses.cross_entropy())


def _peer_strength(run: Run) -> optax.Schedule:
  """The authors' for Fashion-MNIST: 0 for two fifths of the run, then up to 1."""
  wait = 2 * run.steps // 5
  return optax.linear_schedule(0.0, 1.0, max(run.steps - wait, 1), transition_begin=wait)


def _peer(run: Run) -> Transform:
  strength = _peer_strength(run)
  return rfjax.chain(losses.cross_entropy(1e-5), rfjax.scaled(strength, losses.peer_loss()))


def _slower_by_peers(run: Run) -> optax.GradientTransformation:
  strength = _peer_strength(run)
  return optax.scale_by_schedule(lambda step: 1 / (1 + strength(step)))


def _dmi(run: Run) -> Transform:
  # The determinant knows no names of classes: cross-entropy gives them first, as in the paper.
  early = lambda step, epoch: epoch < run.epochs // 2
  return rfjax.when(early, losses.cross_entropy(), losses.dmi())


def _slower_for_dmi(run: Run) -> optax.GradientTransformation:
  """Takes back that the gradient of dmi grows with the inverse of a nearly singular matrix."""
  return optax.scale_by_schedule(optax.piecewise_constant_schedule(1.0, {run.steps // 2: 0.01}))


def _elr(run: Run) -> Transform:
  return losses.elr(3.0, decay=0.7) if run.noise == "symmetric" else losses.elr(1.0, decay=0.9)


RECIPES: dict[str, Recipe] = {
  "cross_entropy": Recipe(lambda run: losses.cross_entropy()),
  "mae": Recipe(lambda run: losses.mae()),
  "unhinged": Recipe(lambda run: losses.unhinged()),
  "gce": Recipe(lambda run: losses.gce(0.7)),
  "truncated_gce": Recipe(
    lambda run: losses.truncated_gce(
      0.7, 0.5, start=run.epochs // 3, every=max(run.epochs // 12, 1)
    )
  ),
  "sce": Recipe(lambda run: losses.sce(0.1, 1.0)),
  "focal": Recipe(lambda run: losses.focal(2.0)),
  "nce": Recipe(lambda run: _nce()),
  "nce_mae": Recipe(lambda run: losses.active_passive(_nce(), losses.mae())),
  "nce_rce": Recipe(lambda run: losses.active_passive(_nce(), losses.rce())),
  "nfl_rce": Recipe(
    lambda run: losses.active_passive(losses.normalized(losses.focal(0.5)), losses.rce())
  ),
  "taylor": Recipe(lambda run: losses.taylor(2)),
  "jensen_shannon": Recipe(lambda run: losses.jensen_shannon(0.5)),
  "gjs": Recipe(lambda run: losses.generalized_jensen_shannon(0.5, _shifted)),
  "bi_tempered": Recipe(lambda run: losses.bi_tempered(0.8, 1.2)),
  "phuber": Recipe(lambda run: losses.phuber(10.0)),
  "npcl": Recipe(
    lambda run: losses.npcl(run.rate, warmup=min(5, run.epochs // 2)), needs_rate=True
  ),
  "peer_loss": Recipe(_peer, tx=_slower_by_peers),
  "dmi": Recipe(_dmi, tx=_slower_for_dmi),
  "negative_learning": Recipe(
    lambda run: losses.negative_learning(
      selective_from=run.epochs // 3, positive_from=2 * run.epochs // 3
    )
  ),
  "label_smoothing": Recipe(lambda run: losses.label_smoothing(0.1)),
  "mixup": Recipe(lambda run: losses.mixup(8.0)),
  "elr": Recipe(_elr),
  "cdr": Recipe(
    lambda run: losses.cross_entropy(), tx=lambda run: losses.cdr(run.rate), needs_rate=True
  ),
}
