"""The catalogue: what the library holds, where it stands in the field, and what it was checked by.

One TOML file a family, read with the standard library alone.
"""

from rfjax.catalog._reader import DataSet as DataSet
from rfjax.catalog._reader import Entry as Entry
from rfjax.catalog._reader import Experiment as Experiment
from rfjax.catalog._reader import File as File
from rfjax.catalog._reader import Published as Published
from rfjax.catalog._reader import bibtex as bibtex
from rfjax.catalog._reader import data_set as data_set
from rfjax.catalog._reader import data_sets as data_sets
from rfjax.catalog._reader import entries as entries
from rfjax.catalog._reader import entry as entry
from rfjax.catalog._reader import experiments as experiments
from rfjax.catalog._reader import references as references
