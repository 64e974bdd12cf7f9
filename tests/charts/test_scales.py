import math
import random

import pytest

from nethical.charts.scales import decimals, interval_text, number_text, round_scale, ticks


def test_a_scale_holds_its_values_in_at_most_six_ticks_a_round_step_apart():
    rng = random.Random(7)
    for _ in range(2000):
        low, high = sorted(rng.uniform(-1, 1) * 10 ** rng.uniform(-9, 9) for _ in range(2))
        start, end, step = round_scale(low, high)
        assert start <= low * (1 + 1e-9 * math.copysign(1, -low))
        assert end >= high * (1 - 1e-9 * math.copysign(1, high))
        assert len(ticks(start, end, step)) <= 6
        leading = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert min(abs(leading - factor) for factor in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize("value", [0.0, 0.3, -5.0, 1e-300, 1e15])
def test_values_that_are_all_alike_lie_within_their_scale(value):
    start, end, step = round_scale(value, value)
    assert start < end
    assert start <= value <= end
    assert 2 <= len(ticks(start, end, step)) <= 6


def test_ticks_are_told_apart_and_zero_has_no_sign():
    assert [number_text(v, 2) for v in (-0.001, 1234.5, 1e9)] == ["0.00", "1,234.50", "1e+09"]
    assert interval_text(-0.0001, -0.0002, 0.5) == "0.000 [0.000, 0.500]"
    assert interval_text(math.inf, 0, 1) == interval_text(None, 0, 1) == "unknown"
    assert [decimals(unit) for unit in (0.0, 1e-12, 1e12)] == [3, 6, 0]
