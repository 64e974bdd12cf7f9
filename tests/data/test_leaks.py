import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest

from nethical.data import leaks
from nethical.data.leaks import probe
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, normalise

N = 2000
RNG = np.random.default_rng(0)
Y = (RNG.random(N) < 0.2).astype(int)
NOISE = RNG.normal(size=N)


def labelled(y=Y, hints=None, **columns):
    frame = normalise(pa.table({"noise": NOISE[: len(y)], **columns, "label": y}))
    return LabelledTable.read(frame, infer(frame, RoleHints(hints or {})))[0]


def suspects(y=Y, hints=None, **columns):
    return {s.column: s for s in probe(labelled(y, hints, **columns), seed=0).suspects}


def flipped(share):
    return np.where(RNG.random(N) < share, 1 - Y, Y)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (Y, "numeric"),
        (1 - Y, "numeric"),
        (Y == 1, "numeric"),
        (-3.0 * Y + 0.01 * NOISE, "numeric"),
        (np.where(Y == 1, "danger", "fine"), "categorical"),
        (np.where(Y == 1, "fine", "danger"), "categorical"),
        ([f"{'bad' if y else 'good'} kind {i % 90}" for i, y in enumerate(Y)], "categorical"),
        (flipped(0.001), "numeric"),
        ([["a"] if y else ["b"] for y in Y], "sequence"),
    ],
)
def test_a_copy_of_the_label_in_any_writing_is_a_suspect(values, kind):
    found = suspects(c=values)
    assert found.keys() == {"c"}
    assert labelled(c=values).features[1].feature == kind
    assert found["c"].roc_auc > 0.995
    assert (found["c"].what, found["c"].is_feature) == ("its values", True)


@pytest.mark.parametrize(
    "values", [flipped(0.05), Y + 0.8 * NOISE, np.where(flipped(0.05), "a", "b")]
)
def test_a_column_that_merely_helps_is_no_suspect(values):
    assert suspects(c=values) == {}


@pytest.mark.parametrize("where", [Y == 1, Y == 0])
def test_a_column_that_is_missing_by_label_is_a_suspect(where):
    found = suspects(
        number=[
            None if gap else float(value) for gap, value in zip(where, NOISE[::-1], strict=True)
        ],
        word=[None if gap else "abc"[i % 3] for i, gap in enumerate(where)],
        nan=np.where(where, np.nan, NOISE[::-1]),
    )
    assert found.keys() == {"number", "word", "nan"}
    assert all(suspect.roc_auc == pytest.approx(1.0, abs=0.005) for suspect in found.values())


def test_gaps_by_label_are_told_from_values_by_label():
    assert suspects(c=np.where(Y == 1, np.nan, NOISE - 5))["c"].what == "where it is missing"
    some_gaps = np.where(RNG.random(N) < 0.001, np.nan, Y + NOISE / 99)
    assert suspects(c=some_gaps)["c"].what == "its values"


def test_gaps_by_chance_are_no_suspect():
    assert suspects(c=np.where(RNG.random(N) < 0.3, np.nan, NOISE[::-1])) == {}


@pytest.mark.parametrize("written", [int, "u{:05d}".format])
def test_an_id_that_follows_the_label_is_a_suspect_that_models_do_not_read(written):
    order = np.argsort(Y + RNG.random(N), kind="stable").argsort()
    shuffled = RNG.permutation(N)
    y, ids = Y[shuffled], [written(int(i)) for i in order[shuffled]]
    table = labelled(y, id=ids)
    assert table.roles.one(Role.ID) == "id"
    found = probe(table, seed=0)
    assert [(s.column, s.what, s.is_feature) for s in found.suspects] == [
        ("id", "its order", False)
    ]
    assert found.columns == ()
    assert not found.sorted_by_label


@pytest.mark.parametrize("name", ["id", "label_id"])
def test_an_id_that_only_counts_the_rows_is_no_suspect(name):
    assert suspects(**{name: list(range(N))}) == {}


