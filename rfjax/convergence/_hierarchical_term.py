"""Hierarchical tilted empirical risk minimisation: sources are tilted down, groups in them up."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.convergence._sources import check_addresses, source_ids
from rfjax.core import Batch, Transform, _check, group_sum, ratio
from rfjax.fairness.inprocessing import _cells

_NAME = "hierarchical_term"


def hierarchical_term(
  source: ArrayLike, t: float | jax.Array = -2.0, tau: float | jax.Array = 2.0
) -> Transform:
  r"""Hierarchical TERM: learns from sources of small risk, in each of them for the worst group.

  $$J = \frac1t \log \sum_s \frac{n_s}{n}\, e^{t R_s}, \qquad
  R_s = \frac1\tau \log \sum_g \frac{n_{sg}}{n_s}\, e^{\tau L_{sg}}$$

  with the mean losses L of the groups of a source. What it writes is the slope of J,

  $$\mathrm{weight}_i \leftarrow \mathrm{weight}_i\; n\, \frac{\partial J}{\partial \ell_i}
  = \mathrm{weight}_i\; \frac{e^{t R_s}}{\sum_r \frac{n_r}{n} e^{t R_r}}\;
  \frac{e^{\tau L_{sg}}}{\sum_h \frac{n_{sh}}{n_s} e^{\tau L_{sh}}},
  \qquad s = s_i,\; g = g_i,$$

  without a gradient of its own, so that the gradient of the risk is that of J. With t < 0 sources
  of large risk are left out, as those are that somebody has tampered with; with tau > 0 the worst
  group of a source is lifted. At 0 either is a plain mean; as t falls J becomes the best source's
  risk, and as tau grows R becomes the worst group's. It is a defence by losses: a source that
  differs in its groups only, or agrees with what is learnt, is not told apart.

  Rows count by what stands in front: as kept, by the weights that they were given, below 0 not at
  all; J is then that of the weighted rows. Rows without a group are one more group of their source,
  and a row of soft membership is a part of each. J is that of a batch, and the mean of a log is not
  the log of a mean, so batches should be large; FLEA's authors take all rows at once.

  Args:
    source: the source of each row, int [N] from 0, addressed by `index`; known on the host.
    t: the tilt of sources, any finite number; may be traced.
    tau: the tilt of groups, any finite number; may be traced.

  Returns:
    The transform; it writes weight, and needs group and source ids in training only. It reads the
    loss: losses, corrections and selections stand in front.

  Raises:
    ValueError: for values out of range, fewer than two sources, rows that have none, or where the
      group is missing.

  References:
    Li, Beirami, Sanjabi, Smith, Tilted Empirical Risk Minimization, ICLR 2021.
    Iofinova, Konstantinov, Lampert, FLEA: Provably Robust Fair Multisource Learning from Unreliable
    Training Data, TMLR 2022 (as a baseline, with these tilts).

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> x, group = [[-2.0], [-1.0], [1.0], [2.0]] * 3, [0, 1, 0, 1] * 3
    >>> data = rfjax.Batch.from_arrays(x, [0, 0, 1, 1] * 2 + [1, 1, 0, 0], group)
    >>> method = convergence.hierarchical_term([0] * 4 + [1] * 4 + [2] * 4)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), data,
    ...                        key=jax.random.key(0), epochs=50)
    >>> rfjax.predict(architectures.logistic(), state, data).logits.argmax(-1)[8:].tolist()
    [0, 0, 1, 1]
  """
  ids = source_ids(source)
  for name, value in (("t", t), ("tau", tau)):
    _check.number(name, value, open_low=True, open_high=True)
  size = int(ids.max()) + 1

  def init(data: Batch, **unused: Any) -> tuple[()]:
    del unused
    check_addresses(ids, data.require("group", by=_NAME))
    return ()

  def update(
    batch: Batch, state: tuple[()], params: Any = None, **unused: Any
  ) -> tuple[Batch, tuple[()]]:
    del params, unused
    batch.require("cost", "target", "keep", "weight", "group", by=_NAME)
    loss = batch.loss.astype(jnp.promote_types(batch.loss.dtype, jnp.float32))
    loss, mass = jax.lax.stop_gradient((loss, batch.keep * jnp.maximum(batch.weight, 0)))
    mine = jnp.take(jnp.asarray(ids), batch.index, mode="fill", fill_value=size)
    member = jnp.maximum(_cells.with_missing(batch), 0).astype(loss.dtype)
    counted = member * mass[:, None]
    rows = group_sum(counted, mine, size)  # n_sg
    mean = ratio(group_sum(counted * loss[:, None], mine, size), rows)
    of_source = jnp.sum(rows, axis=1)
    inner, risk = _tilt(mean, ratio(rows, of_source[:, None]), tau)
    outer, _ = _tilt(risk, ratio(of_source, jnp.sum(of_source)), t)
    of_cell = jnp.take(outer[:, None] * inner, mine, axis=0, mode="fill", fill_value=0)
    # A row's parts add up to 1 but for rounding, which tilts of 0 must not show.
    factor = ratio(jnp.sum(member * of_cell, axis=1), jnp.sum(member, axis=1))
    return batch.replace(weight=batch.weight * factor.astype(batch.weight.dtype)), state

  return Transform(init, update, writes=("weight",))


def _tilt(loss: jax.Array, share: jax.Array, t: Any) -> tuple[jax.Array, jax.Array]:
  """What tilts shares along the last axis, e^(t loss) over its mean, and the tilted mean.

  Exponents are those of distances from the loss that counts most, and at most 0. What is without a
  share has a factor of 0.
  """
  t, some = jnp.asarray(t, loss.dtype), share > 0
  largest = jnp.max(loss, axis=-1, keepdims=True, where=some, initial=-jnp.inf)
  least = jnp.min(loss, axis=-1, keepdims=True, where=some, initial=jnp.inf)
  top = jnp.where(jnp.any(some, axis=-1, keepdims=True), jnp.where(t >= 0, largest, least), 0)
  away = jnp.where(some, loss - top, 0)
  # Near 1 the mean is 1 + more, which is exact at t = 0; near 0 that would cancel.
  more = jnp.sum(share * jnp.expm1(t * away), axis=-1, keepdims=True)
  mean = jnp.sum(share * jnp.exp(t * away), axis=-1, keepdims=True)
  close = more > -0.5
  mean = jnp.where(close, 1 + more, mean)
  log = jnp.where(close, jnp.log1p(more), jnp.log(mean))
  flat = jnp.abs(t) < jnp.finfo(loss.dtype).tiny
  plain = jnp.sum(share * away, axis=-1, keepdims=True)
  value = top + jnp.where(flat, plain, log / jnp.where(flat, 1, t))
  return jnp.where(some, jnp.exp(t * away) / mean, 0), value[..., 0]
