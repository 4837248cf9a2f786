"""The prejudice remover against Kamishima's sum over rows, and as mutual information."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rfjax
from rfjax.fairness import inprocessing


def filled(classes, groups, rows=50):
  rng = np.random.default_rng(classes * groups)
  code = rng.integers(groups, size=rows)
  member = np.eye(groups)[code]
  member[4] = 0
  y = rng.integers(classes, size=rows)
  data = rfjax.Batch.from_arrays(np.zeros((rows, 1)), y, member, num_classes=classes)
  return data.fill(jnp.asarray(rng.normal(size=(rows, classes))))


def penalty(flow, strength=1.0):
  return inprocessing.prejudice_remover(strength).update(flow, (), None)[0].penalty


@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (3, 4)])
def test_it_is_the_mean_over_rows(classes, groups):
  with jax.enable_x64(True):
    flow = filled(classes, groups)
    p, code = np.asarray(jax.nn.softmax(flow.logits)), np.asarray(flow.group).argmax(1)
    rows = [i for i in range(50) if i != 4]
    overall, total = p[rows].mean(0), 0.0
    for i in rows:
      mine = p[[j for j in rows if code[j] == code[i]]].mean(0)
      total += sum(p[i, k] * np.log(mine[k] / overall[k]) for k in range(classes))
    assert total > 1e-2
    np.testing.assert_allclose(penalty(flow, 0.5), 0.5 * total / len(rows), rtol=1e-6)


def test_of_sure_decisions_it_is_the_mutual_information_of_a_table():
  flow = filled(2, 2)
  said = np.arange(50) % 3 > 0
  code = np.asarray(flow.group)[:, 1].astype(int)
  table = np.zeros((2, 2))
  for i in range(50):
    if i != 4:
      table[code[i], int(said[i])] += 1 / 49
  product = table.sum(1, keepdims=True) * table.sum(0)
  expected = np.sum(table * np.log(table / product))
  sure = flow.fill(
    jnp.where(jnp.asarray(said)[:, None], jnp.array([-50.0, 50]), jnp.array([50.0, -50]))
  )
  np.testing.assert_allclose(penalty(sure), expected, rtol=1e-4)
  assert penalty(sure.fill(jnp.tile(jnp.array([[1e4, -1e4]]), (50, 1)))) == 0
