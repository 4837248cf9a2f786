"""The memorization experiment: one run for all variants, its tables and its page."""

import pathlib
import time
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

import rfjax
from rfjax import architectures, data, metrics, noise, report
from rfjax.experiments.memorization import Settings

FIT = 0.99  # the training accuracy that counts as fitted
_INPUTS = (  # what is done to the pictures, by the number that the sweep has for it
  ("as they are", rfjax.chain()),
  ("shuffled pixels", noise.shuffled_pixels()),
  ("random pixels", noise.random_pixels()),
  ("Gaussian pictures", noise.gaussian_pixels()),
)
_LABELS = {0.0: "true labels", 0.5: "half of the labels random", 1.0: "random labels"}


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: "labels", with dimensions (inputs, rate, seed), and "pictures", with the same ones.
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: dict[str, Any]
  seconds: dict[str, float]


def _standardised(train: rfjax.Batch, others: list[rfjax.Batch]) -> list[rfjax.Batch]:
  """Pictures in [0, 1], centred and scaled pixel by pixel as those of the training part are."""
  flat = lambda batch: batch.x.reshape(batch.num_rows, -1) / 255.0
  mean = train.mean(flat(train))
  # Without the constant a pixel that is bright in one picture only would outweigh all others.
  scale = jax.lax.rsqrt(train.mean((flat(train) - mean) ** 2) + 0.01)
  return [batch.replace(x=(flat(batch) - mean) * scale) for batch in others]


def _corrupted(inputs: Any, key: jax.Array, batch: rfjax.Batch, fitted_on: rfjax.Batch) -> Any:
  """The batch with its pictures corrupted; one key gives one permutation to all batches."""
  ways = [lambda b, f, t=t: rfjax.transform(t, b, key=key, fitted_on=f).x for _, t in _INPUTS]
  return batch.replace(x=jax.lax.switch(inputs, ways, batch, fitted_on))


