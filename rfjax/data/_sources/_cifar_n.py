"""Labels that people gave to CIFAR images: CIFAR-10N, CIFAR-100N and CIFAR-10H."""

import hashlib

import numpy as np

from rfjax.data._files import Folder
from rfjax.data._formats import array, arrays

# sha256 of the labels as little-endian int32: the .npz files are made by each user from the
# publisher's .pt files, so that their own bytes differ.
_CIFAR10N = {
  "clean_label": "1431253c7e60f5a2b7e2531aeca20b26a5e5951dcc4977b9c457ebfc43aedb75",
  "aggre_label": "77198f34887d0bd46c308343d1c847a678be727ed75fc1c78ea65aa5cffdb43e",
  "worse_label": "09d0cc169f1b91cac277908af45359b68f6c22f37b72aae43750e2b21a63b50c",
  "random_label1": "edfce0dc82227bcf4758904e3f1764d4fd6b58cbbdc58eb4551679351440d082",
  "random_label2": "b36f09ec0eb1a1302bc848dfd72790dafb992279a0c3aac1d1f5faf97a157b38",
  "random_label3": "544fb913496ca4851faf446ac8613509c682e030344be993bc2a3d043ce18808",
}
_CIFAR100N = {
  "clean_label": "cc36d8adc63eba707c4a64bc5c63269658a93515bdb6f7c5d23320ac1dbc7546",
  "noisy_label": "4eeae1452a81850afcd544ce67f36f3e486f2c3a819a1a5d5aa77e52568a462a",
  "clean_coarse_label": "aeaa026a68227fc65cfde918917606dacfdbb70e53307075e3b848594abcef79",
  "noisy_coarse_label": "71d18e159b8ee0cb7f90254ff55243a6308f39e2ca3554feb1f3fb5df571c963",
}


def cifar10n(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads the labels in the order of CIFAR-10's files, and the order of tensorflow-datasets.

  `image_order` is no label: `image_order[i]` is the row of the image that comes i-th where
  tensorflow-datasets has prepared, and thereby shuffled, its own cifar10.
  """
  name = "image_order_c10.npy"
  order = array(folder.bytes(name), folder.path / name).astype(np.int32)
  labels = _labels(folder, "cifar10n_labels.npz", _CIFAR10N)
  return {"train": {**labels, "image_order": order}}


def cifar100n(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads the labels and those of the super-classes, in the order of CIFAR-100's files."""
  return {"train": _labels(folder, "cifar100n_labels.npz", _CIFAR100N)}


def cifar10h(folder: Folder) -> dict[str, dict[str, np.ndarray]]:
  """Reads how many people gave each label, int32 [N, 10], to the test images of CIFAR-10."""
  name = "cifar10h-counts.npy"
  return {"test": {"counts": array(folder.bytes(name), folder.path / name).astype(np.int32)}}


def _labels(folder: Folder, name: str, expected: dict[str, str]) -> dict[str, np.ndarray]:
  path = folder.file(name)
  found = arrays(path.read_bytes(), path, list(expected))
  strange = [column for column, values in found.items() if values.dtype.kind not in "iu"]
  if strange:
    raise ValueError(
      f"{path}, array {strange[0]!r} holds {found[strange[0]].dtype} and no whole numbers: make the"
      f" file anew from {folder.data_set.publisher}"
    )
  labels = {column: values.astype(np.int32) for column, values in found.items()}
  for column, values in labels.items():
    if hashlib.sha256(values.astype("<i4").tobytes()).hexdigest() != expected[column]:
      raise ValueError(
        f"{path}, array {column!r}: these are not the published labels: make the file anew from"
        f" {folder.data_set.publisher}"
      )
  return labels