@pytest.mark.parametrize("y", [np.sort(Y), np.sort(Y)[::-1]])
def test_a_file_sorted_by_label_is_said_once(y):
    table = labelled(y, id=list(range(N)))
    found = probe(table, seed=0)
    assert found.sorted_by_label
    assert found.suspects == ()


def test_a_file_that_is_nearly_sorted_is_not_sorted():
    y = np.sort(Y)
    y[3] = 1
    assert not probe(labelled(y), seed=0).sorted_by_label
    assert not probe(labelled(), seed=0).sorted_by_label


@pytest.mark.parametrize("arranged", ["by chance", "by turns", "sorted"])
@pytest.mark.parametrize("positives", [0.05, 0.5])
def test_noise_of_every_kind_is_far_from_suspect(arranged, positives, monkeypatch):
    monkeypatch.setattr(leaks, "SUSPECT_ROC", 0.7)
    y = (np.arange(N) < positives * N).astype(int)
    if arranged == "by chance":
        RNG.shuffle(y)
    if arranged == "by turns":
        y = y.reshape(2, -1).T.ravel() if positives == 0.5 else y.reshape(20, -1).T.ravel()
    columns = {
        "many_levels": [f"level {i}" for i in RNG.integers(0, 900, N)],
        "few_levels": RNG.choice(["a", "b", "c"], N),
        "rare_level": np.where(np.arange(N) == 7, "odd", "even"),
        "text": [
            " ".join(RNG.choice(["delete", "read", "send", "the", "file"], 9)) for _ in range(N)
        ],
        "unique_text": [f"this is the request with number {i}, thank you" for i in range(N)],
        "sequence": ["|".join(RNG.choice(["read", "write"], 3)) for _ in range(N)],
        "lists": [list(RNG.choice(["read", "write"], 2)) for _ in range(N)],
        "integers": RNG.integers(0, 5, N),
        "flags": RNG.random(N) < 0.5,
    }
    hints = {"many_levels": Role.CATEGORICAL}
    assert suspects(y, hints, **columns) == {}


def test_columns_that_models_do_not_read_are_not_probed_for_their_values():
    hints = {"a": Role.IGNORE, "b": Role.FAIRNESS, "c": Role.GROUP}
    assert suspects(hints=hints, a=Y, b=Y, c=Y) == {}


def test_the_first_and_last_of_many_columns_are_probed():
    columns = {f"c{i}": RNG.normal(size=N) for i in range(12)} | {"z": Y}
    found = probe(labelled(first=1 - Y, **columns), seed=0)
    assert found.columns == ("first", "z")


def test_a_class_of_fewer_than_twenty_rows_suspects_nothing():
    y = np.zeros(N, dtype=int)
    y[:1900:100] = 1
    assert y.sum() == 19
    assert suspects(y, c=y + NOISE / 1e3) == {}
    y[1950] = 1
    assert suspects(y, c=y + NOISE / 1e3).keys() == {"c"}


def test_a_large_table_is_probed_by_a_sample_that_the_seed_decides(monkeypatch):
    monkeypatch.setattr(leaks, "SAMPLE_ROWS", 500)
    table = labelled(c=flipped(0.002))
    first, again = probe(table, seed=0), probe(table, seed=0)
    assert first == again
    assert len({probe(table, seed=seed).suspects for seed in range(12)}) > 1
    assert probe(labelled(np.sort(Y)), seed=0).sorted_by_label


def test_suspects_are_recorded_as_json():
    document = suspects(c=Y)["c"].to_document()
    assert json.loads(json.dumps(document)) == {
        "column": "c",
        "roc_auc": 1.0,
        "what": "its values",
        "is_feature": True,
    }


def test_empty_columns_and_times_and_infinities_do_no_harm():
    odd = np.where(RNG.random(N) < 0.5, np.inf, -np.inf)
    moment = dt.datetime(2024, 1, 1)  # noqa: DTZ001
    hints = {"nothing": Role.NUMERIC}
    columns = {"nothing": pa.nulls(N, pa.float64()), "odd": odd, "when": [moment] * N}
    assert suspects(hints=hints, **columns) == {}
