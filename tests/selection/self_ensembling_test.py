"""SELF: its averages, filters, teacher and gradients by NumPy loops, its rounds fit by fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, losses, metrics, selection

KEY = jax.random.key(5)
ROWS, CLASSES, EPOCHS, LEARNING = 13, 3, 6, 0.8
RNG = np.random.default_rng(2)
Y = np.arange(ROWS) % CLASSES
X = np.eye(4)[Y] + RNG.normal(0, 0.7, (ROWS, 4))
Y[:4] = (Y[:4] + 1) % CLASSES


def _initial(key, x):
  return {"w": 0.3 * jax.random.normal(key, (4, CLASSES), x.dtype), "b": jnp.zeros(CLASSES)}


NETWORK = architectures.from_function(_initial, lambda params, x: x @ params["w"] + params["b"])


def dataset():
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES)


def turned(x, key):
  del key
  return x[:, ::-1]


def look(state, view):
  [method] = state.method
  return {"order": view.order, "params": state.params} | method._asdict()


@functools.partial(jax.jit, static_argnames=("distance", "of", "augment", "warmup", "ramped"))
def run(momentum, decay, consistency, ramp, warmup, distance, of, augment, ramped=True):
  method = selection.self_ensembling(
    NETWORK, momentum=momentum, decay=decay, consistency=consistency, warmup=warmup,
    ramp_epochs=ramp if ramped else None, distance=distance, of=of, augment=augment,
  )  # fmt: skip
  arguments = (NETWORK, rfjax.chain(method), optax.sgd(LEARNING), dataset())
  first, _ = rfjax.fit(*arguments, key=KEY, epochs=0)
  _, log = rfjax.fit(*arguments, key=KEY, epochs=EPOCHS, batch_size=5, observe=look)
  return first.params, log


def softmax(z):
  e = np.exp(z - z.max(1, keepdims=True))
  return e / e.sum(1, keepdims=True)


def says(params, x):
  return softmax(x @ params["w"] + params["b"])


def follow(teacher, params, seen, decay):
  """The teacher once it has seen one vector of weights more than `seen`."""
  slow = min(decay, seen / (seen + 1))
  return {name: slow * teacher[name] + (1 - slow) * params[name] for name in params}


def by_hand(params, orders, momentum, decay, consistency, ramp, warmup, distance, of, augment):
  """The run, one row at a time; yields an epoch's average, filter, teacher, weights, penalty."""
  params = {name: np.array(value) for name, value in params.items()}
  teacher, seen = {name: np.zeros_like(value) for name, value in params.items()}, 0
  average, kept = np.zeros((ROWS, CLASSES)), np.ones(ROWS, bool)
  for epoch, order in enumerate(np.asarray(orders)):
    if epoch > 0:
      who = follow(teacher, params, seen, decay) if of == "teacher" else params
      for i in range(ROWS):
        average[i] = momentum * average[i] + (1 - momentum) * says(who, X[i : i + 1])[0]
      if epoch >= warmup:
        kept = np.array([average[i].argmax() == Y[i] for i in range(ROWS)])
    penalties = []
    for rows in order:
      teacher, seen = follow(teacher, params, seen, decay), seen + 1
      real = [i for i in rows if i < ROWS]
      number = max(sum(kept[i] for i in real), 1)
      weight = consistency * (np.exp(-5 * (1 - min(epoch / ramp, 1)) ** 2) if ramp else 1)
      slope, penalty = {name: np.zeros_like(value) for name, value in params.items()}, 0.0
      for i in real:
        p = says(params, X[i : i + 1])[0]
        q = says(teacher, X[i : i + 1, ::-1] if augment else X[i : i + 1])[0]
        by_logits = (p - np.eye(CLASSES)[Y[i]]) * kept[i] / number
        if distance == "kl":
          penalty += weight * (q * np.log(q / p)).sum() / len(real)
          by_logits += weight * (p - q) / len(real)
        else:
          penalty += weight * ((p - q) ** 2).mean() / len(real)
          by_p = 2 * (p - q) / CLASSES
          by_logits += weight * p * (by_p - (p * by_p).sum()) / len(real)
        slope["w"] += np.outer(X[i], by_logits)
        slope["b"] += by_logits
      params = {name: params[name] - LEARNING * slope[name] for name in params}
      penalties.append(penalty)
    yield average.copy(), kept, teacher, params, np.mean(penalties)


