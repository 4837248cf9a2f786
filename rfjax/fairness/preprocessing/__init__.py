"""Pre-processing: the training set is made fair, by new labels, features, weights or rows."""

from rfjax.fairness.preprocessing._fair_balance import FairBalanceState as FairBalanceState
from rfjax.fairness.preprocessing._fair_balance import fair_balance as fair_balance
from rfjax.fairness.preprocessing._massaging import massaging as massaging
from rfjax.fairness.preprocessing._preferential_sampling import (
  preferential_sampling as preferential_sampling,
)
from rfjax.fairness.preprocessing._reweighing import ReweighingState as ReweighingState
from rfjax.fairness.preprocessing._reweighing import reweighing as reweighing
from rfjax.fairness.preprocessing._uniform_sampling import uniform_sampling as uniform_sampling
