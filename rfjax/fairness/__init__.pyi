from . import inprocessing as inprocessing
from . import postprocessing as postprocessing
from . import preprocessing as preprocessing