def _trainer(settings: Settings, pictures: data.Split) -> Any:
  network = architectures.mlp([settings.hidden], pictures.train.num_classes)
  steps = settings.epochs * -(-settings.images // settings.batch_size)
  tx = optax.sgd(optax.cosine_decay_schedule(settings.learning_rate, steps), momentum=0.9)

  def train(seed: Any, inputs: Any, rate: Any) -> dict[str, Any]:
    key = jax.random.key(seed)
    drawn = jax.random.permutation(jax.random.fold_in(key, 0), pictures.train.num_rows)
    clean = pictures.train.subset(drawn[: settings.images])
    labelled = rfjax.transform(noise.symmetric(rate, inclusive=True), clean, key=key)
    given = _corrupted(inputs, key, labelled, clean)
    given, test = _standardised(given, [given, _corrupted(inputs, key, pictures.test, clean)])
    accuracy = lambda state, rows: metrics.accuracy(rfjax.predict(network, state, rows))
    state, log = rfjax.fit(
      network,
      rfjax.chain(),
      tx,
      given,
      key=key,
      epochs=settings.epochs,
      batch_size=settings.batch_size,
      observe=lambda state, view: accuracy(state, given),
    )
    record = noise.record(given)
    return {
      "train_accuracy": log.observed,
      "test_accuracy": accuracy(state, test),
      "label_rate": record.label_rate,
      "label_hash": record.label_hash,
    }

  return train


def run(settings: Settings, *, progress: bool) -> Result:
  """Trains all variants."""
  began = time.perf_counter()
  pictures = data.load(settings.data, data_dir=settings.data_dir, fractions=(1.0, 0.0))
  if settings.images > pictures.train.num_rows:
    raise ValueError(
      f"images must be at most the {pictures.train.num_rows} of {settings.data}, got"
      f" {settings.images}"
    )
  train, seeds = _trainer(settings, pictures), range(settings.seeds)
  grids = {
    "labels": {"inputs": [0], "rate": sorted({*settings.rates, *_LABELS}), "seed": seeds},
    "pictures": {"inputs": range(1, len(_INPUTS)), "rate": [0.0], "seed": seeds},
  }
  seconds, found = {"reading": time.perf_counter() - began}, {}
  for name, grid in grids.items():
    began = time.perf_counter()
    found[name] = rfjax.sweep(
      train, grid, lanes=settings.lanes, block=settings.block, progress=progress
    )
    seconds[name] = time.perf_counter() - began
  return Result(settings, found, seconds)


def _curve(result: Result, name: str, inputs: int, rate: float) -> np.ndarray:
  """Training accuracy, [seeds, epochs]."""
  table = result.data[name].sel(inputs=inputs, rate=rate)
  return table.train_accuracy.transpose("seed", ...).values


def _variants(result: Result) -> dict[str, tuple[str, int, float]]:
  """The six variants: where their runs are, by name."""
  labels = {name: ("labels", 0, rate) for rate, name in _LABELS.items()}
  return labels | {name: ("pictures", i, 0.0) for i, (name, _) in enumerate(_INPUTS) if i}


def _epochs_to_fit(curve: np.ndarray) -> int | None:
  """The first epoch after which the training accuracy is FIT, or None."""
  fitted = np.flatnonzero(curve >= FIT)
  return int(fitted[0]) + 1 if fitted.size else None


def rows(result: Result) -> list[dict[str, Any]]:
  """The runs, one dictionary each."""
  out = []
  for name, table in result.data.items():
    for inputs in table.inputs.values:
      for rate in table.rate.values:
        for seed in table.seed.values:
          run = table.sel(inputs=inputs, rate=rate, seed=seed)
          curve = _curve(result, name, inputs, rate)[list(table.seed.values).index(seed)]
          out.append(
            {
              "pictures": _INPUTS[int(inputs)][0],
              "rate": float(rate),
              "seed": int(seed),
              "train_accuracy": float(curve[-1]),
              "test_accuracy": float(run.test_accuracy),
              "epochs_to_fit": _epochs_to_fit(curve),
              "label_rate": float(run.label_rate),
              "label_hash": f"{int(run.label_hash):08x}",
            }
          )
  return out


def _fit_cell(curves: np.ndarray) -> report.Interval | str:
  epochs = [found for curve in curves if (found := _epochs_to_fit(curve)) is not None]
  if len(epochs) < len(curves):
    return f"{len(epochs)} of {len(curves)} seeds"
  return report.mean_interval(epochs)


def tables(result: Result) -> dict[str, report.Table]:
  """The six variants, and accuracy by the share of random labels."""
  seeds = result.settings.seeds
  interval = lambda values: report.mean_interval(np.asarray(values, float))
  variants = []
  for label, (name, inputs, rate) in _variants(result).items():
    curves = _curve(result, name, inputs, rate)
    test = result.data[name].test_accuracy.sel(inputs=inputs, rate=rate).values
    variants.append((label, interval(curves[:, -1]), _fit_cell(curves), interval(test)))
  corruption = []
  labels = result.data["labels"].sel(inputs=0)
  for rate in labels.rate.values:
    at = labels.sel(rate=rate)
    train = _curve(result, "labels", 0, rate)[:, -1]
    corruption.append(
      (f"{float(rate):g}", *map(interval, (at.label_rate, train, at.test_accuracy)))
    )
  note = f"Means with 95 % t-intervals over {seeds} seeds; {result.settings.images} pictures."
  fit = f"epochs to {FIT:.0%}"
  return {
    "variants": report.Table(
      ("training set", "train accuracy", fit, "test accuracy"),
      variants,
      caption=f"What an MLP fits, {result.settings.data}",
      notes=(note,),
      digits={fit: 1},
    ),
    "corruption": report.Table(
      ("random labels", "wrong labels", "train accuracy", "test accuracy"),
      corruption,
      caption="Accuracy by the share of labels that are drawn anew from all classes",
      notes=(note,),
    ),
  }


def _sentence(result: Result) -> str:
  curves = _curve(result, "labels", 0, 1.0)[:, -1]
  test = result.data["labels"].test_accuracy.sel(inputs=0, rate=1.0).values
  fitted, chance = (report.mean_interval(values) for values in (curves, test))
  return (
    f"An MLP of {result.settings.hidden} hidden units fits {fitted.mean:.1%} ±"
    f" {fitted.half_width:.1%} of {result.settings.images} random labels, and is right on"
    f" {chance.mean:.1%} ± {chance.half_width:.1%} of the test set."
  )


def _figures(result: Result) -> tuple[report.Figure, report.Figure]:
  epochs = np.arange(1, result.settings.epochs + 1)
  curves = []
  for label, where in _variants(result).items():
    mean, half = map(np.asarray, report.mean_interval(_curve(result, *where).T))
    curves.append(report.Series(label, epochs, mean, y_interval=half))
  labels = result.data["labels"].sel(inputs=0)
  rates = labels.rate.values
  by_rate = {
    "training set": np.stack([_curve(result, "labels", 0, rate)[:, -1] for rate in rates]),
    "test set": labels.test_accuracy.transpose("rate", "seed").values,
  }
  lines = []
  for label, values in by_rate.items():
    mean, half = map(np.asarray, report.mean_interval(values))
    lines.append(report.Series(label, rates, mean, y_interval=half))
  chance = report.Reference(1 / 10, "chance", axis="y")
  band = "Bands are 95 % intervals of the mean over seeds."
  return (
    report.frontier(
      curves,
      xlabel="epoch",
      ylabel="accuracy on the training set",
      caption=f"Six training sets, one network and one optimizer. {band}",
    ),
    report.frontier(
      lines,
      xlabel="share of labels drawn anew",
      ylabel="accuracy after the last epoch",
      references=[chance],
      caption=f"Accuracy against the share of random labels. {band}",
    ),
  )


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made, (curves, by_rate) = tables(result), _figures(result)
  first = result.data["labels"]
  manifest = report.manifest(
    experiment="memorization",
    data=result.settings.data,
    images=result.settings.images,
    hidden=result.settings.hidden,
    epochs=result.settings.epochs,
    batch_size=result.settings.batch_size,
    learning_rate=result.settings.learning_rate,
    seeds=result.settings.seeds,
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
  )
  sections = [
    report.Section("Six training sets", [curves, made["variants"]]),
    report.Section("From true to random labels", [by_rate, made["corruption"]]),
  ]
  page = report.page("Memorization", _sentence(result), sections, manifest)
  name = f"memorization-{result.settings.data}"
  files = report.write_report(directory, name, page=page, tables=made, times=result.seconds)
  curves.png(directory / f"{name}.png")
  return files[0]
