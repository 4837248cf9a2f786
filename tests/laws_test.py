"""The laws that every catalogued method obeys; a method in the catalogue is tested by itself."""

import functools
import importlib
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from law_cases import CASES
from rfjax import architectures, catalog

METHODS = [entry for entry in catalog.entries() if entry.kind == "method"]
ROWS, PADDED = 10, 14
FIELDS = ("x", "y", "logits", "log_probs", "cost", "target", "keep", "weight", "penalty")
SEEDS, RATES = jnp.arange(8, dtype=jnp.uint32), jnp.linspace(0.0, 0.9, 8)


@functools.cache
def data(classes):
  rng = np.random.default_rng(0)
  y = np.arange(ROWS) * classes // ROWS if classes == 2 else np.arange(ROWS) % classes
  make = functools.partial(rfjax.Batch.from_arrays, num_classes=classes)
  truth = rfjax.Truth(y=jnp.asarray((y + 1) % classes), group=jnp.zeros(ROWS, jnp.int32))
  trusted = make(rng.normal(size=(6, 4)), np.arange(6) % classes)
  return make(rng.normal(size=(ROWS, 4)), y, np.arange(ROWS) % 2, trusted=trusted, truth=truth)


@functools.cache
def batch(classes):
  """The data with padding rows, filled."""
  rng = np.random.default_rng(1)
  rows = jnp.append(jnp.arange(ROWS), jnp.full(PADDED - ROWS, ROWS))
  logits = jnp.asarray(rng.normal(size=(PADDED, classes)).astype(np.float32))
  return (
    data(classes).take(rows).fill(logits, jnp.asarray(rng.normal(size=(PADDED, 5)), jnp.float32))
  )


class Method:
  """A case with its compiled functions, made when first asked for: two runs and one update."""

  def __init__(self, entry):
    self.entry, self.case, self.traces = entry, CASES[entry.name], 0
    self.data, self.batch = data(self.case.num_classes), batch(self.case.num_classes)
    self.network = architectures.mlp([5], self.case.num_classes)
    self.spec = rfjax.core.Spec(self.batch.logits[:ROWS], self.batch.features[:ROWS])

  def train(self, seed, rate, data):
    self.traces += 1
    tx, key = optax.sgd(0.1), jax.random.key(seed)
    if self.case.tx is not None:
      tx = optax.chain(self.case.tx(rate), tx)
    made = self.case.make(rate)
    if self.case.acts == "data":
      data = rfjax.transform(made, data, key=key)
    method = rfjax.chain(made) if self.case.acts == "training" else rfjax.chain()
    state, log = rfjax.fit(
      self.network, method, tx, data, key=key, epochs=3, batch_size=ROWS - 3, peers=self.case.peers
    )
    if self.case.acts == "output":
      said = rfjax.predict(self.network, state, data)
      return rfjax.transform(made, said, key=key).probs, log
    return state.params, log

  @functools.cached_property
  def run(self):
    return jax.jit(self.train)

  @functools.cached_property
  def runs(self):
    """Eight runs on four devices, compiled, of the single run, which is traced once for both."""
    spread = jax.shard_map(
      jax.vmap(self.run, (0, 0, None)),
      mesh=rfjax.core._sweep.run_mesh(),
      in_specs=(jax.P("run"), jax.P("run"), jax.P()),
      out_specs=jax.P("run"),
      check_vma=False,
    )
    return jax.jit(spread).lower(SEEDS, RATES, self.data).compile()

  def init(self, method, **extra):
    """The first state; what acts on the output is fitted on what a network said."""
    seen = self.data.fill(*self.spec) if self.case.acts == "output" else self.data
    return method.init(seen, key=jax.random.key(0), spec=self.spec, **extra)

  def update(self, flow, rate=0.6, method=None, **extra):
    """One update, of as many peers as the method looks at, which all see the same flow."""
    method = self.case.make(rate) if method is None else method
    arguments = {"key": jax.random.key(1), "step": 2, "epoch": 1, "forward": forward} | extra
    one = lambda _: method.update(flow, self.init(method), (), **arguments)
    if self.case.appends:
      out, state = one(0)
      return _grown(out, flow), state
    if self.case.peers == 1:
      return one(0)
    both = jax.vmap(one, axis_name="peer")(jnp.arange(self.case.peers))
    return jax.tree.map(lambda leaf: leaf[0], both)

  def gradient(self, flow, **settings):
    """The result of an update, and the gradient of its objective by the logits."""

    def objective(logits):
      filled = flow.fill(logits, flow.features).replace(penalty=flow.penalty)
      out, state = self.update(filled, **settings)
      return out.objective, (out, state)

    return jax.grad(objective, has_aux=True)(flow.logits)

  @functools.cached_property
  def compiled(self):
    return jax.jit(self.gradient)


