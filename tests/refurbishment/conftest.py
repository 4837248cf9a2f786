"""SELFIE in plain Python, one example at a time, for the tests of one round and of several."""

import collections
import fractions
import math
import types

import numpy as np
import pytest


class Card:
  """The algorithm as the paper tells it: lists of predictions, a dictionary of labels.

  Attributes:
    past: the labels given to each example, the latest last.
    given: the labels that took the place of the examples' own.
    happened: how often each thing that the algorithm can do was done.
  """

  def __init__(self, rows, classes, rate, *, length, threshold, warmup, given=(), clean=None,
               phantom=False):  # fmt: skip
    self.rows, self.classes, self.length, self.warmup = rows, classes, length, warmup
    self.rate = fractions.Fraction(str(rate))
    self.threshold, self.clean, self.phantom = threshold, clean, phantom
    self.past = {i: [] for i in range(rows)}
    self.given = {i: int(label) for i, label in enumerate(given) if label != -1}
    self.happened = collections.Counter()

  def certain(self, i):
    """The majority label of an example if its history is certain enough, else None."""
    seen = self.past[i][-self.length :]
    if len(seen) < self.length:
      if not self.phantom:
        return None
      seen = seen + [0] * (self.length - len(seen))
    votes = collections.Counter(seen)
    shares = [n / self.length for n in votes.values()]
    uncertainty = -sum(p * math.log(p) for p in shares) / math.log(self.classes)
    self.happened["divided but certain"] += len(votes) > 1 and uncertainty <= self.threshold
    if uncertainty > self.threshold + 1e-9:
      return None
    return min(label for label, n in votes.items() if n == max(votes.values()))

  def small(self, index, losses, competing):
    """The places of the smallest losses; equal ones go by the number of the example."""
    number = math.ceil((1 - self.rate) * len(competing))
    return set(sorted(competing, key=lambda b: (losses[b], index[b]))[:number])

  def step(self, index, losses, predicted, keep, epoch):
    """One batch: the labels of R by place, and the factors of keep. Padding has index `rows`."""
    real = [b for b, i in enumerate(index) if i < self.rows]
    renewed, factor = {}, [0.0] * len(index)
    if self.clean is None:
      clean = self.small(index, losses, [b for b in real if keep[b] > 0])
    else:
      clean = {b for b in real if self.clean[index[b]]}
    for b in real:
      i = int(index[b])
      label = self.certain(i) if epoch >= self.warmup else None
      if label is not None:
        self.happened["changed"] += i in self.given and self.given[i] != label
        self.given[i] = label
      if i in self.given and not (self.clean is not None and b in clean):
        renewed[b] = self.given[i]
        self.happened["old" if label is None else "new"] += epoch >= self.warmup
        self.happened["in warm-up"] += epoch < self.warmup
      if epoch < self.warmup or b in renewed or b in clean:
        factor[b] = 1.0
        self.happened["clean only"] += epoch >= self.warmup and b not in renewed
      else:
        self.happened["dropped"] += keep[b] > 0
    for b in real:
      self.happened["round the ring"] += len(self.past[int(index[b])]) >= self.length
      self.past[int(index[b])].append(int(predicted[b]))
    return renewed, np.array(factor)

  def ring(self):
    """The histories as a ring of places [rows, length]."""
    places = np.zeros((self.rows, self.length), int)
    for i, labels in self.past.items():
      for n, label in enumerate(labels):
        places[i, n % self.length] = label
    return places

  def pushes(self):
    return [len(self.past[i]) for i in range(self.rows)]

  def labels(self):
    """The refurbished labels, -1 for none, [rows]."""
    return [self.given.get(i, -1) for i in range(self.rows)]


def softmax(z):
  e = np.exp(z - z.max(-1, keepdims=True))
  return e / e.sum(-1, keepdims=True)


def descend(card, weights, orders, x, y, smooth, rate, epoch_of=lambda e: e):
  """Multinomial logistic regression by SGD in float64, under SELFIE with smoothed targets."""
  classes, risks = card.classes, []
  for epoch, order in enumerate(orders):
    seen = []
    for index in np.asarray(order):
      rows = index[index < card.rows]
      p = softmax(x[rows] @ weights)
      losses = -np.log(p[np.arange(len(rows)), y[rows]])
      renewed, keep = card.step(rows, losses, p.argmax(1), np.ones(len(rows)), epoch_of(epoch))
      target = (1 - smooth) * np.eye(classes)[y[rows]] + smooth / classes
      for b, label in renewed.items():
        target[b] = np.eye(classes)[label]
      total = max(keep.sum(), 1)
      seen.append(-(keep[:, None] * target * np.log(p)).sum() / total)
      weights = weights - rate * x[rows].T @ (keep[:, None] * (p - target)) / total
    risks.append(np.mean(seen))
  return weights, risks


@pytest.fixture(scope="session")
def by_hand():
  return types.SimpleNamespace(Card=Card, descend=descend)
