from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical.drift.windows import WIDTHS, check_width, in_order, windows
from nethical.errors import DataError, UsageError


def spans(values, width="day", **more):
    """The span of each value, by name."""
    column = values if isinstance(values, pa.Array) else pa.array(values, **more)
    codes, names = windows(pa.chunked_array([column]), "at", width)
    return [names[code] for code in codes]


@given(st.lists(st.datetimes(), min_size=1, max_size=20))
def test_spans_are_those_of_the_calendar(instants):
    names = {
        "day": [f"{t.year:04d}-{t.month:02d}-{t.day:02d}" for t in instants],
        "week": [f"{t.isocalendar()[0]:04d}-W{t.isocalendar()[1]:02d}" for t in instants],
        "month": [f"{t.year:04d}-{t.month:02d}" for t in instants],
    }
    for width, wanted in names.items():
        assert spans(instants, width, type=pa.timestamp("us")) == wanted


def test_the_turn_of_a_year_belongs_to_its_iso_week():
    assert spans([date(2026, 12, 31), date(2027, 1, 3), date(2027, 1, 4)], "week") == [
        "2026-W53",
        "2026-W53",
        "2027-W01",
    ]


LATE = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([LATE], pa.timestamp("us", tz="UTC")),
        pa.array([LATE], pa.timestamp("us", tz="America/New_York")),
        pa.array([LATE + timedelta(microseconds=1)], pa.timestamp("ns", tz="Asia/Tokyo")),
        pa.array([np.datetime64("2026-03-01T23:30:00.000000007")]),
        pa.array([LATE], pa.timestamp("s")),
        pa.array(["2026-03-01 23:30:00"]),
        pa.array(["2026-03-01T23:30:00Z"], pa.large_string()),
        pa.array(["2026-03-02T01:30:00+02:00"]),
        pa.array(["2026-03-01"]),
        pa.array([date(2026, 3, 1)]),
        pa.array([int(LATE.timestamp())]),
        pa.array([LATE.timestamp() + 0.25]),
    ],
    ids=lambda column: f"{column.type} {column[0]}",
)
def test_an_instant_is_told_in_utc_however_it_is_written(column):
    assert spans(column) == ["2026-03-01"]


def test_rows_without_a_time_are_a_span_of_their_own_and_the_last():
    codes, names = windows(pa.chunked_array([pa.array([None, "2026-03-02", None])]), "at", "day")
    assert names == ["2026-03-02", "(no time)"]
    assert codes.tolist() == [1, 0, 1]
    assert spans([float("nan"), float("inf"), 0.0]) == ["(no time)", "(no time)", "1970-01-01"]
    assert in_order(["(no time)", "2026-W10", "2025-W51"]) == ["2025-W51", "2026-W10", "(no time)"]


def test_no_rows_are_in_no_span():
    assert windows(pa.chunked_array([pa.array([], pa.float64())]), "at", "week")[1] == []


@pytest.mark.parametrize(
    "values",
    [
        ["yesterday"],
        ["2026-03-01T10:00:00Z", "2026-03-01 10:00:00"],  # one tells its zone, one does not
        [1.7e12],  # milliseconds
        [-1e11],  # before the year 1
        [10**18],
        [b"2026-03-01"],
        [[1, 2]],
        [True],
    ],
    ids=repr,
)
def test_what_is_no_instant_is_told_in_two_lines(values):
    with pytest.raises(DataError, match="time column 'at'") as caught:
        spans(values)
    assert caught.value.mend
    assert "\n" not in caught.value.what + caught.value.mend


def test_the_first_and_the_last_day_that_have_a_name():
    day = 86_400
    assert spans([-719_162.0 * day, 2_932_896.0 * day]) == ["0001-01-01", "9999-12-31"]
    for beyond in (-719_163.0 * day, 2_932_897.0 * day):
        with pytest.raises(DataError):
            spans([beyond])


def test_there_is_no_other_width():
    for width in WIDTHS:
        check_width(width)
    with pytest.raises(UsageError, match="'year'"):
        spans(["2026-03-01"], "year")