def forward(params, flow, key=None):
  """A second forward pass, of a network that does not look at its parameters."""
  del params, key
  logits = jnp.tanh(flow.x.reshape(flow.num_rows, -1)[:, : flow.num_classes])
  return flow.fill(logits, jnp.ones((flow.num_rows, 5)))


# A method's tests share what they compile, so they run one after the other, and one worker has them
# all under --dist loadgroup.
@pytest.fixture(
  scope="module",
  params=[pytest.param(e.name, marks=pytest.mark.xdist_group(e.name)) for e in METHODS],
)
def method(request, room_for_programs):
  yield Method(catalog.entry(request.param))
  room_for_programs()  # all methods at once would take more maps than there are


def _grown(out, filled):
  """Rows of which some are new: the network is asked again, and says nothing of the new ones."""
  more = lambda v: jnp.pad(v, ((0, out.num_rows - filled.num_rows), (0, 0)))
  return out.fill(more(filled.logits), more(filled.features)).replace(penalty=filled.penalty)


def _close(a, b, tolerance=1e-5):
  chex.assert_trees_all_close(a, b, atol=tolerance, rtol=tolerance)


def test_every_method_has_a_case():
  assert sorted(CASES) == sorted(entry.name for entry in METHODS)


def test_1_jit_changes_nothing(method):
  _, (out, state) = method.compiled(method.batch)
  eager, eager_state = method.update(method.batch)
  _close((out, state), (eager, eager_state))


def test_2_a_vmapped_run_is_the_single_run_and_3_compiles_once(method):
  before = method.traces
  single = [method.run(SEEDS[i], RATES[i], method.data) for i in (0, 5)]
  assert method.traces <= before + 1, "a second call or another rate compiled again"
  together = method.runs(SEEDS, RATES, method.data)
  for run, i in zip(single, (0, 5), strict=True):
    _close(jax.tree.map(lambda leaf, i=i: leaf[i], together), run)


def test_4_the_state_keeps_its_structure_and_types(method):
  state = jax.eval_shape(lambda: method.init(method.case.make(0.6)))
  _, new = jax.eval_shape(method.update, method.batch)
  chex.assert_trees_all_equal_shapes_and_dtypes(new, state)


def test_5_unknown_keywords_are_ignored(method):
  made = method.case.make(0.6)
  whole = method.data.fill(method.batch.logits[:ROWS], method.batch.features[:ROWS])

  def everything(_):
    extra = {"key": jax.random.key(0), "epoch": 1, "step": 2, "forward": forward, "unknown": 3}
    state = method.init(made, unknown=3)
    return made.refresh(whole, made.update(method.batch, state, (), **extra)[1], (), **extra)

  jax.eval_shape(jax.vmap(everything, axis_name="peer"), jnp.arange(method.case.peers))


def test_6_permuting_the_batch_permutes_the_result(method):
  permutation = np.random.default_rng(2).permutation(PADDED)
  is_row = lambda leaf: leaf.shape[:1] in ((PADDED,), (PADDED + method.case.appends,))
  permute = lambda v: jnp.concatenate([v[permutation], v[PADDED:]])
  per_row = lambda tree: jax.tree.map(lambda v: permute(v) if is_row(v) else v, tree)
  gradient, (out, state) = method.compiled(method.batch)
  permuted = method.compiled(per_row(method.batch))
  _close(permuted, (gradient[permutation], (per_row(out), state)))


def test_7_the_fields_keep_their_ranges_at_large_logits(method):
  signs = np.random.default_rng(3).choice(np.float32([-50, 50]), method.batch.logits.shape)
  _, (out, _) = method.compiled(method.batch.fill(jnp.asarray(signs), method.batch.features))
  assert jnp.all((out.keep >= 0) & (out.keep <= 1))
  assert jnp.all(jnp.isfinite(out.cost)) and jnp.isfinite(out.penalty)
  np.testing.assert_allclose(out.target.sum(1), 1, atol=1e-6)
  if "signed" not in method.entry.needs:
    assert jnp.all(out.weight >= 0)


