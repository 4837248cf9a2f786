"""Peers: who sees whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax.core import first_peer, peer

by_peer = lambda function: jax.vmap(function, axis_name="peer")


def test_two_peers_swap_any_tree():
  tree = {"mask": jnp.array([True, False]), "params": (jnp.arange(6.0).reshape(2, 3),)}
  other = by_peer(peer)(tree)
  np.testing.assert_array_equal(other["mask"], [False, True])
  np.testing.assert_array_equal(other["params"][0], [[3, 4, 5], [0, 1, 2]])


def test_three_peers_look_at_the_next_of_a_ring():
  np.testing.assert_array_equal(by_peer(peer)(jnp.arange(3)), [1, 2, 0])


def test_one_peer_sees_itself():
  np.testing.assert_array_equal(by_peer(peer)(jnp.arange(1)), [0])


def test_no_gradient_reaches_the_other():
  loss = lambda w: jnp.sum(by_peer(lambda v: v * peer(v))(w))
  np.testing.assert_array_equal(jax.grad(loss)(jnp.array([2.0, 5.0])), [5, 2])


def test_peers_work_in_a_branch_of_a_schedule():
  swap = by_peer(lambda v: jax.lax.cond(True, peer, lambda u: u, v))
  np.testing.assert_array_equal(swap(jnp.arange(2)), [1, 0])


def test_outside_it_names_the_method_and_the_remedy():
  with pytest.raises(ValueError, match="co_teaching needs peers=2: pass peers=2 to fit"):
    peer(jnp.ones(3), by="co_teaching")
  with pytest.raises(ValueError, match="this method needs peers=2"):
    jax.jit(peer)(jnp.ones(3))


def test_what_the_first_one_has_is_for_all():
  tree = {"order": jnp.array([[3, 1], [2, 0]]), "kept": jnp.array([[True], [False]])}
  shared = by_peer(first_peer)(tree)
  np.testing.assert_array_equal(shared["order"], [[3, 1], [3, 1]])
  np.testing.assert_array_equal(shared["kept"], [[True], [True]])
  assert first_peer(tree) is tree  # outside there is one run
