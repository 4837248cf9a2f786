"""Noise: what makes labels wrong, as transforms of a data set."""

from rfjax.noise._margin_flip import MarginFlipState as MarginFlipState
from rfjax.noise._margin_flip import flip_by_margin as flip_by_margin
from rfjax.noise._margin_flip import margin_flip as margin_flip
