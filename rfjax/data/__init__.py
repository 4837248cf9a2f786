"""Data sets: synthetic ones made from a key or a fixed seed, and tables read from files."""

from rfjax.data._answers import answers as answers
from rfjax.data._fr_train import fr_train as fr_train
from rfjax.data._load import columns as columns
from rfjax.data._load import load as load
from rfjax.data._load import table as table
from rfjax.data._records import builder as builder
from rfjax.data._records import prepare as prepare
from rfjax.data._split import Split as Split
from rfjax.data._split import Table as Table
from rfjax.data._split import split as split
from rfjax.data._stream import Stream as Stream
from rfjax.data._stream import join as join
from rfjax.data._stream import stream as stream
from rfjax.data._tabulate import tabulate as tabulate
from rfjax.data._zafar import zafar as zafar
