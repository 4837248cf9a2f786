"""Checks at the door: each message names the argument, the value and the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import Batch, Truth
from rfjax.core import _check

X, Y, GROUP = np.ones((4, 2)), np.array([0, 1, 1, 0]), np.array([0, 1, 0, 1])
NAN, INF = float("nan"), float("inf")
SOFT = np.full((4, 2), 0.5)
CODES, RAVEL = "numpy.unique", "ravel"


def changed(array, value):
  array = np.array(array)
  array.flat[1] = value
  return array


# What is passed, the argument that is named, the value that is shown, the remedy.
BAD = {
  "label -1": ({"y": [0, -1, 1, 0]}, "y", "-1 (1 of 4 rows, the first at 1)", CODES),
  "label C": ({"y": [0, 1, 2, 2], "num_classes": 2}, "y", "2 (2 of 4 rows, the first at 2", CODES),
  "label -(C + 1)": ({"y": [0, 1, -3, 0]}, "y", "-3", CODES),
  "float labels": ({"y": Y.astype(float)}, "y", "float64", CODES),
  "missing labels": ({"y": [0, 1, None, 0]}, "y", "object", CODES),
  "string labels": ({"y": list("abba")}, "y", "<U1", CODES),
  "labels of two axes": ({"y": Y[:, None]}, "y", "(4, 1)", RAVEL),
  "one label for all": ({"y": 1}, "y", "()", RAVEL),
  "no rows": ({"x": X[:0], "y": Y[:0]}, "y", "empty", "at least one row"),
  "too few features": ({"x": X[:3]}, "x", "3", "one label a row"),
  "no feature axis": ({"x": 1.0}, "x", "()", "one label a row"),
  "features NaN": ({"x": changed(X, NAN)}, "x", "1 of 4 rows, the first at 0", "impute or drop"),
  "features infinite": ({"x": changed(X, -INF)}, "x", "infinity", "impute or drop"),
  "features as strings": ({"x": [["a"]] * 4}, "x", "<U1", "encode"),
  "features as objects": ({"x": [[None]] * 4}, "x", "object", "encode"),
  "group -1": ({"group": [0, -1, 0, 1]}, "group", "-1", CODES),
  "group G": ({"group": [0, 1, 2, 1], "num_groups": 2}, "group", "2", CODES),
  "float groups": ({"group": GROUP * 1.0}, "group", "float64", CODES),
  "string groups": ({"group": list("fmfm")}, "group", "<U1", CODES),
  "an empty group": ({"group": [0, 2, 0, 2]}, "group", "group 1 of 3", "renumber"),
  "an empty last group": ({"num_groups": 3}, "group", "group 2 of 3", "num_groups="),
  "too few groups": ({"group": GROUP[:3]}, "group", "3", "one a row"),
  "groups of three axes": ({"group": GROUP[:, None, None]}, "group", "(4, 1, 1)", RAVEL),
  "memberships over 1": ({"group": 1.5 * SOFT}, "group", "[0.75 0.75]", "normalise"),
  "memberships below 0": ({"group": changed(SOFT, -0.1)}, "group", "-0.1", "normalise"),
  "memberships NaN": ({"group": changed(SOFT, NAN)}, "group", "nan", "normalise"),
  "memberships of other G": ({"group": SOFT, "num_groups": 3}, "group", "2 columns", "num_groups"),
  "too few memberships": ({"group": SOFT[:3]}, "group", "3", "one a row"),
  "groups but no group": ({"group": None, "num_groups": 2}, "num_groups", "2", "pass group="),
  "codes as a column": ({"group": GROUP[:, None]}, "group", "(4, 1)", RAVEL),
  "half a class": ({"num_classes": 2.5}, "num_classes", "2.5", "integer"),
  "classes as a string": ({"num_classes": "2"}, "num_classes", "'2'", "integer"),
  "no group at all": ({"num_groups": 0}, "num_groups", "0", "integer"),
  "features over int32": ({"x": np.full((4, 1), 2**40)}, "x", str(2**40), "float"),
  "ragged features": ({"x": [[1.0], [1.0, 2.0], [1.0], [1.0]]}, "x", "", ""),
  "too few true labels": ({"truth": Truth(Y[:3])}, "truth", "3", ""),
  "true label above C": ({"truth": Truth(Y + 2)}, "truth", "3", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_with_argument_value_and_remedy(case):
  changes, name, value, remedy = BAD[case]
  with pytest.raises(ValueError, match=rf"\b{name}\b") as error:
    Batch.from_arrays(**({"x": X, "y": Y, "group": GROUP} | changes))
  message = str(error.value)
  assert value in message and remedy in message


def test_good_data_of_every_kind_passes():
  for y in (Y.astype(np.int64), Y.astype(np.uint8), Y.astype(bool), Y.tolist(), jnp.asarray(Y)):
    np.testing.assert_array_equal(Batch.from_arrays(X, y).y, Y)
  soft = Batch.from_arrays(X, Y, changed(SOFT, 0.0))
  assert soft.group.shape == (4, 2) and soft.num_groups == 2
  assert Batch.from_arrays(X > 0, Y).x.dtype == jnp.float32


@pytest.mark.parametrize("bad", [-0.1, 1.1, NAN, INF, None, "half", "0.5", 0.5j, ["a"]])
def test_number_refuses_what_is_outside(bad):
  with pytest.raises(ValueError, match=r"^rate must .*(in \[0, 1\)|a number), got"):
    _check.number("rate", bad, 0.0, 1.0, open_high=True)


def test_number_knows_open_ends():
  _check.number("rate", 0.0, 0.0, 1.0)
  with pytest.raises(ValueError, match=r"rate must lie in \(0, 1\], got 0.0"):
    _check.number("rate", 0.0, 0.0, 1.0, open_low=True)


def test_number_lets_tracers_pass():
  def checked(rate):
    _check.number("rate", rate, 0.0, 1.0)
    return rate

  assert jax.jit(checked)(5.0) == 5.0
  assert jax.make_jaxpr(jax.vmap(checked))(jnp.arange(3.0)).out_avals[0].shape == (3,)


@pytest.mark.parametrize("bad", [[0.5], (0.1, 0.2), np.zeros((2, 3)), jnp.zeros(4)])
def test_number_refuses_what_is_not_single(bad):
  message = rf"rate must be a single number, got shape \({np.shape(bad)[0]},.*: vectorise by vmap"
  with pytest.raises(ValueError, match=message):
    _check.number("rate", bad, 0.0, 1.0)


def test_number_refuses_traced_arrays():
  checked = jax.jit(lambda rate: _check.number("rate", rate, 0.0, 1.0))
  with pytest.raises(ValueError, match=r"a single number, got shape \(4,\)"):
    checked(jnp.zeros(4))


@pytest.mark.parametrize(
  ("bad", "message"),
  [
    ([0.5, 2.0], r"rates must lie in \[0, 1\), got 2.0"),
    ([[0.5], [NAN]], r"rates must lie in \[0, 1\), got nan"),
    (1, r"rates must lie in \[0, 1\), got 1$"),
    ([0.5, "a"], "rates must hold numbers, got dtype <U32: convert them"),
    ([0.5, None], "rates must hold numbers, got dtype object"),
    ([[0.5], [0.5, 0.5]], "rates must have rows of equal length"),
  ],
)
def test_numbers_refuses_what_is_outside(bad, message):
  with pytest.raises(ValueError, match=message):
    _check.numbers("rates", bad, 0.0, 1.0, open_high=True)


def test_numbers_returns_arrays_and_lets_tracers_pass():
  assert _check.numbers("rates", [0.5, 0.25], 0.0, 1.0).tolist() == [0.5, 0.25]
  given = jnp.ones(3, jnp.bfloat16)
  assert _check.numbers("rates", given, 0.0, 1.0) is given
  partly = jax.jit(lambda rate: _check.numbers("rates", [rate, 0.5], 0.0, 1.0))
  assert partly(5.0).tolist() == [5.0, 0.5]


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None, np.float32(2), [1]])
def test_count_refuses_what_is_no_count(bad):
  with pytest.raises(ValueError, match="epochs must be an integer of at least 1, got"):
    _check.count("epochs", bad)


def test_count_returns_an_int():
  assert type(_check.count("epochs", np.int64(3))) is int


def test_choice_lists_the_options():
  with pytest.raises(ValueError, match="form must be one of 'a', 'b', got 'c'"):
    _check.choice("form", "c", ("a", "b"))


@pytest.mark.parametrize("bad", [[-1], [2**32], [1.0], ["1"]])
def test_seeds_outside_their_range_are_refused(bad):
  with pytest.raises(ValueError, match="seed must"):
    _check.seeds(bad)


def test_seeds_reach_the_last_one():
  np.testing.assert_array_equal(_check.seeds([0, 2**32 - 1]), np.uint32([0, 2**32 - 1]))
