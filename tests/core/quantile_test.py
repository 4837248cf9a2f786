"""The quantile of some rows, against NumPy and JAX."""

import jax
import jax.numpy as jnp
import numpy as np

from rfjax.core import quantile


def test_the_quantile_is_that_of_the_real_rows():
  rng = np.random.default_rng(1)
  values = jnp.asarray(rng.normal(size=(30, 9)), jnp.float32)
  masks = jnp.asarray(rng.random((30, 9)) < np.linspace(0.15, 1, 30)[:, None]).at[:, 4].set(True)
  shares = jnp.asarray(np.append([0.0, 1.0], rng.random(28)), jnp.float32)
  found = jax.jit(jax.vmap(quantile))(values, shares, masks)
  expected = [
    np.quantile(np.asarray(v, float)[np.asarray(m)], float(s))
    for v, s, m in zip(values, shares, masks, strict=True)
  ]
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  whole = jax.vmap(quantile)(values, shares, jnp.ones_like(masks))
  np.testing.assert_allclose(whole, jax.vmap(jnp.quantile)(values, shares), rtol=1e-6)
  assert quantile(values[0], 0.5, jnp.zeros(9, bool)) == 0
