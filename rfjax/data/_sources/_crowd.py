"""Answers of crowd workers: Adult and COMPAS of Roh et al., and the bluebirds of Welinder et al."""

import pathlib

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._formats import table, whole_numbers

_ANSWERS = 11  # for each row


def crowd_adult(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads features, true labels, answers 1 to 4 and worker ids int32 [N, 11]."""
  return _crowd(folder, "AdultCensus_crowdsourcing_data.csv")


def crowd_compas(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads features, true labels, answers 1 to 4 and worker ids int32 [N, 11]."""
  return _crowd(folder, "COMPAS_crowdsourcing_data.csv")


def _crowd(folder: Folder, file: str) -> dict[str, dict[str, np.ndarray]]:
  path = folder.file(file)
  kinds = folder.data_set.columns
  features = [name for name in kinds if name not in ("answers", "workers")]
  answers, workers = (
    [f"{stem}_{i}" for i in range(1, _ANSWERS + 1)] for stem in ("ans", "worker_id")
  )
  columns = table(path.read_bytes(), path, [*features, *answers, *workers])
  for name in workers:
    columns[name] = np.char.replace(columns[name], "worker_", "")
  number = lambda name: whole_numbers(columns[name], path, name)
  found = {n: number(n) if kinds[n] == "int32" else columns[n] for n in features}
  found["true_label"] = (found["true_label"] > 0).astype(np.int32)  # -1 and 1 in the file
  found["answers"] = np.stack([number(name) for name in answers], axis=1)
  found["workers"] = np.stack([number(name) for name in workers], axis=1)
  return {"train": found}


def bluebirds(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads the questions with their truth, answers and worker ids int32 [N, 39].

  Every worker has answered every question, so that a column belongs to one worker.
  """
  path = folder.file("answer.csv")
  question, worker, answer = _numbers(path, "question", "worker", "answer")
  questions, truth = _numbers(folder.file("truth.csv"), "question", "truth")
  workers = np.unique(worker)
  order = np.lexsort((worker, question))
  pairs = np.stack([question, worker], axis=1)[order]
  grid = np.stack(np.meshgrid(np.sort(questions), workers, indexing="ij"), axis=-1)
  if not np.array_equal(pairs, grid.reshape(-1, 2)):
    raise ValueError(f"{path} does not have one answer of every worker to every question")
  rank = np.searchsorted(np.sort(questions), questions)
  return {
    "train": {
      "question": questions,
      "true_label": truth,
      "answers": answer[order].reshape(len(questions), -1)[rank],
      "workers": np.tile(workers, (len(questions), 1)),
    }
  }


def _numbers(path: pathlib.Path, *names: str) -> list[np.ndarray]:
  columns = table(path.read_bytes(), path, names)
  return [whole_numbers(columns[name], path, name) for name in names]
