import math

import pytest

from nethical.charts import Measured, forest, groups

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    '<script>alert(1)</script> & "quoted" | `code`\n\x00\x1b\ud800\u202e\u200f ' + "x" * 10_000
)
ROWS = [
    Measured("Accuracy >= 0.85", 0.912, 0.89, 0.931, 0.85),
    Measured("Recall > 0", 0.71, 0.62, 0.79, 0.0),
    Measured("No interval", 0.4),
    Measured("Half an interval", 0.5, None, 0.7, 0.6),
    Measured("Unknown", None, math.nan, math.nan, 0.3),
]
GROUPS = [
    Measured("north", 0.031, 0.024, 0.04),
    Measured("south", 0.052, 0.043, 0.062),
    Measured("not given", None),
]


def test_a_forest_shows_every_row_with_estimate_interval_and_limit(parse, texts, places):
    svg = forest(ROWS, title="Criteria")
    said = texts(svg)
    assert {"Criteria", "0.912 [0.890, 0.931]", "0.400", "0.500 [?, 0.700]", "unknown"} <= set(said)
    assert all(any(text.startswith(row.label[:8]) for text in said) for row in ROWS)
    assert len(places(svg, "line", "limit-line")) == 4
    assert len(places(svg, "circle", "negative")) == 4
    assert "Accuracy >= 0.85: 0.912 [0.890, 0.931], limit 0.85" in parse(svg)[1].text


def test_a_forest_of_values_outside_0_and_1_gets_a_scale_that_holds_them(parse, texts):
    svg = forest([Measured("difference", -0.013, -0.02, 0.004, 0.0)], title="Brier")
    assert {"-0.02", "0"} <= set(texts(svg))
    root = parse(svg)
    assert all(24 <= float(dot.get("cx")) <= 396 for dot in root.iter(f"{SVG}circle"))


def test_hostile_words_stay_words(texts):
    svg = forest([Measured(HOSTILE, 0.1)], title=HOSTILE)
    assert "<script" not in svg
    assert len(svg) < 6_000
    assert any(text.startswith("<script>alert(1)") for text in texts(svg))
    svg.encode()


def test_each_group_is_held_against_all_rows_together(parse, texts, places, lines):
    svg = groups(GROUPS, title="", whole=0.042)
    together = lines(svg, "ink-line")
    assert len(together) == len(GROUPS)
    (x,) = {place[0] for way in together for place in way}
    low, high = (float(dot.get("cx")) for dot in places(svg, "circle", "negative"))
    assert (x - low) / (high - low) == pytest.approx((42 - 31) / (52 - 31), abs=0.002)
    assert "Upright line: all rows together, 0.042." in texts(svg)
    assert "all rows together, 0.042." in parse(svg)[1].text
    assert not lines(groups(GROUPS, title="", whole=None), "ink-line")
