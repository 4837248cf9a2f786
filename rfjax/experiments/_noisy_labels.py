"""The noisy-labels experiment: one run for all methods, its tables and its page."""

import pathlib
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rfjax
from rfjax import architectures, data, metrics, noise, report
from rfjax.experiments._noisy_labels_methods import RECIPES, Recipe, Run
from rfjax.experiments.noisy_labels import BASELINE, Settings, methods

_CURVES = 6  # that one figure tells apart
_TENTH = 10


class Result(NamedTuple):
  """What a run of the experiment leaves.

  Attributes:
    settings: the settings.
    data: for each method the runs, with dimensions (rate, seed).
    seconds: wall-clock seconds by stage.
  """

  settings: Settings
  data: dict[str, Any]
  seconds: dict[str, float]


def _noisy(settings: Settings, rate: Any) -> Any:
  if settings.noise == "asymmetric":
    return noise.asymmetric(rate, settings.data)
  return {"symmetric": noise.symmetric, "pair": noise.pair_flip}[settings.noise](rate)


def _network(settings: Settings) -> Any:
  return architectures.mlp([256, 128], 10) if settings.network == "mlp" else architectures.cnn()


def _correct(network: Any, state: Any, rows: rfjax.Batch) -> jax.Array:
  """Which label the network gives, int32 [N]."""
  return jnp.argmax(rfjax.predict(network, state, rows).logits, axis=-1)


