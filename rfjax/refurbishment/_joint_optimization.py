"""Joint optimisation: the labels are learned along with the network."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from rfjax.core import Batch, Transform, _check, read, write
from rfjax.refurbishment._recent import average, recent, remember


class JointOptimizationState(NamedTuple):
  """The state of `joint_optimization`.

  Attributes:
    recent: what the network said of each example in the last epochs, [N, window, C].
    labels: the labels in use, [N, C].
  """

  recent: jax.Array
  labels: jax.Array


def joint_optimization(
  prior_strength: float | jax.Array = 1.0,
  entropy_strength: float | jax.Array = 0.5,
  *,
  start: float | jax.Array = 70,
  window: int = 10,
  prior: ArrayLike | None = None,
  labels: ArrayLike | None = None,
  hard: bool = False,
) -> Transform:
  r"""Joint optimisation of network and labels: its first step.

  From epoch `start` on, at the start of each, the labels become the mean of the softmax in training
  over the last epochs,

  $$\mathrm{target}_i = s_i = \frac{1}{q} \sum_{j=1}^{q} p_i^{(e - j)}, \qquad
  \mathrm{penalty} \leftarrow \mathrm{penalty} - \alpha \sum_k \pi_k \log \bar p_k
  - \beta \sum_i \frac{\mathrm{keep}_i}{\sum_j \mathrm{keep}_j} \sum_k p_{ik} \log p_{ik},$$

  with $\bar p$ the mean of the softmax over the kept rows of a batch. A high and constant learning
  rate keeps the network from fitting wrong labels meanwhile. The penalties forbid that all examples
  get one label, and that labels stay undecided. The paper's Kullback-Leibler divergences differ
  from these cross-entropies by constants. The predictions take 4 N C `window` bytes.
  `joint_optimization_rounds` does the second step too.

  Args:
    prior_strength: alpha, at least 0; may be traced. The authors run 1.2 for 70 % of symmetric and
      0.8 for 40 % of asymmetric noise, with entropies of 0.8 and 0.4.
    entropy_strength: beta, at least 0; may be traced.
    start: epochs with the given labels, at least 0; with infinity they stay; may be traced.
    window: q, at least 1.
    prior: pi [C], the distribution of the true labels, probabilities; uniform when None; may be
      traced.
    labels: [N, C], rows of probabilities that take the place of the given labels, such as those of
      an earlier run; may be traced.
    hard: take the likeliest class of s, the paper's hard labels, instead of s.

  Returns:
    The transform; it writes target and penalty.

  Raises:
    ValueError: for values out of range, and for a prior or labels that are not of the data set.

  References:
    Tanaka, Ikami, Yamasaki, Aizawa, Joint Optimization Framework for Learning with Noisy Labels,
    CVPR 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, refurbishment
    >>> x = [[-2.0], [-1.0], [1.0], [2.0], [3.0]]
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 0, 1])
    >>> method = refurbishment.joint_optimization(start=20)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(1.0), data,
    ...                        key=jax.random.key(0), epochs=40)
    >>> state.method.labels.argmax(-1).tolist()
    [0, 0, 1, 1, 1]
  """
  _check.number("prior_strength", prior_strength, 0.0, open_high=True)
  _check.number("entropy_strength", entropy_strength, 0.0, open_high=True)
  _check.number("start", start, 0.0)
  window = _check.count("window", window)
  prior = None if prior is None else _probabilities("prior", prior, 1)
  labels = None if labels is None else _probabilities("labels", labels, 2)

  def init(data: Batch, **unused: Any) -> JointOptimizationState:
    del unused
    rows, classes = (data.num_rows,), (data.num_classes,)
    for name, value, shape in (("prior", prior, classes), ("labels", labels, rows + classes)):
      if value is not None and jnp.shape(value) != shape:
        raise ValueError(f"{name} must have shape {shape}, as the data set, got {jnp.shape(value)}")
    given = jax.nn.one_hot(data.y, data.num_classes)
    blank = jnp.full_like(given, 1 / data.num_classes)  # of addresses that no row has
    first = write(blank, data.index, given) if labels is None else labels
    return JointOptimizationState(recent(data, window), jnp.asarray(first, given.dtype))

  def refresh(
    data: Batch, state: JointOptimizationState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, JointOptimizationState]:
    del params, unused
    mean = average(state.recent, data.index)
    best = jax.nn.one_hot(jnp.argmax(mean, axis=-1), data.num_classes, dtype=mean.dtype)
    now = data.valid & (jnp.sum(mean, axis=-1) > 0) & (jnp.asarray(epoch) >= start)
    new = jnp.where(now[:, None], best if hard else mean, read(state.labels, data.index))
    return data, state._replace(labels=write(state.labels, data.index, new))

  def update(
    batch: Batch, state: JointOptimizationState, params: Any = None, *, epoch: Any, **unused: Any
  ) -> tuple[Batch, JointOptimizationState]:
    del params, unused
    batch.require("log_probs", "target", "keep", "penalty", by="joint_optimization")
    own = batch.valid & ((jnp.asarray(epoch) >= start) | (labels is not None))
    target = jnp.where(own[:, None], read(state.labels, batch.index), batch.target)
    total = jnp.sum(batch.keep)
    share = batch.keep / jnp.where(total > 0, total, 1)
    uniform = jnp.full(batch.num_classes, 1 / batch.num_classes)
    log_mean = jax.nn.logsumexp(batch.log_probs, axis=0, b=share[:, None])
    against = -jnp.sum((uniform if prior is None else prior) * log_mean)
    entropy = -jnp.sum(share * jnp.sum(batch.probs * batch.log_probs, axis=-1))
    penalty = prior_strength * against + entropy_strength * entropy
    state = state._replace(recent=remember(state.recent, batch, epoch))
    return batch.replace(
      target=target, penalty=batch.penalty + jnp.where(total > 0, penalty, 0)
    ), state

  return Transform(init, update, refresh, writes=("target", "penalty"))


def _probabilities(name: str, values: ArrayLike, axes: int) -> Any:
  """Refuses what is no distribution, or no rows of them; returns the array."""
  found = _check.numbers(name, values, 0.0, 1.0)
  if found.ndim != axes:
    raise ValueError(f"{name} must have {axes} axes, got shape {found.shape}")
  if not _check.traced(found):
    sums = np.asarray(found, np.float64).sum(-1)
    if (np.abs(sums - 1) > 1e-4).any():
      raise ValueError(f"{name} must add up to 1, got {sums.flat[np.abs(sums - 1).argmax()]:g}")
  return found
