"""What tests of several methods need beside their oracles: orders, runs, and slopes."""

import jax
import jax.numpy as jnp
import numpy as np

from rfjax import metrics
from rfjax.architectures import Network

KEY = jax.random.key(0)


def counting_network(inputs, classes):
  """A network, linear without an intercept, that counts its training steps in its statistics."""

  def apply(params, stats, x, *, key, train):
    return x @ params, x, stats + 1 if train else stats

  return Network(lambda key, x: (jnp.zeros((inputs, classes)), jnp.zeros(())), apply)


def start(method, data):
  """The state of a method before a run."""
  return method.init(data, key=KEY, spec=None)


def update(method, flow, state, epoch=99):
  """One update, compiled; after warm-up unless the epoch is given."""
  extra = {"key": KEY, "step": 0, "forward": None}
  act = lambda flow, state, epoch: method.update(flow, state, None, epoch=epoch, **extra)
  return jax.jit(act)(flow, state, epoch)


def precision_after(method, *flows):
  """The penalty after an update on each flow, and precision's numerators and denominators."""

  @jax.jit
  def run(*flows):
    state = start(method, flows[0])
    for flow in flows:
      out, state = method.update(flow, state, None, key=KEY, step=0, epoch=0, forward=None)
    return out.penalty, [metrics.group_rates("precision", flow, soft=True) for flow in flows]

  return jax.device_get(run(*flows))


def shuffled_orders(rng, epochs, rows, batch):
  """Batches [E, S, B] of permuted rows; in most epochs the padding is shuffled too."""
  steps = -(-rows // batch)
  orders = np.full((epochs, steps * batch), rows)
  for order in orders:
    order[:rows] = rng.permutation(rows)
    order[:] = order if rng.random() < 0.3 else rng.permutation(order)
  return orders.reshape(epochs, steps, batch)


def run_epochs(method, data, orders, logits, keeps, of_step, of_epoch):
  """What a method keeps, with what its state says after each step and after each refresh."""

  def epoch(state, at):
    number, order, logits, keeps = at
    _, state = method.refresh(data, state, None, key=KEY, step=0, epoch=number, forward=None)

    def step(state, at):
      rows, z, keep = at
      batch = data.take(rows)
      batch = batch.replace(keep=keep * batch.valid).fill(z)
      extra = {"key": KEY, "step": 0, "epoch": number, "forward": None}
      out, new = method.update(batch, state, None, **extra)
      return new, (out.keep, *of_step(new))

    after, found = jax.lax.scan(step, state, (order, logits, keeps))
    return after, (*found, *of_epoch(state))

  start = method.init(data, key=KEY, spec=None)
  return jax.lax.scan(epoch, start, (jnp.arange(len(orders)), orders, logits, keeps))[1]


def stages(make, data):
  """Start, update and refresh of the method that `make` makes of traced settings, compiled."""

  @jax.jit
  def start(settings):
    return make(settings).init(data(), key=KEY, spec=None)

  @jax.jit
  def update(settings, flow, state, epoch):
    return make(settings).update(flow, state, (), epoch=epoch)

  @jax.jit
  def refresh(settings, data, state, epoch):
    return make(settings).refresh(data, state, (), epoch=epoch)[1]

  return start, update, refresh


def slopes(function, at, eps=1e-6):
  """The derivatives of a function of an array, by central differences."""
  found = np.zeros(at.shape)
  for i in np.ndindex(at.shape):
    move = np.zeros(at.shape)
    move[i] = eps
    found[i] = (function(at + move) - function(at - move)) / (2 * eps)
  return found


def lower_posterior(loss, steps=10):
  """How likely losses, scaled to [0, 1], come from the lower one of two normal distributions.

  By loops of EM, with 5e-4 on every variance.
  """
  x = (loss - loss.min()) / (loss.max() - loss.min())
  weight, mean, variance = np.full(2, 0.5), np.array([0.0, 1.0]), np.full(2, x.var())
  of = lambda: weight * np.exp(-((x[:, None] - mean) ** 2) / 2 / variance) / np.sqrt(variance)
  for _ in range(steps):
    r = of() / of().sum(1, keepdims=True)
    weight, mean = r.mean(0), (r * x[:, None]).sum(0) / r.sum(0)
    variance = (r * (x[:, None] - mean) ** 2).sum(0) / r.sum(0) + 5e-4
  return (of() / of().sum(1, keepdims=True))[:, mean.argmin()]


def fair_prefix(loss, y, z, lb1, lb2, limit):
  """The rows of the loop of FairRobust's authors: four running sums; y in {-1, 1}, z in {0, 1}."""
  ratio = {(1, 1): lb1, (1, 0): 1 - lb1, (-1, 1): lb2, (-1, 0): 1 - lb2}
  sums = dict.fromkeys(ratio, 0.0)
  taken = []
  for j in np.argsort(loss, kind="stable"):
    if len(taken) >= limit:
      break
    if all(round(v, 9) < limit for v in sums.values()):  # equal but for rounding is equal
      own, sibling = (y[j], z[j]), (y[j], 1 - z[j])
      taken.append(j)
      sums[own] += 2 - ratio[own]
      sums[sibling] += 1 - ratio[sibling]
      sums[-y[j], 0] += 1
      sums[-y[j], 1] += 1
  return taken


def fair_smallest(loss, y, z, shares, limit, skip):
  """FairRobust's rule, a limit for each of any labels and groups; z is G for missing."""
  labels, groups = shares.shape
  taken = []

  def load(rows):
    loads = [float(len(rows))]
    for a in range(labels):
      of_label = [z[j] for j in rows if y[j] == a and z[j] < groups]
      for g in range(groups):
        loads.append(len(rows) + of_label.count(g) - shares[a, g] * len(of_label))
    return max(loads)

  for j in np.argsort(loss, kind="stable"):
    if skip:
      taken += [j] if round(load([*taken, j]), 9) <= limit else []
    elif round(load(taken), 9) < limit:
      taken.append(j)
    else:
      break
  return taken
