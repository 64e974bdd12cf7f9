import math
import re
from xml.etree import ElementTree as ET

import pytest

from nethical import charts
from nethical.charts import Measured, forest, histogram, reliability

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert(1)</script> & "quoted" | `code`\n\x00\x1b\ud800 ' + "x" * 10_000
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


KINDS = [
    "reliability",
    "scores",
    "forest",
    "reliability without rows",
    "reliability without bins",
    "scores without rows",
    "forest without rows",
    "hostile forest",
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
    ]


def parse(svg):
    return ET.fromstring(svg)  # noqa: S314 - written by ourselves a moment ago


def texts(svg):
    return [element.text for element in parse(svg).iter(f"{SVG}text")]


def places(svg, tag, ink):
    found = parse(svg).iter(f"{SVG}{tag}")
    return [element for element in found if ink in element.get("class", "").split()]


every_chart = pytest.mark.parametrize("svg", draw_all(), ids=KINDS)


@every_chart
def test_each_chart_is_one_self_contained_image_that_describes_itself(svg):
    root = parse(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == [f"{SVG}title", f"{SVG}desc"]
    assert root.find(f"{SVG}desc").text.endswith(".")
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    drawn = {"rect", "line", "circle", "polygon", "text"}
    assert tags <= {"svg", "title", "desc", "style"} | drawn
    assert not re.search(r"url\(|@import|href|\bon\w+=|nan|inf\b", svg.replace("http://www.w3", ""))


@every_chart
def test_nothing_lies_off_the_paper(svg):
    root = parse(svg)
    width, height = (float(side) for side in root.get("viewBox").split()[2:])
    for element in root.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width)):
            assert 0 <= float(element.get(name, 0)) <= most
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.get(name, 0)) <= height


@every_chart
def test_light_colours_need_no_style_sheet_and_dark_ones_replace_each_of_them(svg):
    root = parse(svg)
    style = root.find(f"{SVG}style").text
    assert style.startswith("@media (prefers-color-scheme:dark)")
    paper = root.find(f"{SVG}rect")
    assert (paper.get("fill"), paper.get("class")) == ("#ffffff", "paper")
    for element in root.iter():
        for name in element.get("class", "").split():
            assert name == "nethical-chart" or f".nethical-chart .{name}{{" in style
        if element.tag in {f"{SVG}text", f"{SVG}circle", f"{SVG}polygon"}:
            assert element.get("fill").startswith("#")


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
def test_letters_are_legible_when_the_image_is_as_wide_as_a_phone(svg):
    root = parse(svg)
    scale = 330 / float(root.get("viewBox").split()[2])
    assert all(float(text.get("font-size")) * scale >= 10 for text in root.iter(f"{SVG}text"))


def test_the_same_values_give_the_same_bytes():
    assert draw_all() == draw_all()


def test_a_reliability_dot_lies_at_its_probability_and_share_with_an_area_by_rows():
    dots = places(reliability(**BINS), "circle", "negative")
    assert len(dots) == sum(n > 0 for n in BINS["n"])
    assert float(dots[0].get("cx")) == pytest.approx(52 + 0.02 * 348, abs=0.06)
    assert float(dots[0].get("cy")) == pytest.approx(410 - 0.03 * 340, abs=0.06)
    radii = [float(dot.get("r")) for dot in dots]
    assert radii[-1] ** 2 / radii[0] ** 2 == pytest.approx(210 / 700, rel=0.03)


def test_a_reliability_bar_spans_95_percent_within_0_and_1():
    bars = places(
        reliability([100, 9], [0.5, 0.9], [0.5, 1.0], [0.05, 0.1]), "line", "negative-line"
    )
    ends = [sorted(float(bar.get(name)) for name in ("y1", "y2")) for bar in bars]
    reach = 1.96 * 0.05 * 340
    assert ends[0] == pytest.approx([240 - reach, 240 + reach], abs=0.1)
    assert ends[1][0] == 70


