"""Bi-tempered loss: a bisection in NumPy, the published code's numbers, cross-entropy at 1, 1."""

import host
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rfjax import losses


def log_t(log_u, t):
  return log_u if t == 1 else np.expm1((1 - t) * log_u) / (1 - t)


def log_exp_t(v, t):
  return v if t == 1 else np.log1p((1 - t) * v) / (1 - t)


def log_tempered(activations, t):
  """log exp_t(a - lambda), with lambda by bisection and two steps."""
  a = activations - activations.real.max()
  if t == 1:
    return a - np.log(np.exp(a).sum())
  # At lambda = 0 the largest class alone has 1; if all were as large, each would have 1 / C.
  low, high = 0.0, -log_t(-np.log(len(a)), t)
  for _ in range(100):
    middle = (low + high) / 2
    low, high = (middle, high) if exp_t(a.real - middle, t).sum() > 1 else (low, middle)
  for _ in range(2):  # Newton: they carry the imaginary parts of complex steps along
    p = exp_t(a - middle, t)
    middle = middle + (p.sum() - 1) / (p**t).sum()
  return log_exp_t(a - middle, t)


def exp_t(v, t):
  return np.exp(log_exp_t(v, t))


def formula(log_probs, k, t1, t2):
  log_p, total = log_tempered(log_probs, t2), 0
  for j in range(len(log_p)):
    label, power = float(j == k), np.exp((2 - t1) * log_p[j])
    total -= (label * log_t(log_p[j], t1) if label else 0) + (label - power) / (2 - t1)
  return total


# Those near 1 are numbers that float32 has.
SETTINGS = [
  (1.0, 1.0), (0.5, 1.0), (0.8, 1.2), (0.2, 4.0), (0.0, 1.5), (1.0, 1.3),
  (1 - 2**-10, 1 + 2**-10), (1 - 2**-20, 1 + 2**-20),
]  # fmt: skip


def test_costs_and_slopes_are_the_formula(check):
  check.follows(losses.bi_tempered, formula, SETTINGS)


def test_the_oracle_sums_to_one():
  for t in (1.001, 1.2, 2.0, 8.0):
    for classes in (2, 1000):
      log_p = log_tempered(np.linspace(-1e3, 0, classes), t)
      assert abs(np.exp(log_p).sum() - 1) < 1e-12


def test_stays_right_and_finite_at_the_edges(check):
  check.survives(losses.bi_tempered, formula, SETTINGS)


def test_is_a_loss(check):
  check.is_a_loss(losses.bi_tempered())


def test_temperatures_of_one_are_cross_entropy(check):
  flow = check.batch((3 * np.random.default_rng(1).normal(size=(6, 7))).astype(np.float32))
  cost = check.apply(losses.bi_tempered(1.0, 1.0), flow).cost
  np.testing.assert_allclose(cost, flow.cost, rtol=1e-6, atol=1e-6)
  near = check.apply(losses.bi_tempered(1 - 1e-7, 1 + 1e-6), flow).cost
  np.testing.assert_allclose(near, flow.cost, rtol=1e-4, atol=1e-5)


# Values and derivatives by the logits of google/bi-tempered-loss at 1c65c777, jax/loss.py, in
# float64 with num_iters=3000, where its probabilities sum to 1 within 2e-15; to twelve digits.
GOLDEN_LOGITS = [[0.5, -1.25, 2.0, 0.0], [3.0, 3.0, -4.0, 1.5], [-0.75, 0.125, 0.0, 6.0]]
GOLDEN_LABELS = [0, 2, 3]
GOLDEN = {
  (0.8, 1.2): (
    [1.27859476013, 2.91288938811, 0.0210121637386],
    [
      [-0.443988600342, 0.0124040996357, 0.391936928229, 0.0396475724769],
      [0.0736089021969, 0.0736089021969, -0.150407060422, 0.00318925602824],
      [0.00269251504128, 0.00458498819005, 0.00423827691932, -0.0115157801507],
    ],
  ),
  (0.2, 4.0): (
    [0.464657596453, 0.488530117638, 0.439443505764],
    [
      [-0.00388903357333, 0.00115390037111, 0.00147310613383, 0.00126202706839],
      [0.00112959006078, 0.00112959006078, -0.00325563096404, 0.000996450842491],
      [0.00144344363416, 0.00152931449591, 0.00151653576097, -0.00448929389104],
    ],
  ),
  (0.0, 1.5): (
    [0.456256209777, 0.631008041696, 0.0195115605707],
    [
      [-0.0990043969926, -0.00363147434059, 0.105329016853, -0.00269314551949],
      [0.0112084435584, 0.0112084435584, -0.00984064429619, -0.0125762428205],
      [0.0023365012163, 0.00335550331298, 0.00317731519093, -0.00886931972022],
    ],
  ),
  (0.5, 1.0): (
    [1.00346990267, 1.71602489053, 0.000226855923154],
    [
      [-0.384417378605, -0.00382550914981, 0.387585846514, 0.000657041240639],
      [0.0251843664837, 0.0251843664837, -0.0204923951794, -0.029876337788],
      [4.67617092754e-05, 0.000164417577213, 0.000137215242582, -0.000348394529071],
    ],
  ),
  (1.0, 1.3): (
    [1.62508837986, 4.081603536, 0.0923017864443],
    [
      [-0.512507129157, 0.0302766468548, 0.412854576776, 0.0693759055263],
      [0.12823567997, 0.12823567997, -0.291911097204, 0.0354397372638],
      [0.00840963011217, 0.0124155635457, 0.0117177750771, -0.032542968735],
    ],
  ),
  (0.9, 1.05): (
    [1.56295336582, 4.75146407297, 0.00750093318322],
    [
      [-0.655169073194, 0.0180973704217, 0.572572984999, 0.0644987177739],
      [0.171612937659, 0.171612937659, -0.37121459578, 0.0279887204617],
      [0.00124717900756, 0.00267653867584, 0.00239614945134, -0.00631986713474],
    ],
  ),
}


