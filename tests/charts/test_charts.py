import itertools
import math
import re

import pytest

from nethical import charts
from nethical.charts import (
    Bins,
    Effect,
    Measured,
    Point,
    effects,
    forest,
    groups,
    histogram,
    reliability,
    timeline,
    two_reliabilities,
    two_scores,
)

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    '<script>alert(1)</script> & "quoted" | `code`\n\x00\x1b\ud800\u202e\u200f ' + "x" * 10_000
)
EDGES = [place / 20 for place in range(21)]
BINS = {
    "n": [700, 120, 0, 40, 30, 0, 25, 30, 45, 210],
    "mean_proba": [0.02, 0.14, None, 0.35, 0.44, math.nan, 0.66, 0.75, 0.86, 0.97],
    "share": [0.03, 0.12, None, 0.38, 0.40, math.nan, 0.60, 0.80, 0.82, 0.98],
    "error": [0.006, 0.03, None, 0.08, 0.09, math.nan, 0.1, 0.07, 0.06, 0.01],
}
COUNTS = {
    "edges": EDGES,
    "positive": [5, 5, 4, 3, 2, 2, 2, 2, 1, 1, 3, 4, 5, 6, 8, 10, 15, 22, 40, 110],
    "negative": [900, 200, 80, 40, 30, 20, 15, 10, 8, 6, 4, 3, 2, 2, 1, 1, 0, 0, 1, 0],
}
ROWS = [
    Measured("Accuracy >= 0.85", 0.912, 0.89, 0.931, 0.85),
    Measured("Recall > 0", 0.71, 0.62, 0.79, 0.0),
    Measured("No interval", 0.4),
    Measured("Half an interval", 0.5, None, 0.7, 0.6),
    Measured("Unknown", None, math.nan, math.nan, 0.3),
]
EFFECTS = [
    Effect("Recall", -0.031, -0.052, -0.010, 0.05, "undecided"),
    Effect("False positive rate", 0.002, -0.001, 0.005, 0.01, "within the margin"),
    Effect("Precision", -0.22, -0.27, -0.17, 0.05, "worse", mark=True),
    Effect("Brier loss", 0.031, 0.022, 0.040, 0.01, "worse", mark=True),
    Effect("ECE", 0.004, None, 0.021, 0.02, "undecided"),
    Effect("ROC AUC", None, math.nan, math.inf, 0.05, "unknown"),
    Effect("Mean score", 0.013, 0.009, 0.017, None, "reported only"),
]
GROUPS = [
    Measured("north", 0.031, 0.024, 0.04),
    Measured("south", 0.052, 0.043, 0.062),
    Measured("not given", None),
]
NAMES = {"reference_name": "first", "current_name": "second"}
KINDS = [
    "reliability",
    "scores",
    "forest",
    "reliability without rows",
    "reliability without bins",
    "scores without rows",
    "forest without rows",
    "hostile forest",
    "effects",
    "groups",
    "two windows",
    "half a year of windows",
    "two scores",
    "two reliabilities",
    "two years of windows",
    "effects without rows",
    "groups without rows",
    "no windows",
    "unknown windows",
    "two scores without rows",
    "two reliabilities without rows",
    "hostile effects",
    "hostile groups",
    "hostile windows",
    "hostile scores",
    "hostile reliabilities",
]
USUAL = slice(KINDS.index("effects"), KINDS.index("two reliabilities") + 1)


def windows(count):
    values = [0.03 + 0.0002 * k + 0.002 * math.sin(k) for k in range(count)]
    return [
        Point(f"week {k + 1}", value, value - 0.006, value + 0.006, mark=k % 10 == 7)
        for k, value in enumerate(values)
    ]


def draw_all():
    cut = {"threshold": 0.5, "gray_low": 0.4, "gray_high": 0.6}
    return [
        reliability(**BINS),
        histogram(**COUNTS, **cut),
        forest(ROWS, title="Criteria"),
        reliability([0] * 10, [None] * 10, [None] * 10, [math.nan] * 10),
        reliability([], [], [], []),
        histogram(EDGES, [0] * 20, [None] * 20),
        forest([], title=""),
        forest([Measured(HOSTILE, 0.1, 0.0, 0.2)], title=HOSTILE),
        *draw_drift(),
        *draw_nothing(),
        *draw_hostile(),
    ]


def draw_drift():
    counts = [COUNTS["edges"], COUNTS["negative"], COUNTS["positive"]]
    return [
        effects(EFFECTS, title="Since the reference"),
        groups(GROUPS, title="False positive rate", whole=0.042),
        timeline(windows(2), title="Alerts", limit=0.05, reference=0.033),
        timeline(windows(26), title="Alerts", reference=0.033),
        two_scores(*counts, **NAMES, threshold=0.5),
        two_reliabilities(Bins(**BINS), Bins(**BINS), **NAMES),
        timeline(windows(104), title="Alerts", limit=0.05, reference=0.033),
    ]


