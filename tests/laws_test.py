"""The laws that every catalogued method obeys; a method in the catalogue is tested by itself."""

import functools
import importlib
import importlib.util
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, catalog

_spec = importlib.util.spec_from_file_location(
  "law_cases", pathlib.Path(__file__).with_name("law_cases.py")
)
law_cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(law_cases)
CASES = law_cases.CASES

METHODS = [entry for entry in catalog.entries() if entry.kind == "method"]
NETWORK = architectures.mlp([5], 3)
ROWS, PADDED = 10, 14


@functools.cache
def data():
  rng = np.random.default_rng(0)
  y = np.arange(ROWS) % 3
  make = functools.partial(rfjax.Batch.from_arrays, num_classes=3)
  truth = rfjax.Truth(y=jnp.asarray((y + 1) % 3), group=jnp.zeros(ROWS, jnp.int32))
  trusted = make(rng.normal(size=(6, 4)), np.arange(6) % 3)
  return make(rng.normal(size=(ROWS, 4)), y, np.arange(ROWS) % 2, trusted=trusted, truth=truth)


@functools.cache
def batch():
  """The data with padding rows, filled."""
  rng = np.random.default_rng(1)
  rows = jnp.append(jnp.arange(ROWS), jnp.full(PADDED - ROWS, ROWS))
  logits = jnp.asarray(rng.normal(size=(PADDED, 3)).astype(np.float32))
  return data().take(rows).fill(logits, jnp.asarray(rng.normal(size=(PADDED, 5)), jnp.float32))


class Method:
  """A case with its one compiled run of three steps, made when first asked for."""

  def __init__(self, entry):
    self.entry, self.case, self.traces = entry, CASES[entry.name], 0
    self.spec = rfjax.core.Spec(batch().logits[:ROWS], batch().features[:ROWS])

  def train(self, seed, rate, data):
    self.traces += 1
    tx, key = optax.adam(0.01), jax.random.key(seed)
    method = rfjax.chain(self.case.make(rate))
    state, log = rfjax.fit(
      NETWORK, method, tx, data, key=key, epochs=3, batch_size=ROWS - 3, peers=self.case.peers
    )
    return state.params, log

  @functools.cached_property
  def run(self):
    return jax.jit(self.train)

  def update(self, flow, rate=0.6, method=None, **extra):
    method = self.case.make(rate) if method is None else method
    state = method.init(data(), key=jax.random.key(0), spec=self.spec)
    arguments = {"key": jax.random.key(1), "step": 2, "epoch": 1, "forward": self.forward} | extra
    return method.update(flow, state, (), **arguments)

  def forward(self, params, flow):
    del params
    logits = jnp.tanh(flow.x.reshape(flow.num_rows, -1)[:, :3])
    return flow.fill(logits, jnp.ones((flow.num_rows, 5)))


@functools.cache
def _method(name):
  return Method(catalog.entry(name))


@pytest.fixture(params=[entry.name for entry in METHODS])
def method(request):
  return _method(request.param)


def _close(a, b, tolerance=1e-5):
  chex.assert_trees_all_close(a, b, atol=tolerance, rtol=tolerance)


def test_every_method_has_a_case():
  assert sorted(CASES) == sorted(entry.name for entry in METHODS)


def test_1_jit_changes_nothing(method):
  if method.case.peers > 1:
    pytest.skip("an update of peers has no meaning outside of vmap")
  eager, _ = method.update(batch())
  jitted, _ = jax.jit(method.update)(batch())
  _close(eager, jitted)


def test_2_a_vmapped_run_is_the_single_run_and_3_compiles_once(method):
  seeds, rates = jnp.arange(2, dtype=jnp.uint32), jnp.array([0.2, 0.6])
  single = [method.run(s, r, data()) for s, r in zip(seeds, rates, strict=True)]
  assert method.traces == 1, "a second call or another rate compiled again"
  together = jax.jit(jax.vmap(method.train, (0, 0, None)))(seeds, rates, data())
  for i in range(2):
    _close(jax.tree.map(lambda leaf, i=i: leaf[i], together), single[i])
  method.traces = 1


def test_4_the_state_keeps_its_structure_and_types(method):
  made = method.case.make(0.6)
  state = made.init(data(), key=jax.random.key(0), spec=method.spec)
  extra = {"key": jax.random.key(1), "step": 2, "epoch": 1, "forward": method.forward}
  step = jax.vmap(
    lambda s: made.update(batch(), s, (), **extra), axis_name="peer", axis_size=method.case.peers
  )
  stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * method.case.peers), state)
  _, new = jax.eval_shape(step, stacked)
  chex.assert_trees_all_equal_shapes_and_dtypes(new, jax.eval_shape(lambda: stacked))


def test_5_unknown_keywords_are_ignored(method):
  if method.case.peers > 1:
    pytest.skip("an update of peers has no meaning outside of vmap")
  _close(method.update(batch(), unknown=3)[0], method.update(batch())[0], 0)
  made = method.case.make(0.6)
  extra = {"key": jax.random.key(0), "epoch": 1, "step": 2, "forward": method.forward}
  whole = data().fill(batch().logits[:ROWS], batch().features[:ROWS])
  state = made.init(data(), key=jax.random.key(0), spec=method.spec, unknown=3)
  made.refresh(whole, state, (), unknown=3, **extra)


