"""Networks: plain ones, those that a user brings, and layers and heads made for noisy labels."""

from rfjax.architectures._c_model import c_model as c_model
from rfjax.architectures._cnn import cnn as cnn
from rfjax.architectures._confusing_matrix import confusing_matrix as confusing_matrix
from rfjax.architectures._confusing_matrix import noise_types as noise_types
from rfjax.architectures._dense import logistic as logistic
from rfjax.architectures._dense import mlp as mlp
from rfjax.architectures._dropout_noise_model import dropout_noise_model as dropout_noise_model
from rfjax.architectures._generative_classifier import GenerativeClassifier as GenerativeClassifier
from rfjax.architectures._generative_classifier import (
  generative_classifier as generative_classifier,
)
from rfjax.architectures._generative_classifier import generative_log_probs as generative_log_probs
from rfjax.architectures._masked_channel import masked_channel as masked_channel
from rfjax.architectures._masked_channel import masked_transition as masked_transition
from rfjax.architectures._mixed_precision import mixed_precision as mixed_precision
from rfjax.architectures._nlnn import NLNNState as NLNNState
from rfjax.architectures._nlnn import nlnn as nlnn
from rfjax.architectures._nlnn_rounds import nlnn_rounds as nlnn_rounds
from rfjax.architectures._noise_layer import noise_layer as noise_layer
from rfjax.architectures._probabilistic_noise import probabilistic_noise as probabilistic_noise
from rfjax.architectures._rog import RoGState as RoGState
from rfjax.architectures._rog import rog as rog
from rfjax.architectures._s_model import confusion as confusion
from rfjax.architectures._s_model import s_model as s_model
from rfjax.architectures._s_model_rounds import s_model_rounds as s_model_rounds
from rfjax.architectures._webly import WeblyState as WeblyState
from rfjax.architectures._webly import relationship_graph as relationship_graph
from rfjax.architectures._webly import webly as webly
from rfjax.architectures._webly_rounds import webly_rounds as webly_rounds
from rfjax.core import Network as Network
from rfjax.core import from_function as from_function
from rfjax.core import from_linen as from_linen
from rfjax.core import from_nnx as from_nnx
