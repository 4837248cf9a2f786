"""A classifier of scikit-learn that is trained by any chain of methods."""

import functools
from collections.abc import Callable
from typing import Any, Self

import jax
import numpy as np
import optax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import rfjax
from rfjax import architectures
from rfjax.core import Batch, Network, TrainState, Transform, _check
from rfjax.sklearn import _data


class Classifier(ClassifierMixin, BaseEstimator):
  r"""A network trained by any chain of methods, as an estimator of scikit-learn.

  $$\min_\theta\; \mathrm{risk} + \mathrm{penalty}$$

  of the `Batch` that the chain leaves. Features are taken as they are: put a `StandardScaler` in
  front. Equal arguments train to equal bits. It pickles where its arguments do.

  Args:
    method: what trains: a `Transform`, or a sequence of them, which is chained; plain
      cross-entropy when None.
    preprocessing: what acts on the training set before, such as `preprocessing.reweighing()`; in
      the same forms.
    network: a `Network`, or a function of the number of classes that makes one, which `fit` calls
      once; logistic regression when None.
    tx: an optax transformation; Adam at 0.05 when None.
    epochs: passes over the data.
    batch_size: rows a step; all of them when None.
    peers: how many networks the method needs side by side; the first one predicts.
    random_state: a number, a generator, or None for another run each time.

  Attributes:
    classes_: the labels, sorted.
    groups_: the groups that occur, of values of the sensitive features, in the order of their
      codes; None without sensitive features.
    state_: the `TrainState` that `rfjax.fit` returned.
    log_: its `Log`.
    n_features_in_: columns of X.

  References:
    Pedregosa, Varoquaux, Gramfort, et al., Scikit-learn: machine learning in Python, Journal of
    Machine Learning Research, 2011.

  Examples:
    >>> from rfjax.fairness import inprocessing
    >>> from rfjax.sklearn import Classifier
    >>> X, y, sex = [[-2.0], [-1.0], [1.0], [2.0]], ["no", "no", "yes", "yes"], ["f", "m", "f", "m"]
    >>> fair = Classifier(inprocessing.gap(0.1)).fit(X, y, sensitive_features=sex)
    >>> fair.predict([[3.0], [-3.0]]).tolist()
    ['yes', 'no']
  """

  def __init__(
    self,
    method: Any = None,
    *,
    preprocessing: Any = None,
    network: Network | Callable[[int], Network] | None = None,
    tx: optax.GradientTransformation | None = None,
    epochs: int = 200,
    batch_size: int | None = None,
    peers: int = 1,
    random_state: Any = 0,
  ) -> None:
    self.method = method
    self.preprocessing = preprocessing
    self.network = network
    self.tx = tx
    self.epochs = epochs
    self.batch_size = batch_size
    self.peers = peers
    self.random_state = random_state

  def fit(
    self, X: Any, y: Any, *, sensitive_features: Any = None, sample_weight: Any = None
  ) -> Self:
    """Trains the network.

    Args:
      X: features [n, d], numbers; an array or a data frame.
      y: labels [n], of any type.
      sensitive_features: [n] or [n, features], of any type, several of them crossed; a row with a
        missing value counts in no group. Needed where the method needs a group.
      sample_weight: how much each example counts [n], at least 0; all 1 when None. Only their
        ratios matter: they are divided by their mean.

    Returns:
      The estimator itself.

    Raises:
      ValueError: for features, labels, sensitive features or settings that cannot be used.
    """
    X, y = validate_data(self, X, y, dtype=np.float64)
    check_classification_targets(y)
    self.classes_, codes = np.unique(y, return_inverse=True)
    if len(self.classes_) < 2:
      raise ValueError(f"y must have at least two classes, got 1 class: {self.classes_[0]!r}")
    if sample_weight is not None:
      sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
      sample_weight = sample_weight / np.mean(sample_weight)
    method = _data.chained("method", self.method)
    repair = _data.chained("preprocessing", self.preprocessing)
    batch_size = self.batch_size
    if batch_size is not None:
      batch_size = min(_check.count("batch_size", batch_size), len(X))
    groups = None if sensitive_features is None else _data.Groups.of(sensitive_features)
    data = _data.batch(X, codes, len(self.classes_), groups, sensitive_features, sample_weight)
    self.groups_ = None if groups is None else groups.names()
    self._asked, self._network = self.network, _network(self.network, len(self.classes_))
    self.state_, self.log_ = _fit(
      data,
      _data.key(self.random_state),
      network=self._network,
      method=method,
      repair=repair,
      tx=_plain_tx() if self.tx is None else self.tx,
      epochs=self.epochs,
      batch_size=batch_size,
      peers=self.peers,
    )
    return self

  def decision_function(self, X: Any) -> np.ndarray:
    """The log-odds of class 1 of two [n], else the logits [n, C]."""
    logits = self._logits(X)
    return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

  def predict_proba(self, X: Any) -> np.ndarray:
    """The probability of each class [n, C], in the order of `classes_`."""
    return _data.probs(self._logits(X))

  def predict(self, X: Any) -> np.ndarray:
    """The likeliest label [n]; no sensitive feature is needed."""
    likeliest = np.argmax(self._logits(X), axis=1)
    return self.classes_[likeliest]

  def __getstate__(self) -> dict[str, Any]:
    # A network holds functions that do not pickle, but what it is made from may.
    state: Any = super().__getstate__()
    return {name: value for name, value in state.items() if name != "_network"}

  def __setstate__(self, state: dict[str, Any]) -> None:
    super().__setstate__(state)
    if "_asked" in state:
      self._network = _network(self._asked, len(self.classes_))

  def _logits(self, X: Any) -> np.ndarray:
    check_is_fitted(self)
    X = validate_data(self, X, dtype=np.float64, reset=False)
    rows = np.pad(X, ((0, -len(X) % _BLOCK), (0, 0)))
    blocks = [
      _predict(_data.batch(block, None, len(self.classes_)), self.state_, network=self._network)
      for block in rows.reshape(-1, _BLOCK, X.shape[1])
    ]
    return np.concatenate(blocks)[: len(X)].astype(np.float64)


_BLOCK = 256  # rows of one call: one program serves any number of them, with the same bits


# Made once, so that estimators of equal settings share what they compile.
@functools.cache
def _plain_network(classes: int) -> Network:
  return architectures.logistic(classes)


def _network(asked: Network | Callable[[int], Network] | None, classes: int) -> Network:
  if asked is None:
    return _plain_network(classes)
  return asked if isinstance(asked, Network) else asked(classes)


@functools.cache
def _plain_tx() -> optax.GradientTransformation:
  return optax.adam(0.05)


@functools.partial(jax.jit, static_argnames=("network",))
def _predict(rows: Batch, state: TrainState, *, network: Network) -> jax.Array:
  return rfjax.predict(network, state, rows).logits


@functools.partial(
  jax.jit,
  static_argnames=("network", "method", "repair", "tx", "epochs", "batch_size", "peers"),
)
def _fit(
  data: Batch,
  key: jax.Array,
  *,
  network: Network,
  method: Transform,
  repair: Transform,
  tx: optax.GradientTransformation,
  **how: Any,
) -> Any:
  repaired = rfjax.transform(repair, data, key=key)
  return rfjax.fit(network, method, tx, repaired, key=key, **how)