def test_6_permuting_the_batch_permutes_the_result(method):
  if method.case.peers > 1:
    pytest.skip("an update of peers has no meaning outside of vmap")
  permutation = np.random.default_rng(2).permutation(PADDED)
  per_row = lambda tree: jax.tree.map(
    lambda leaf: leaf[permutation] if leaf.shape[:1] == (PADDED,) else leaf, tree
  )
  out, state = method.update(batch())
  permuted, permuted_state = method.update(per_row(batch()))
  _close(permuted, per_row(out))
  _close(permuted_state, state)


def test_7_the_fields_keep_their_ranges_at_large_logits(method):
  if method.case.peers > 1:
    pytest.skip("an update of peers has no meaning outside of vmap")
  signs = jnp.where(jax.random.bernoulli(jax.random.key(3), 0.5, (PADDED, 3)), 50.0, -50.0)
  out, _ = method.update(batch().fill(signs, batch().features))
  assert jnp.all((out.keep >= 0) & (out.keep <= 1))
  assert jnp.all(jnp.isfinite(out.cost)) and jnp.isfinite(out.penalty)
  np.testing.assert_allclose(out.target.sum(1), 1, atol=1e-6)
  if "signed" not in method.entry.needs:
    assert jnp.all(out.weight >= 0)


def test_8_gradients_are_finite_and_padding_has_none(method):
  if method.case.peers > 1:
    pytest.skip("an update of peers has no meaning outside of vmap")

  def objective(logits):
    return method.update(batch().fill(logits, batch().features))[0].objective

  gradient = jax.grad(objective)(batch().logits)
  assert jnp.all(jnp.isfinite(gradient)) and jnp.any(gradient != 0)
  np.testing.assert_array_equal(gradient[ROWS:], 0)
  assert jnp.all(jnp.isfinite(jax.grad(objective)(jnp.full((PADDED, 3), 50.0).at[:, 0].set(-50))))


def test_9_the_neutral_setting_is_cross_entropy(method):
  if method.case.neutral is None:
    assert method.entry.neutral_reason, "no neutral setting, and no reason"
    return
  out, _ = method.update(batch(), method=method.case.neutral())
  plain = -jax.nn.log_softmax(batch().logits)[jnp.arange(ROWS), batch().y[:ROWS]]
  np.testing.assert_allclose(out.objective, plain.mean(), rtol=1e-6)
  gradient = jax.grad(
    lambda logits: method.update(
      batch().fill(logits, batch().features), method=method.case.neutral()
    )[0].objective
  )(batch().logits)
  expected = jax.nn.softmax(batch().logits) - jax.nn.one_hot(batch().y, 3)
  np.testing.assert_allclose(gradient[:ROWS], expected[:ROWS] / ROWS, atol=1e-6)


def test_10_the_factory_refuses_what_is_out_of_range_and_passes_tracers(method):
  factory = getattr(importlib.import_module(f"rfjax.{method.entry.family}"), method.entry.name)
  assert method.case.refused
  for arguments, keywords in method.case.refused:
    with pytest.raises(ValueError, match="must"):
      factory(*arguments, **keywords)


def test_11_the_docstring_has_formula_reference_and_example(method):
  factory = getattr(importlib.import_module(f"rfjax.{method.entry.family}"), method.entry.name)
  for part in ("$$", "Args:", "Returns:", "Raises:", "References:", "Examples:", ">>>"):
    assert part in factory.__doc__, part


def test_12_the_compiled_run_has_no_collectives_and_keeps_its_branches(method):
  mesh = rfjax.core._sweep.run_mesh()
  runs = jax.shard_map(
    jax.vmap(method.train, (0, 0, None)),
    mesh=mesh,
    in_specs=(jax.P("run"), jax.P("run"), jax.P()),
    out_specs=jax.P("run"),
    check_vma=False,
  )
  seeds = jnp.arange(8, dtype=jnp.uint32)
  text = jax.jit(runs).lower(seeds, jnp.linspace(0, 0.9, 8), data()).compile().as_text()
  for collective in ("all-reduce", "all-gather", "all-to-all", "collective-permute"):
    assert collective not in text
  assert "convolution" not in text
  assert not method.case.scheduled or "conditional" in text
  method.traces = 1


def test_13_removing_the_truth_changes_nothing(method):
  seed, rate = jnp.uint32(0), jnp.float32(0.2)
  blind = jax.jit(method.train)(seed, rate, data().replace(truth=None))
  chex.assert_trees_all_equal(blind, method.run(seed, rate, data()))
  method.traces = 1


def test_writes_are_what_the_catalogue_says(method):
  made = method.case.make(0.6)
  assert set(made.writes) == set(method.entry.writes)
  if method.case.peers > 1:
    pytest.skip("an update of peers has no meaning outside of vmap")
  out, _ = method.update(batch())
  fields = ("log_probs", "cost", "target", "keep", "weight", "penalty")
  changed = {f for f in fields if getattr(out, f) is not getattr(batch(), f)}
  assert changed <= set(method.entry.writes) | ({"cost"} if "loss" in method.entry.writes else set())
