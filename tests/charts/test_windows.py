import itertools
import math

import pytest

from nethical.charts import Point, timeline

SVG = "{http://www.w3.org/2000/svg}"


def windows(count):
    values = [0.03 + 0.0002 * k + 0.002 * math.sin(k) for k in range(count)]
    return [
        Point(f"week {k + 1}", value, value - 0.006, value + 0.006, mark=k % 10 == 7)
        for k, value in enumerate(values)
    ]


def test_windows_lie_in_order_at_equal_distances_with_their_intervals(places, lines, titles):
    svg = timeline([Point("a", 2, 1, 3), Point("b", 4, 3, 5), Point("c", 3, 2, None)], title="")
    across = [float(dot.get("cx")) for dot in places(svg, "circle", "negative")]
    assert across == [119, 233, 347]
    (line,) = lines(svg, "muted-line")[-1:]
    assert [x for x, _ in line] == across
    bars = lines(svg, "negative-line")
    unit = bars[0][0][1] - float(places(svg, "circle", "negative")[0].get("cy"))
    assert bars[1][0][1] - bars[1][1][1] == pytest.approx(2 * unit)
    assert bars[2][1][1] == 52  # no upper bound: up to the edge
    assert titles(svg, "circle", "negative")[2] == "c: 3.000 [2.000, ?]"


def test_an_unknown_window_breaks_the_line(parse, lines):
    values = [1, 2, None, 2, 1]
    svg = timeline([Point(str(k), value) for k, value in enumerate(values)], title="")
    runs = [way for way in lines(svg, "muted-line") if way[0][0] != way[1][0]]
    assert [len(run) for run in runs] == [2, 2]
    assert "2: unknown" in parse(svg)[1].text


@pytest.mark.parametrize("count", [8, 104])
def test_windows_that_raised_an_alarm_are_diamonds_and_are_counted(count, parse, texts, places):
    svg = timeline(windows(count), title="")
    alarms = [point.label for point in windows(count) if point.mark]
    assert len(places(svg, "polygon", "limit")) == len(alarms)
    assert f"Diamond: raised an alarm ({len(alarms)} of {count})." in texts(svg)
    told = parse(svg)[1].text.split("; ")
    assert [text.split(":")[0] for text in told if text.rstrip(".").endswith("alarm")] == alarms


def test_reference_and_limit_are_named_and_lie_where_they_belong(texts, places):
    svg = timeline([Point("a", 0.0), Point("b", 10.0)], title="", limit=10, reference=0)
    assert {"reference: 0.000", "limit: 10.000"} <= set(texts(svg))
    (below,) = [line for line in places(svg, "line", "ink-line") if line.get("x1") == "62"]
    (above,) = [line for line in places(svg, "line", "limit-line") if line.get("x1") == "62"]
    dots = [dot.get("cy") for dot in places(svg, "circle", "negative")]
    assert [below.get("y1"), above.get("y1")] == dots
    assert below.get("stroke-dasharray")
    assert not above.get("stroke-dasharray")
    named = timeline(windows(2), title="", reference=0.03, reference_name="model of May")
    assert "model of May: 0.0300" in texts(named)


@pytest.mark.parametrize("count", [1, 2, 11, 12, 53, 104])
def test_labels_of_windows_are_thinned_evenly_and_the_last_one_stays(count, texts):
    svg = timeline(windows(count), title="")
    shown = [int(text.split()[1]) for text in texts(svg) if text.startswith("week")]
    assert shown[0] == count
    assert len(shown) == count if count <= 2 else 4 <= len(shown) <= 8
    assert len({a - b for a, b in itertools.pairwise(shown)}) <= 1


def test_many_windows_are_a_line_and_a_band_of_which_each_column_tells(parse, places, lines):
    svg = timeline(windows(104), title="")
    assert not places(svg, "circle", "negative")
    assert len(lines(svg, "negative-line")[0]) == 104
    assert len(lines(svg, "grid")[0]) == 2 * 106
    told = [path.findtext(f"{SVG}title") for path in parse(svg).iter(f"{SVG}path")]
    assert sum(text is not None for text in told) == 104
    assert len(svg.encode()) < 17_000
