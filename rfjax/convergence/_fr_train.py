"""FR-Train: a classifier against two discriminators, one for fairness and one for robustness."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core import Batch, Player, Transform, _check, cross_entropy, descend, player, read, write
from rfjax.core._network import as_float

REWEIGHT = (None, "official", "paper", "d_r")
CONDITION = (None, "y", "y=1")
_NAME = "fr_train"


class FRTrainState(NamedTuple):
  """The state of `fr_train`.

  Attributes:
    fairness: the discriminator of groups, a `Player`.
    robustness: the discriminator of trusted from training examples, a `Player`.
    example_weight: [N], r.
    objective: [], the objective of the last step.
  """

  fairness: Player
  robustness: Player
  example_weight: jax.Array
  objective: jax.Array


class _View(NamedTuple):
  """What the discriminators look at, features first; shares sum to 1 over the rows that count."""

  score: jax.Array  # [C - 1, B], the margins
  label: jax.Array  # [C, B], one-hot given label
  group: jax.Array  # [G - 1, B], membership
  group_share: jax.Array  # [B]
  features: jax.Array  # [d, B]
  share: jax.Array  # [B]
  inputs: jax.Array  # [d + C - 1, B + V], of D_R: (x, score), then the trusted rows' (x, label)
  trusted: jax.Array  # [1, B + V], 1 for the trusted ones
  input_share: jax.Array  # [B + V], half of it on the trusted ones


def _rows(batch: Batch) -> jax.Array:
  return as_float(batch.x.reshape(batch.num_rows, -1)).T


def _shares(mask: jax.Array) -> jax.Array:
  return mask / jnp.maximum(jnp.sum(mask), 1.0)


def _view(batch: Batch, condition: str | None) -> _View:
  batch.require("logits", "group", "trusted", by=_NAME)
  trusted, membership = batch.trusted, batch.membership
  present = jnp.sum(membership, axis=1)
  counted = present * (batch.y == 1) if condition == "y=1" else present
  code = 2.0 * jax.nn.one_hot(trusted.y, batch.num_classes)[:, 1:] - 1.0
  features, score = _rows(batch), batch.margin.T
  share, trusted_share = (_shares(b.valid.astype(score.dtype)) for b in (batch, trusted))
  given = jnp.concatenate([features, score]), jnp.concatenate([_rows(trusted), code.T])
  return _View(
    score=score,
    label=jax.nn.one_hot(batch.y, batch.num_classes).T,
    group=(membership / jnp.where(present > 0, present, 1.0)[:, None])[:, 1:].T,
    group_share=_shares(counted),
    features=features,
    share=share,
    inputs=jnp.concatenate(given, axis=1),
    trusted=(jnp.arange(batch.num_rows + trusted.num_rows) >= batch.num_rows)[None] * 1.0,
    input_share=0.5 * jnp.concatenate([share, trusted_share]),
  )


def _group_scores(params: Any, view: _View, score: jax.Array) -> jax.Array:
  """The fairness discriminator, linear in the score, with one head or one for each label."""
  heads = jnp.einsum("hgc,cb->hgb", params["kernel"], score) + params["bias"][:, :, None]
  return heads[0] if len(heads) == 1 else jnp.einsum("hgb,hb->gb", heads, view.label)


def _trust_score(params: Any, inputs: jax.Array) -> jax.Array:
  """The robustness discriminator, one hidden layer; [1, rows], high for trusted."""
  hidden = params["hidden"]["kernel"].T @ inputs + params["hidden"]["bias"][:, None]
  hidden = jnp.where(hidden > 0, hidden, 0.2 * hidden)
  return params["head"]["kernel"].T @ hidden + params["head"]["bias"][:, None]


def _fairness_loss(params: Any, view: _View) -> jax.Array:
  losses = cross_entropy(_group_scores(params, view, view.score), view.group)
  return jnp.sum(view.group_share * losses)


def _robustness_loss(params: Any, view: _View) -> jax.Array:
  losses = cross_entropy(_trust_score(params, view.inputs), view.trusted)
  return jnp.sum(view.input_share * losses)


def _mixture(kind: str | None, ratio: jax.Array, trust: jax.Array) -> jax.Array:
  a = jax.nn.sigmoid(ratio - 3.0)
  mixtures = {"official": a * trust + 1 - a, "paper": a + (1 - a) * trust, "d_r": trust}
  return mixtures[str(kind)]


def _players(data: Batch, key: jax.Array, condition: str | None, hidden: int) -> tuple[Any, Any]:
  """Initial discriminators, normal of standard deviation 0.2 with biases of zero."""
  heads = data.num_classes if condition == "y" else 1
  groups, scores = data.num_groups - 1, data.num_classes - 1
  keys = jax.random.split(key, 3)
  normal = lambda key, *shape: 0.2 * jax.random.normal(key, shape)
  fairness = {"kernel": normal(keys[0], heads, groups, scores), "bias": jnp.zeros((heads, groups))}
  width = data.x[0].size + scores
  robustness = {
    "hidden": {"kernel": normal(keys[1], width, hidden), "bias": jnp.zeros(hidden)},
    "head": {"kernel": normal(keys[2], hidden, 1), "bias": jnp.zeros(1)},
  }
  return fairness, robustness


def fr_train(
  lambda_f: Any,
  lambda_r: Any,
  *,
  fairness_tx: optax.GradientTransformation | None = None,
  robustness_tx: optax.GradientTransformation | None = None,
  warmup: int = 500,
  critic_steps: int = 5,
  reweight: str | None = "official",
  reweight_every: int = 100,
  condition: str | None = None,
  detach_r: bool = False,
  warmup_scale: float = 1.0,
  warmup_weight: float = 1.0,
  hidden: int = 16,
  players: tuple[Any, Any] | None = None,
) -> Transform:
  r"""FR-Train: trains a classifier that neither discriminator can see through.

  D_F tells the group z from the score u; D_R tells trusted examples (x, y) from training examples
  (x, u). After a warm-up on the plain loss, the objective is

  $$(1-\lambda_f-\lambda_r)\,\overline{r\,\ell(u, y)} \;-\; \lambda_f\,\overline{r\,\ell(D_F(u), z)}
  \;-\; \lambda_r\,\overline{\ell(D_R(x, u), 0)},$$

  where each discriminator descends on its own cross-entropy, which at its optimum is an entropy
  less the mutual information I(Z; U), or I(V; X, U) with V: comes from the trusted set. The example
  weights r follow D_R, with a = sigmoid(objective / L_R - 3): a D_R + 1 - a ("official", as the
  authors' code has it), a + (1 - a) D_R ("paper"), or D_R ("d_r").

  One step of the model is one of the game's rounds: `critic_steps` steps of the discriminators, one
  in the warm-up, then one of the model. The official loop of E epochs is `fr_train_steps` steps.

  Args:
    lambda_f: weight of fairness, at least 0; may be traced.
    lambda_r: weight of robustness, at least 0, with lambda_f + lambda_r < 1; may be traced.
    fairness_tx: optimizer of D_F, SGD at 1e-3 by default.
    robustness_tx: optimizer of D_R, SGD at 1e-3 by default.
    warmup: steps on the plain loss, while the discriminators learn.
    critic_steps: steps of the discriminators for one of the model, at least 1.
    reweight: how r follows D_R; None keeps r = 1.
    reweight_every: steps of the discriminators between two reweightings. With batches, the rows of
      the batch at hand are reweighted.
    condition: None for demographic parity; "y" for equalized odds, one D_F for each label; "y=1"
      for equal opportunity, a D_F of the rows with label 1.
    detach_r: let no gradient through D_R, as the authors' notebook on clean data has it, where
      lambda_r then only scales the loss.
    warmup_scale: scales the logits in the warm-up; 2 is the official sigmoid(2u), which is
      (tanh u + 1) / 2. Any other than 1 writes log_probs and belongs in front of a loss.
    warmup_weight: scales the loss in the warm-up; 0.1 in the authors' poisoned notebook.
    hidden: hidden units of D_R.
    players: initial parameters of D_F and D_R, instead of random ones.

  Returns:
    The transform; it writes weight and penalty, and needs group and trusted. Put it last:
    "official" and "paper" read the objective as it stands.

  Raises:
    ValueError: for values out of range, or where group or trusted examples are missing.

  References:
    Roh, Lee, Whang, Suh, FR-Train: a mutual information-based approach to fair and robust training,
    ICML 2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> clean = rfjax.Batch.from_arrays([[-1.0], [1.0]], [0, 1])
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0]], [0, 1, 1], [0, 1, 1], trusted=clean)
    >>> state, log = rfjax.fit(architectures.logistic(), convergence.fr_train(0.3, 0.4, warmup=2),
    ...                        optax.adam(1e-3), data, key=jax.random.key(0), epochs=3)
  """
  _check.number("lambda_f", lambda_f, 0.0)
  _check.number("lambda_r", lambda_r, 0.0)
  if not _check.traced(lambda_f, lambda_r):
    _check.number("lambda_f + lambda_r", lambda_f + lambda_r, 0.0, 1.0, open_high=True)
  warmup = _check.count("warmup", warmup, 0)
  critic_steps = _check.count("critic_steps", critic_steps)
  reweight_every = _check.count("reweight_every", reweight_every)
  hidden = _check.count("hidden", hidden)
  _check.choice("reweight", reweight, REWEIGHT)
  _check.choice("condition", condition, CONDITION)
  tx_f = optax.sgd(1e-3) if fairness_tx is None else fairness_tx
  tx_r = optax.sgd(1e-3) if robustness_tx is None else robustness_tx
  first = -(-warmup // critic_steps) * critic_steps  # the critic step of the first game round

  def critic_step(step: Any) -> Any:
    return jnp.where(step < warmup, step, first + (step - warmup) * critic_steps)

  def reweights(step: Any) -> Any:
    return (step >= warmup) & (critic_step(step) % reweight_every == 0)

  def init(data: Batch, *, key: jax.Array, **unused: Any) -> FRTrainState:
    del unused
    data.require("group", "trusted", by=_NAME)
    fairness, robustness = _players(data, key, condition, hidden) if players is None else players
    one, zero = jnp.ones(data.num_rows), jnp.zeros(())
    return FRTrainState(player(fairness, tx_f), player(robustness, tx_r), one, zero)

  def play(view: _View, state: FRTrainState, step: Any) -> tuple[Player, Player, Player]:
    def turn(_: Any, pair: tuple[Player, Player]) -> tuple[Player, Player]:
      return descend(_fairness_loss, pair[0], view, tx_f), descend(
        _robustness_loss, pair[1], view, tx_r
      )

    turns = jnp.where(step == warmup, first - warmup + 1, critic_steps)
    turns = jnp.where(step < warmup, 1, turns)
    pair = jax.lax.fori_loop(0, turns - 1, turn, (state.fairness, state.robustness))
    return *turn(0, pair), pair[1]

  def weights(batch: Batch, view: _View, state: FRTrainState, step: Any, r: Player, before: Player):
    def anew() -> jax.Array:
      ratio = state.objective / _robustness_loss(before.params, view)
      trust = jax.nn.sigmoid(_trust_score(r.params, view.inputs)[0, : batch.num_rows])
      return write(state.example_weight, batch.index, _mixture(reweight, ratio, trust))

    if reweight is None:
      return state.example_weight
    return jax.lax.cond(reweights(step), anew, lambda: state.example_weight)

  def penalty(view: _View, weight: jax.Array, f: Player, r: Player) -> jax.Array:
    fair = cross_entropy(_group_scores(f.params, view, view.score), view.group)
    score = jax.lax.stop_gradient(view.score) if detach_r else view.score
    trust = _trust_score(r.params, jnp.concatenate([view.features, score]))
    robust = cross_entropy(trust, jnp.zeros_like(trust))
    return -lambda_f * jnp.sum(view.group_share * weight * fair) - lambda_r * jnp.sum(
      view.share * robust
    )

  def update(batch: Batch, state: FRTrainState, params: Any = None, *, step: Any, **unused: Any):
    del params, unused
    view = _view(batch, condition)
    frozen = jax.lax.stop_gradient(view)
    f, r, before = play(frozen, state, step)
    example_weight = weights(batch, frozen, state, step, r, before)
    weight = read(example_weight, batch.index)
    warm = step < warmup
    if warmup_scale != 1.0:
      scale = jnp.where(warm, warmup_scale, 1.0)
      batch = batch.replace(log_probs=jax.nn.log_softmax(scale * batch.logits))
    game = jax.lax.cond(warm, lambda: jnp.zeros(()), lambda: penalty(view, weight, f, r))
    batch = batch.replace(
      weight=batch.weight * jnp.where(warm, warmup_weight, (1 - lambda_f - lambda_r) * weight),
      penalty=batch.penalty + game,
    )
    return batch, FRTrainState(f, r, example_weight, batch.objective)

  writes = ("weight", "penalty") if warmup_scale == 1.0 else ("log_probs", "weight", "penalty")
  return Transform(init, update, writes=writes)


def fr_train_steps(epochs: int, *, warmup: int = 500, critic_steps: int = 5) -> int:
  """Steps of the model in the official loop of `epochs` steps of the discriminators.

  Args:
    epochs: epochs of the official loop.
    warmup: as in `fr_train`.
    critic_steps: as in `fr_train`.

  Returns:
    The number of epochs to give to `rfjax.fit` with a full batch.

  Examples:
    >>> from rfjax.convergence import fr_train_steps
    >>> fr_train_steps(10_000), fr_train_steps(4_000, critic_steps=3)
    (2400, 1667)
  """
  first = -(-warmup // critic_steps) * critic_steps
  return min(epochs, warmup) + max(0, -(-(epochs - first) // critic_steps))
