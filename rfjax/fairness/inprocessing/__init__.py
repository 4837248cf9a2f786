"""In-processing: training is made fair, by penalties, constraints, adversaries and samplers."""

from rfjax.fairness.inprocessing._correlation import correlation as correlation
from rfjax.fairness.inprocessing._gap import gap as gap
from rfjax.fairness.inprocessing._hsic import hsic as hsic
from rfjax.fairness.inprocessing._mmd import mmd as mmd
from rfjax.fairness.inprocessing._wasserstein import wasserstein as wasserstein
