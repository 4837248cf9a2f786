"""Pre-processing: the training set is made fair, by new labels, features, weights or rows."""

from rfjax.fairness.preprocessing._reweighing import ReweighingState as ReweighingState
from rfjax.fairness.preprocessing._reweighing import reweighing as reweighing
