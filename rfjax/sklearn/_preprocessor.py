"""A repair of the training set as a transformer of scikit-learn."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from rfjax.sklearn import _data


class Preprocessor(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
  r"""A pre-processing method in front of any estimator.

  $$(x, y, w) \mapsto (x', y', w')$$

  `transform` gives the repaired features only. What a method makes of labels and weights, `repair`
  gives for rows with labels, for an estimator that takes `sample_weight`.

  Args:
    method: a method of `rfjax.fairness.preprocessing`, or a sequence of them.
    random_state: of what the method draws, as in `Classifier`.

  Attributes:
    classes_: the labels, sorted.
    groups_: as in `Classifier`.
    method_state_: the state of the method.
    n_features_in_: columns of X.

  References:
    Pedregosa, Varoquaux, Gramfort, et al., Scikit-learn: machine learning in Python, Journal of
    Machine Learning Research, 2011.

  Examples:
    >>> from rfjax.fairness import preprocessing
    >>> from rfjax.sklearn import Preprocessor
    >>> X, y, sex = [[0.0]] * 4, ["no", "yes", "yes", "yes"], ["f", "f", "m", "m"]
    >>> repair = Preprocessor(preprocessing.reweighing()).fit(X, y, sensitive_features=sex)
    >>> X2, y2, weight = repair.repair(X, y, sensitive_features=sex)
    >>> weight.tolist()
    [0.5, 1.5, 0.75, 0.75]
  """

  def __init__(self, method: Any = None, *, random_state: Any = 0) -> None:
    self.method = method
    self.random_state = random_state

  def fit(
    self, X: Any, y: Any = None, *, sensitive_features: Any = None, sample_weight: Any = None
  ) -> Self:
    """Fits the method.

    Args:
      X: features [n, d], numbers.
      y: labels [n]; where None, all are alike.
      sensitive_features: as in `Classifier.fit`.
      sample_weight: how much each row counts [n], at least 0, as it is; all 1 when None.

    Returns:
      The transformer itself.

    Raises:
      ValueError: for arrays that cannot be used.
    """
    X = validate_data(self, X, dtype=np.float64)
    self.classes_ = np.unique([0, 1] if y is None else np.asarray(y))
    self._groups = None if sensitive_features is None else _data.Groups.of(sensitive_features)
    self.groups_ = None if self._groups is None else self._groups.names()
    method = _data.chained("method", self.method)
    data = self._data(X, y, sensitive_features, sample_weight)
    self.method_state_ = method.init(data, key=_data.key(self.random_state), spec=None)
    return self

  def transform(self, X: Any, *, sensitive_features: Any = None) -> np.ndarray:
    """The repaired features [n, d]; some methods need the sensitive feature of each row."""
    return self.repair(X, sensitive_features=sensitive_features)[0]

  def repair(
    self, X: Any, y: Any = None, *, sensitive_features: Any = None, sample_weight: Any = None
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The repaired features [n, d], labels [n] and weights [n], `sample_weight` multiplied in."""
    check_is_fitted(self)
    X = validate_data(self, X, dtype=np.float64, reset=False)
    data = self._data(X, y, sensitive_features, sample_weight).with_columns("keep", "weight")
    method = _data.chained("method", self.method)
    new = _data.updated(method, data, self.method_state_, _data.key(self.random_state))
    changed = new.x is not data.x
    repaired = np.asarray(new.x, np.float64) if changed else X
    return repaired, self.classes_[np.asarray(new.y)], np.asarray(new.keep * new.weight, np.float64)

  def _data(self, X: np.ndarray, y: Any, sensitive_features: Any, sample_weight: Any) -> Any:
    codes = None
    if y is not None:
      codes, known = _data.codes(self.classes_, y)
      if len(codes) != len(X) or not known.all():
        raise ValueError("y must have one label for each row of X, of those that fit has seen")
    if sample_weight is not None:
      sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
    classes = max(len(self.classes_), 2)
    return _data.batch(X, codes, classes, self._groups, sensitive_features, sample_weight)
