"""Noise: what goes wrong with labels, sensitive attributes, features and whole data sets."""

from rfjax.noise._class_conditional import class_conditional as class_conditional
from rfjax.noise._margin_flip import MarginFlipState as MarginFlipState
from rfjax.noise._margin_flip import flip_by_margin as flip_by_margin
from rfjax.noise._margin_flip import margin_flip as margin_flip
from rfjax.noise._record import Record as Record
from rfjax.noise._record import record as record
from rfjax.noise._symmetric import symmetric as symmetric
from rfjax.noise._symmetric import symmetric_matrix as symmetric_matrix