def draw_nothing():
    return [
        effects([], title=""),
        groups([], title="", whole=None),
        timeline([], title=""),
        timeline([Point("a", None), Point("b", math.nan, None, math.inf)], title=""),
        two_scores(EDGES, [0] * 20, [None] * 20, **NAMES),
        two_reliabilities(Bins([], [], [], []), Bins([0], [None], [None], [None])),
    ]


def draw_hostile():
    hostile = {"reference_name": HOSTILE, "current_name": HOSTILE}
    return [
        effects(
            [Effect(HOSTILE, 1e300, -1e14, 1e-300, 1e-300, HOSTILE, mark=True)] * 2, title=HOSTILE
        ),
        groups([Measured(HOSTILE, 0.1, -1e14, 1e14)], title=HOSTILE, whole=math.inf),
        timeline([Point(HOSTILE, 7.0)] * 50, title=HOSTILE, reference=7, reference_name=HOSTILE),
        two_scores([0, 1], [1], [1], **hostile),
        two_reliabilities(Bins(**BINS), Bins(**BINS), **hostile),
    ]


every_chart = pytest.mark.parametrize("svg", draw_all(), ids=KINDS)


@every_chart
def test_each_chart_is_one_self_contained_image_that_describes_itself(svg, parse):
    root = parse(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert root.find(f"{SVG}desc").text.endswith(".")
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    drawn = {"rect", "line", "circle", "polygon", "text", "g", "path"}
    assert tags <= {"svg", "title", "desc", "style"} | drawn
    assert not re.search(r"url\(|@import|href|\bon\w+=|nan|inf\b", svg.replace("http://www.w3", ""))


@every_chart
def test_nothing_lies_off_the_paper(svg, parse, lines):
    root = parse(svg)
    width, height = (float(side) for side in root.get("viewBox").split()[2:])
    for element in root.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width)):
            assert 0 <= float(element.get(name, 0)) <= most
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(name, 0)) <= height
        if element.get("points"):
            ends = [tuple(map(float, pair.split(","))) for pair in element.get("points").split()]
            assert all(0 <= x <= width and 0 <= y <= height for x, y in ends)
    for ink in charts.INKS:
        for way in (*lines(svg, ink), *lines(svg, f"{ink}-line")):
            assert all(0 <= x <= width and 0 <= y <= height for x, y in way)


@every_chart
def test_light_colours_need_no_style_sheet_and_dark_ones_replace_them(svg, parse, with_style):
    root = parse(svg)
    style = root.find(f"{SVG}style").text
    assert style.startswith("@media (prefers-color-scheme:dark)")
    paper = root.find(f"{SVG}rect")
    assert (paper.get("fill"), paper.get("class")) == ("#ffffff", "paper")
    for element, drawn in with_style(root):
        for name in element.get("class", "").split():
            assert name == "nethical-chart" or f".nethical-chart .{name}{{" in style
        if element.tag in {f"{SVG}text", f"{SVG}circle", f"{SVG}polygon"}:
            assert drawn["fill"].startswith("#")


def contrast(one, other):
    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", ["ink", "muted", "positive", "negative", "limit"])
@pytest.mark.parametrize("scheme", [0, 1])
def test_every_ink_can_be_read_on_its_paper(name, scheme):
    for paper in ("paper", "band"):
        assert contrast(charts.INKS[name][scheme], charts.INKS[paper][scheme]) >= 4.5


@every_chart
def test_letters_are_legible_when_the_image_is_as_wide_as_a_phone(svg, parse, with_style):
    root = parse(svg)
    scale = 330 / float(root.get("viewBox").split()[2])
    for element, style in with_style(root):
        assert element.tag != f"{SVG}text" or float(style["font-size"]) * scale >= 10


@every_chart
def test_words_on_one_line_do_not_run_into_each_other(svg, parse, with_style):
    spans = {}
    for element, style in with_style(parse(svg)):
        if element.tag == f"{SVG}text" and element.text:
            width = 0.5 * float(style["font-size"]) * len(element.text)
            x, anchor = float(element.get("x")), style["text-anchor"]
            left = x - {"start": 0, "middle": width / 2, "end": width}[anchor]
            spans.setdefault(element.get("y"), []).append((left, left + width))
    for line in spans.values():
        for (_, end), (start, _) in itertools.pairwise(sorted(line)):
            assert end < start
        assert max(end for _, end in line) <= 420


@pytest.mark.parametrize("svg", draw_all()[USUAL], ids=KINDS[USUAL])
def test_charts_of_usual_size_stay_below_8_kilobytes(svg):
    assert len(svg.encode()) < 8_000


def test_the_same_values_give_the_same_bytes():
    assert draw_all() == draw_all()


def test_names_from_anywhere_are_cut_escaped_and_hide_nothing():
    for svg in draw_hostile():
        assert "<script" not in svg
        assert "x" * 200 not in svg
        assert not set("\u202e\u200f\x00\x1b") & set(svg)
        assert "&lt;script&gt;" in svg
        assert len(svg.encode()) < 16_000
        svg.encode()
