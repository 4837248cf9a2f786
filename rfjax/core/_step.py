"""One training step: the network fills the batch, the method changes it, the gradient follows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rfjax.core._batch import Batch
from rfjax.core._network import Network
from rfjax.core._transform import Spec, Transform


class TrainState(NamedTuple):
  """All that a run carries; neither step nor key, which come from the loop.

  Attributes:
    params: the network's parameters.
    stats: the network's statistics.
    method: the state of the method.
    opt: the state of the optimizer.
  """

  params: Any
  stats: Any
  method: Any
  opt: Any


class Step(NamedTuple):
  """The three functions of a training loop.

  Attributes:
    init: `init(params, data, *, key, stats=()) -> state`.
    refresh: `refresh(state, data, *, key, epoch, step=0) -> (view, state)`, once an epoch.
    update: `update(state, batch, *, key, step, epoch) -> (state, {"risk", "penalty"})`.
  """

  init: Callable[..., TrainState]
  refresh: Callable[..., tuple[Batch, TrainState]]
  update: Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def train_step(
  network: Network,
  method: Transform,
  tx: optax.GradientTransformation,
  *,
  skip_empty: bool = False,
) -> Step:
  r"""Builds the training step of a method.

  The gradient is that of risk + penalty, a pull-back of one linearisation; `tx` also gets
  `grad_of(risk=1., penalty=0.)`, the same pull-back with other weights, for methods that act on
  gradients, and `value`, `batch`, `forward`, `key`, `step` and `epoch`.

  Args:
    network: the network.
    method: the method.
    tx: any optax transformation.
    skip_empty: leave the state as it is where a batch is all padding. A gradient of zero would
      still move Adam; samplers that may serve empty batches need it.

  Returns:
    The `Step`. Keep `step` and `epoch` out of what is vmapped: a schedule then stays a real branch.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures
    >>> data = rfjax.Batch.from_arrays([[0.0], [1.0]], [0, 1])
    >>> network, key = architectures.logistic(), jax.random.key(0)
    >>> step = rfjax.train_step(network, rfjax.chain(), optax.sgd(1.0))
    >>> state = step.init(network.init(key, data.x)[0], data, key=key)
    >>> state, metrics = step.update(state, data, key=key, step=0, epoch=0)
  """
  extended = optax.with_extra_args_support(tx)

  def filler(stats: Any, key: jax.Array, train: bool) -> Callable[[Any, Batch], tuple[Batch, Any]]:
    def fill(params: Any, batch: Batch) -> tuple[Batch, Any]:
      logits, features, new = network.apply(params, stats, batch.x, key=key, train=train)
      return batch.fill(logits, features), new

    return fill

  def asker(stats: Any, default: jax.Array, train: bool) -> Callable[..., Batch]:
    def forward(params: Any, batch: Batch, *, key: jax.Array | None = None) -> Batch:
      return filler(stats, default if key is None else key, train)(params, batch)[0]

    return forward

  def init(params: Any, data: Batch, *, key: jax.Array, stats: Any = ()) -> TrainState:
    filled, _ = jax.eval_shape(filler(stats, key, False), params, data)
    spec = Spec(filled.logits, filled.features)
    if spec.logits.shape != (data.num_rows, data.num_classes):
      raise ValueError(
        f"network gives logits of shape {spec.logits.shape} for {data.num_rows} rows of data with"
        f" num_classes {data.num_classes}: give one logit a class"
      )
    return TrainState(params, stats, method.init(data, key=key, spec=spec), tx.init(params))

  def refresh(
    state: TrainState, data: Batch, *, key: jax.Array, epoch: Any, step: Any = 0, **extra: Any
  ) -> tuple[Batch, TrainState]:
    forward = asker(state.stats, key, False)
    filled = forward(state.params, data)
    view, method_state = method.refresh(
      filled, state.method, state.params, key=key, step=step, epoch=epoch, forward=forward, **extra
    )
    return view.drain(data, filled), state._replace(method=method_state)

  def update(
    state: TrainState, batch: Batch, *, key: jax.Array, step: Any, epoch: Any
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    network_key, method_key, tx_key = jax.random.split(key, 3)
    fill, forward = filler(state.stats, network_key, True), asker(state.stats, network_key, True)
    when = {"step": step, "epoch": epoch}

    def objective(params: Any) -> tuple[tuple[jax.Array, jax.Array], Any]:
      filled, stats = fill(params, batch)
      flow, method_state = method.update(
        filled, state.method, params, key=method_key, forward=forward, **when
      )
      return (flow.risk, flow.penalty), jax.lax.stop_gradient((stats, method_state))

    (risk, penalty), pull, (stats, method_state) = jax.vjp(objective, state.params, has_aux=True)

    def grad_of(risk: Any = 1.0, penalty: Any = 0.0) -> Any:
      return pull((jnp.asarray(risk, types[0]), jnp.asarray(penalty, types[1])))[0]

    types = risk.dtype, penalty.dtype
    updates, opt = extended.update(
      grad_of(1.0, 1.0),
      state.opt,
      state.params,
      grad_of=grad_of,
      value=risk + penalty,
      batch=batch,
      forward=forward,
      key=tx_key,
      **when,
    )
    new = TrainState(optax.apply_updates(state.params, updates), stats, method_state, opt)
    if skip_empty:
      some = jnp.any(batch.valid)
      new = jax.tree.map(lambda a, b: jnp.where(some, a, b), new, state)
    return new, {"risk": risk, "penalty": penalty}

  return Step(init, refresh, update)


def _penalty_state(t: Transform, data: Batch | None, key: jax.Array | None) -> Any:
  needs = "add_penalty needs data= and key= for a penalty that keeps a state"
  try:
    state = t.init(data, key=jax.random.key(0) if key is None else key, spec=None)
  except AttributeError:  # the init of a penalty that looks at the data
    if data is not None:
      raise
    raise ValueError(needs) from None
  if jax.tree.leaves(state) and key is None:
    raise ValueError(needs)
  return state


def add_penalty(
  t: Transform, data: Batch | None = None, *, key: jax.Array | None = None
) -> optax.GradientTransformationExtraArgs:
  r"""Makes a link of an optax chain of a penalty, as `optax.add_decayed_weights` is one of L2.

  $$g \leftarrow g + \nabla_\theta\, \mathrm{penalty}(\theta)$$

  Placed before the optimizer's scaling it equals the same penalty inside the loss; placed after it,
  it is decoupled, as AdamW's decay is. It works inside `train_step` and `fit`, which give it the
  batch, and wherever `batch`, `forward`, `key`, `step` and `epoch` are passed to `update`.

  Args:
    t: a transform that adds to `penalty`.
    data: the training set, for a penalty with a state of its own.
    key: the key of that state.

  Returns:
    The gradient transformation.

  Raises:
    ValueError: if the penalty needs a state and `data` or `key` is None, or `update` gets no batch.

  Examples:
    >>> import jax.numpy as jnp, optax, rfjax
    >>> square = rfjax.stateless(
    ...     lambda batch, **_: batch.replace(penalty=batch.penalty + jnp.mean(batch.margin**2)),
    ...     writes=("penalty",))
    >>> tx = optax.chain(rfjax.add_penalty(square), optax.adam(1e-3))
  """
  initial = _penalty_state(t, data, key)

  def init(params: Any) -> Any:
    del params
    return initial

  def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
    batch, forward = extra.pop("batch", None), extra.pop("forward", None)
    if params is None or batch is None or forward is None:
      raise ValueError("add_penalty needs params, batch= and forward=: use it inside train_step")

    def penalty(params: Any) -> tuple[jax.Array, Any]:
      flow, new = t.update(forward(params, batch), state, params, forward=forward, **extra)
      return flow.penalty, jax.lax.stop_gradient(new)

    gradient, state = jax.grad(penalty, has_aux=True)(params)
    return jax.tree.map(jnp.add, updates, gradient), state

  return optax.GradientTransformationExtraArgs(init, update)