def _trainer(settings: Settings, recipe: Recipe, pictures: rfjax.Batch, test: rfjax.Batch) -> Any:
  network = _network(settings)
  held_out = settings.images // _TENTH
  steps = settings.epochs * -(-(settings.images - held_out) // settings.batch_size)
  schedule = optax.cosine_decay_schedule(settings.learning_rate, steps)

  def train(seed: Any, rate: Any) -> dict[str, Any]:
    key = jax.random.key(seed)
    drawn = jax.random.permutation(jax.random.fold_in(key, 0), pictures.num_rows)
    noisy = rfjax.transform(
      _noisy(settings, rate), pictures.subset(drawn[: settings.images]), key=key
    )
    rows = jnp.arange(settings.images)
    validation, given = noisy.subset(rows[:held_out]), noisy.subset(rows[held_out:])
    run = Run(rate, settings.noise, settings.epochs, steps)
    sgd = optax.sgd(schedule, momentum=0.9)
    tx = sgd if recipe.tx is None else optax.chain(recipe.tx(run), sgd)
    wrong = given.y != given.truth.y

    def observe(state: Any, view: Any) -> dict[str, jax.Array]:
      del view
      fitted = _correct(network, state, given) == given.y
      return {
        "validation": metrics.accuracy(rfjax.predict(network, state, validation)),
        "test": metrics.accuracy(rfjax.predict(network, state, test)),
        "memorized": jnp.sum(fitted & wrong) / jnp.maximum(jnp.sum(wrong), 1),
      }

    _, log = rfjax.fit(
      network,
      recipe.make(run),
      tx,
      given,
      key=key,
      epochs=settings.epochs,
      batch_size=settings.batch_size,
      observe=observe,
    )
    record = noise.record(given)
    return log.observed | {"label_rate": record.label_rate, "label_hash": record.label_hash}

  return train


def run(settings: Settings, *, progress: bool) -> Result:
  """Trains by all methods."""
  began = time.perf_counter()
  split = data.load(settings.data, data_dir=settings.data_dir, fractions=(1.0, 0.0))
  if settings.images > split.train.num_rows:
    raise ValueError(
      f"images must be at most the {split.train.num_rows} of {settings.data}, got {settings.images}"
    )
  found, seconds = {}, {"reading": time.perf_counter() - began}
  axes = {"rate": [settings.rate], "seed": range(settings.seeds)}
  for name in methods(settings):
    began = time.perf_counter()
    if progress:
      print(f"noisy-labels: {name}", file=sys.stderr, flush=True)
    train = _trainer(settings, RECIPES[name], split.train, split.test)
    found[name] = rfjax.sweep(
      train, axes, lanes=settings.lanes, block=settings.block, progress=progress
    ).isel(rate=0)
    seconds[name] = time.perf_counter() - began
  return Result(settings, found, seconds)


def _curve(result: Result, name: str, measure: str) -> np.ndarray:
  """A measure after each epoch, [seeds, epochs]."""
  return result.data[name][measure].transpose("seed", ...).values


def _accuracies(result: Result, name: str) -> dict[str, np.ndarray]:
  """Test accuracy after the last epoch, after the one that validation picks, and the best, [seeds].

  Where several epochs have the best validation accuracy the first one counts.
  """
  test, picked = _curve(result, name, "test"), _picked(result, name)
  selected = np.take_along_axis(test, picked[:, None], axis=1)[:, 0]
  return {"last": test[:, -1], "selected": selected, "best": test.max(axis=1)}


def _picked(result: Result, name: str) -> np.ndarray:
  return _curve(result, name, "validation").argmax(axis=1)


def rows(result: Result) -> list[dict[str, Any]]:
  """The runs, one dictionary each."""
  out = []
  for name, table in result.data.items():
    accuracies, picked = _accuracies(result, name), _picked(result, name)
    for i, seed in enumerate(table.seed.values):
      out.append(
        {
          "method": name,
          "rate_source": "given" if RECIPES[name].needs_rate else None,
          "seed": int(seed),
          **{kind: float(values[i]) for kind, values in accuracies.items()},
          "selected_epoch": int(picked[i]) + 1,
          "memorized": float(_curve(result, name, "memorized")[i, -1]),
          "label_rate": float(table.label_rate.values[i]),
          "label_hash": f"{int(table.label_hash.values[i]):08x}",
        }
      )
  return out


def tables(result: Result) -> dict[str, report.Table]:
  """Every method beside plain cross-entropy: after the last epoch, and after a picked one."""
  settings, interval = result.settings, report.mean_interval
  base, last, picked = _accuracies(result, BASELINE), [], []
  for name in result.data:
    found, told = _accuracies(result, name), "given" if RECIPES[name].needs_rate else ""
    gain = {kind: report.paired_difference(found[kind], base[kind]) for kind in base}
    memorized = interval(_curve(result, name, "memorized")[:, -1])
    last.append((name, told, interval(found["last"]), gain["last"], memorized))
    picked.append((name, interval(found["selected"]), gain["selected"], interval(found["best"])))
  where = (
    f"{settings.data} with {settings.rate:g} {settings.noise} noise, {settings.network}: test"
    " accuracy"
  )
  note = (
    f"Means with 95 % t-intervals over {settings.seeds} seeds; {settings.images} pictures, a tenth"
    " of them for validation under the same noise. - baseline: paired differences to cross_entropy."
  )
  return {
    "last": report.Table(
      ("method", "rate", "accuracy", "- baseline", "memorized"),
      last,
      caption=f"{where} after the last epoch",
      notes=(
        f"{note} Memorized: share of the wrong labels that the network gives back. Rate given: the"
        " method was told the true noise rate.",
      ),
    ),
    "selected": report.Table(
      ("method", "selected", "- baseline", "best"),
      picked,
      caption=f"{where} after a picked epoch",
      notes=(
        f"{note} Selected: after the epoch of best validation accuracy. Best: after the best epoch"
        " on the test set, an oracle.",
      ),
    ),
  }


def _sentence(result: Result) -> str:
  base = report.mean_interval(_accuracies(result, BASELINE)["last"])
  better = [name for name in result.data if name != BASELINE and _gain(result, name) > 0]
  told = f"{', '.join(better)}" if better else "none of the methods"
  return (
    f"With {result.settings.rate:g} {result.settings.noise} noise cross-entropy ends at"
    f" {base.mean:.3f} ± {base.half_width:.3f}. Above it after the last epoch, by more than the"
    f" interval of the paired difference: {told}."
  )


def _gain(result: Result, name: str) -> float:
  """The lower end of the paired difference to cross-entropy after the last epoch."""
  last, base = (_accuracies(result, n)["last"] for n in (name, BASELINE))
  difference = report.paired_difference(last, base)
  return float(difference.mean - difference.half_width)


def _point(result: Result, name: str) -> report.Series:
  """What is memorized, and the test accuracy, after the last epoch."""
  measures = (_curve(result, name, "memorized")[:, -1], _accuracies(result, name)["last"])
  (x, x_half), (y, y_half) = (
    (np.array([found.mean]), np.array([found.half_width]))
    for found in map(report.mean_interval, measures)
  )
  return report.Series(name, x, y, x_interval=x_half, y_interval=y_half)


def _shown(result: Result) -> list[str]:
  """The baseline, and the methods of the highest validation accuracy at their own best epochs."""
  reached = {n: _curve(result, n, "validation").max(axis=1).mean() for n in result.data}
  others = sorted((n for n in reached if n != BASELINE), key=lambda n: -reached[n])
  return [BASELINE, *others[: _CURVES - 1]]


def _figures(result: Result) -> tuple[report.Figure, report.Figure]:
  epochs, curves = np.arange(1, result.settings.epochs + 1), []
  for name in _shown(result):
    mean, half = map(np.asarray, report.mean_interval(_curve(result, name, "test").T))
    curves.append(report.Series(name, epochs, mean, y_interval=half))
  which = ""
  if len(result.data) > _CURVES:
    which = f" Shown are {BASELINE} and the {_CURVES - 1} of the highest validation accuracy."
  return (
    report.frontier(
      curves,
      xlabel="epoch",
      ylabel="accuracy on the test set",
      caption=f"Test accuracy after each epoch. Bands are 95 % intervals of the mean.{which}",
    ),
    report.frontier(
      [_point(result, name) for name in _shown(result)],
      xlabel="share of the wrong labels that are memorized",
      ylabel="accuracy on the test set",
      caption=(
        "After the last epoch: accuracy against what was learned of the wrong labels, with 95 %"
        f" intervals.{which}"
      ),
    ),
  )


def write(result: Result, directory: pathlib.Path) -> pathlib.Path:
  """Writes the page, the tables and the times."""
  made, figures, settings = tables(result), _figures(result), result.settings
  first = result.data[BASELINE]
  manifest = report.manifest(
    experiment="noisy-labels",
    data=settings.data,
    images=settings.images,
    noise=settings.noise,
    rate=settings.rate,
    network=settings.network,
    epochs=settings.epochs,
    batch_size=settings.batch_size,
    learning_rate=settings.learning_rate,
    seeds=settings.seeds,
    lanes=int(first.attrs["lanes"]),
    block=int(first.attrs["block"]),
  )
  sections = [report.Section("Methods", [*figures, *made.values()])]
  page = report.page("Noisy labels", _sentence(result), sections, manifest)
  name = f"noisy-labels-{settings.data}-{settings.noise}-{settings.network}"
  files = report.write_report(directory, name, page=page, tables=made, times=result.seconds)
  figures[0].png(directory / f"{name}.png")
  return files[0]
