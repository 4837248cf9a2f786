"""Robustness and fairness at once, as equals or one inside the other."""

from rfjax.convergence._fair_robust import FairRobustState as FairRobustState
from rfjax.convergence._fair_robust import fair_robust as fair_robust
from rfjax.convergence._fr_train import FRTrainState as FRTrainState
from rfjax.convergence._fr_train import fr_train as fr_train
from rfjax.convergence._fr_train import fr_train_steps as fr_train_steps
