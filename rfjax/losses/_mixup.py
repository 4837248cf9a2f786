"""Mixup: training on mixtures of examples and of their targets."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import Batch, Transform, _check, identity, uniform
from rfjax.core._network import as_float

_QUANTILES = 4096


def _beta_table(alpha: float) -> np.ndarray:
  """Quantiles of Beta(alpha, alpha) at the middles of equal shares, from which it is drawn.

  JAX draws it by a loop of unknown length, which many runs on many devices cannot share.
  """
  from scipy import special

  return special.betaincinv(alpha, alpha, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)


def _partners(batch: Batch, key: jax.Array) -> jax.Array:
  """A random permutation of the rows that are kept, drawn by `index`, int32 [B]."""
  draws, kept = uniform(key, batch, (2,)), batch.valid & (batch.keep > 0)
  # The others stand last in both orders, and so are partners of themselves.
  orders = jnp.argsort(jnp.where(kept[:, None], draws, jnp.inf), axis=0)
  return jnp.zeros(batch.num_rows, jnp.int32).at[orders[:, 0]].set(orders[:, 1].astype(jnp.int32))


def mixup(alpha: float = 1.0, *, larger: bool = False) -> Transform:
  r"""Mixup: mixes each example, and its target, with another one of the batch.

  $$x_i \leftarrow \lambda x_i + (1 - \lambda)\, x_{\sigma(i)}, \qquad
  \mathrm{target}_i \leftarrow \lambda\, \mathrm{target}_i + (1 - \lambda)\,
  \mathrm{target}_{\sigma(i)}, \qquad \lambda \sim \mathrm{Beta}(\alpha, \alpha)$$

  with one lambda and one permutation sigma a batch, of the rows that are kept. The network is asked
  again, for the mixtures; put it in front of losses and corrections. y and group stay those of the
  first example.

  Args:
    alpha: at least 0, static: the larger, the more is mixed; 0 is no mixing. 32 in Arazo et al., 4
      in DivideMix.
    larger: whether lambda is at least 1/2, max(lambda, 1 - lambda), as in MixMatch and DivideMix.

  Returns:
    The transform; it writes logits, log_probs and target.

  Raises:
    ValueError: for alpha out of range or traced.

  References:
    Zhang, Cisse, Dauphin, Lopez-Paz, mixup: Beyond Empirical Risk Minimization, ICLR 2018.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, losses
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1])
    >>> method = rfjax.chain(losses.mixup(0.4), losses.gce(0.7))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
  """
  if _check.traced(alpha):
    raise ValueError("alpha must be static, since its quantiles are tabulated: pass a number")
  _check.number("alpha", alpha, 0.0, open_high=True)
  writes = ("logits", "log_probs", "target")
  if float(alpha) == 0:
    return identity._replace(writes=writes)
  table = _beta_table(float(alpha))
  if larger:
    table = np.maximum(table, 1 - table)

  def update(
    batch: Batch, state: Any, params: Any, *, key: jax.Array, forward: Any, **unused: Any
  ) -> tuple[Batch, Any]:
    del unused
    batch.require("target", "keep", by="mixup")
    share_key, partner_key = jax.random.split(key)
    x, partner = as_float(batch.x), _partners(batch, partner_key)
    share = jnp.asarray(table, x.dtype)[jax.random.randint(share_key, (), 0, _QUANTILES)]
    mix = lambda v: share.astype(v.dtype) * v + (1 - share).astype(v.dtype) * v[partner]
    said = forward(params, batch.replace(x=mix(x)))
    return batch.replace(
      x=said.x,
      logits=said.logits,
      features=said.features,
      log_probs=said.log_probs,
      target=mix(batch.target),
    ), state

  return Transform(update=update, writes=writes)
