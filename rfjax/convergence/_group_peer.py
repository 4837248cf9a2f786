"""Group peer loss: peer loss in each group, weighed by what noise has left of its labels."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from rfjax.convergence._label_noise import check_delta, check_delta_of
from rfjax.core import Batch, Transform, _check, group_mean, pointwise

Partners = Literal["group", "all"]
_NAME = "group_peer"


def group_peer(
  delta: ArrayLike, alpha: float | jax.Array = 0.5, *, partners: Partners = "group"
) -> Transform:
  r"""Takes from a loss what it would be for a label of the group, and weighs it by the noise.

  $$\mathrm{cost}_{ik} \leftarrow \frac{1}{\Delta_a} \Bigl[\mathrm{cost}_{ik} -
  \alpha \sum_j \hat\pi^a_j\, \mathrm{cost}_{ij}\Bigr], \qquad
  \Delta_a = 1 - P_a(\tilde y = 0 \mid y = 1) - P_a(\tilde y = 1 \mid y = 0)$$

  for a row of group a, where pi-hat are the shares of the given labels of the group in the batch:
  the mean over all partners. With alpha = 1 its mean over the noise is what it is for clean labels
  and Delta = 1, group by group and for any loss; for more than two classes where the noise is
  $T = \Delta I + \mathbf 1 e^\top$, so that a class is given by mistake as often whatever the true
  one is. A row without a group keeps its cost, and one of soft membership is split by it.

  The authors' code draws its partners from all rows, once: a row's term has the features of one
  row and the label of another one, and the row's own weight. "all" is the mean over these draws,

  $$\mathrm{cost}_{ik} \leftarrow \frac{\mathrm{cost}_{ik}}{\Delta_{a_i}} -
  \alpha\, \overline{\Delta^{-1}} \sum_j \hat\pi_j\, \mathrm{cost}_{ij},$$

  and leaves noise in the risk, unless groups are alike. Put it behind a loss, and a bounded one, as
  `losses.peer_loss`; the authors take `losses.cross_entropy(1e-5)` for the term.

  Args:
    delta: Delta [G], in (0, 1]; may be traced. `group_noise_rates` estimates it.
    alpha: at least 0; may be traced. The authors try 0.05 to 0.5.
    partners: "group" or "all".

  Returns:
    The transform; it writes cost, and needs group in training only.

  Raises:
    ValueError: for values out of range, or another number of groups than the data set's.

  References:
    Wang, Liu, Levy, Fair Classification with Group-Dependent Label Noise, FAccT 2021.
    Liu, Guo, Peer Loss Functions: Learning from Noisy Labels without Knowing Noise Rates, ICML
    2020.

  Examples:
    >>> import jax, optax, rfjax
    >>> from rfjax import architectures, convergence, losses
    >>> data = rfjax.Batch.from_arrays([[-2.0], [-1.0], [1.0], [2.0]], [0, 0, 1, 1], [0, 1, 0, 1])
    >>> method = rfjax.chain(losses.cross_entropy(1e-5), convergence.group_peer([1.0, 0.6]))
    >>> state, log = rfjax.fit(architectures.logistic(), method, optax.sgd(0.1), data,
    ...                        key=jax.random.key(0), epochs=3)
  """
  left = check_delta(delta)
  _check.number("alpha", alpha, 0.0, open_high=True)
  _check.choice("partners", partners, get_args(Partners))

  def correct(batch: Batch, **unused: Any) -> Batch:
    del unused
    cost = batch.require("cost", "group", by=_NAME).cost
    check_delta_of(left, batch)
    member = batch.membership
    weight = member / jnp.asarray(left, member.dtype)
    rest = 1 - jnp.sum(member, axis=1)
    scale = jnp.sum(weight, axis=1) + rest
    labels = jax.nn.one_hot(batch.y, batch.num_classes)
    if partners == "group":
      peers = jnp.matmul(weight, group_mean(labels, member)[0], precision="highest")
    else:
      peers = batch.mean(scale) * batch.mean(labels)
    other = jnp.sum(peers * cost, axis=1)
    return batch.replace(cost=(scale[:, None] * cost - alpha * other[:, None]).astype(cost.dtype))

  return pointwise(correct, writes=("cost",))
