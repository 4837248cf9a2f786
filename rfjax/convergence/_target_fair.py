"""A penalty that looks at the rows of the target domain, where alone the groups are known."""

from typing import Any

import jax

from rfjax.core import Batch, Transform, _check

_NAME = "target_fair"


def target_fair(
  method: Transform, target: Batch | None = None, *, batch_size: int | None = None
) -> Transform:
  r"""Target-fair covariate shift: the risk is that of the source, and the penalty of the target.

  $$\mathrm{objective} = \frac{1}{n} \sum_{i \in \text{source}} w_i\, \mathrm{loss}_i
  + \mathrm{penalty}(\{(f(x_j), z_j) : j \in \text{target}\})$$

  The network is asked about the target's rows in every step, and a penalty of their groups is
  added; the source needs no group, and the target no label. The weights are those of the data set,
  such as `preprocessing.density_ratio_weights` gives it, with the same rows as `trusted`.

  The paper poses this as weights that minimise a sum of both losses. How it weighs and descends on
  them is in no public text: here the network descends on the sum, by any penalty. It is one of
  scores if it reads no label, as demographic parity does; labels of the target, which a `Batch`
  must have, can be any, and a penalty that reads them has no meaning.

  Args:
    method: a transform that writes penalty, such as `inprocessing.gap`.
    target: rows of the target domain, with groups; the `trusted` rows of the data set when None,
      which is the form for many rows.
    batch_size: how many rows of the target each step draws, without replacement; all when None.

  Returns:
    The transform; it writes penalty, and needs groups of the target, in training only.

  Raises:
    ValueError: for a method that writes anything else; at the start of training without a target,
      without its groups, or for a batch size above its rows.

  References:
    Coston, Ramamurthy, Wei, Varshney, Speakman, Mustahsan, Chakraborty, Fair Transfer Learning with
    Missing Protected Attributes, AIES 2019.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence
    >>> from rfjax.fairness import inprocessing
    >>> source = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> target = rfjax.Batch.from_arrays([[0.0], [1.0], [3.0]], [0, 0, 0], [0, 1, 1])
    >>> method = convergence.target_fair(inprocessing.gap(0.5), target)
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.adam(0.1), source,
    ...                        key=jax.random.key(0), epochs=5)
  """
  if set(method.writes) != {"penalty"}:
    raise ValueError(f"method must write penalty and nothing else, got writes {method.writes}")
  size = None if batch_size is None else _check.count("batch_size", batch_size)

  def of(flow: Batch) -> Batch:
    rows = flow.require("trusted", by=_NAME).trusted if target is None else target
    return rows.require("group", by=_NAME)

  def init(data: Batch, **extra: Any) -> Any:
    rows = of(data)
    if size is not None and size > rows.num_rows:
      raise ValueError(
        f"batch_size must be at most the {rows.num_rows} rows of the target, got {size}"
      )
    return method.init(rows, **extra)

  def update(
    batch: Batch, state: Any, params: Any = None, *, key: jax.Array, forward: Any, **extra: Any
  ) -> tuple[Batch, Any]:
    rows, (draw_key, method_key) = of(batch), jax.random.split(key)
    if size is not None:
      rows = rows.take(jax.random.choice(draw_key, rows.num_rows, (size,), replace=False))
    said, state = method.update(
      forward(params, rows), state, params, key=method_key, forward=forward, **extra
    )
    return batch.replace(penalty=batch.penalty + said.penalty), state

  def refresh(
    data: Batch, state: Any, params: Any = None, *, forward: Any, **extra: Any
  ) -> tuple[Batch, Any]:
    said = forward(params, of(data))
    return data, method.refresh(said, state, params, forward=forward, **extra)[1]

  return Transform(init, update, refresh, writes=("penalty",))
