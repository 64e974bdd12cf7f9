"""What an event log says of each event's past, held against plain loops over all pairs."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical.data import event_state, events
from nethical.data.event_columns import LEGACY, MISSING_AMOUNT, fixed_amounts
from nethical.data.events import EventLog, EventState
from nethical.data.labels import Labelling
from nethical.data.roles import ColumnRole, Role, Roles
from nethical.data.table import normalise
from nethical.errors import DataError, IntegrityError

DAY = 86_400.0
START = 1_700_000_000.0
LOG = EventLog("agent", "resource", "time", "amount")
SHORT = EventLog("agent", "resource", "time", "amount", (1.0, 2.0, 4.0), 1.5)
LABELLING = Labelling(("1",), ("0",), "as given")
ROLES = Roles((ColumnRole("label", Role.LABEL, None, ""),), LABELLING)


def drawn(n=200, seed=1, days=50, *, step=DAY / 8, missing=0.05):
    """Return a random log in no order, with ties, gaps and negative amounts, and its labels."""
    rng = np.random.default_rng(seed)
    names = np.array(["ann", "bob", "cy", "dee", "eve"], dtype=object)
    amount = np.round(np.exp(rng.normal(3, 1, n)) * np.where(rng.random(n) < 0.1, -1, 1), 2)
    amount[rng.random(n) < missing] = np.nan
    cells = {
        "agent": np.where(rng.random(n) < missing, None, rng.choice(names, n)),
        "resource": np.where(rng.random(n) < missing, None, rng.choice(names[:3], n)),
        "time": START + step * rng.integers(0, int(days * DAY / step), n),
        "amount": amount,
    }
    labels = rng.choice(np.array([-1, 0, 1], dtype=np.int8), n, p=[0.2, 0.5, 0.3])
    frame = pa.table({k: pa.array(v, from_pandas=k != "amount") for k, v in cells.items()})
    return normalise(frame), labels


def derived(frame, labels, log=LOG, state=None):
    return log.derive(frame, labels, EventState.empty() if state is None else state)


def cells(frame, log=LOG):
    return {name: frame.column(name).to_numpy() for name in log.names}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


# --- the oracle ------------------------------------------------------------------------------


def share(total, count):
    return total / count if count else math.nan


def root(amount):
    return math.copysign(math.sqrt(abs(amount)), amount)


def angle(time):
    return 2 * math.pi * (time % DAY // 60) / 1440


def resultant(past):
    return (
        share(sum(math.cos(angle(e["time"])) for e in past), len(past)),
        share(sum(math.sin(angle(e["time"])) for e in past), len(past)),
    )


def is_present(amount):
    return not math.isnan(amount)


class Oracle:
    """Every column by its definition, one event at a time."""

    def __init__(self, frame, labels, log):
        self.log = log
        self.events = frame.to_pylist()
        for event, label in zip(self.events, labels, strict=True):
            event["label"] = int(label)
        for event in sorted(self.events, key=lambda e: e["time"]):
            event["z"] = self.z(event)
            event["unusual"] = event["z"] > 3

    def past(self, event, keys, days, delay=0.0):
        """Return the earlier events of the same keys in a window, in order of time."""
        if any(event[key] is None for key in keys):
            return None
        end = event["time"] - delay * DAY
        found = [
            e
            for e in self.events
            if e["agent"] is not None
            and e["resource"] is not None
            and all(e[key] == event[key] for key in keys)
            and end - days * DAY <= e["time"] < end
        ]
        return sorted(found, key=lambda e: e["time"])

    def z(self, event):
        past = self.past(event, ["agent"], self.log.windows_days[-1])
        known = [e["amount"] for e in past or [] if is_present(e["amount"])]
        if len(known) < 3 or not is_present(event["amount"]):
            return math.nan
        mean = sum(map(root, known)) / len(known)
        variance = sum(map(abs, known)) / len(known) - mean * mean
        spread = max(math.sqrt(max(variance, 0)), 0.05 * abs(mean), 2**-10)
        return (root(event["amount"]) - mean) / spread

    def row(self, event):
        log, time = self.log, event["time"]
        longest, middle = log.windows_days[-1], log.middle_days
        day = datetime.fromtimestamp(time, UTC)
        row = {"event_hour": time % DAY / 3600, "event_weekend": float(day.weekday() >= 5)}
        for who in ("agent", "resource"):
            for days in log.windows_days:
                row |= self.windowed(event, who, days, middle)
            past = self.past(event, [who], longest)
            row[f"{who}_days_since"] = self.since(past, time)
        past = self.past(event, ["agent"], longest)
        if past is not None:
            known = [abs(e["amount"]) for e in past if is_present(e["amount"])]
            row["agent_amount_ratio"] = share(event["amount"], share(sum(known), len(known)))
            row["agent_amount_z"] = event["z"]
            cosine, sine = resultant(past)
            alike = cosine * math.cos(angle(time)) + sine * math.sin(angle(time))
            row["agent_time_surprise"] = 1 - alike
        past = self.past(event, ["agent", "resource"], longest)
        if past is not None:
            row["pair_events"] = len(past)
            row["pair_new"] = float(not past)
            row["pair_days_since"] = self.since(past, time)
        past = self.past(event, ["resource"], longest)
        if past is not None:
            row["resource_new"] = float(not past)
            row |= self.legacy(self.past(event, ["resource"], middle), time)
        return row

    def windowed(self, event, who, days, middle):
        past = self.past(event, [who], days)
        if past is None:
            return {}
        tag = f"{days:g}d"
        amounts = [e["amount"] for e in past if is_present(e["amount"])]
        unusual = sum(e["unusual"] for e in past)
        known = [e["label"] for e in self.past(event, [who], days, self.log.label_delay_days)]
        known = [label for label in known if label >= 0]
        row = {
            f"{who}_events_{tag}": len(past),
            f"{who}_mean_{tag}": share(sum(amounts), len(amounts)),
            f"{who}_unusual_{tag}": unusual,
            f"{who}_risk_{tag}": (sum(known) + 0.05) / (len(known) + 5),
        }
        if who == "resource":
            row[f"resource_unusual_share_{tag}"] = share(unusual, len(past))
            if days != middle:
                row[f"resource_agents_{tag}"] = len({e["agent"] for e in past})
        return row

    def since(self, past, time):
        if past is None:
            return math.nan
        return (time - past[-1]["time"]) / DAY if past else math.nan

    def legacy(self, past, time):
        agents = [e["agent"] for e in past]
        if not past:
            return {"agent_count": 0}
        surprisals = [-math.log2(agents.count(agent) / len(agents)) for agent in agents]
        mean = sum(surprisals) / len(past)
        amounts = [abs(e["amount"]) for e in past if is_present(e["amount"])]
        roots = sum(map(math.sqrt, amounts))
        return {
            "agent_count": len(set(agents)),
            "action_rate": len(past) / (max(time - past[0]["time"], 3600) / DAY),
            "entropy_variance": sum((s - mean) ** 2 for s in surprisals) / len(past),
            "time_correlation": math.hypot(*resultant(past)),
            "payload_similarity": share(roots * roots, len(amounts) * sum(amounts)),
        }


@pytest.mark.parametrize("log", [LOG, SHORT, replace(LOG, label_delay_days=0.0)])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_column_is_what_its_definition_says(log, seed):
    frame, labels = drawn(seed=seed)
    found = cells(derived(frame, labels, log)[0], log)
    oracle = Oracle(frame, labels, log)
    rows = [oracle.row(event) for event in oracle.events]
    assert set().union(*rows) == set(log.names)
    for name in log.names:
        expected = np.array([row.get(name, math.nan) for row in rows], dtype=float)
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-4, err_msg=name)
    assert any(event["unusual"] for event in oracle.events)


# --- no look-ahead, and cuts -----------------------------------------------------------------


@pytest.mark.parametrize("seed", [3, 4])
def test_nothing_at_or_before_an_instant_depends_on_what_comes_after_it(seed):
    frame, labels = drawn(seed=seed)
    time = frame.column("time").to_numpy()
    now = np.sort(time)[120]
    later = time > now
    other, others = drawn(seed=seed + 10)
    columns = {
        name: np.where(
            later,
            other.column(name).to_numpy(zero_copy_only=False),
            frame.column(name).to_numpy(zero_copy_only=False),
        )
        for name in frame.column_names
    }
    columns["time"] = np.where(later, now + 1 + other.column("time").to_numpy() - START, time)
    changed = normalise(pa.table({k: pa.array(v) for k, v in columns.items()}))
    before = cells(derived(frame, labels)[0])
    after = cells(derived(changed, np.where(later, others, labels))[0])
    assert_same(
        {name: values[~later] for name, values in after.items()},
        {name: values[~later] for name, values in before.items()},
    )


def test_a_label_younger_than_its_delay_changes_nothing():
    frame, labels = drawn()
    time = frame.column("time").to_numpy()
    now = np.sort(time)[150]
    young = time >= now - 7 * DAY
    before = cells(derived(frame, labels)[0])
    after = cells(derived(frame, np.where(young, 1 - labels, labels).astype(np.int8))[0])
    seen = time <= now
    assert_same(
        {name: values[seen] for name, values in after.items()},
        {name: values[seen] for name, values in before.items()},
    )


def test_an_old_label_changes_the_risk_of_those_who_come_later():
    frame = normalise(
        pa.table({"agent": ["a", "b"], "resource": ["r", "r"], "time": [START, START + 8 * DAY]})
    )
    log = replace(LOG, amount=None)
    risks = [
        derived(frame, np.array([label, -1], dtype=np.int8), log)[0]["resource_risk_7d"].to_numpy()
        for label in (1, 0)
    ]
    assert risks[0][1] > risks[1][1]
    assert risks[0][0] == risks[1][0]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.sampled_from(["x", "y", None]),
        st.integers(0, 40),
        st.one_of(st.sampled_from([1.0, 5.0, 1e6, -3.5, math.nan]), st.floats(-1e12, 1e12)),
        st.sampled_from([-1, 0, 1]),
    ),
    min_size=1,
    max_size=50,
)


def log_of(rows):
    columns = list(zip(*rows, strict=True))
    frame = pa.table(
        {
            "agent": pa.array(columns[0], pa.string()),
            "resource": pa.array(columns[1], pa.string()),
            "time": pa.array([START + DAY / 4 * step for step in columns[2]]),
            "amount": pa.array(columns[3], pa.float64()),
        }
    )
    return normalise(frame), np.array(columns[4], dtype=np.int8)


@settings(max_examples=150, deadline=None)
@given(rows=EVENTS, data=st.data())
def test_any_cut_in_order_of_time_gives_the_same_columns_and_state_bit_for_bit(rows, data):
    frame, labels = log_of(sorted(rows, key=lambda row: row[2]))
    whole, at_end = derived(frame, labels, SHORT)
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=4))
    edges = [0, *sorted(cuts), len(rows)]
    state, pieces = EventState.empty(), []
    for start, end in pairwise(edges):
        part = frame.slice(start, end - start)
        piece, state = derived(part, labels[start:end], SHORT, state)
        state = EventState.from_bytes(state.to_bytes(SHORT), SHORT)
        pieces.append(piece)
    assert_same(cells(pa.concat_tables(pieces), SHORT), cells(whole, SHORT))
    assert state.to_bytes(SHORT) == at_end.to_bytes(SHORT)


@settings(max_examples=100, deadline=None)
@given(rows=EVENTS, data=st.data())
def test_labels_that_come_late_but_in_time_give_the_same_columns(rows, data):
    frame, labels = log_of(sorted(rows, key=lambda row: row[2]))
    time = frame.column("time").to_numpy()
    whole = derived(frame, labels, SHORT)[0]
    cuts = data.draw(st.lists(st.integers(0, len(rows)), max_size=3))
    edges = [0, *sorted(cuts), len(rows)]
    state, pieces = EventState.empty(), []
    for start, end in pairwise(edges):
        part, told = frame.slice(start, end - start), labels[start:end].copy()
        young = time[start:end] >= time[end - 1] - SHORT.label_delay_days * DAY
        late = young & (told >= 0)
        told[late] = -1
        piece, state = derived(part, told, SHORT, state)
        words = np.where(labels[start:end] == 1, "1", "0")
        letters = part.append_column("label", pa.array(words)).filter(pa.array(late))
        state, _, unmatched = state.with_labels(normalise(letters), SHORT, ROLES)
        agents, resources = (letters.column(name).is_null() for name in SHORT.keys)
        nameless = sum(
            a or r for a, r in zip(agents.to_pylist(), resources.to_pylist(), strict=True)
        )
        assert unmatched == nameless
        pieces.append(piece)
    assert_same(cells(pa.concat_tables(pieces), SHORT), cells(whole, SHORT))


def test_the_order_of_rows_does_not_matter():
    frame, labels = drawn()
    order = np.random.default_rng(5).permutation(len(labels))
    straight = cells(derived(frame, labels)[0])
    shuffled = cells(derived(frame.take(pa.array(order)), labels[order])[0])
    assert_same(shuffled, {name: values[order] for name, values in straight.items()})


def test_events_of_one_instant_do_not_see_each_other():
    frame = normalise(
        pa.table(
            {"agent": ["a"] * 3, "resource": ["r"] * 3, "time": [START] * 3, "amount": [1.0] * 3}
        )
    )
    found = cells(derived(frame, np.ones(3, dtype=np.int8))[0])
    assert found["agent_events_30d"].tolist() == [0, 0, 0]
    assert found["agent_count"].tolist() == [0, 0, 0]
    assert found["pair_new"].tolist() == [1, 1, 1]
    assert np.isnan(found["entropy_variance"]).all()


# --- what a log may hold ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "times",
    [
        lambda s: pa.array(s.astype(np.int64)),
        lambda s: pa.array(s.astype(np.int64), pa.timestamp("s")).cast(pa.timestamp("us")),
        lambda s: pa.array(s.astype(np.int64), pa.timestamp("s", tz="Asia/Tokyo")),
        lambda s: pa.array(
            [datetime.fromtimestamp(x, UTC).strftime("%Y-%m-%d %H:%M:%S") for x in s]
        ),
    ],
)
def test_an_instant_is_the_same_as_a_number_a_stamp_or_text(times):
    frame, labels = drawn()
    place = frame.column_names.index("time")
    seconds = frame.column("time").to_numpy()
    other = normalise(frame.set_column(place, "time", times(seconds)))
    assert_same(cells(derived(other, labels)[0]), cells(derived(frame, labels)[0]))


def test_names_are_the_same_as_numbers_or_text():
    frame, labels = drawn(missing=0)
    codes = frame.column("agent").combine_chunks().dictionary_encode().indices
    place = frame.column_names.index("agent")
    tables = [
        normalise(frame.set_column(place, "agent", codes.cast(kind)))
        for kind in (pa.int64(), pa.float64(), pa.string())
    ]
    _, state = derived(tables[0], labels)
    later = pa.table({"agent": ["0"], "resource": ["ann"], "time": [START + 60 * DAY]})
    later = normalise(later.append_column("amount", pa.array([1.0])))
    assert derived(later, labels[:1], state=state)[0]["agent_events_30d"].to_numpy()[0] > 0
    first, *others = (cells(derived(table, labels)[0]) for table in tables)
    for other in others:
        assert_same(other, first)


def test_an_event_without_an_agent_has_no_past_as_an_agent_and_is_in_nobodys():
    frame = normalise(
        pa.table(
            {
                "agent": [None, "a", None],
                "resource": ["r", "r", "r"],
                "time": [START, START + 1, START + 2],
                "amount": [1.0, 1.0, 1.0],
            }
        )
    )
    found = cells(derived(frame, np.ones(3, dtype=np.int8))[0])
    np.testing.assert_array_equal(found["agent_events_1d"], [np.nan, 0, np.nan])
    np.testing.assert_array_equal(found["pair_events"], [np.nan, 0, np.nan])
    assert found["resource_events_1d"].tolist() == [0, 0, 1]


def test_an_unknown_agent_at_scoring_has_no_history_and_finite_counts():
    frame, labels = drawn()
    _, state = derived(frame, labels)
    stranger = normalise(
        pa.table(
            {
                "agent": ["zed"],
                "resource": ["new place"],
                "time": [START + 60 * DAY],
                "amount": [5.0],
            }
        )
    )
    found = cells(derived(stranger, np.array([-1], dtype=np.int8), state=state)[0])
    assert found["agent_events_30d"][0] == found["resource_events_30d"][0] == 0
    assert found["resource_new"][0] == found["pair_new"][0] == 1
    assert found["agent_risk_30d"][0] == pytest.approx(0.01)
    assert np.isnan(found["agent_amount_z"][0])


def test_an_empty_table_is_fine_before_and_after_others():
    frame, labels = drawn()
    nothing, state = derived(frame.slice(0, 0), labels[:0])
    assert nothing.num_rows == 0
    assert nothing.column_names == [*frame.column_names, *LOG.names]
    whole, before = derived(frame, labels, state=EventState.from_bytes(state.to_bytes(LOG), LOG))
    assert_same(cells(whole), cells(derived(frame, labels)[0]))
    _, after = derived(frame.slice(0, 0), labels[:0], state=before)
    assert after.to_bytes(LOG) == before.to_bytes(LOG)


def test_huge_amounts_are_clipped_infinite_ones_missing_and_all_columns_stay_finite():
    amounts = [1e300, -1e300, math.inf, -math.inf, 2.0**32, 0.0, 1e-9]
    assert fixed_amounts(np.array([1e300, -1e300, math.nan])).tolist() == [
        2**52,
        -(2**52),
        MISSING_AMOUNT,
    ]
    n = len(amounts)
    frame = normalise(
        pa.table(
            {
                "agent": ["a"] * n,
                "resource": ["r"] * n,
                "time": START + np.arange(n),
                "amount": amounts,
            }
        )
    )
    found = cells(derived(frame, np.zeros(n, dtype=np.int8))[0])
    assert not any(np.isinf(values).any() for values in found.values())
    assert found["agent_mean_1d"][3] == 0  # the two huge ones cancel, the infinite one is missing


def test_without_an_amount_its_columns_are_left_out():
    frame, labels = drawn()
    log = replace(LOG, amount=None)
    bare, _ = log.derive(frame.drop_columns("amount"), labels, EventState.empty())
    found = cells(derived(frame, labels)[0])
    assert set(log.names) < set(LOG.names)
    assert not any(word in name for name in log.names for word in ("amount", "mean", "payload"))
    assert_same(cells(bare, log), {name: found[name] for name in log.names})


def test_names_of_a_megabyte_are_fine():
    frame, labels = drawn(30)
    place = frame.column_names.index("agent")
    long = [None if name is None else name * (1 << 19) for name in frame["agent"].to_pylist()]
    other = normalise(frame.set_column(place, "agent", pa.array(long)))
    found, state = derived(other, labels)
    assert_same(cells(found), cells(derived(frame, labels)[0]))
    back = EventState.from_bytes(state.to_bytes(LOG), LOG)
    assert back.agents.equals(state.agents)


def test_a_missing_time_is_refused_with_its_count():
    frame, labels = drawn(10)
    place = frame.column_names.index("time")
    times = pa.array([None, math.nan, *[START] * 8], pa.float64())
    with pytest.raises(DataError, match="missing in 2 of 10 rows") as caught:
        derived(frame.set_column(place, "time", times), labels)
    assert "fill the times in" in caught.value.mend


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("time", ["soon"] * 10, "cannot be read"),
        ("time", [1e300] * 10, "beyond the year 9999"),
        ("amount", ["much"] * 10, "should hold numbers"),
    ],
)
def test_what_cannot_be_read_is_refused(name, values, said):
    frame, labels = drawn(10)
    place = frame.column_names.index(name)
    with pytest.raises(DataError, match=said):
        derived(normalise(frame.set_column(place, name, pa.array(values))), labels)


def test_a_missing_column_is_refused_by_name():
    frame, labels = drawn(10)
    with pytest.raises(DataError, match="'resource' of the event log is missing"):
        derived(frame.drop_columns("resource"), labels)


def test_a_column_named_as_a_derived_one_is_refused():
    frame, labels = drawn(10)
    with pytest.raises(DataError, match="'pair_new' already") as caught:
        derived(frame.append_column("pair_new", pa.array([0.0] * 10)), labels)
    assert "rename" in caught.value.mend


def test_more_events_at_once_than_fit_are_refused(monkeypatch):
    monkeypatch.setattr(events, "MOST_EVENTS", 9)
    frame, labels = drawn(10)
    with pytest.raises(DataError, match="10 events at once are more than 9"):
        derived(frame, labels)


@pytest.mark.parametrize(
    ("windows", "delay"),
    [((), 1.0), ((0.0,), 1.0), ((2.0, 1.0), 1.0), ((1.0, 1.0), 1.0), ((1.0,), -1.0)],
)
def test_windows_and_delays_that_make_no_sense_are_refused(windows, delay):
    with pytest.raises(DataError, match="make no sense"):
        EventLog("a", "r", "t", None, windows, delay)


# --- the log itself --------------------------------------------------------------------------


def test_a_log_is_made_of_roles_and_needs_agent_resource_and_time():
    kinds = {
        "who": Role.AGENT,
        "what": Role.RESOURCE,
        "when": Role.TIME,
        "much": Role.AMOUNT,
        "x": Role.NUMERIC,
    }
    columns = tuple(ColumnRole(name, role, None, "") for name, role in kinds.items())
    log = EventLog.of(Roles(columns, None), windows_days=(30, 1, 7, 7), label_delay_days=7)
    assert log == EventLog("who", "what", "when", "much")
    assert log.reads == ("who", "what", "when", "much")
    for i in range(3):
        fewer = Roles(columns[:i] + columns[i + 1 :], None)
        assert EventLog.of(fewer, windows_days=(1.0,), label_delay_days=7) is None


def test_a_log_survives_json():
    log = EventLog("agent", "resource", "time", None, (0.5, 2.0), 0.0)
    assert EventLog.from_document(json.loads(json.dumps(log.to_document()))) == log


def test_derived_columns_are_numbers_that_explain_themselves():
    roles = LOG.derived_roles(ROLES)
    assert roles.columns[0] == ROLES.columns[0]
    assert tuple(column.name for column in roles.features) == LOG.names
    assert all(c.feature == Role.NUMERIC and len(c.why) > 10 for c in roles.features)
    assert set(LEGACY) < set(LOG.names)
    assert roles.labelling is LABELLING


# --- the state -------------------------------------------------------------------------------


def test_events_older_than_the_state_are_refused_with_their_count():
    frame, labels = drawn()
    _, state = derived(frame, labels)
    newest = frame.column("time").to_numpy() == frame.column("time").to_numpy().max()
    with pytest.raises(DataError, match=f"{(~newest).sum()} of 200 events are older") as caught:
        derived(frame, labels, state=state)
    assert "sort the data by time" in caught.value.mend
    derived(frame.filter(pa.array(newest)), labels[newest], state=state)


def test_a_state_forgets_what_no_later_event_looks_back_on():
    frame, labels = drawn(days=400)
    _, state = derived(frame, labels)
    newest = frame.column("time").to_numpy().max()
    assert 0 < len(state.time) < 60
    assert state.time.min() >= (newest - 37 * DAY) * 1e6
    assert len(state.agents) == len(set(state.agent.tolist()))


def test_a_state_of_another_log_is_refused():
    frame, labels = drawn()
    _, state = derived(frame, labels)
    with pytest.raises(DataError, match="windows_days") as caught:
        EventState.from_bytes(state.to_bytes(LOG), SHORT)
    assert "begin a new one" in caught.value.mend
    for use in (lambda: state.to_bytes(SHORT), lambda: derived(frame, labels, SHORT, state)):
        with pytest.raises(DataError, match="another event log"):
            use()


def test_a_state_with_any_byte_changed_or_cut_off_is_refused():
    frame, labels = drawn(40)
    whole = derived(frame, labels)[1].to_bytes(LOG)
    rng = np.random.default_rng(1)
    header = whole.index(b"\n") + 1
    for place in {*range(header), *rng.integers(header, len(whole), 300).tolist()}:
        damaged = bytearray(whole)
        damaged[place] ^= 1 + int(rng.integers(255))
        with pytest.raises(IntegrityError):
            EventState.from_bytes(bytes(damaged), LOG)
    for length in (0, 1, header, len(whole) - 1):
        with pytest.raises(IntegrityError):
            EventState.from_bytes(whole[:length], LOG)


def forged(state, **arrays):
    """Return the bytes of a state whose digest is right and whose content is not."""
    import io

    line, _, archive = state.to_bytes(LOG).partition(b"\n")
    del line
    with np.load(io.BytesIO(archive)) as stored:
        content = {name: stored[name] for name in stored.files} | arrays
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array for name, array in content.items() if array is not None})
    return event_state._header(LOG.to_document(), buffer.getvalue()) + buffer.getvalue()


@pytest.mark.parametrize(
    "arrays",
    [
        {"agent": None},
        {"agent": np.full(3, 99, dtype=np.int32)},
        {"agent": np.full(3, -1, dtype=np.int32)},
        {"agent": np.zeros(3)},
        {"agent": np.zeros(2, dtype=np.int32)},
        {"time": np.array([3, 2, 1], dtype=np.int64)},
        {"clock": np.array([], dtype=np.int64)},
        {"label": np.full(3, 7, dtype=np.int8)},
        {"agents.lengths": np.array([-1, 5], dtype=np.int64)},
        {"agents.text": np.full(3, 255, dtype=np.uint8)},
        {"label": np.array([{}, {}, {}], dtype=object)},
    ],
)
def test_a_state_whose_arrays_make_no_sense_is_refused_even_with_a_right_digest(arrays):
    frame = normalise(
        pa.table({"agent": ["a", "b", "c"], "resource": ["r"] * 3, "time": [1, 2, 3]})
    ).append_column("amount", pa.array([1.0] * 3))
    _, state = derived(frame, np.zeros(3, dtype=np.int8))
    assert EventState.from_bytes(forged(state), LOG).time.tolist() == state.time.tolist()
    with pytest.raises(IntegrityError, match="cannot be read"):
        EventState.from_bytes(forged(state, **arrays), LOG)


def test_a_state_of_a_later_version_names_it():
    archive = derived(*drawn(5))[1].to_bytes(LOG).partition(b"\n")[2]
    later = event_state._header(LOG.to_document(), archive, 2) + archive
    with pytest.raises(IntegrityError, match="schema version 2"):
        EventState.from_bytes(later, LOG)


def late(rows, *, amounts=True):
    names = ["agent", "resource", "time", "amount", "label"]
    frame = pa.table({n: pa.array(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)})
    return normalise(frame if amounts else frame.drop_columns("amount"))


def test_late_labels_meet_their_events_by_agent_resource_time_and_amount():
    rows = [("a", "r", START, 1.0), ("a", "r", START, 2.0), ("b", "r", START + 1, 1.0)]
    frame = late([(*row, "0") for row in rows]).drop_columns("label")
    _, state = derived(frame, np.full(3, -1, dtype=np.int8))
    told = [(*rows[1], "1"), (*rows[2], None), ("a", "r", START + 1, 1.0, "1")]
    after, matched, unmatched = state.with_labels(late(told), LOG, ROLES)
    assert (matched, unmatched) == (1, 1)
    assert after.label.tolist() == [-1, 1, -1]
    assert state.label.tolist() == [-1, -1, -1]


def test_labels_of_equal_events_may_be_delivered_again_and_go_on_to_the_next_event():
    rows = [("a", "r", START, 1.0)] * 2
    frame = late([(*row, "0") for row in rows]).drop_columns("label")
    _, state = derived(frame, np.array([0, -1], dtype=np.int8))
    one = late([(*rows[0], "1")], amounts=False)
    for _ in range(2):  # a correction of the event that has a label, once or twice the same
        state, matched, _ = state.with_labels(one, LOG, ROLES)
        assert (matched, state.label.tolist()) == (1, [1, -1])
    three = late([(*rows[0], "1")] * 3)
    state, matched, unmatched = state.with_labels(three, LOG, ROLES)
    assert (matched, unmatched, state.label.tolist()) == (2, 1, [1, 1])


def test_milliseconds_are_not_taken_for_seconds():
    frame, labels = drawn(10)
    now_ms = 1_764_000_000_000 + np.arange(10) * 1000
    place = frame.column_names.index("time")
    frame = frame.set_column(place, "time", pa.array(now_ms))
    with pytest.raises(DataError, match="numbers count seconds") as caught:
        derived(frame, labels)
    assert "divide milliseconds by 1000" in caught.value.mend


def test_late_labels_without_a_label_column_are_refused():
    frame, labels = drawn(10)
    _, state = derived(frame, labels)
    with pytest.raises(DataError, match="no label column 'label'"):
        state.with_labels(frame, LOG, ROLES)
    with pytest.raises(DataError, match="knows no label column"):
        state.with_labels(frame, LOG, Roles((), None))


def test_late_labels_before_the_first_event_meet_none():
    told = late([("a", "r", START, 1.0, "1")])
    assert EventState.empty().with_labels(told, LOG, ROLES)[1:] == (0, 1)
