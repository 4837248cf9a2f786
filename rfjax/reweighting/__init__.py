"""Reweighting: how much each example counts."""

from rfjax.reweighting._importance import importance as importance