def test_8_gradients_are_finite_and_padding_has_none(method):
  gradient, _ = method.compiled(method.batch)
  assert jnp.all(jnp.isfinite(gradient))
  assert method.case.asks_again or method.case.acts == "output" or jnp.any(gradient != 0)
  np.testing.assert_array_equal(gradient[ROWS:], 0)
  saturated = method.batch.fill(
    jnp.full(method.batch.logits.shape, 50.0).at[:, 0].set(-50), method.batch.features
  )
  assert jnp.all(jnp.isfinite(method.compiled(saturated)[0]))


def test_9_the_neutral_setting_is_cross_entropy(method):
  if method.case.neutral is None:
    assert method.entry.neutral_reason, "no neutral setting, and no reason"
    return
  neutral = functools.partial(method.gradient, method=method.case.neutral())
  gradient, (out, _) = jax.jit(neutral)(method.batch)
  plain = -jax.nn.log_softmax(method.batch.logits)[jnp.arange(ROWS), method.batch.y[:ROWS]]
  np.testing.assert_allclose(out.objective, plain.mean(), rtol=1e-6)
  expected = jax.nn.softmax(method.batch.logits) - jax.nn.one_hot(
    method.batch.y, method.batch.num_classes
  )
  np.testing.assert_allclose(gradient[:ROWS], expected[:ROWS] / ROWS, atol=1e-6)


def _factory(entry):
  return getattr(importlib.import_module(f"rfjax.{entry.family}"), entry.name)


def test_10_the_factory_refuses_what_is_out_of_range(method):
  takes = inspect.signature(_factory(method.entry)).parameters
  assert method.case.refused or not takes
  for arguments, keywords in method.case.refused:
    with pytest.raises(ValueError, match="must"):
      _factory(method.entry)(*arguments, **keywords)


def test_11_the_docstring_has_formula_reference_and_example(method):
  factory = _factory(method.entry)
  parts = ("$$", "Returns:", "Raises:", "References:", "Examples:", ">>>")
  for part in (*parts, *(["Args:"] if inspect.signature(factory).parameters else [])):
    assert part in factory.__doc__, part


def test_12_the_compiled_run_has_no_collectives_and_keeps_its_branches(method):
  text = method.runs.as_text()
  for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute"):
    assert collective not in text
  assert "convolution" not in text
  assert not method.case.scheduled or "conditional" in text


def test_13_no_method_reads_the_truth(method):
  seen, other = method.run(SEEDS[1], RATES[1], method.data), method.data.truth
  other = jax.tree.map(lambda leaf: 1 - leaf, other)
  changed = method.run(SEEDS[1], RATES[1], method.data.replace(truth=other))
  chex.assert_trees_all_equal(seen, changed)
  jax.eval_shape(method.train, SEEDS[1], RATES[1], method.data.replace(truth=None))


def test_writes_are_what_the_catalogue_says(method):
  assert set(method.case.make(0.6).writes) == set(method.entry.writes)
  if method.case.appends:  # every column is longer
    return
  unchanged = []

  def look(flow):
    out, _ = method.update(flow)
    unchanged.extend(f for f in FIELDS if getattr(out, f) is getattr(flow, f))
    return out

  jax.eval_shape(look, method.batch)
  if method.case.peers == 1:
    allowed = {"cost" if name == "loss" else name for name in method.entry.writes}
    for name, follows in (("logits", "log_probs"), ("log_probs", "cost"), ("y", "target")):
      allowed |= {follows} if name in allowed else set()  # which starts anew
    # In training a step may be of other features, such as mixed ones, which nothing reads later.
    allowed |= {"x", "logits"} if method.case.acts == "training" else set()
    assert set(FIELDS) - set(unchanged) <= allowed


def test_penalties_add_and_keep_and_weight_multiply(method):
  flow = method.batch
  _, (plain, _) = method.compiled(flow)
  _, (more, _) = method.compiled(flow.replace(penalty=flow.penalty + 1))
  np.testing.assert_allclose(more.penalty, plain.penalty + 1, rtol=1e-6)
  _, (out, _) = method.compiled(
    flow.replace(keep=flow.keep.at[1].set(0), weight=flow.weight.at[0].set(0))
  )
  assert out.keep[1] == 0 and out.weight[0] == 0
