"""In-processing: training is made fair, by penalties, constraints, adversaries and samplers."""

from rfjax.fairness.inprocessing._gap import gap as gap
