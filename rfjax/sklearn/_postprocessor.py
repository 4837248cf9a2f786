"""A classifier of scikit-learn whose decisions are adjusted after training."""

import hashlib
import numbers
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils.validation import (
  _check_sample_weight,
  check_is_fitted,
  has_fit_parameter,
  validate_data,
)

from rfjax.core import NO_ADDRESS, Batch
from rfjax.sklearn import _data


class Postprocessor(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
  r"""Any classifier with a post-processing method behind it.

  The method is fitted on what the classifier says of the rows that it gets in `fit`: pass held-out
  rows and `prefit=True`, or else it is fitted on the rows that the classifier has learned.

  $$\mathrm{logits} = \log \mathrm{predict\_proba}(x)$$

  Args:
    estimator: a classifier with `predict_proba`, or one with `predict` only, whose decisions are
      then certain.
    method: a method of `rfjax.fairness.postprocessing`, or a sequence of them.
    prefit: whether the estimator is fitted already, and stays as it is.
    random_state: of decisions by lot, as in `Classifier`. A row's lot hangs on this, its features
      and its group, and not on the rows beside it, so that equal rows of a group decide alike.

  Attributes:
    estimator_: the fitted classifier.
    classes_: the labels, sorted.
    groups_: as in `Classifier`.
    method_state_: the state of the method.

  References:
    Pedregosa, Varoquaux, Gramfort, et al., Scikit-learn: machine learning in Python, Journal of
    Machine Learning Research, 2011.

  Examples:
    >>> from rfjax.fairness import postprocessing
    >>> from rfjax.sklearn import Classifier, Postprocessor
    >>> X, y, sex = [[-2.0], [-1.0], [1.0], [2.0]], [0, 1, 0, 1], ["f", "m", "f", "m"]
    >>> fair = Postprocessor(Classifier(), postprocessing.equalized_odds())
    >>> fair.fit(X, y, sensitive_features=sex).predict(X, sensitive_features=sex).shape
    (4,)
  """

  def __init__(
    self, estimator: Any = None, method: Any = None, *, prefit: bool = False, random_state: Any = 0
  ) -> None:
    self.estimator = estimator
    self.method = method
    self.prefit = prefit
    self.random_state = random_state

  def fit(
    self, X: Any, y: Any, *, sensitive_features: Any = None, sample_weight: Any = None
  ) -> Self:
    """Trains the classifier, unless it is trained, and fits the method.

    Args:
      X: features [n, d], as the classifier takes them.
      y: labels [n].
      sensitive_features: as in `Classifier.fit`; the classifier gets them too where its own `fit`
        takes them.
      sample_weight: how much each row counts [n], at least 0; all 1 when None. The method gets it
        as it is, and so does the classifier where its own `fit` takes it.

    Returns:
      The estimator itself.

    Raises:
      ValueError: for arrays that cannot be used, or labels that the classifier does not know.
    """
    if self.estimator is None:
      raise ValueError("estimator must be a classifier, got None: pass one, such as Classifier()")
    features, y = validate_data(self, X, y, dtype=None)
    passed = {"sensitive_features": sensitive_features, "sample_weight": sample_weight}
    if self.prefit:
      check_is_fitted(self.estimator)
      self.estimator_: Any = self.estimator
    else:
      self.estimator_ = clone(self.estimator)
      takes = lambda name: has_fit_parameter(self.estimator_, name)
      self.estimator_.fit(X, y, **{n: v for n, v in passed.items() if v is not None and takes(n)})
    self.classes_ = self.estimator_.classes_
    codes, known = _data.codes(self.classes_, y)
    if not known.all():
      new = np.asarray(y)[~known].tolist()[0]
      raise ValueError(f"y must hold labels that the estimator knows, got {new!r}")
    if sample_weight is not None:
      sample_weight = _check_sample_weight(sample_weight, features, ensure_non_negative=True)
    self._groups = None if sensitive_features is None else _data.Groups.of(sensitive_features)
    self.groups_ = None if self._groups is None else self._groups.names()
    method = _data.chained("method", self.method)
    said = self._said(X, codes, sensitive_features, sample_weight)
    self.method_state_ = method.init(said, key=_data.key(self.random_state), spec=None)
    return self

  def predict_proba(self, X: Any, *, sensitive_features: Any = None) -> np.ndarray:
    """The probability of each class [n, C] after the method; 0 or 1 for decisions by lot."""
    return _data.probs(self._adjusted(X, sensitive_features))

  def predict(self, X: Any, *, sensitive_features: Any = None) -> np.ndarray:
    """The likeliest label [n] after the method.

    Randomised methods decide by lot where they were made with `randomize=True`; otherwise this is
    the likelier of two decisions, and `predict_proba` tells how likely.
    """
    likeliest = np.argmax(self._adjusted(X, sensitive_features), axis=1)
    return self.classes_[likeliest]

  def _said(
    self, X: Any, codes: np.ndarray | None, sensitive_features: Any, sample_weight: Any = None
  ) -> Batch:
    """What the classifier says of rows, as a filled batch; their features are its probabilities."""
    if hasattr(self.estimator_, "predict_proba"):
      probs = np.asarray(self.estimator_.predict_proba(X), np.float64)
    else:
      probs = np.asarray(self.estimator_.predict(X))[:, None] == self.classes_[None]
    logits = np.log(np.maximum(probs, np.finfo(np.float32).tiny)).astype(np.float32)
    classes = len(self.classes_)
    data = _data.batch(
      probs.astype(np.float32), codes, classes, self._groups, sensitive_features, sample_weight
    )
    return data.fill(jnp.asarray(logits))

  def _adjusted(self, X: Any, sensitive_features: Any) -> np.ndarray:
    check_is_fitted(self)
    features: Any = validate_data(self, X, dtype=None, reset=False)
    said = self._said(X, None, sensitive_features)
    if self._groups is not None and sensitive_features is None:
      said = said.replace(num_groups=len(self.groups_ or ()))
    member = None if said.group is None else np.asarray(said.membership)
    said = said.replace(index=jnp.asarray(_addresses(features, member)))
    method = _data.chained("method", self.method)
    fair = _data.updated(method, said, self.method_state_, _data.key(self.random_state))
    return np.asarray(fair.logits, np.float64)


def _addresses(features: np.ndarray, membership: np.ndarray | None) -> np.ndarray:
  """Addresses of lots [n], of what stands in a row: equal numbers of any type count as equal."""
  plain = lambda v: float(v) + 0.0 if isinstance(v, numbers.Real) else v  # -0.0 becomes 0.0
  rows = [[plain(value) for value in row] for row in features.tolist()]
  groups = [None] * len(rows) if membership is None else membership.tolist()
  hashed = [
    hashlib.blake2b(repr(row).encode(), digest_size=8).digest()
    for row in zip(rows, groups, strict=True)
  ]
  return np.array([int.from_bytes(h, "big") % NO_ADDRESS for h in hashed], np.int32)
