"""Aggregation: one label an item from the answers of many crowd workers."""

from rfjax.aggregation._answers import Answers as Answers
from rfjax.aggregation._answers import answers as answers
from rfjax.aggregation._dawid_skene import DawidSkene as DawidSkene
from rfjax.aggregation._dawid_skene import dawid_skene as dawid_skene
from rfjax.aggregation._majority import majority as majority
from rfjax.aggregation._majority import vote_shares as vote_shares
from rfjax.aggregation._mean_score import mean_score as mean_score
from rfjax.aggregation._workers import WorkerAccuracy as WorkerAccuracy
from rfjax.aggregation._workers import filter_workers as filter_workers
from rfjax.aggregation._workers import worker_accuracy as worker_accuracy
