"""The methods of the noisy-labels experiment, at settings that were written down before its runs.

They are the published ones where a paper has some for pictures of this size, those of CIFAR-10 for
sce, nce_rce and elr, and the factories' defaults elsewhere; what is measured in epochs is scaled to
the epochs of the run. Those of peer_loss and dmi were changed after a first run in which both
diverged.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import rfjax
from rfjax import architectures, correction, losses, noise, refurbishment, reweighting, selection
from rfjax.core import Transform

VOTES = 5  # predictions that MORPH remembers, the fewest of its paper's grid


REED = (7, 9, 0, 4, 2, 1, 3, 5, 6, 8)  # the fixed permutation of digits of Reed et al., 2015


def transition(kind: str, rate: Any, data: str) -> jax.Array:
  """The transition matrix of a kind of noise, [10, 10]; the data say which classes look alike."""
  if kind == "asymmetric":
    return noise.asymmetric_matrix(rate, data, 10)
  same = jnp.eye(10)
  goals = {
    "symmetric": (1 - same) / 9,
    "pair": jnp.roll(same, 1, axis=1),
    "permuted": same[jnp.array(REED)],
  }
  return (1 - rate) * same + rate * goals[kind]


class Run(NamedTuple):
  """What a method may be fitted to.

  Attributes:
    rate: the share of wrong labels; may be traced.
    noise: its kind, as in the settings.
    matrix: the transition matrix.
    epochs: of the run.
    steps: of the run.
    rows: of the training set.
  """

  rate: Any
  noise: str
  matrix: jax.Array
  epochs: int
  steps: int
  rows: int


class Recipe(NamedTuple):
  """How the experiment makes a method.

  Attributes:
    make: the transform for a run; None where `rounds` trains.
    tx: what goes in front of the optimizer for a run, or None.
    told: what it is told of the noise, as in its paper: its "rate", its "matrix" of transitions
      too, or its "kind", on which strengths hang.
    peers: how many networks look at each other.
    oracle: whether it learns from the true labels, as what could be reached at best.
    rounds: for a run what trains in the place of `fit`, for methods that start anew; it takes
      network, tx, data, key, epochs, batch_size, after and observe.
    trained: how many times as long as the others all of its trainings are together, but for two
      networks at once.
    by_epoch: whether the learning rate falls by the epoch, since epochs differ in their steps.
  """

  make: Callable[[Run], Transform] | None
  tx: Callable[[Run], optax.GradientTransformation] | None = None
  told: str = ""
  peers: int = 1
  oracle: bool = False
  rounds: Callable[[Run], Callable[..., Any]] | None = None
  trained: str = ""
  by_epoch: bool = False


def _shifted(x: jax.Array, key: jax.Array) -> jax.Array:
  """The pictures of a batch moved by up to two pixels, [B, H, W]."""
  shift = jax.random.randint(key, (2,), -2, 3)
  return jnp.roll(jnp.roll(x, shift[0], axis=1), shift[1], axis=2)


def _turned(x: jax.Array, key: jax.Array) -> jax.Array:
  """The pictures of a batch moved by up to two pixels, and half of them mirrored, [B, H, W]."""
  shift_key, mirror_key = jax.random.split(key)
  mirror = jax.random.bernoulli(mirror_key, 0.5, (x.shape[0], 1, 1))
  return _shifted(jnp.where(mirror, x[:, :, ::-1], x), shift_key)


def _forget(run: Run) -> Callable[[Any], jax.Array]:
  """Co-teaching's schedule, which grows over 10 of its 200 epochs; here over a third of them."""
  return selection.ramp_up(run.rate, max(run.epochs // 3, 1))


def _plain(run: Run) -> Transform:
  # Prestopping that never stops is plain training, and remembers what is memorized.
  never = selection.prestopping(stop=run.epochs + 1, length=VOTES)
  return rfjax.chain(losses.cross_entropy(), never)


def _s_model(run: Run) -> Callable[..., Any]:
  """The first training stops early, and the second goes on with its network, as the authors' do."""
  first = max(run.epochs // 5, 1)
  return functools.partial(architectures.s_model_rounds, first_epochs=first, go_on=True)


def _selfie(run: Run) -> Callable[..., Any]:
  """The paper's settings; its warm-up of 25 of 100 epochs must be as long as the history here."""
  return functools.partial(
    refurbishment.selfie_rounds,
    rate=run.rate,
    restarts=2,
    length=min(15, run.epochs // 2),
    warmup=run.epochs // 2,
  )


def _morph(run: Run, augment: Any, rate: Any = None) -> Transform:
  """The paper's settings with its shortest history, its ramp scaled from 120 epochs."""
  return selection.morph(
    augment, rate=rate, consistency=5.0, ramp_epochs=2 * run.epochs / 3, length=VOTES
  )


def _confident(run: Run) -> Callable[..., Any]:
  """Leaves out what networks that have not seen it find wrong, and trains on the rest."""

  def train(
    network: Any, tx: Any, data: Any, *, key: jax.Array, epochs: int, batch_size: int,
    after: Transform, observe: Any,
  ) -> Any:  # fmt: skip
    shared: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    probs = selection.out_of_sample(
      network, losses.cross_entropy(), tx, data, key=jax.random.fold_in(key, 1), folds=3, **shared
    )
    method = rfjax.chain(selection.confident_learning(probs), after)
    return rfjax.fit(network, method, tx, data, key=key, observe=observe, **shared)

  del run
  return train


def _o2u(run: Run) -> Callable[..., Any]:
  """As many epochs of overfitting and underfitting as of training; cycles of the paper's length."""
  per_epoch = max(run.steps // run.epochs, 1)
  cyclical = optax.sgd(selection.cyclical(0.05, 0.005, 10, steps=per_epoch), momentum=0.9)

  def train(*data: Any, batch_size: int, **how: Any) -> Any:
    cycles = {"cycle_tx": cyclical, "cycle_epochs": run.epochs, "cycle_batch_size": batch_size}
    return selection.o2u_rounds(*data, rate=run.rate, batch_size=batch_size, **cycles, **how)

  return train


def _d2l(run: Run) -> Transform:
  """The paper's settings, with smaller draws where there are fewer pictures."""
  size = min(128, run.rows // 10)
  return refurbishment.d2l(
    run.epochs, warmup=min(5, run.epochs // 4), batch_size=size, neighbours=min(20, size - 1)
  )


def _divide_mix(run: Run) -> Transform:
  """The paper's for CIFAR-10, with its penalty for asymmetric noise.

  The strength is that for symmetric noise of 50 %. Warm-up and ramp are a sixth of the run each,
  since epochs have fewer steps than the paper's, where they are a thirtieth and a nineteenth.
  """
  warmup = max(run.epochs // 6, 1)
  return selection.divide_mix(
    _turned,
    warmup=warmup,
    ramp_epochs=warmup,
    strength=25.0 if run.noise == "symmetric" else 0.0,
    neg_entropy=0.0 if run.noise == "symmetric" else 1.0,
  )


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
  "cross_entropy": Recipe(_plain),
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
  "npcl": Recipe(lambda run: losses.npcl(run.rate, warmup=min(5, run.epochs // 2)), told="rate"),
  "peer_loss": Recipe(_peer, tx=_slower_by_peers),
  "dmi": Recipe(_dmi, tx=_slower_for_dmi),
  "negative_learning": Recipe(
    lambda run: losses.negative_learning(
      selective_from=run.epochs // 3, positive_from=2 * run.epochs // 3
    )
  ),
  "label_smoothing": Recipe(lambda run: losses.label_smoothing(0.1)),
  "mixup": Recipe(lambda run: losses.mixup(8.0)),
  "elr": Recipe(_elr, told="kind"),
  "cdr": Recipe(
    lambda run: losses.cross_entropy(), tx=lambda run: losses.cdr(run.rate), told="rate"
  ),
  "true_labels": Recipe(lambda run: losses.cross_entropy(), oracle=True),
  "forward": Recipe(lambda run: correction.forward(run.matrix), told="matrix"),
  "s_model": Recipe(None, rounds=_s_model, trained="1.2"),
  "small_loss": Recipe(lambda run: selection.small_loss(_forget(run)), told="rate"),
  "co_teaching": Recipe(lambda run: selection.co_teaching(_forget(run)), told="rate", peers=2),
  "prestopping": Recipe(lambda run: selection.prestopping(rate=run.rate), told="rate"),
  "selfie": Recipe(None, rounds=_selfie, told="rate", trained="3"),
  "morph_alone": Recipe(lambda run: _morph(run, None)),
  "morph": Recipe(lambda run: _morph(run, _turned)),
  "morph_told": Recipe(lambda run: _morph(run, _turned, run.rate), told="rate"),
  "backward": Recipe(
    lambda run: rfjax.chain(losses.cross_entropy(), correction.backward(run.matrix)),
    told="matrix",
  ),
  "importance": Recipe(lambda run: reweighting.importance(run.matrix), told="matrix"),
  "vol_min_net": Recipe(lambda run: correction.vol_min_net(1e-4, optax.adam(1e-2))),
  "noise_layer": Recipe(lambda run: architectures.noise_layer(0.01, warmup=run.epochs // 6)),
  "dropout_noise_model": Recipe(lambda run: architectures.dropout_noise_model(0.1)),
  "active_bias": Recipe(lambda run: reweighting.active_bias(run.epochs // 4)),
  "mentor_net": Recipe(
    lambda run: reweighting.mentor_net(
      epochs=run.epochs, percentile=0.75, dropout=((0.5, 17), (0.05, 83))
    )
  ),
  "bootstrap_soft": Recipe(lambda run: refurbishment.bootstrap_soft(0.95)),
  "bootstrap_hard": Recipe(lambda run: refurbishment.bootstrap_hard(0.8)),
  "dynamic_bootstrap": Recipe(
    lambda run: refurbishment.dynamic_bootstrap(warmup=run.epochs // 3, alpha=32.0)
  ),
  "sat": Recipe(lambda run: refurbishment.sat(0.9, start=run.epochs // 3)),
  "plc": Recipe(lambda run: refurbishment.plc(warmup=run.epochs // 4)),
  "ada_corr": Recipe(
    lambda run: refurbishment.ada_corr(
      start=run.epochs // 6,
      retroactive_start=run.epochs // 7,
      retroactive_interval=max(2 * run.epochs // 9, 1),
      window=max(run.epochs // 6, 1),
    )
  ),
  "joint_optimization": Recipe(
    lambda run: refurbishment.joint_optimization(
      start=run.epochs // 3, window=max(run.epochs // 6, 1)
    )
  ),
  "d2l": Recipe(_d2l),
  "decoupling": Recipe(lambda run: selection.decoupling(warmup=1), peers=2),
  "co_teaching_plus": Recipe(
    lambda run: selection.co_teaching_plus(_forget(run), warmup=run.epochs // 10),
    told="rate",
    peers=2,
  ),
  "jocor": Recipe(lambda run: selection.jocor(_forget(run), strength=0.5), told="rate", peers=2),
  "sigua": Recipe(lambda run: selection.sigua(_forget(run)), told="rate"),
  "itlm": Recipe(
    None,
    rounds=lambda run: functools.partial(selection.itlm_rounds, rate=run.rate, rounds=3),
    told="rate",
    trained="3",
  ),
  "o2u": Recipe(None, rounds=_o2u, told="rate", trained="3"),
  "divide_mix": Recipe(_divide_mix, peers=2, told="kind", by_epoch=True),
  "fine": Recipe(lambda run: selection.fine(warmup=run.epochs // 3, every=run.epochs // 6 or 1)),
  "crust": Recipe(lambda run: selection.crust(warmup=min(5, run.epochs // 2), capacity=1200)),
  # Coresets as the authors' code chooses them, in the place of those of their paper.
  "crust_central": Recipe(
    lambda run: selection.crust(warmup=min(5, run.epochs // 2), capacity=1200, greedy=False)
  ),
  "confident_learning": Recipe(None, rounds=_confident, trained="3"),
}
