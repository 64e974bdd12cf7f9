import datetime as dt
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical.data.roles import Role, RoleHints, infer
from nethical.data.split import PARTS, SHARES, SHARES_WITH_SEARCH, split
from nethical.data.table import LabelledTable, normalise
from nethical.errors import DataError, UsageError

RNG = np.random.default_rng(0)


def labelled(hints=None, **columns):
    frame = normalise(pa.table(columns))
    return LabelledTable.read(frame, infer(frame, RoleHints(hints or {})))[0]


def drawn(n, *, seed=0, hints=None, **columns):
    """Return n rows of two numbers, a label by chance, and these columns."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.4).astype(int)
    return labelled(hints, x=rng.normal(size=n), z=rng.normal(size=n), label=label, **columns)


def shares_of(result):
    return {name: count / len(result.part) for name, count in result.counts().items()}


def sides(keys, part):
    """Return the set of parts of each key."""
    found = {}
    for key, code in zip(keys, part.tolist(), strict=True):
        found.setdefault(key, set()).add(code)
    return found


# --- every strategy --------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [SHARES, SHARES_WITH_SEARCH])
@pytest.mark.parametrize(
    ("n", "off"), [(100, 0.011), (1999, 0.001), (2000, 0.035), (20_000, 0.012)]
)
def test_parts_are_disjoint_and_of_the_wanted_sizes(n, off, shares):
    result = split(drawn(n), seed=3, shares=shares)
    assert result.strategy == "random"
    measured = shares_of(result)
    assert measured.keys() == shares.keys()
    assert sum(result.mask(name).sum() for name in PARTS) == n
    for name, share in shares.items():
        assert measured[name] == pytest.approx(share, abs=off)


@pytest.mark.parametrize("n", [500, 5000])
@pytest.mark.parametrize("strategy", ["random", "grouped"])
def test_the_gate_is_the_same_with_and_without_a_tune_part(n, strategy):
    table = drawn(n, session=[f"s{i % (n // 5)}" for i in range(n)])
    plain = split(table, strategy=strategy, seed=1)
    search = split(table, strategy=strategy, seed=1, shares=SHARES_WITH_SEARCH)
    assert (plain.mask("gate") == search.mask("gate")).all()
    assert not (search.mask("tune") & plain.mask("gate")).any()
    assert search.mask("tune").any()


def test_the_same_seed_gives_the_same_split_and_another_one_another():
    table = drawn(4000)
    first, again, other = (split(table, seed=seed) for seed in (1, 1, 2))
    assert (first.part == again.part).all()
    assert (first.part != other.part).any()


def test_gates_of_other_seeds_overlap_by_no_more_than_chance():
    table = drawn(10_000)
    gates = [split(table, seed=seed).mask("gate") for seed in range(5)]
    for i, one in enumerate(gates):
        for other in gates[:i]:
            assert (one & other).sum() / one.sum() == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("n", [60, 300, 3000])
def test_a_file_sorted_by_label_has_both_classes_in_every_part(n):
    label = np.arange(n) >= 0.8 * n
    table = labelled(x=RNG.normal(size=n), label=label.astype(int))
    result = split(table, seed=0)
    for name in SHARES:
        assert set(table.y[result.mask(name)]) == {0, 1}


def test_the_order_of_the_rows_does_not_matter():
    table = drawn(3000)
    order = RNG.permutation(3000)
    assert (split(table, seed=4).part[order] == split(table.rows(order), seed=4).part).all()


def test_a_label_that_is_mended_does_not_move_its_row():
    table = drawn(3000)
    flipped = LabelledTable(table.frame, table.roles, 1 - table.y)
    assert (split(table, seed=4).part == split(flipped, seed=4).part).all()


# --- equal rows ------------------------------------------------------------------------------


@given(
    copies=st.lists(st.integers(1, 6), min_size=150, max_size=250),
    seed=st.integers(0, 99),
    tail=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_equal_rows_are_on_one_side(copies, seed, tail):
    rows = np.repeat(np.arange(len(copies)), copies)
    rng = np.random.default_rng(seed)
    rng.shuffle(rows)
    if tail:
        rows = np.append(rows, np.arange(1000, 3000))
    table = labelled(x=np.sqrt(rows + 2.0), label=(rng.random(len(rows)) < 0.5).astype(int))
    result = split(table, seed=seed)
    assert all(len(parts) == 1 for parts in sides(rows, result.part).values())
    assert result.duplicates == sum(copies) - len(copies)


def test_near_equal_rows_are_on_one_side_and_counted():
    n = 1500
    x = RNG.normal(size=n)
    text = [f"delete file {RNG.integers(9)} of {'abcdefghij'[i % 10]}" for i in range(n)]
    table = labelled(
        {"t": Role.TEXT},
        x=np.concatenate([x, x * (1 + 1e-12)]),
        t=text + [t.upper().replace(" ", "  ") + "!"[:0] for t in text],
        label=RNG.permutation([0, 1] * n),
    )
    result = split(table, seed=0)
    assert (result.part[:n] == result.part[n:]).all()
    assert result.duplicates == n


def test_rows_keep_their_part_while_the_table_grows():
    table = drawn(9000)
    whole = split(table, seed=7).part
    for n in (2000, 2001, 5000):
        assert (split(table.rows(np.arange(n)), seed=7).part == whole[:n]).all()


def test_below_two_thousand_rows_the_run_says_that_rows_may_move():
    small, large = (split(drawn(n), seed=0) for n in (1999, 2000))
    assert small.notes == (
        "fewer than 2000 rows, or 100 groups: more of them may later move a row to another part",
    )
    assert large.notes == ()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([0, 1], id="two values"),
        pytest.param(list(range(60)), id="sixty values"),
        pytest.param([0] * 20 + list(range(1, 181)), id="one value in a tenth of the rows"),
    ],
)
@pytest.mark.parametrize("n", [600, 6000])
def test_few_distinct_rows_are_told_apart_and_the_user_is_told(values, n):
    x = (values * (n // len(values)))[:n] + [2.5] * (n % len(values))
    table = labelled({"x": Role.CATEGORICAL}, x=x, label=(RNG.random(len(x)) < 0.5).astype(int))
    result = split(table, seed=0)
    for name, share in shares_of(result).items():
        assert share == pytest.approx(SHARES[name], abs=0.03)
    assert "few distinct rows: equal rows are taken for separate observations" in result.notes
    assert result.duplicates == 0
    if n >= 2000:
        grown = split(table.rows(np.arange(3000)), seed=0)
        assert (grown.part == result.part[:3000]).all()


# --- groups ----------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 12), min_size=80, max_size=120),
    seed=st.integers(0, 99),
    many=st.booleans(),
    words=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_a_group_is_never_split_apart(sizes, seed, many, words):
    sizes = sizes * (12 if many else 1)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(seed)
    rng.shuffle(codes)
    session = [f"session {code}" for code in codes] if words else codes
    table = drawn(len(codes), seed=seed, session=session)
    result = split(table, seed=seed)
    assert result.strategy == "grouped"
    assert all(len(parts) == 1 for parts in sides(codes, result.part).values())
    assert {name for name, share in shares_of(result).items() if share > 0.1} == set(SHARES)


def test_groups_keep_their_part_while_the_table_grows():
    table = drawn(6000, session=RNG.permutation(np.arange(6000) // 10))
    grown = split(table, seed=7).part
    assert (split(table.rows(np.arange(2500)), seed=7).part == grown[:2500]).all()


def test_few_large_groups_are_ranked_so_that_no_part_is_empty():
    result = split(drawn(6000, session=np.arange(6000) // 600), seed=0)
    assert shares_of(result) == pytest.approx(SHARES, abs=0.1)


def test_small_grouped_tables_have_near_exact_shares():
    result = split(drawn(1000, session=np.repeat(np.arange(200), 5)), seed=0)
    for name, share in shares_of(result).items():
        assert share == pytest.approx(SHARES[name], abs=0.005)


def test_grouped_without_groups_is_a_usage_error():
    with pytest.raises(UsageError, match="needs a group column"):
        split(drawn(100), strategy="grouped", seed=0)


def test_random_is_random_though_there_are_groups_when_asked_for():
    table = drawn(3000, session=np.repeat(np.arange(30), 100))
    result = split(table, strategy="random", seed=0)
    assert result.strategy == "random"
    assert all(
        len(parts) == 3 for parts in sides(np.repeat(np.arange(30), 100), result.part).values()
    )


# --- time ------------------------------------------------------------------------------------


def moments(n, step):
    start = dt.datetime(2024, 1, 1)  # noqa: DTZ001
    return [start + dt.timedelta(seconds=int(i) * step) for i in range(n)]


@pytest.mark.parametrize("kind", ["stamp", "text", "integer", "fraction"])
@pytest.mark.parametrize("shares", [SHARES, SHARES_WITH_SEARCH])
def test_the_past_trains_and_the_latest_judges(kind, shares):
    n = 1000
    order = RNG.permutation(n)
    stamps = np.array(moments(n, 60))[order]
    when = {
        "stamp": stamps,
        "text": list(map(str, stamps)),
        "integer": order - 500,
        "fraction": order / n,
    }[kind]
    hints = None if kind == "stamp" else {"when": Role.TIME}
    table = drawn(n, hints=hints, when=when)
    result = split(table, seed=0, shares=shares)
    assert result.strategy == "temporal"
    parts = [order[result.mask(name)] for name in PARTS if name in shares]
    for earlier, later in itertools.pairwise(parts):
        assert earlier.max() < later.min()
    assert shares_of(result) == pytest.approx(shares, abs=0.001)


def test_one_instant_is_in_one_part():
    hours = RNG.integers(0, 40, 1000)
    result = split(drawn(1000, hints={"hour": Role.TIME}, hour=hours), seed=0)
    assert all(len(parts) == 1 for parts in sides(hours, result.part).values())
    assert shares_of(result) == pytest.approx(SHARES, abs=0.05)


def test_groups_go_before_time_and_random_before_both_when_asked_for():
    columns = {"when": moments(400, 1), "session": np.repeat(np.arange(80), 5)}
    assert split(drawn(400, **columns), seed=0).strategy == "grouped"
    assert split(drawn(400, **columns), seed=0, strategy="temporal").strategy == "temporal"
    assert split(drawn(400, **columns), seed=0, strategy="random").strategy == "random"


def test_temporal_without_time_is_a_usage_error():
    with pytest.raises(UsageError, match="needs a time column"):
        split(drawn(100), strategy="temporal", seed=0)


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ([None, *moments(99, 1)], "missing in 1 rows"),
        ([0.5, float("nan"), None, *range(97)], "missing in 2 rows"),
        (["soon", *map(str, moments(99, 1))], "cannot be read"),
        ([["2024"]] * 100, "cannot be read"),
    ],
)
def test_times_that_are_missing_or_cannot_be_read_are_refused(when, said):
    table = drawn(100, hints={"when": Role.TIME}, when=when)
    with pytest.raises(DataError, match=f"time column 'when' {said}|time column 'when' is {said}"):
        split(table, strategy="temporal", seed=0)


# --- a column that says train or test --------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "TESTING"),
        (0, 1),
        (0.0, 1.0),
        ("train", "gate"),
        ("train", "eval"),
    ],
)
def test_a_split_column_says_which_rows_are_the_gate(train, test):
    is_test = RNG.random(3000) < 0.3
    table = drawn(
        3000, part=[test if flag else train for flag in is_test], hints={"part": Role.IGNORE}
    )
    result = split(table, column="part", seed=0)
    assert result.strategy == "given"
    assert (result.mask("gate") == is_test).all()
    rest = result.counts()["train"] / (~is_test).sum()
    assert rest == pytest.approx(0.75, abs=0.03)
    assert result.notes == ()


def test_a_split_column_goes_with_a_tune_part():
    table = drawn(3000, part=["train", "test"] * 1500, hints={"part": Role.IGNORE})
    counts = split(table, column="part", seed=0, shares=SHARES_WITH_SEARCH).counts()
    assert counts["gate"] == 1500
    assert counts["tune"] / 1500 == pytest.approx(0.15 / 0.8, abs=0.03)


def test_test_rows_that_equal_train_rows_are_counted():
    x = np.random.default_rng(0).normal(size=1000)  # its own, as two may be nearly equal by chance
    x[500:507] = x[:7]
    table = labelled(
        {"part": Role.IGNORE}, x=x, part=["train"] * 500 + ["test"] * 500, label=[0, 1] * 500
    )
    assert (
        "7 test rows equal or nearly equal a train row" in split(table, column="part", seed=0).notes
    )


def test_groups_stay_together_where_a_split_column_leaves_the_choice():
    session = np.repeat(np.arange(120), 25)
    part = np.where(session < 24, "test", "train")
    part[-1] = "test"
    table = drawn(3000, part=part, session=session, hints={"part": Role.IGNORE})
    result = split(table, column="part", seed=0)
    torn = {code for code, parts in sides(session, result.part).items() if len(parts) > 1}
    assert torn == {119}
    assert "1 groups have both train and test rows" in result.notes


def test_a_split_column_with_other_values_is_refused():
    table = drawn(100, part=["train"] * 50 + ["maybe", None] * 25, hints={"part": Role.IGNORE})
    with pytest.raises(DataError, match=r"split column 'part' holds ('maybe'|'\(missing\)')"):
        split(table, column="part", seed=0)


def test_a_split_column_without_test_rows_is_refused():
    table = drawn(100, part=["train"] * 100, hints={"part": Role.IGNORE})
    with pytest.raises(
        DataError, match="the gate part has no rows, of 100 rows by the given split"
    ):
        split(table, column="part", seed=0)


# --- parts that cannot be --------------------------------------------------------------------


def test_a_part_of_one_class_is_refused():
    table = labelled(x=np.arange(300) / 7, label=[0] * 299 + [1])
    with pytest.raises(DataError, match=r"part has one class only \(\d+ rows\), of 300 rows"):
        split(table, seed=0)
    hints = {"when": Role.TIME}
    early = labelled(hints, x=np.arange(300) / 7, when=range(300), label=[0, 1] * 50 + [0] * 200)
    with pytest.raises(DataError, match=r"one class only .* by the temporal split") as caught:
        split(early, seed=0)
    assert "another --split" in caught.value.mend


def test_only_the_wanted_parts_are_cut_and_checked():
    result = split(drawn(3000), seed=0, shares={"calibrate": 0.25, "train": 0.75})
    assert shares_of(result) == pytest.approx({"calibrate": 0.25, "train": 0.75}, abs=0.03)


# --- late labels, and rows of one class ------------------------------------------------------


@pytest.mark.parametrize("kind", ["timestamp", "integer", "float"])
def test_rows_whose_labels_were_not_known_when_the_gate_begins_are_in_no_part(kind):
    n, days = 2000, 50.0
    seconds = np.sort(RNG.integers(0, int(days * 86_400), n))
    when = {
        "timestamp": seconds.astype("datetime64[s]").astype("datetime64[us]"),
        "integer": seconds,
        "float": seconds.astype(float),
    }[kind]
    table = drawn(n, when=when, hints={"when": Role.TIME})
    result = split(table, seed=1, label_delay_days=7)
    first = seconds[result.mask("gate")].min()
    learnt = result.mask("train") | result.mask("calibrate")
    assert seconds[learnt].max() < first - 7 * 86_400
    waiting = result.part < 0
    assert waiting.sum() == ((seconds >= first - 7 * 86_400) & (seconds < first)).sum() > 0
    assert seconds[result.mask("train")].max() < seconds[result.mask("calibrate")].min()
    assert sum(result.counts().values()) == n - waiting.sum()
    assert shares_of(result)["gate"] == pytest.approx(0.2, abs=0.001)
    assert result.mask("train").sum() == pytest.approx(3 * result.mask("calibrate").sum(), rel=0.02)
    assert f"{int(waiting.sum()):,} rows of the 7 days before the gate part" in result.notes[0]
    at_once = split(table, seed=1)
    assert (result.mask("gate") == at_once.mask("gate")).all()


def test_a_delay_longer_than_the_log_leaves_nothing_to_learn_from():
    when = np.arange(500) * 86_400 // 100
    with pytest.raises(DataError, match="the train part has no rows"):
        split(drawn(500, when=when, hints={"when": Role.TIME}), seed=1, label_delay_days=30)


def test_parts_of_one_class_will_do_where_normal_rows_suffice():
    table = labelled(x=RNG.normal(size=300), label=[0] * 299 + [1])
    assert split(table, seed=1, one_class_suffices=True).counts().keys() == set(SHARES)
    with pytest.raises(DataError, match="one class only"):
        split(table, seed=1)
