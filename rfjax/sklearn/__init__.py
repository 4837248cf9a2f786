"""Estimators for scikit-learn: a chain in a classifier, a repair in front, an adjustment behind."""

from rfjax.sklearn._classifier import Classifier as Classifier
from rfjax.sklearn._postprocessor import Postprocessor as Postprocessor
from rfjax.sklearn._preprocessor import Preprocessor as Preprocessor
