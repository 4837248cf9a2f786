"""What all post-processing shares: how decisions become logits, and what is asked of the data."""

from typing import Any

import jax
import jax.numpy as jnp

from rfjax.core import Batch, _check, uniform
from rfjax.fairness.postprocessing._scores import with_probs

OBJECTIVES = ("balanced", "error")


def binary(batch: Batch, by: str) -> Batch:
  """Returns the batch, or raises ValueError where it has no logits of two classes and no group."""
  batch.require("logits", "group", by=by)
  if batch.num_classes != 2:
    raise ValueError(
      f"num_classes must be 2 for {by}, got {batch.num_classes}: make the labels binary"
    )
  return batch


def check_costs(objective: str, false_positive_cost: Any, false_negative_cost: Any) -> None:
  """Refuses an unknown objective, and what is no cost of an error."""
  _check.choice("objective", objective, OBJECTIVES)
  _check.number("false_positive_cost", false_positive_cost, 0.0, open_high=True)
  _check.number("false_negative_cost", false_negative_cost, 0.0, open_high=True)


def decide(batch: Batch, probability: jax.Array, randomize: bool, key: jax.Array) -> Batch:
  """Makes logits of the probability [B] of class 1: its log-odds, or those of a decision by lot.

  Softmax gives the probability back to float32; of 0 and 1 exactly. Lots are drawn by address, so
  that a row's decision does not hang on the rows beside it.
  """
  if randomize:
    probability = (uniform(key, batch) < probability).astype(probability.dtype)
  return with_probs(batch, jnp.stack([1 - probability, probability], axis=1))