@pytest.mark.parametrize(
  ("distance", "of", "augment", "ramp"),
  [("kl", "teacher", turned, 4.0), ("mse", "student", None, None)],
)
def test_a_run_is_the_one_by_hand(distance, of, augment, ramp):
  settings = {"momentum": 0.6, "decay": 0.7, "consistency": 3.0}
  shape = {"warmup": 2, "distance": distance, "of": of, "augment": augment}
  with jax.enable_x64(True):
    first, log = jax.device_get(run(**settings, **shape, ramp=ramp or 1.0, ramped=ramp is not None))
    seen, penalties = log.observed, log.penalty
  exact = list(by_hand(first, seen["order"], **settings, **shape, ramp=ramp))
  for epoch, (average, kept, teacher, params, penalty) in enumerate(exact):
    np.testing.assert_allclose(seen["ensemble"][epoch], average, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(seen["kept"][epoch], kept)
    np.testing.assert_allclose(penalties[epoch], penalty, rtol=1e-8)
    for name in params:
      np.testing.assert_allclose(seen["teacher"][name][epoch], teacher[name], rtol=1e-8)
      np.testing.assert_allclose(seen["params"][name][epoch], params[name], rtol=1e-8, atol=1e-12)
  assert seen["kept"][:2].all() and 0 < seen["kept"][2:].mean() < 1
  assert len({row.tobytes() for row in seen["kept"]}) > 1


def by_the_student(momentum):
  """The masks from the second epoch on, and what the student said after each epoch."""
  with jax.enable_x64(True):
    shape = {"warmup": 2, "distance": "mse", "of": "student", "augment": None}
    settings = {"momentum": momentum, "decay": 0.7, "consistency": 3.0}
    _, log = run(**settings, **shape, ramp=1.0, ramped=False)
    weights, kept = jax.tree.map(np.asarray, (log.observed["params"], log.observed["kept"]))
  said = [says(jax.tree.map(lambda v, e=e: v[e], weights), X) for e in range(EPOCHS)]
  return kept, np.stack(said)


def test_without_momentum_it_filters_by_agreement():
  kept, said = by_the_student(0.0)
  np.testing.assert_array_equal(kept[2:], said[1:-1].argmax(2) == Y)


def test_an_average_that_starts_at_zero_filters_as_the_mean_of_what_was_said():
  kept, said = by_the_student(0.9)
  for epoch in range(2, EPOCHS):
    share = 0.9 ** np.arange(epoch)[::-1]
    mean = np.tensordot(share / share.sum(), said[:epoch], 1)
    np.testing.assert_allclose(mean.sum(1), 1)
    np.testing.assert_array_equal(kept[epoch], mean.argmax(1) == Y)
  assert (kept[2:] != (said[1:-1].argmax(2) == Y)).any()  # the last epoch alone filters otherwise


SPEC = rfjax.core.Spec(jax.ShapeDtypeStruct((ROWS, CLASSES), jnp.float32))


def forward(params, flow, key=None):
  logits, features, _ = NETWORK.apply(params, (), flow.x, key=key, train=True)
  return flow.fill(logits, features)


def test_filtered_rows_are_left_to_the_penalty_and_padding_to_nothing():
  kept = np.arange(ROWS) % 3 > 0
  method = selection.self_ensembling(NETWORK, consistency=2.0, kept=kept, warmup=9)
  rows = np.array([3, 12, ROWS, 4, 6, ROWS])
  keep = np.array([1.0, 0.5, 0.0, 0.5, 1.0, 0.0], np.float32)

  @jax.jit
  def everything(keep):
    flow = dataset().take(rows).replace(keep=keep)
    flow = flow.replace(x=flow.x.at[2].set(9.0))  # padding that would show
    params, teacher = (NETWORK.init(jax.random.key(i), flow.x)[0] for i in (1, 2))
    state = method.init(dataset(), key=KEY, spec=SPEC)
    state = state._replace(teacher=teacher, steps=jnp.int32(10**6))
    filled = forward(params, flow).replace(penalty=jnp.asarray(0.25))
    out, new = method.update(filled, state, params, key=KEY, step=0, epoch=0, forward=forward)
    assert new.kept is state.kept
    return params, teacher, out, new

  params, teacher, out, new = jax.device_get(everything(keep))
  np.testing.assert_array_equal(out.keep, keep * np.append(kept, False)[rows])
  now = follow(teacher, params, 10**6, 0.999)
  real = np.flatnonzero(rows < ROWS)
  apart = says(params, X[rows[real]]) - says(now, X[rows[real]])
  np.testing.assert_allclose(out.penalty, 0.25 + 2 * (apart**2).mean(), rtol=1e-4)
  assert int(new.steps) == 10**6 + 1


def test_an_augmentation_gets_a_new_key_each_step():
  def noisy(x, key):
    return x + jax.random.normal(key, x.shape)

  method = selection.self_ensembling(NETWORK, augment=noisy)

  @jax.jit
  def ask(seed):
    data = dataset()
    state, params = method.init(data, key=KEY, spec=SPEC), NETWORK.init(KEY, data.x)[0]
    extra = {"key": jax.random.key(seed), "step": 0, "epoch": 0, "forward": forward}
    return method.update(forward(params, data), state, params, **extra)[0].penalty

  one, two = (float(ask(seed)) for seed in (1, 2))
  assert one > 0 and one != two


# Rounds.

POINTS, VALIDATED, TX, BATCH = 45, 40, optax.adam(0.2), 15
SHARED = {"momentum": 0.5, "decay": 0.8, "consistency": 0.5}


def points(seed, rows, wrong=0.0):
  rng = np.random.default_rng(seed)
  y = np.arange(rows) % CLASSES
  x = np.eye(4)[y] + rng.normal(0, 0.5, (rows, 4))
  given = np.where(rng.random(rows) < wrong, (y + 1) % CLASSES, y)
  return rfjax.Batch.from_arrays(x.astype(np.float32), given, num_classes=CLASSES)


DATA, VALIDATION = points(0, POINTS, wrong=0.4), points(1, VALIDATED)
PAD = np.append(np.arange(VALIDATED), np.full(40, VALIDATED))


def watched(state, view):
  del view
  return state.method[1].kept


@functools.partial(jax.jit, static_argnames=("restart", "of"))
def in_rounds(key, restart, of):
  return selection.self_ensembling_rounds(
    NETWORK, TX, DATA, VALIDATION.take(PAD), rounds=4, restart=restart, of=of, key=key,
    epochs=EPOCHS, batch_size=BATCH, before=losses.gce(0.3), observe=watched, **SHARED,
  )  # fmt: skip


@jax.jit
def one_fit(key, kept, params):
  """One round; what teacher and student say of the data and the validation set, epoch by epoch."""
  method = selection.self_ensembling(NETWORK, kept=kept, warmup=10**6, **SHARED)

  def ask(state, view):
    del view
    found = state.method[1]
    share = jnp.minimum(0.8, found.steps / (found.steps + 1))
    ahead = jax.tree.map(lambda t, p: share * t + (1 - share) * p, found.teacher, state.params)

    def said(params):
      logits = [rfjax.predict(NETWORK, state._replace(params=params), d).logits for d in both]
      return params, jax.nn.softmax(logits[0]), logits[1].argmax(-1)

    both = DATA, VALIDATION
    return {"teacher": said(ahead), "student": said(state.params)}

  whole = rfjax.chain(losses.gce(0.3), method)
  _, log = rfjax.fit(
    NETWORK, whole, TX, DATA, key=key, epochs=EPOCHS, batch_size=BATCH, params=params, observe=ask
  )
  return log


@jax.jit
def first_weights(key):
  return rfjax.fit(NETWORK, rfjax.chain(), TX, DATA, key=key, epochs=0)[0].params


@jax.jit
def validated(state):
  return metrics.accuracy(rfjax.predict(NETWORK, state, VALIDATION))


def fit_by_fit(key, rounds, restart, of):
  """Returns the best accuracy, weights, average, mask, all risks, and the masks of the rounds."""
  best, going, kept, ensemble = None, True, np.ones(POINTS, bool), np.zeros((POINTS, CLASSES))
  weights, risks, masks, improved = None, [], [], []
  for turn in range(rounds):
    own = key if turn == 0 else jax.random.fold_in(key, turn)
    params = first_weights(own) if restart or turn == 0 else weights
    start = np.zeros((POINTS, CLASSES)) if restart else ensemble
    log = jax.device_get(one_fit(own, kept, params))
    seen = log.observed
    speaker, said, classes = seen[of]
    accuracy = (classes == np.asarray(VALIDATION.y)).mean(1)
    at = int(accuracy.argmax())  # the first of several
    risks.append(log.risk)
    masks.append(kept)
    going = going and (best is None or accuracy[at] > best[0] + 1e-9)
    improved.append(going)
    if going:
      average = start
      for epoch in range(at + 1):
        average = 0.5 * average + 0.5 * said[epoch]
      best = (accuracy[at], jax.tree.map(lambda v, at=at: v[at], speaker), average, kept, at)
      weights = jax.tree.map(lambda v, at=at: v[at], seen["student"][0])
      kept, ensemble = average.argmax(1) == np.asarray(DATA.y), average
  return best, risks, masks, improved


@pytest.mark.parametrize(
  ("restart", "of", "seed", "good"),
  [
    (True, "teacher", 3, 3),
    (True, "teacher", 12, 2),
    (False, "student", 4, 3),
    (False, "student", 22, 2),
  ],
)
def test_rounds_are_fits_one_by_one(restart, of, seed, good):
  key = jax.random.key(seed)
  state, log = jax.device_get(in_rounds(key, restart=restart, of=of))
  best, risks, masks, improved = fit_by_fit(key, 4, restart, of)
  # The fifth or, of one seed, the last epoch; the last round of another is better, but after a tie.
  assert sum(improved) == good and best[-1] == (EPOCHS - 1 if seed == 12 else EPOCHS - 2)
  assert log.risk.shape == (4, EPOCHS)
  np.testing.assert_allclose(log.risk, risks, rtol=1e-4, atol=1e-6)
  np.testing.assert_array_equal(log.observed, np.stack(masks)[:, None].repeat(EPOCHS, 1))
  found = state.method[1]
  np.testing.assert_array_equal(found.kept, best[3])
  np.testing.assert_allclose(found.ensemble, best[2], rtol=1e-3, atol=1e-5)
  for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(best[1]), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
  np.testing.assert_allclose(validated(state), best[0], rtol=1e-6)


def test_settings_out_of_range_are_refused():
  for settings in (
    {"momentum": 1.0}, {"momentum": -0.1}, {"decay": 1.5}, {"consistency": -1.0}, {"warmup": -1},
    {"ramp_epochs": 0.0}, {"distance": "l1"}, {"of": "both"},
  ):  # fmt: skip
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.self_ensembling(NETWORK, **settings)
  for settings in ({"kept": np.ones(3, bool)}, {"ensemble": np.zeros((3, CLASSES))}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.self_ensembling(NETWORK, **settings).init(dataset(), key=KEY, spec=SPEC)
  with pytest.raises(ValueError, match="network must be the one that is trained"):
    method = selection.self_ensembling(architectures.mlp([5, 5], CLASSES))
    rfjax.fit(NETWORK, rfjax.chain(method), TX, dataset(), key=KEY, epochs=1)
  for settings in ({"rounds": 0}, {"epochs": 0}, {"momentum": 1.0}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.self_ensembling_rounds(
        None, TX, DATA, VALIDATION, key=KEY, **({"epochs": 1} | settings)
      )
