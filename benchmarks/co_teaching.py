"""Co-teaching beside the same step in eager PyTorch: two networks, gather, random order, no test.

    python benchmarks/co_teaching.py [--network mlp cnn] [--pairs 5] [--torch-python PYTHON]

Each measurement is a process of its own on one core, and the two libraries take turns, so that what
disturbs one disturbs the other. It prints CPU milliseconds a step, their ratio by pair, and the
share of the matrix-product peak. PyTorch is looked for in this Python, or in the one that is named.
10,000 made-up pictures of 28 x 28, batches of 128, Adam, a fifth of each batch forgotten.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import pairs

ROWS, BATCH, FORGET, RATE = 10_000, 128, 0.2, 1e-3
STEPS = -(-ROWS // BATCH)
HIDDEN, CHANNELS = (256, 128), (16, 32)
# Multiply-adds of a forward pass of one picture; a step has three times as many, but none for the
# gradient of the pictures.
_MLP = [784 * 256, 256 * 128, 128 * 10]
_CNN = [784 * 9 * 16, 196 * 144 * 32, 49 * 32 * 128, 128 * 10]


def flops(network: str) -> float:
  """Floating-point operations of a step of both networks."""
  layers = _MLP if network == "mlp" else _CNN
  return 2 * 2 * BATCH * (3 * sum(layers) - layers[0])


def _pictures() -> tuple[Any, Any]:
  import numpy as np

  rng = np.random.default_rng(0)
  pictures = rng.integers(0, 256, (ROWS, 28, 28), dtype=np.uint8)
  return pictures, rng.integers(0, 10, ROWS)


def _timed(call: Callable[[], Any], repeats: int) -> dict[str, float]:
  """The median CPU and wall-clock milliseconds a step of an epoch, after one to warm up."""
  call()
  spent = pairs.seconds(call, repeats)
  return {kind: value / STEPS * 1e3 for kind, value in spent._asdict().items()}


def run_rfjax(network: str, repeats: int) -> dict[str, Any]:
  """One epoch of rfjax, compiled once for any seed and rate."""
  import jax
  import jax.numpy as jnp
  import optax

  import rfjax
  from rfjax import architectures, selection

  net = architectures.mlp(HIDDEN, 10) if network == "mlp" else architectures.cnn(CHANNELS, 128)
  data = rfjax.Batch.from_arrays(*_pictures())

  def train(seed: jax.Array, rate: jax.Array, data: rfjax.Batch) -> Any:
    method, key = selection.co_teaching(rate), jax.random.key(seed)
    return rfjax.fit(
      net, method, optax.adam(RATE), data, key=key, epochs=1, batch_size=BATCH, peers=2
    )

  began = time.perf_counter()
  compiled = jax.jit(train).lower(jnp.uint32(0), jnp.float32(FORGET), data).compile()
  compiling = time.perf_counter() - began
  seconds = _timed(
    lambda: jax.block_until_ready(compiled(jnp.uint32(1), jnp.float32(FORGET), data)), repeats
  )
  peak = pairs.peak() * 1e9
  share = flops(network) / (seconds["cpu"] / 1e3) / peak
  return seconds | {"compiling": compiling, "peak": peak, "share": share}


def run_torch(network: str, repeats: int) -> dict[str, Any]:
  """One epoch of the same in eager PyTorch."""
  import numpy as np
  import torch
  from torch import nn

  torch.set_num_threads(1)
  torch.manual_seed(0)

  def build() -> Any:
    if network == "mlp":
      sizes = (784, *HIDDEN)
      layers: list[Any] = [nn.Flatten()]
      for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
      return nn.Sequential(*layers, nn.Linear(HIDDEN[-1], 10))
    first, second = CHANNELS
    return nn.Sequential(
      nn.Unflatten(1, (1, 28)),
      nn.Conv2d(1, first, 3, padding=1),
      nn.ReLU(),
      nn.MaxPool2d(2),
      nn.Conv2d(first, second, 3, padding=1),
      nn.ReLU(),
      nn.MaxPool2d(2),
      nn.Flatten(),
      nn.Linear(49 * second, 128),
      nn.ReLU(),
      nn.Linear(128, 10),
    )

  x, y = (torch.from_numpy(np.asarray(a)) for a in _pictures())
  networks = [build(), build()]
  optimizers = [torch.optim.Adam(n.parameters(), lr=RATE) for n in networks]
  loss = nn.CrossEntropyLoss(reduction="none")

  def epoch() -> None:
    for rows in torch.randperm(ROWS).split(BATCH):
      pictures, labels = x[rows].float() / 255, y[rows]
      kept = int((1 - FORGET) * len(rows))
      losses = [loss(n(pictures), labels) for n in networks]
      chosen = [values.detach().argsort()[:kept] for values in losses]
      for i, optimizer in enumerate(optimizers):
        optimizer.zero_grad()
        losses[i][chosen[1 - i]].mean().backward()
        optimizer.step()

  return _timed(epoch, repeats)


CHILDREN = {"rfjax": run_rfjax, "torch": run_torch}


def _child(python: str, library: str, network: str, repeats: int) -> dict[str, Any]:
  words = [python, __file__, "--child", library, "--network", network, "--repeats", str(repeats)]
  return pairs.child(words)


def compare(network: str, turns: int, repeats: int, torch_python: str) -> dict[str, Any]:
  """Runs both libraries in turn, and the ratio of their CPU times in each pair."""
  pythons = {"rfjax": sys.executable, "torch": torch_python}
  sides = [lambda k=k, v=v: _child(v, k, network, repeats) for k, v in pythons.items()]
  found = dict(zip(pythons, pairs.alternate(sides, turns), strict=True))
  cpu = {library: [run["cpu"] for run in runs] for library, runs in found.items()}
  ratios = [t / r for t, r in zip(cpu["torch"], cpu["rfjax"], strict=True)]
  every = [run for runs in found.values() for run in runs]
  return {
    "network": network,
    "rfjax_ms": statistics.median(cpu["rfjax"]),
    "torch_ms": statistics.median(cpu["torch"]),
    "ratio": statistics.median(ratios),
    "ratio_low": min(ratios),
    "ratio_high": max(ratios),
    "share_of_peak": statistics.median(run["share"] for run in found["rfjax"]),
    "peak_gflops": statistics.median(run["peak"] for run in found["rfjax"]) / 1e9,
    "compiling_s": statistics.median(run["compiling"] for run in found["rfjax"]),
    "contended": pairs.contended([pairs.Seconds(run["wall"], run["cpu"]) for run in every]),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--network", nargs="+", choices=("mlp", "cnn"), default=["mlp", "cnn"])
  parser.add_argument("--pairs", type=int, default=5)
  parser.add_argument("--repeats", type=int, default=3, help="epochs that are timed a process")
  parser.add_argument("--torch-python", default=sys.executable, help="a Python that has PyTorch")
  parser.add_argument("--child", choices=tuple(CHILDREN), help=argparse.SUPPRESS)
  options = parser.parse_args()
  pairs.one_core()
  if options.child:
    print(json.dumps(CHILDREN[options.child](options.network[0], options.repeats)))
    return
  for network in options.network:
    print(json.dumps(compare(network, options.pairs, options.repeats, options.torch_python)))


if __name__ == "__main__":
  main()
