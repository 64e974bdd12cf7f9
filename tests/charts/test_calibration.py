import math

import pytest

from nethical.charts import Bins, reliability, two_reliabilities

BINS = {
    "n": [700, 120, 0, 40, 30, 0, 25, 30, 45, 210],
    "mean_proba": [0.02, 0.14, None, 0.35, 0.44, math.nan, 0.66, 0.75, 0.86, 0.97],
    "share": [0.03, 0.12, None, 0.38, 0.40, math.nan, 0.60, 0.80, 0.82, 0.98],
    "error": [0.006, 0.03, None, 0.08, 0.09, math.nan, 0.1, 0.07, 0.06, 0.01],
}
NAMES = {"reference_name": "first", "current_name": "second"}


def test_a_reliability_dot_lies_at_its_probability_and_share_with_an_area_by_rows(places):
    dots = places(reliability(**BINS), "circle", "negative")
    assert len(dots) == sum(n > 0 for n in BINS["n"])
    assert float(dots[0].get("cx")) == pytest.approx(52 + 0.02 * 348, abs=0.06)
    assert float(dots[0].get("cy")) == pytest.approx(410 - 0.03 * 340, abs=0.06)
    radii = [float(dot.get("r")) for dot in dots]
    assert radii[-1] ** 2 / radii[0] ** 2 == pytest.approx(210 / 700, rel=0.03)


def test_a_reliability_bar_spans_95_percent_within_0_and_1(places):
    bars = places(
        reliability([100, 9], [0.5, 0.9], [0.5, 1.0], [0.05, 0.1]), "line", "negative-line"
    )
    ends = [sorted(float(bar.get(name)) for name in ("y1", "y2")) for bar in bars]
    reach = 1.96 * 0.05 * 340
    assert ends[0] == pytest.approx([240 - reach, 240 + reach], abs=0.1)
    assert ends[1][0] == 70


def test_two_reliabilities_are_squares_and_circles_with_a_key(parse, texts, places, lines):
    few = Bins([10], [0.5], [0.7], [0.1])
    svg = two_reliabilities(Bins(**BINS), few, **NAMES)
    squares, circles = places(svg, "polygon", "muted"), places(svg, "circle", "negative")
    assert len(squares) == 1 + sum(n > 0 for n in BINS["n"])
    assert len(circles) == 2
    assert {"first: 1,200 rows", "second: 10 rows"} <= set(texts(svg))
    assert float(circles[1].get("cx")) == pytest.approx(52 + 0.5 * 348, abs=0.06)
    assert float(circles[1].get("cy")) == pytest.approx(454 - 0.7 * 340, abs=0.06)
    (bar,) = lines(svg, "negative-line")
    reach = 1.96 * 0.1 * 340
    assert [y for _, y in bar] == pytest.approx([216 + reach, 216 - reach], abs=0.1)
    assert "second: 10 rows predicted 0.500" in parse(svg)[1].text
