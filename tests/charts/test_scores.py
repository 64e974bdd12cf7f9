import math

import pytest

from nethical.charts import histogram, reliability, two_scores

SVG = "{http://www.w3.org/2000/svg}"
EDGES = [place / 20 for place in range(21)]
COUNTS = {
    "edges": EDGES,
    "positive": [5, 5, 4, 3, 2, 2, 2, 2, 1, 1, 3, 4, 5, 6, 8, 10, 15, 22, 40, 110],
    "negative": [900, 200, 80, 40, 30, 20, 15, 10, 8, 6, 4, 3, 2, 2, 1, 1, 0, 0, 1, 0],
}
NAMES = {"reference_name": "first", "current_name": "second"}


def test_empty_bins_are_not_drawn_and_an_empty_diagram_says_so(texts):
    assert "no rows" in texts(reliability([0], [None], [math.nan], [None]))
    assert "no rows" in texts(histogram(EDGES, [0] * 20, [0] * 20))
    assert "no rows" not in texts(histogram(**COUNTS))


def test_bins_of_unequal_number_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        reliability([1, 2], [0.1], [0.1], [0.1])
    with pytest.raises(ValueError, match="zip"):
        histogram([0, 0.5, 1], [1, 2, 3], [1, 2, 3])


def test_bars_are_shares_of_their_own_class_positives_up_and_negatives_down(texts, places):
    svg = histogram([0, 0.5, 1], [1, 3], [900, 300], threshold=0.5)
    up = [bar for bar in places(svg, "rect", "positive") if bar.find(f"{SVG}title") is not None]
    down = [bar for bar in places(svg, "rect", "negative") if bar.find(f"{SVG}title") is not None]
    heights = [[float(bar.get("height")) for bar in bars] for bars in (up, down)]
    assert heights[0][0] == pytest.approx(heights[1][1], abs=0.2)
    assert heights[0][1] == pytest.approx(heights[1][0], abs=0.2)
    assert max(float(bar.get("y")) for bar in up) < min(float(bar.get("y")) for bar in down) + 0.1
    assert "positives: 4" in texts(svg)
    assert "negatives: 1,200" in texts(svg)


def test_the_histogram_shows_threshold_and_gray_zone_and_names_each_decision(texts, places):
    svg = histogram(**COUNTS, threshold=0.5, gray_low=0.4, gray_high=0.6)
    band = places(svg, "rect", "band")[0]
    assert float(band.get("width")) == pytest.approx(0.2 * 348, abs=0.1)
    assert {"allow", "review", "block"} <= set(texts(svg))
    assert "Dashed: counted as positive from 0.5 on." in texts(svg)
    assert "Shaded: reviewed by people, 0.4 to 0.6." in texts(svg)


def test_a_zone_too_narrow_for_its_name_has_none_but_is_told_below(texts):
    svg = histogram(**COUNTS, threshold=0.02, gray_low=0.0, gray_high=0.04)
    assert not {"allow", "review"} & set(texts(svg))
    assert "Shaded: reviewed by people, 0 to 0.04." in texts(svg)


def test_unknown_thresholds_draw_nothing(texts, places):
    svg = histogram(**COUNTS, threshold=None, gray_low=math.nan, gray_high=0.6)
    assert not places(svg, "rect", "band")
    assert not any(text.startswith(("Dashed", "Shaded")) for text in texts(svg))


def test_scores_of_rows_without_labels_speak_of_no_class():
    image = histogram((0.0, 0.5, 1.0), (0, 0), (3, 7), is_labelled=False)
    assert "rows without a label: 10" in image
    assert "percentile" in image
    for word in ("negatives", "positives", "each class", "probability"):
        assert word not in image


def test_two_cohorts_are_shares_of_their_own_rows_the_reference_up(parse, texts, lines):
    svg = two_scores([0, 0.5, 1], [1, 3], [900, 300], **NAMES, threshold=0.5)
    up, down = lines(svg, "muted"), lines(svg, "negative")
    heights = [
        [max(y for _, y in way) - min(y for _, y in way) for way in ways] for ways in (up, down)
    ]
    assert heights[0] == pytest.approx(heights[1][::-1], abs=0.2)
    assert heights[0][1] == pytest.approx(3 * heights[0][0], abs=0.3)
    assert max(y for way in up for _, y in way) <= min(y for way in down for _, y in way)
    assert {"first: 4 rows", "second: 1,200 rows"} <= set(texts(svg))
    assert "Dashed: counted as positive from 0.5 on." in texts(svg)
    assert "0 to 0.5: 25.0% and 75.0%" in parse(svg)[1].text
    columns = [path.findtext(f"{SVG}title") for path in parse(svg).iter(f"{SVG}path")]
    assert "0.5 to 1: 75.0% and 25.0%" in columns


def test_classes_and_cohorts_are_drawn_by_the_same_bars(places, lines):
    counts = COUNTS["edges"], COUNTS["positive"], COUNTS["negative"]
    boxes = places(histogram(*counts), "rect", "positive")
    ways = lines(two_scores(*counts, **NAMES), "muted")
    assert [float(box.get("height")) for box in boxes] == pytest.approx(
        [way[2][1] - way[0][1] for way in ways], abs=0.11
    )
