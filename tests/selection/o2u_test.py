"""O2U-Net: its scores against lists of losses, its stages, and its cyclical learning rate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from oracles import counting_network
from rfjax import architectures, selection

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS, CLASSES = 11, 3
X = RNG.normal(size=(ROWS, 2)).astype(np.float32)
Y = RNG.integers(0, CLASSES, ROWS)
NETWORK = architectures.logistic(CLASSES)


def dataset(**columns):
  return rfjax.Batch.from_arrays(X, Y, num_classes=CLASSES).replace(**columns)


def method(rate):
  return selection.o2u(rate, start=1, stop=4)


@jax.jit
def served(rows, keep, logits):
  return dataset().take(rows).replace(keep=keep).fill(logits)


@jax.jit
def update(rate, flow, state, epoch):
  return method(rate).update(flow, state, (), epoch=epoch)


@jax.jit
def refresh(rate, data, state, epoch):
  return method(rate).refresh(data, state, (), epoch=epoch)[1]


def losses(z, y):
  z = np.asarray(z, np.float64)
  return np.log(np.exp(z).sum(-1)) - z[np.arange(len(y)), y]


@jax.jit
def started(rate):
  data = dataset().fill(jnp.zeros((ROWS, CLASSES)))
  return data, method(rate).init(dataset(), key=KEY, spec=None)


@pytest.mark.parametrize("rate, missed", [(0.3, False), (0.0, False), (0.5, True), (0.9, True)])
def test_scores_and_rows_are_those_of_lists_of_losses(rate, missed):
  rng = np.random.default_rng(int(10 * rate))
  data, state = started(rate)
  centred, raw = [[] for _ in range(ROWS)], [[] for _ in range(ROWS)]
  left = np.ones(ROWS, bool)
  for epoch in range(6):
    state = refresh(rate, data, state, epoch)
    order, seen = np.append(rng.permutation(ROWS), ROWS).reshape(3, 4), {}
    for rows in order[: 2 if missed else 3]:
      y = np.append(Y, 0)[rows]
      keep = rng.choice([0.5, 1.0], 4) * (rows < ROWS)
      z = 2 * rng.normal(size=(4, CLASSES))
      flow = served(rows, keep.astype(np.float32), z.astype(np.float32))
      out, state = update(rate, flow, state, epoch)
      seen |= {i: loss for i, loss in zip(rows, losses(z, y), strict=True) if i < ROWS}
      np.testing.assert_array_equal(out.keep, keep * np.append(left, False)[rows])
    if 1 <= epoch < 4:
      mean = sum(seen.values()) / len(seen)
      for i, loss in seen.items():
        centred[i].append(loss - mean)
        raw[i].append(loss)
    score = np.array([np.mean(values or [0]) for values in centred])
    if epoch >= 3:
      number = int(np.floor((1 - rate) * ROWS + 1e-9))
      left = np.isin(np.arange(ROWS), sorted(range(ROWS), key=lambda i: score[i])[:number])
    if epoch >= 4:
      np.testing.assert_allclose(state.score, score, rtol=1e-4, atol=1e-5)
  if not missed:  # then sums, means, and means of what is not centred rank alike
    rank = lambda values: np.argsort(np.asarray(values)).tolist()
    assert rank(state.total) == rank(state.score) == rank([np.mean(values) for values in raw])
    assert set(np.asarray(state.times)) == {3}


def test_rows_that_the_data_do_not_keep_are_not_counted():
  scored = selection.o2u(0.5, stop=0, score=np.arange(ROWS, 0.0, -1).astype(np.float32))

  @jax.jit
  def everything(keep):
    data = dataset(keep=keep).fill(jnp.zeros((ROWS, CLASSES)))
    state = scored.init(dataset(), key=KEY, spec=None)
    return state, scored.refresh(data, state, (), epoch=0)[1]

  state, after = jax.device_get(everything((np.arange(ROWS) < 6).astype(np.float32)))
  assert state.kept.all()
  np.testing.assert_array_equal(after.kept, np.isin(np.arange(ROWS), [3, 4, 5]))
  np.testing.assert_array_equal(after.score, np.arange(ROWS, 0, -1))


CYCLE = selection.cyclical(0.5, 0.1, 2, steps=2)
observe = lambda state, view: state.method[1]


@functools.partial(jax.jit, static_argnames="restart")
def in_rounds(rate, restart):
  return selection.o2u_rounds(
    NETWORK, optax.sgd(0.3), dataset(), rate=rate, key=KEY, epochs=3,
    cycle_tx=optax.sgd(CYCLE), cycle_epochs=4, cycle_batch_size=6, restart=restart,
    observe=observe,
  )  # fmt: skip


@jax.jit
def by_stages(rate):
  """The same stages one by one, the scores by hand."""
  fit = functools.partial(rfjax.fit, NETWORK)
  keys = [KEY, jax.random.fold_in(KEY, 1), jax.random.fold_in(KEY, 2)]
  plain = rfjax.chain()
  first, log = fit(plain, optax.sgd(0.3), dataset(), key=keys[0], epochs=3)

  # A method that writes every loss down, [epochs, N].
  def write(batch, memory, params, *, epoch, **unused):
    row = memory[epoch].at[batch.index].set(batch.loss, mode="drop")
    return batch, memory.at[epoch].set(row)

  note = rfjax.Transform(init=lambda data, **_: jnp.zeros((4, ROWS)), update=write)
  second, other = fit(
    note, optax.sgd(CYCLE), dataset(), key=keys[1], epochs=4, batch_size=6, params=first.params
  )
  table = second.method
  score = (table - table.mean(1, keepdims=True)).mean(0)
  kept = jnp.argsort(jnp.argsort(score)) < ROWS - jnp.ceil(rate * ROWS)
  clean = dataset(keep=kept.astype(jnp.float32))
  last = functools.partial(fit, plain, optax.sgd(0.3), clean, key=keys[2])
  starts = jax.tree.map(lambda *v: jnp.stack(v), first.params, last(epochs=0)[0].params)
  ends, logs = jax.vmap(lambda params: last(params=params, epochs=3))(starts)
  return score, kept, [log.risk, other.risk], ends.params, logs.risk


def test_the_stages_are_pre_training_cycles_and_training_on_what_is_left():
  score, kept, risks, ends, last_risks = jax.device_get(by_stages(0.3))
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
  for restart in (0, 1):
    state, found = jax.device_get(in_rounds(0.3, bool(restart)))
    np.testing.assert_allclose(state.method[1].score, score, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(state.method[1].kept, kept)
    close(found.risk, np.concatenate([*risks, last_risks[restart]]))
    jax.tree.map(lambda one, two, i=restart: close(one, two[i]), state.params, ends)
    assert found.observed.kept.shape == (10, ROWS)
    assert found.observed.kept[:7].all() and (found.observed.kept[7:].sum(1) == 7).all()
  assert kept.sum() == 7


@pytest.mark.parametrize("restart, steps", [(False, 6), (True, 3)])
def test_statistics_go_on_or_start_anew(restart, steps):
  run = jax.jit(lambda data: selection.o2u_rounds(
    counting_network(2, CLASSES), optax.sgd(0.1), data, rate=0.3, key=KEY, epochs=3,
    cycle_tx=optax.sgd(0.1), cycle_epochs=4, restart=restart,
  ))  # fmt: skip
  state, _ = run(dataset())
  assert state.stats == steps


def test_the_cyclical_rate_is_the_authors_loop_over_epochs():
  schedule = selection.cyclical(0.01, 0.001, 10)
  steps = selection.cyclical(0.01, 0.001, 10, steps=3)
  rates, found = jax.jit(
    lambda: (jax.vmap(schedule)(jnp.arange(25)), jax.vmap(steps)(jnp.arange(75)))
  )()
  t = (np.arange(25) % 10 + 1) / 10
  np.testing.assert_allclose(rates, (1 - t) * 0.01 + t * 0.001, rtol=1e-6)
  np.testing.assert_allclose(found, np.repeat(rates, 3), rtol=1e-6)


def test_settings_out_of_range_are_refused():
  bad = [{"rate": 1.0}, {"stop": -1}, {"start": -1}, {"start": 3}, {"start": float("nan")}]
  for settings in bad:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.o2u(**({"rate": 0.1, "stop": 2} | settings))
  with pytest.raises(ValueError, match="score must have one entry for each of the 11 rows"):
    selection.o2u(0.1, stop=0, score=np.ones(3)).init(dataset(), key=KEY, spec=None)
  for settings in ({"high": -1.0}, {"low": 2.0}, {"period": 0}, {"steps": 0}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.cyclical(**({"high": 0.1, "low": 0.01, "period": 5} | settings))
  for settings in ({"rate": 1.0}, {"epochs": -1}, {"cycle_epochs": 0}):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must"):
      selection.o2u_rounds(
        NETWORK, optax.sgd(0.1), dataset(), key=KEY, cycle_tx=optax.sgd(0.1),
        **({"rate": 0.1, "epochs": 1, "cycle_epochs": 1} | settings),
      )  # fmt: skip
