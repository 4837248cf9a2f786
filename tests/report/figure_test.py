import struct
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import optimize, spatial

from rfjax import report
from rfjax.report import _figure, _hull, _labels, _svg

HOSTILE = '<script>alert(1)</script>"\'> $\\frac$ url(#0) id="m" \x1b[31m\x00\u202e & x'
READ = '<script>alert(1)</script>"\'> $\\frac$ url(#0) id="m" [31m & x'
SVG = "{http://www.w3.org/2000/svg}"


def frontier(text=None, **more):
  t = np.linspace(0, 1, 5)
  name = lambda default: default if text is None else text
  clean = report.Series(
    name("clean"),
    0.66 + 0.17 * t,
    0.84 - 0.03 * t**2,
    0.01 * (1 + t),
    0.002 * (1 + t),
    [name("λ = 0"), None, "", None, "λ = 0.7"],
  )
  poisoned = report.Series(name("poisoned"), clean.x, 0.80 - 0.05 * t, y_interval=[0.004] * 5)
  return report.frontier(
    [clean, poisoned],
    xlabel=name("disparate impact (ratio of selection rates)"),
    ylabel=name("accuracy"),
    references=[report.Reference(0.8, name("four-fifths rule")), report.Reference(0.8, "y", "y")],
    marks=[report.Series(name("published"), [0.82], [0.827], [0.01], [0.004])],
    **more,
  )


def texts(svg):
  return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def drawings():
  figure = frontier()
  return {theme: figure.svg(theme, prefix=f"{theme}-") for theme in _figure.THEMES}


def test_the_same_bytes_every_time(drawings, tmp_path):
  assert frontier().svg("dark", prefix="dark-") == drawings["dark"]
  for name in ("a.png", "b.png"):
    frontier().png(tmp_path / name)
  content = (tmp_path / "a.png").read_bytes()
  assert content == (tmp_path / "b.png").read_bytes()
  assert struct.unpack(">II", content[16:24]) == (int(6.2 * 192), int(4.4 * 192))


def test_ids_are_used_and_differ_between_themes(drawings):
  seen = set()
  for theme, svg in drawings.items():
    root = ElementTree.fromstring(svg)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert ids and len(set(ids)) == len(ids) and all(i.startswith(f"{theme}-") for i in ids)
    links = {e.get("href")[1:] for e in root.iter() if e.get("href")}
    clips = {e.get("clip-path")[5:-1] for e in root.iter() if e.get("clip-path")}
    assert links | clips == set(ids)
    seen |= set(ids)
  assert len(seen) == 2 * len(ids)


def test_nothing_but_the_drawing_is_left(drawings):
  for theme, svg in drawings.items():
    rest = svg.replace("http://www.w3.org/2000/svg", "", 1)
    for word in ("http", "<style", "metadata", "DOCTYPE", "<?xml", "DejaVu", "script", "xlink"):
      assert word not in rest
    tags = {e.tag.removeprefix(SVG) for e in ElementTree.fromstring(svg).iter()}
    assert tags == {"svg", "defs", "g", "path", "text", "use", "clipPath", "rect"}
    assert _figure.THEMES[theme].paper not in svg


def test_text_stays_text_and_labels_their_series(drawings):
  found = texts(drawings["light"])
  for label in ("clean", "poisoned", "published", "four-fifths rule", "λ = 0", "λ = 0.7"):
    assert found.count(label) == 1
  assert drawings["light"] != drawings["dark"]
  assert _figure.THEMES["light"].ink in drawings["light"].lower()


def test_hostile_text_is_text():
  svg = frontier(HOSTILE, alt=HOSTILE).svg(prefix="p-")
  assert texts(svg).count(READ) == 7
  assert ElementTree.fromstring(svg).get("aria-label") == READ
  assert "<script" not in svg


def test_settings_of_others_stay(drawings):
  import matplotlib

  before = dict(matplotlib.rcParams)
  others = {"axes.grid": True, "xtick.direction": "in", "font.size": 40, "svg.fonttype": "path"}
  with matplotlib.rc_context(others):
    assert frontier().svg("light", prefix="light-") == drawings["light"]
  assert dict(matplotlib.rcParams) == before


def canvas(figure):
  import matplotlib
  from matplotlib.figure import Figure

  with matplotlib.rc_context():
    matplotlib.rcParams.update(_figure._SETTINGS)
    drawn = Figure(figsize=(figure.width, figure.height), layout="constrained")
    axes = drawn.add_subplot()
    figure.draw(axes, _figure.THEMES["light"])
    drawn.draw_without_rendering()
  return axes


def test_labels_overlap_nothing():
  axes = canvas(frontier())
  boxes = [text.get_window_extent().extents for text in axes.texts]
  assert len(boxes) == 7
  points = np.concatenate([axes.transData.transform(line.get_xydata()) for line in axes.lines[2:]])
  frame = axes.get_window_extent().extents
  for i, box in enumerate(boxes):
    assert (box[:2] >= frame[:2]).all() and (box[2] <= frame[2] or axes.texts[i].xyann[0] == 8)
    assert not ((points > box[:2]) & (points < box[2:])).all(1).any()
    for other in boxes[:i]:
      assert not ((box[:2] < other[2:]) & (box[2:] > other[:2])).all()


def placed(labels, obstacles):
  """The boxes of labels as shares of the axes, whose limits are 0 and 1."""
  from matplotlib.figure import Figure

  drawn = Figure(figsize=(5, 4), dpi=72)
  axes = drawn.add_subplot()
  _labels.place(axes, labels, obstacles)
  drawn.draw_without_rendering()
  boxes = [text.get_window_extent().extents.reshape(2, 2) for text in axes.texts]
  return [axes.transAxes.inverted().transform(box).ravel() for box in boxes]


