"""Noise: what goes wrong with labels, sensitive attributes, features and whole data sets."""

from rfjax.noise._asymmetric import asymmetric as asymmetric
from rfjax.noise._asymmetric import asymmetric_matrix as asymmetric_matrix
from rfjax.noise._by_hardness import by_hardness as by_hardness
from rfjax.noise._chang import chang as chang
from rfjax.noise._class_conditional import class_conditional as class_conditional
from rfjax.noise._corrupt_sources import corrupt_sources as corrupt_sources
from rfjax.noise._group_dependent import group_dependent as group_dependent
from rfjax.noise._group_far_from_boundary import (
  group_far_from_boundary as group_far_from_boundary,
)
from rfjax.noise._group_flip import group_class_conditional as group_class_conditional
from rfjax.noise._group_flip import group_matrix as group_matrix
from rfjax.noise._group_flip import group_symmetric as group_symmetric
from rfjax.noise._group_missing import group_missing as group_missing
from rfjax.noise._instance_dependent import instance_dependent as instance_dependent
from rfjax.noise._margin_flip import MarginFlipState as MarginFlipState
from rfjax.noise._margin_flip import flip_by_margin as flip_by_margin
from rfjax.noise._margin_flip import margin_flip as margin_flip
from rfjax.noise._mehrabi import mehrabi as mehrabi
from rfjax.noise._open_set import open_set as open_set
from rfjax.noise._pair_flip import pair_flip as pair_flip
from rfjax.noise._pair_flip import pair_flip_matrix as pair_flip_matrix
from rfjax.noise._pixels import GaussianPixelsState as GaussianPixelsState
from rfjax.noise._pixels import gaussian_pixels as gaussian_pixels
from rfjax.noise._pixels import random_pixels as random_pixels
from rfjax.noise._pixels import shuffled_pixels as shuffled_pixels
from rfjax.noise._polynomial_margin import polynomial_margin as polynomial_margin
from rfjax.noise._record import Record as Record
from rfjax.noise._record import record as record
from rfjax.noise._solans import solans as solans
from rfjax.noise._symmetric import symmetric as symmetric
from rfjax.noise._symmetric import symmetric_matrix as symmetric_matrix
from rfjax.noise._van import van as van
