"""What corrections of labels share: the predictions of the last epochs, and labels in use."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, label_type, read, write


def recent(data: Batch, window: int) -> jax.Array:
  """No predictions yet, [N, window, C]; epoch e goes to place e % window."""
  return jnp.zeros((data.num_rows, window, data.num_classes))


def remember(memory: jax.Array, batch: Batch, epoch: Any) -> jax.Array:
  """Writes what the network says of a batch in training into the place of its epoch."""
  place = jnp.asarray(epoch) % memory.shape[1]
  return memory.at[batch.index, place].set(batch.probs.astype(memory.dtype), mode="drop")


def average(memory: jax.Array, index: jax.Array) -> jax.Array:
  """The mean prediction of rows, [B, C], over the places that are filled; 0 without any."""
  total = jnp.sum(read(memory, index), axis=1)
  # Each filled place adds up to 1, so dividing by the sum is dividing by their number.
  mass = jnp.sum(total, axis=-1, keepdims=True)
  return total / jnp.where(mass > 0, mass, 1)


def given_labels(data: Batch) -> jax.Array:
  """The given labels at their addresses, [N], in the smallest type that holds the classes."""
  none = jnp.zeros(data.num_rows, label_type(data.num_classes))
  return write(none, data.index, data.y)


def rejected(
  memory: jax.Array, labels: jax.Array, data: Batch, threshold: Any
) -> tuple[jax.Array, jax.Array]:
  """Tests the labels in use by their likelihood ratio p(label) / max p < threshold.

  Returns:
    Which rows of the data are rejected, bool, and the labels [N] after it.
  """
  mean, now = average(memory, data.index), read(labels, data.index).astype(jnp.int32)
  top = jnp.max(mean, axis=-1)
  ratio = jnp.take_along_axis(mean, now[:, None], axis=1)[:, 0] / jnp.where(top > 0, top, 1)
  flip = data.valid & (top > 0) & (ratio < threshold)
  return flip, write(labels, data.index, jnp.where(flip, jnp.argmax(mean, axis=-1), now))


def relabelled(batch: Batch, labels: jax.Array) -> jax.Array:
  """The targets [B, C] for labels in use; a row with its given label keeps its target."""
  now = read(labels, batch.index).astype(jnp.int32)
  new = jax.nn.one_hot(now, batch.num_classes, dtype=batch.target.dtype)
  return jnp.where((batch.valid & (now != batch.y))[:, None], new, batch.target)