def test_empty_bins_are_not_drawn_and_an_empty_diagram_says_so():
    assert "no rows" in texts(reliability([0], [None], [math.nan], [None]))
    assert "no rows" in texts(histogram(EDGES, [0] * 20, [0] * 20))
    assert "no rows" not in texts(histogram(**COUNTS))


def test_bins_of_unequal_number_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        reliability([1, 2], [0.1], [0.1], [0.1])
    with pytest.raises(ValueError, match="zip"):
        histogram([0, 0.5, 1], [1, 2, 3], [1, 2, 3])


def test_bars_are_shares_of_their_own_class_positives_up_and_negatives_down():
    svg = histogram([0, 0.5, 1], [1, 3], [900, 300], threshold=0.5)
    up = [bar for bar in places(svg, "rect", "positive") if bar.find(f"{SVG}title") is not None]
    down = [bar for bar in places(svg, "rect", "negative") if bar.find(f"{SVG}title") is not None]
    heights = [[float(bar.get("height")) for bar in bars] for bars in (up, down)]
    assert heights[0][0] == pytest.approx(heights[1][1], abs=0.2)
    assert heights[0][1] == pytest.approx(heights[1][0], abs=0.2)
    assert max(float(bar.get("y")) for bar in up) < min(float(bar.get("y")) for bar in down) + 0.1
    assert "positives: 4" in texts(svg)
    assert "negatives: 1,200" in texts(svg)


def test_the_histogram_shows_threshold_and_gray_zone_and_names_each_decision():
    svg = histogram(**COUNTS, threshold=0.5, gray_low=0.4, gray_high=0.6)
    band = places(svg, "rect", "band")[0]
    assert float(band.get("width")) == pytest.approx(0.2 * 348, abs=0.1)
    assert {"allow", "review", "block"} <= set(texts(svg))
    assert "Dashed: counted as positive from 0.5 on." in texts(svg)
    assert "Shaded: reviewed by people, 0.4 to 0.6." in texts(svg)


def test_a_zone_too_narrow_for_its_name_has_none_but_is_told_below():
    svg = histogram(**COUNTS, threshold=0.02, gray_low=0.0, gray_high=0.04)
    assert not {"allow", "review"} & set(texts(svg))
    assert "Shaded: reviewed by people, 0 to 0.04." in texts(svg)


def test_unknown_thresholds_draw_nothing():
    svg = histogram(**COUNTS, threshold=None, gray_low=math.nan, gray_high=0.6)
    assert not places(svg, "rect", "band")
    assert not any(text.startswith(("Dashed", "Shaded")) for text in texts(svg))


def test_a_forest_shows_every_row_with_estimate_interval_and_limit():
    svg = forest(ROWS, title="Criteria")
    said = texts(svg)
    assert {"Criteria", "0.912 [0.890, 0.931]", "0.400", "0.500 [?, 0.700]", "unknown"} <= set(said)
    assert all(any(text.startswith(row.label[:8]) for text in said) for row in ROWS)
    assert len(places(svg, "line", "limit-line")) == 4
    assert len(places(svg, "circle", "negative")) == 4
    assert "Accuracy >= 0.85: 0.912 [0.890, 0.931], limit 0.85" in parse(svg)[1].text


def test_a_forest_of_values_outside_0_and_1_gets_a_scale_that_holds_them():
    svg = forest([Measured("difference", -0.013, -0.02, 0.004, 0.0)], title="Brier")
    assert {"-0.02", "0"} <= set(texts(svg))
    root = parse(svg)
    assert all(24 <= float(dot.get("cx")) <= 396 for dot in root.iter(f"{SVG}circle"))


def test_hostile_words_stay_words():
    svg = forest([Measured(HOSTILE, 0.1)], title=HOSTILE)
    assert "<script" not in svg
    assert len(svg) < 6_000
    assert any(text.startswith("<script>alert(1)") for text in texts(svg))
    svg.encode()


def test_scores_of_rows_without_labels_speak_of_no_class():
    image = charts.histogram((0.0, 0.5, 1.0), (0, 0), (3, 7), is_labelled=False)
    assert "rows without a label: 10" in image
    assert "percentile" in image
    for word in ("negatives", "positives", "each class", "probability"):
        assert word not in image