def test_the_published_code_agrees(check):
  rows = np.arange(3)
  with jax.enable_x64(True):
    z = jnp.asarray(GOLDEN_LOGITS)

    @jax.jit
    @jax.vmap
    def run(t1, t2):
      loss = lambda z: check.cost(losses.bi_tempered(t1, t2), z)[rows, np.array(GOLDEN_LABELS)]
      return loss(z), jax.grad(lambda z: loss(z).sum())(z)

    values, slopes = jax.device_get(run(*np.array(list(GOLDEN)).T))
  for value, slope, (t, (wanted, gradient)) in zip(values, slopes, GOLDEN.items(), strict=True):
    np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=2e-10, err_msg=str(t))
    np.testing.assert_allclose(slope, gradient, rtol=1e-9, atol=1e-10, err_msg=str(t))


def wide(classes):
  """Rows of so many classes: spread, a peak, a hole, two levels, a wave; at five scales."""
  spread = np.linspace(-1.0, 1.0, classes)
  peak, hole, half = np.zeros((3, classes))
  peak[0], hole[0], half[::2] = 1.0, -1.0, 1.0
  rows = np.stack([spread, peak, hole, half, np.sin(37 * spread)])
  scaled = [scale * rows for scale in (0.0, 1.0, 30.0, 1e3, 1e4)]
  return np.concatenate(scaled).astype(np.float32).astype(float)  # float32 has them all


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_probabilities_sum_to_one_and_are_those_of_the_bisection(classes):
  temperatures = [1.0, 1 + 2**-13, 1 + 2**-7, 1.125, 1.5, 2.0, 3.0, 5.0, 10.0]
  logits = wide(classes)
  wanted = np.array([[log_tempered(z, t) for z in logits] for t in temperatures])
  np.testing.assert_allclose(np.exp(wanted).sum(-1), 1, rtol=1e-10)
  run = jax.jit(jax.vmap(losses.tempered_log_softmax, (None, 0)))
  with jax.enable_x64(True):
    exact = run(logits, np.array(temperatures))
  single = run(np.float32(logits), np.float32(temperatures))
  for log_probs, tolerance in ((exact, 1e-9), (single, 1e-5)):
    log_probs = np.asarray(log_probs, np.float64)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=tolerance)
    np.testing.assert_allclose(log_probs, wanted, rtol=tolerance, atol=10 * tolerance)
  assert wanted.min() < -1e4


@pytest.mark.parametrize("classes", [2, 1000])
def test_many_classes_and_large_logits(check, classes):
  logits = wide(classes)
  pairs = (0.5, 1.05), (0.8, 2.0), (0.0, 4.0)
  run = lambda z: [check.cost(losses.bi_tempered(*pair), z) for pair in pairs]
  for (t1, t2), got in zip(pairs, host.run(run, np.float32(logits)), strict=True):
    log_p = np.array([log_tempered(z, t2) for z in logits])
    total = np.exp((2 - t1) * log_p).sum(-1, keepdims=True)
    wanted = -log_t(log_p, t1) - (1 - total) / (2 - t1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5, err_msg=f"{t1} {t2}")


def test_is_bounded_below_one_and_heavy_tailed_above(check):
  """With t1 < 1 the cost is at most 1 / (1 - t1); with t2 > 1 the slope survives far outside."""
  z = np.float32([[1e4, -1e4, -1e4], [50.0, -50.0, 0.0]])
  cost = check.cost(losses.bi_tempered(0.5, 1.0), z)
  assert (cost <= 2.0 + 1e-5).all() and (cost > -1e-5).all() and cost.max() > 1.2
  tail = lambda z, t2: jax.grad(lambda z: check.cost(losses.bi_tempered(1.0, t2), z)[1, 1])(z)[1, 1]
  heavy, light = host.run(lambda z: [tail(z, t2) for t2 in (2.0, 1.0)], z)
  assert -heavy < 0.2 and np.isclose(-light, 1.0, rtol=1e-5)


def test_a_shift_of_all_logits_changes_nothing(check):
  z = np.random.default_rng(1).normal(size=(6, 7))
  with jax.enable_x64(True):
    cost = lambda t: jax.jit(lambda z: check.cost(t, z))
    a, b = map(cost(losses.bi_tempered()), (z, z + 123.0))
    default = check.cost(losses.bi_tempered(0.8, 1.2), z)
  np.testing.assert_allclose(a, b, rtol=1e-9)
  np.testing.assert_allclose(a, default, rtol=1e-12)


@pytest.mark.parametrize(
  "arguments, name",
  [
    ((-0.1, 1.2), "t1"), ((1.1, 1.2), "t1"), ((float("nan"), 1.2), "t1"), (("a", 1.2), "t1"),
    ((0.8, 0.9), "t2"), ((0.8, float("nan")), "t2"), ((0.8, "a"), "t2"),
  ],
)  # fmt: skip
def test_refuses(arguments, name):
  with pytest.raises(ValueError, match=f"{name} must"):
    losses.bi_tempered(*arguments)


def test_refuses_no_steps():
  with pytest.raises(ValueError, match="steps must"):
    losses.bi_tempered(steps=0)
