"""Correction: the softmax output, or the loss, is corrected by the transition of labels."""

from rfjax.correction._backward import backward as backward
from rfjax.correction._forward import forward as forward