def test_labels_give_way():
  middle, corner = np.array([[0.5, 0.5]]), np.array([[0.99, 0.99]])
  label = lambda anchor: _labels.Label("a label", anchor, {"fontsize": 9.0})
  (free,) = placed([label(middle)], [middle])
  assert (free[:2] > 0.5).all()
  column = [np.array([[x, 0.5], [x, 1.0]]) for x in np.linspace(0.5, 0.8, 10)]
  (moved,) = placed([label(middle)], [middle, *column])
  assert (moved[2:] < 0.5).all()
  (inside,) = placed([label(corner)], [corner])
  assert (inside[2:] <= 1).all()
  first, second = placed([label(middle), label(middle)], [middle])
  assert not ((first[:2] < second[2:]) & (first[2:] > second[:2])).all()


def test_error_bars_reach_the_tips():
  s = report.Series("a", [1.0, 2.0], [5.0, 6.0], [0.1, 0.2], [0.3, 0.4])
  expected = [[0.9, 5], [1.1, 5], [1, 4.7], [1, 5.3]]
  np.testing.assert_allclose(s.tips[0], expected)
  axes = canvas(report.frontier([s], xlabel="x", ylabel="y"))
  ends = np.concatenate([np.array(c.get_segments()).reshape(-1, 2) for c in axes.collections])
  np.testing.assert_allclose(np.unique(ends, axis=0), np.unique(s.tips.reshape(-1, 2), axis=0))
  band = axes.patches[0].get_path()
  assert band.contains_points([[1.5, 5.5], [1.05, 4.9]]).all()
  assert not band.contains_points([[1.5, 5.0], [0.95, 5.3]]).any()


def test_hull_is_the_convex_hull():
  points = np.random.default_rng(0).normal(size=(40, 2))
  hull, expected = _hull.hull(points), spatial.ConvexHull(points)
  assert {tuple(p) for p in hull} == {tuple(p) for p in points[expected.vertices]}
  x, y = hull.T
  area = 0.5 * np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
  np.testing.assert_allclose(area, expected.volume)  # positive: anticlockwise


def test_labels_at_the_end_move_as_little_as_needed():
  places = np.sort(np.random.default_rng(0).uniform(0, 40, 6))
  gaps = np.array([8.0, 10.0, 9.0, 8.0, 8.0])
  moved = _labels._apart(places, gaps)
  assert (np.diff(moved) >= gaps - 1e-9).all()
  limits = optimize.LinearConstraint(np.diff(np.eye(6), axis=0), gaps, np.inf)
  best = optimize.minimize(
    lambda p: np.sum((p - places) ** 2),
    np.arange(6) * 10.0,
    constraints=limits,
    method="SLSQP",
    options={"ftol": 1e-14},
  )
  np.testing.assert_allclose(moved, best.x, atol=1e-5)


def test_clean_renames_in_styles_and_drops_idle_ids():
  svg = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><style>*{}</style><g id="idle">'
    '<path id="m" d="M 0 0"/><path style="fill: url(#m); stroke: #abc"/></g></svg>'
  )
  root = ElementTree.fromstring(_svg.clean(svg, prefix="p-", alt="a"))
  assert [e.get("id") for e in root.iter()] == [None, None, "p-0", None]
  assert root[0][1].get("style") == "fill: url(#p-0); stroke: #abc"


def test_matplotlib_is_optional(monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  with pytest.raises(ImportError, match=r"pip install 'rfjax\[report\]'"):
    frontier().svg()


def test_imports_are_light():
  heavy = "{'matplotlib', 'xarray', 'pandas', 'rich', 'scipy.stats'}"
  code = f"import sys, rfjax.report; print(sorted({heavy} & set(sys.modules)))"
  result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
  ("make", "message"),
  [
    (lambda: report.Series("a", [1.0], [np.nan]), "y must be finite"),
    (lambda: report.Series("a", [], []), "x must have one axis of points"),
    (lambda: report.Series("a", [1.0], [1.0, 2.0]), "y must have 1 numbers"),
    (lambda: report.Series("a", [1.0], [1.0], [-0.1]), "x_interval must hold half widths"),
    (lambda: report.Series("a", [1.0], [1.0], names=[]), "names must have 1 entries"),
    (lambda: report.Reference(float("nan"), "a"), "value must lie in"),
    (lambda: report.Reference(0.8, "a", "z"), "axis"),
    (lambda: report.frontier([], xlabel="x", ylabel="y"), "series must be 1 to 6, got 0"),
    (lambda: frontier().svg("sepia"), "theme"),
    (lambda: frontier().png("x.png", "sepia"), "theme"),
  ],
)
def test_bad_figures_are_refused(make, message):
  with pytest.raises(ValueError, match=message):
    make()


def test_no_leader_runs_through_another_label():
  place = lambda distance: _labels._Place(
    price=0.0,
    anchor=np.zeros(2),
    direction=(1, 1),
    distance=distance,
    middle=np.array([60.0, 30.0]),
    box=np.array([40.0, 25.0, 80.0, 35.0]),
  )
  between, beside, own = (np.array(b) for b in ([15, 5, 25, 15], [0, 20, 10, 30], [50, 26, 70, 34]))
  assert _labels._crosses(place(30.0), [beside, between])
  assert not _labels._crosses(place(30.0), [beside, own])
  assert not _labels._crosses(place(8.0), [between]), "a label this near has no leader"
