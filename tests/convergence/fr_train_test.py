"""FR-Train against the authors' loop written out in NumPy, and its forms against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rfjax
from rfjax import architectures, convergence

NETWORK = architectures.logistic()


def _sigmoid(v):
  return 1 / (1 + np.exp(-v))


def _bce(logit, target):
  return np.logaddexp(0, logit) - target * logit


class Oracle:
  """The official loop, epoch by epoch, with gradients worked out by hand."""

  def __init__(self, data, trusted, params, players, rates):
    (self.x, self.t, self.z), (self.xv, self.tv) = data, trusted
    self.w, self.b = params
    self.a, self.c, self.w1, self.b1, self.w2, self.b2 = players
    self.rates, self.r, self.last = rates, np.ones(len(self.t)), 0.0
    self.m, self.v, self.count = np.zeros(len(self.w) + 1), np.zeros(len(self.w) + 1), 0

  def hidden(self, x, last):
    pre = np.c_[x, last] @ self.w1 + self.b1
    return pre, np.where(pre > 0, pre, 0.2 * pre)

  def trust(self, x, last):
    return self.hidden(x, last)[1] @ self.w2 + self.b2

  def critics(self):
    u, rate = self.x @ self.w + self.b, self.rates["critic"]
    error = (_sigmoid(self.a * u + self.c) - self.z) / len(u)
    self.a, self.c = self.a - rate * error @ u, self.c - rate * error.sum()
    before, grads = 0.0, [0.0] * 4
    for x, last, truth in ((self.x, u, 0.0), (self.xv, 2 * self.tv - 1, 1.0)):
      pre, h = self.hidden(x, last)
      logit = h @ self.w2 + self.b2
      before += 0.5 * _bce(logit, truth).mean()
      d = 0.5 * (_sigmoid(logit) - truth) / len(x)
      dh = np.outer(d, self.w2) * np.where(pre > 0, 1, 0.2)
      new = (np.c_[x, last].T @ dh, dh.sum(0), h.T @ d, d.sum())
      grads = [g + n for g, n in zip(grads, new, strict=True)]
    self.w1, self.b1, self.w2, self.b2 = (
      p - rate * g for p, g in zip((self.w1, self.b1, self.w2, self.b2), grads, strict=True)
    )
    return before

  def adam(self, du):
    gradient = np.append(self.x.T @ du, du.sum())
    self.count += 1
    self.m = 0.9 * self.m + 0.1 * gradient
    self.v = 0.999 * self.v + 0.001 * gradient**2
    m, v = self.m / (1 - 0.9**self.count), self.v / (1 - 0.999**self.count)
    step = self.rates["model"] * m / (np.sqrt(v) + 1e-8)
    self.w, self.b = self.w - step[:-1], self.b - step[-1]

  def warm(self, scale, weight):
    u, n = self.x @ self.w + self.b, len(self.t)
    self.last = weight * _bce(scale * u, self.t).mean()
    self.adam(weight * scale * (_sigmoid(scale * u) - self.t) / n)

  def game(self, lambda_f, lambda_r, detach):
    u, n = self.x @ self.w + self.b, len(self.t)
    s, d = self.a * u + self.c, self.trust(self.x, u)
    slope = (np.where(self.hidden(self.x, u)[0] > 0, 1, 0.2) * self.w1[-1]) @ self.w2
    plain = 1 - lambda_f - lambda_r
    terms = plain * self.r * _bce(u, self.t) - lambda_f * self.r * _bce(s, self.z)
    self.last = (terms - lambda_r * _bce(d, 0)).mean()
    du = plain * self.r * (_sigmoid(u) - self.t)
    du = du - lambda_f * self.r * (_sigmoid(s) - self.z) * self.a
    self.adam((du - (0 if detach else lambda_r * _sigmoid(d) * slope)) / n)

  def reweight(self, kind, before):
    a = _sigmoid(self.last / before - 3)
    trust = _sigmoid(self.trust(self.x, self.x @ self.w + self.b))
    self.r = {"official": a * trust + 1 - a, "paper": a + (1 - a) * trust, "d_r": trust}[kind]

  def run(self, epochs, warmup, k, every, kind, lambdas, detach, scale, weight):
    for e in range(epochs):
      before = self.critics()
      if e < warmup:
        self.warm(scale, weight)
      elif e % k == 0:
        if kind and e % every == 0:
          self.reweight(kind, before)
        self.game(*lambdas, detach)


def _problem(rng, n=14, m=5, hidden=4):
  x, xv = rng.normal(size=(n, 3)), rng.normal(size=(m, 3))
  t, z, tv = (rng.permutation(np.arange(k) % 2) for k in (n, n, m))
  params = rng.normal(size=3), 0.1
  players = (0.7, -0.2, rng.normal(size=(4, hidden)), rng.normal(size=hidden))
  return x, t, z, xv, tv, params, (*players, rng.normal(size=hidden), 0.3)


def _initial(params, players):
  (w, b), (a, c, w1, b1, w2, b2) = params, players
  d_r = {
    "hidden": {"kernel": w1, "bias": b1},
    "head": {"kernel": w2[:, None], "bias": np.array([b2])},
  }
  d_f = {"kernel": np.full((1, 1, 1), a), "bias": np.full((1, 1), c)}
  initial = {"kernel": w[:, None], "bias": np.array([b])}
  return jax.tree.map(jnp.asarray, (initial, (d_f, d_r)))


@pytest.mark.parametrize(
  "kind, k, every, detach, scale, weight, warmup",
  [
    ("official", 5, 10, False, 2.0, 0.1, 7),
    ("official", 3, 6, True, 2.0, 1.0, 8),
    ("paper", 2, 2, False, 1.0, 1.0, 4),
    ("d_r", 1, 3, False, 1.0, 1.0, 0),
    (None, 4, 1, False, 1.0, 1.0, 4),
  ],
)
def test_follows_the_official_loop(kind, k, every, detach, scale, weight, warmup):
  rng, epochs, lambdas = np.random.default_rng(k), 43, (0.3, 0.4)
  x, t, z, xv, tv, params, players = _problem(rng)
  oracle = Oracle((x, t, z), (xv, tv), params, players, {"critic": 0.3, "model": 0.05})
  oracle.run(epochs, warmup, k, every, kind, lambdas, detach, scale, weight)
  with jax.enable_x64(True):
    clean = rfjax.Batch.from_arrays(xv, tv)
    data = rfjax.Batch.from_arrays(x, t, z, trusted=clean)
    initial, started = _initial(params, players)
    critic = optax.sgd(0.3)
    method = convergence.fr_train(
      *lambdas, fairness_tx=critic, robustness_tx=critic, warmup=warmup, critic_steps=k,
      reweight=kind, reweight_every=every, detach_r=detach, warmup_scale=scale,
      warmup_weight=weight, players=started,
    )  # fmt: skip
    steps = convergence.fr_train_steps(epochs, warmup=warmup, critic_steps=k)
    tx, settings = optax.adam(0.05), {"key": jax.random.key(0), "epochs": steps}
    fit = jax.jit(lambda data: rfjax.fit(NETWORK, method, tx, data, params=initial, **settings)[0])
    state = jax.tree.map(np.asarray, fit(data))
  np.testing.assert_allclose(state.params["kernel"][:, 0], oracle.w, rtol=0, atol=1e-12)
  np.testing.assert_allclose(state.params["bias"][0], oracle.b, rtol=0, atol=1e-12)
  np.testing.assert_allclose(state.method.example_weight, oracle.r, rtol=0, atol=1e-12)
  np.testing.assert_allclose(state.method.objective, oracle.last, rtol=0, atol=1e-12)


def test_steps_count_the_model_steps_of_the_official_loop():
  for epochs in (0, 3, 10, 31):
    for warmup in (0, 4, 9):
      for k in (1, 3, 5):
        expected = sum(e < warmup or e % k == 0 for e in range(epochs))
        found = convergence.fr_train_steps(epochs, warmup=warmup, critic_steps=k)
        assert found == expected, (epochs, warmup, k)


def _filled(rng, num_groups, num_classes, soft, condition):
  n = 12
  y, group = np.arange(n) % num_classes, np.arange(n) % num_groups
  x = rng.normal(size=(n, 2)).astype(np.float32)
  if soft:
    group = rng.dirichlet(np.ones(num_groups), n).astype(np.float32)
    group[3] = 0  # a missing attribute
  clean = rfjax.Batch.from_arrays(x[:4], y[:4], num_classes=num_classes)
  data = rfjax.Batch.from_arrays(x, y, group, trusted=clean)
  heads = num_classes if condition == "y" else 1
  d_f = {
    "kernel": rng.normal(size=(heads, num_groups - 1, num_classes - 1)).astype(np.float32),
    "bias": rng.normal(size=(heads, num_groups - 1)).astype(np.float32),
  }
  return data, rng.normal(size=(n, num_classes)).astype(np.float32), d_f


@pytest.mark.parametrize("condition", [None, "y", "y=1"])
@pytest.mark.parametrize(
  "num_groups, num_classes, soft", [(2, 2, False), (3, 2, False), (3, 2, True), (2, 3, False)]
)
def test_penalty_is_what_both_discriminators_lose(condition, num_groups, num_classes, soft):
  rng = np.random.default_rng(num_groups)
  data, logits, d_f = _filled(rng, num_groups, num_classes, soft, condition)
  frozen = optax.sgd(0.0)

  @jax.jit
  def lost(data, logits, d_f):
    batch, key = data.fill(logits), jax.random.key(0)
    d_r = convergence.fr_train(0, 0).init(batch, key=key)[1].params
    method = convergence.fr_train(
      0.25, 0.125, fairness_tx=frozen, robustness_tx=frozen, warmup=0, reweight=None,
      condition=condition, players=(d_f, d_r),
    )  # fmt: skip
    out, _ = method.update(batch, method.init(batch, key=key), step=1)
    return out.penalty, out.weight, d_r, batch.membership, batch.margin

  found = jax.tree.map(np.asarray, lost(data, logits, d_f))
  penalty, weight, d_r, membership, margin = found
  y, membership = np.asarray(data.y), membership.astype(np.float64)
  total, rows = 0.0, 0
  for i in range(data.num_rows):
    if membership[i].sum() == 0 or (condition == "y=1" and y[i] != 1):
      continue
    head = y[i] if condition == "y" else 0
    scores = d_f["kernel"][head] @ margin[i] + d_f["bias"][head]
    scores = np.append(0.0, scores.astype(np.float64))
    log_probs = scores - np.log(np.exp(scores).sum())
    total, rows = total - membership[i] @ log_probs, rows + 1
  hidden, head = d_r["hidden"], d_r["head"]
  pre = np.c_[data.x, margin] @ hidden["kernel"] + hidden["bias"]
  trust = np.where(pre > 0, pre, 0.2 * pre) @ head["kernel"] + head["bias"]
  expected = -0.25 * total / rows - 0.125 * _bce(trust, 0).mean()
  np.testing.assert_allclose(penalty, expected, rtol=1e-5)
  np.testing.assert_allclose(weight, 0.625, rtol=1e-6)


def test_equalized_odds_discriminator_learns_the_conditional_entropy():
  rng = np.random.default_rng(0)
  y, u = rng.integers(0, 2, 400), rng.choice([-1.0, 1.0], 400)
  group = np.where(rng.random(400) < np.where(y == 1, 0.5 + 0.4 * u, 0.3), 1, 0)
  data = rfjax.Batch.from_arrays(u[:, None].astype(np.float32), y, group)
  data = data.replace(trusted=data)
  logits = np.stack([np.zeros(400), u], 1).astype(np.float32)
  fast, still = optax.sgd(5.0), optax.sgd(0.0)
  method = convergence.fr_train(
    0.5, 0.0, fairness_tx=fast, robustness_tx=still, warmup=0, critic_steps=2000, reweight=None,
    condition="y",
  )  # fmt: skip

  @jax.jit
  def lost(data):
    batch = data.fill(logits)
    return method.update(batch, method.init(batch, key=jax.random.key(0)), step=1)[0].penalty

  entropy = 0.0
  for label in (0, 1):
    for score in (-1, 1):
      inside = group[(y == label) & (u == score)]
      p = inside.mean()
      entropy -= len(inside) * (p * np.log(p) + (1 - p) * np.log(1 - p)) / 400
  np.testing.assert_allclose(lost(data), -0.5 * entropy, rtol=1e-3)


def test_padding_rows_change_nothing():
  rng = np.random.default_rng(3)
  x, t, z, xv, tv, _, _ = _problem(rng)
  data = rfjax.Batch.from_arrays(x, t, z, trusted=rfjax.Batch.from_arrays(xv, tv))
  method = convergence.fr_train(0.3, 0.4, warmup=0, reweight="d_r", reweight_every=1)
  logits = rng.normal(size=(14, 2)).astype(np.float32)
  rows = np.append(np.arange(14), np.full(4, 14))

  @jax.jit
  def updates(data, logits):
    state = method.init(data, key=jax.random.key(0))
    whole = method.update(data.fill(logits), state, step=3)
    return whole, method.update(data.take(rows).fill(logits[rows]), state, step=3)

  (whole, after), (padded, after_padded) = updates(data, jnp.asarray(logits))
  np.testing.assert_allclose(padded.objective, whole.objective, rtol=1e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after, after_padded)


@pytest.mark.parametrize(
  "arguments, settings, message",
  [
    ((0.6, 0.4), {}, r"lambda_f \+ lambda_r must lie in \[0, 1\)"),
    ((-0.1, 0.4), {}, "lambda_f must lie in"),
    ((0.1, -0.4), {}, "lambda_r must lie in"),
    ((0.1, "much"), {}, "lambda_r must be a number, got 'much'"),
    ((0.1, 0.1), {"critic_steps": 0}, "critic_steps must be an integer of at least 1, got 0"),
    ((0.1, 0.1), {"warmup": -1}, "warmup must be an integer of at least 0, got -1"),
    ((0.1, 0.1), {"reweight": "more"}, "reweight must be one of .*got 'more'"),
    ((0.1, 0.1), {"condition": "z"}, "condition must be one of .*got 'z'"),
  ],
)
def test_refuses(arguments, settings, message):
  with pytest.raises(ValueError, match=message):
    convergence.fr_train(*arguments, **settings)


@pytest.mark.parametrize("missing", ["group", "trusted"])
def test_names_the_field_that_is_missing(missing):
  data = rfjax.Batch.from_arrays(np.eye(2), [0, 1], [0, 1])
  data = data.replace(trusted=data).replace(**{missing: None})
  with pytest.raises(ValueError, match=f"fr_train needs {missing}.*Batch.from_arrays"):
    key = jax.random.key(0)
    jax.eval_shape(lambda data: convergence.fr_train(0.1, 0.1).init(data, key=key), data)
