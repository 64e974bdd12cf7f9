import math

import pytest

from nethical.charts import Effect, effects

EFFECTS = [
    Effect("Recall", -0.031, -0.052, -0.010, 0.05, "undecided"),
    Effect("False positive rate", 0.002, -0.001, 0.005, 0.01, "within the margin"),
    Effect("Precision", -0.22, -0.27, -0.17, 0.05, "worse", mark=True),
    Effect("Brier loss", 0.031, 0.022, 0.040, 0.01, "worse", mark=True),
    Effect("ECE", 0.004, None, 0.021, 0.02, "undecided"),
    Effect("ROC AUC", None, math.nan, math.inf, 0.05, "unknown"),
    Effect("Mean score", 0.013, 0.009, 0.017, None, "reported only"),
]


def test_margins_of_all_rows_lie_at_the_same_two_places_and_effects_in_units_of_them(places, lines):
    svg = effects(EFFECTS[:2], title="")
    (zero,) = {way[0][0] for way in lines(svg, "ink-line")}
    low, high = sorted({way[0][0] for way in lines(svg, "muted-line")})
    assert high - zero == pytest.approx(zero - low) == 58
    recall, rate = (float(dot.get("cx")) for dot in places(svg, "circle", "negative"))
    assert recall == pytest.approx(zero - 58 * 0.031 / 0.05, abs=0.06)
    assert rate == pytest.approx(zero + 58 * 0.002 / 0.01, abs=0.06)
    bars = lines(svg, "negative-line")
    assert bars[0][0][0] == pytest.approx(zero - 58 * 0.052 / 0.05, abs=0.06)
    assert bars[0][1][0] == pytest.approx(zero - 58 * 0.010 / 0.05, abs=0.06)
    assert len(lines(svg, "band")) == 2


def test_an_effect_tells_its_numbers_and_its_verdict_in_words(parse, texts, titles):
    svg = effects(EFFECTS, title="")
    said = texts(svg)
    assert {"-0.031 [-0.052, -0.010]", "undecided", "margin 0.05", "worse"} <= set(said)
    assert "0.004 [?, 0.021]" in said
    assert "Recall: -0.031 [-0.052, -0.010], margin 0.05, undecided" in parse(svg)[1].text
    assert "Mean score: 0.013 [0.009, 0.017], no margin, reported only" in parse(svg)[1].text
    assert titles(svg, "circle", "negative")[0] == "-0.62 margins"


def test_effects_beyond_three_margins_end_in_an_arrow_head(texts, places, lines):
    inside = Effect("a", 0.29, -0.3, 0.3, 0.1, "")
    assert not lines(effects([inside], title=""), "negative")
    beyond = [Effect("a", 0.1, -0.31, 0.2, 0.1, ""), Effect("b", 0.5, 0.4, None, 0.1, "")]
    svg = effects(beyond, title="")
    left, right = lines(svg, "negative")
    assert left[1][0] < left[0][0] == 36
    assert right[1][0] > right[0][0] > 384
    assert float(places(svg, "circle", "negative")[1].get("cx")) == 384
    assert "Arrow head: it goes on beyond the scale." in texts(svg)


def test_an_effect_without_a_margin_has_no_band_and_tells_its_own_scale(texts, places, lines):
    svg = effects([EFFECTS[-1]], title="")
    assert not lines(svg, "band")
    assert "own scale, ±0.02" in texts(svg)
    assert not {"margins", "-3"} & set(texts(svg))
    (dot,) = places(svg, "circle", "negative")
    assert float(dot.get("cx")) == pytest.approx(210 + 174 * 0.013 / 0.02, abs=0.06)
    for margin in (0.0, -1.0, math.nan):
        zero = Effect("Mean score", 0.013, 0.009, 0.017, margin, "reported only")
        assert effects([zero], title="") == svg


def test_an_alarm_has_a_shape_of_its_own_and_bold_words(parse, texts, with_style, places):
    svg = effects(EFFECTS, title="")
    assert len(places(svg, "polygon", "limit")) == 2
    assert len(places(svg, "circle", "negative")) == 4
    bold = [text.text for text, how in with_style(parse(svg)) if how.get("font-weight") == "600"]
    assert [text for text in bold if text] == ["worse", "worse"]
    assert "Diamond: it raised an alarm." in texts(svg)
    assert "Diamond: it raised an alarm." not in texts(effects(EFFECTS[:2], title=""))


def test_small_effects_get_the_decimals_that_tell_them_apart(texts):
    row = Effect("Brier loss", -0.00021, -0.00034, 0.0, 0.0005, "within the margin")
    assert "-0.00021 [-0.00034, 0.00000]" in texts(effects([row], title=""))
    large = Effect("Latency", 15.25, 11.0, 19.5, 1500.0, "within the margin")
    assert "15 [11, 20]" in texts(effects([large], title=""))
    assert "0.000" in texts(effects([Effect("a", -0.0001, None, None, 0.05, "")], title=""))


def test_wide_letters_are_cut_before_they_meet_the_numbers(texts):
    for letters in ("W" * 99, "界" * 99):
        (label, *_) = texts(effects([Effect(letters, 0.1, 0, 0.2, 0.1, "worse")], title="a"))[1:]
        assert len(label) * 15 <= 380 - len("worse") * 8
