"""Pre-processing: the training set is made fair, by new labels, features, weights or rows."""

from rfjax.fairness.preprocessing._fair_balance import FairBalanceState as FairBalanceState
from rfjax.fairness.preprocessing._fair_balance import fair_balance as fair_balance
from rfjax.fairness.preprocessing._reweighing import ReweighingState as ReweighingState
from rfjax.fairness.preprocessing._reweighing import reweighing as reweighing
