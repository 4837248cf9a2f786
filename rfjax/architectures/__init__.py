"""Networks: plain ones, and those that a user brings from flax or as functions."""

from rfjax.architectures._cnn import cnn as cnn
from rfjax.architectures._dense import logistic as logistic
from rfjax.architectures._dense import mlp as mlp
from rfjax.architectures._noise_layer import noise_layer as noise_layer
from rfjax.architectures._s_model import confusion as confusion
from rfjax.architectures._s_model import s_model as s_model
from rfjax.core import Network as Network
from rfjax.core import from_function as from_function
from rfjax.core import from_linen as from_linen
from rfjax.core import from_nnx as from_nnx
