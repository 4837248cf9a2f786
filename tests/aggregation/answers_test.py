"""Answers: tables and lists become the same codes, what is missing, what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest

from rfjax import aggregation

NAN = float("nan")
LABEL = [[1, 0, 2], [0, 0, 1]]
WORKER = [["w10", "w2", "w1"], ["w2", "w3", "w1"]]


def same(one, two):
  jax.tree.map(np.testing.assert_array_equal, one, two)
  assert jax.tree.structure(one) == jax.tree.structure(two)


def triples(crowd):
  valid = np.asarray(crowd.valid)
  return [np.asarray(v)[valid].tolist() for v in (crowd.item, crowd.worker, crowd.label)]


def test_a_table_is_read_row_by_row_with_workers_in_sorted_order():
  crowd = aggregation.answers(LABEL, WORKER)
  assert crowd.item.tolist() == [0, 0, 0, 1, 1, 1]
  assert crowd.worker.tolist() == [1, 2, 0, 2, 3, 0]
  assert crowd.label.tolist() == [1, 0, 2, 0, 0, 1]
  assert crowd.valid.tolist() == [True] * 6
  assert (crowd.num_items, crowd.num_workers, crowd.num_classes) == (2, 4, 3)
  assert [v.dtype for v in jax.tree.leaves(crowd)] == [jnp.int32] * 3 + [jnp.bool_]


def test_lists_are_the_table():
  lists = [np.ravel(v) for v in (LABEL, WORKER, [["a"] * 3, ["b"] * 3])]
  table = aggregation.answers(LABEL, WORKER)
  same(aggregation.answers(lists[0], lists[1], lists[2]), table)
  shuffled = np.random.default_rng(0).permutation(6)
  crowd = aggregation.answers(*(v[shuffled] for v in lists))
  same(triples(crowd), [np.asarray(v)[shuffled].tolist() for v in triples(table)])


def test_a_column_a_worker_is_a_worker_a_cell():
  full = aggregation.answers(LABEL, [[7, 5, 9]] * 2)
  same(aggregation.answers(LABEL, [7, 5, 9]), full)
  assert full.worker.tolist() == [1, 0, 2] * 2


@pytest.mark.parametrize("missing", [-1, None, NAN, "", -1.0, np.nan, pandas.NA, pandas.NaT])
@pytest.mark.parametrize("where", ["label", "worker", "item"])
def test_what_is_missing_is_no_answer(missing, where):
  lists = {"label": [1, 0, 2, 1], "worker": ["c", "a", "b", "a"], "item": ["y", "x", "y", "z"]}
  whole = triples(aggregation.answers(**lists))
  lists[where][1] = missing
  crowd = aggregation.answers(**lists, num_classes=3)
  assert crowd.valid.tolist() == [True, False, True, True]
  expected = [[v for i, v in enumerate(column) if i != 1] for column in whole]
  if where == "item":
    expected[0] = [0, 0, 1]  # nobody has named item x
  assert triples(crowd) == expected
  assert (crowd.num_items, crowd.num_workers) == (2 if where == "item" else 3, 3)


@pytest.mark.parametrize(
  "label",
  [
    np.array([[1.0, NAN], [0.0, 2.0]]),
    np.array([[1, None], [0, 2]], object),
    [[1, -1], [0, 2]],
    jnp.array([[1, -1], [0, 2]]),
    [[True, None], [False, 2]],
    pandas.DataFrame([[1, None], [0, 2]], dtype="Int64"),
  ],
)
def test_kinds_of_tables_agree(label):
  crowd = aggregation.answers(label, range(2))
  assert triples(crowd) == [[0, 1, 1], [0, 0, 1], [1, 0, 2]]
  assert crowd.label.dtype == jnp.int32


@pytest.mark.parametrize(
  "worker",
  [
    np.array([[5.0, NAN], [3.0, 5.0]]),
    [["ann", NAN], ["Zoe", "ann"]],
    [["ann", -1], ["Zoe", "ann"]],
    [[2, None], [-7, 2]],
  ],
)
def test_kinds_of_ids_agree(worker):
  crowd = aggregation.answers([[1, 1], [0, 2]], worker)
  assert triples(crowd) == [[0, 1, 1], [1, 0, 1], [1, 0, 2]]
  assert crowd.num_workers == 2


def test_who_never_answers_counts():
  crowd = aggregation.answers([[1, -1], [0, -1], [-1, -1]], ["a", "b"])
  assert (crowd.num_items, crowd.num_workers) == (3, 2)
  assert crowd.answered.tolist() == [True, True, False]


def test_codes_stay_codes_where_their_number_is_given():
  lists = [0, 1], [5, 2], [3, 0]
  crowd = aggregation.answers(*lists, num_items=4, num_workers=7, num_classes=5)
  assert triples(crowd) == [[3, 0], [5, 2], [0, 1]]
  assert (crowd.num_items, crowd.num_workers, crowd.num_classes) == (4, 7, 5)
  assert crowd.answered.tolist() == [True, False, False, True]
  renumbered = aggregation.answers(*lists)
  assert triples(renumbered) == [[1, 0], [1, 0], [0, 1]]
  assert aggregation.answers(LABEL, WORKER, num_items=5).num_items == 5


def test_counts_are_inferred():
  assert aggregation.answers([[0, 0]], range(2)).num_classes == 2
  assert aggregation.answers([[0, 4]], range(2)).num_classes == 5


def test_answered_goes_by_valid_answers():
  crowd = aggregation.answers(LABEL, WORKER)
  half = dataclasses.replace(crowd, valid=jnp.array([True, False, False] + [False] * 3))
  assert half.answered.tolist() == [True, False]
  assert jax.jit(lambda c: c.answered)(half).tolist() == [True, False]


def test_answers_are_a_pytree_with_static_counts():
  crowd = aggregation.answers(LABEL, WORKER)
  assert len(jax.tree.leaves(crowd)) == 4
  back = jax.jit(lambda c: c)(crowd)
  same(back, crowd)
  assert (back.num_items, back.num_workers, back.num_classes) == (2, 4, 3)


@pytest.mark.parametrize(
  ("arguments", "options", "message"),
  [
    (([0, 1], [0, 1]), {}, r"label without item must be a table .* \(2,\): pass item="),
    (([[0, 1], [1]], [0, 1]), {}, r"label without item must be a table .* rows of equal length"),
    ((LABEL, ["a", "b"]), {}, r"worker has shape \(2,\) but label \(2, 3\): pass an id"),
    (([0, 1], ["a"], ["x", "y"]), {}, r"of one length, got shapes \(2,\), \(1,\) and \(2,\): pass"),
    ((LABEL, WORKER, WORKER), {}, r"lists of one length, got shapes \(2, 3\)"),
    (([[-1, None]], ["a", "b"]), {}, "label has no answer .*: pass at least one"),
    (([[]], []), {}, "label has no answer"),
    (([0, 1], ["a", None], [None, "x"]), {}, "label has no answer by a known worker"),
    (([[0, 1, -2]], range(3)), {}, r"label must lie in \[0, 2\), got -2 \(1 of 3 rows, .* 2\)"),
    ((LABEL, WORKER), {"num_classes": 2}, r"label must lie in \[0, 2\), got 2 .*: remap"),
    ((LABEL, WORKER), {"num_classes": 1}, "num_classes must be an integer of at least 2, got 1"),
    (([[0.5, 1]], range(2)), {}, "label must hold integers, got dtype float64: remap"),
    (([[float("inf"), 1]], range(2)), {}, "label must hold integers"),
    (([["0", "1"]], range(2)), {}, "label must hold integers, got dtype <U1: remap"),
    (([[0, 1]], ["a", 1]), {}, "worker must hold ids of one kind: make"),
    (([0, 1], [0, 1], ["a", 1]), {}, "item must hold ids of one kind: make"),
    (([[0, 1]], [0, 2]), {"num_workers": 2}, r"worker must lie in \[0, 2\), got 2 .*: remap"),
    (([[0, 1]], ["a", "b"]), {"num_workers": 2}, "worker must hold integers, got dtype <U1"),
    (([0, 1], [0, 1], [0, 2]), {"num_items": 2}, r"item must lie in \[0, 2\), got 2 .*: remap"),
    ((LABEL, WORKER), {"num_items": 1}, r"item must lie in \[0, 1\), got 1"),
    ((LABEL, WORKER), {"num_items": 0}, "num_items must be an integer of at least 1, got 0"),
    ((LABEL, WORKER), {"num_workers": 1.5}, "num_workers must be an integer of at least 1"),
  ],
)
def test_bad_answers_are_refused(arguments, options, message):
  with pytest.raises(ValueError, match=message):
    aggregation.answers(*arguments, **options)


def test_tracers_are_refused_and_codes_can_be_filled_by_hand():
  with pytest.raises(ValueError, match="checked on the host: make them outside"):
    jax.jit(lambda label: aggregation.answers(label, range(3)).label)(jnp.array(LABEL))
  crowd = aggregation.answers(LABEL, WORKER)
  filled = jax.jit(lambda label: aggregation.majority(dataclasses.replace(crowd, label=label)))
  assert filled(jnp.array([2, 2, 0, 1, 0, 1])).tolist() == [2, 1]


def test_the_crowd_of_adult(adult):
  score, worker, y = adult
  crowd = aggregation.answers(score - 1, worker)
  assert (crowd.num_items, crowd.num_workers, crowd.num_classes) == (3046, 655, 4)
  assert crowd.label.shape == (33506,) and bool(crowd.valid.all()) and y.sum() == 1523
  np.testing.assert_array_equal(np.unique(worker)[crowd.worker], worker.ravel())


def test_the_crowd_of_bluebirds(bluebirds):
  label, worker, item, y = bluebirds
  crowd = aggregation.answers(label, worker, item=item)
  assert (crowd.num_items, crowd.num_workers, crowd.num_classes) == (108, 39, 2)
  assert crowd.label.shape == (4212,) and y.sum() == 48
