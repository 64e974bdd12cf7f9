"""The vocabularies of the transformer: learnt from train rows, and from no row alone."""

import json

import numpy as np
import pyarrow as pa
import pytest

from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import Table, normalise

pytest.importorskip("tokenizers")

from nethical.models.transformer.encoder import WINDOW, stack, window_starts
from nethical.models.transformer.tokens import MOST_BODY_TOKENS, Bins, Reader

ROLES = {
    "x": Role.NUMERIC,
    "level": Role.CATEGORICAL,
    "text": Role.TEXT,
    "actions": Role.SEQUENCE,
}


def table(n=60, **cells):
    rng = np.random.default_rng(0)
    columns = {
        "x": rng.normal(size=n),
        "level": rng.choice(["a", "b"], n),
        "text": [f"please {word} the file" for word in rng.choice(["read", "send"], n)],
        "actions": [rng.choice(["plan", "read"], 4).tolist() for _ in range(n)],
        "label": np.arange(n) % 2,
    } | cells
    frame = normalise(pa.table(columns))
    return Table(frame, infer(frame, RoleHints(ROLES | {"label": Role.LABEL})))


def row(reader, rows, i=0, kept=None):
    return reader.read(rows).row(i, kept)


def test_a_word_of_one_row_is_in_no_vocabulary_however_often_it_stands_there():
    rows = table()
    texts = rows.texts("text").to_pylist()
    texts[7] = "zebraquokka " * 9
    items = rows.items("actions").to_pylist()
    items[7] = ["zebraquokka"] * 9
    levels = ["zebraquokka", *rows.texts("level").to_pylist()[1:]]
    reader = Reader.fit(table(text=texts, actions=items, level=levels))
    stored = json.dumps(reader.to_document()) + reader.tokenizer.to_str()
    assert "zebra" not in stored
    assert "quokka" not in stored
    twice = Reader.fit(table(text=[*texts[:-1], texts[7]])).tokenizer.to_str()
    assert "zebra" in twice


def test_a_row_is_a_start_then_a_token_a_column_then_the_texts_after_their_markers():
    rows = table()
    reader = Reader.fit(rows)
    first = dict(zip([name for name, _ in reader.columns], reader.offsets(), strict=False))
    read = row(reader, rows)
    assert read.head[0] == 1
    assert read.head_places.tolist() == [0, *(1 + i for i in range(4) if i < 2)]
    assert set(read.body_places.tolist()) == {3, 4}
    assert read.body[0] == first["text"]
    assert read.body[read.body_places == 4][0] == first["actions"]
    assert len(read.body[read.body_places == 4]) == 5


def test_tokens_of_columns_never_meet():
    rows = table()
    reader = Reader.fit(rows)
    streams = reader.read(rows)
    seen = {}
    for i in range(len(rows)):
        read = streams.row(i)
        for token, place in zip(
            [*read.head, *read.body], [*read.head_places, *read.body_places], strict=True
        ):
            assert seen.setdefault(int(token), int(place)) == place
    assert max(seen) < reader.offsets()[-1]


def test_what_is_left_out_reads_as_missing_does():
    rows, n = table(), 60
    reader = Reader.fit(rows)
    empty = Table(
        normalise(
            pa.table(
                {
                    "x": pa.nulls(n, pa.float64()),
                    "level": pa.nulls(n, pa.string()),
                    "text": pa.nulls(n, pa.string()),
                    "actions": pa.nulls(n, pa.list_(pa.string())),
                }
            )
        ),
        rows.roles,
    )
    nothing = np.zeros(5, dtype=bool)
    assert row(reader, rows, 3, nothing).key() == row(reader, empty, 3).key()
    everything = np.ones(5, dtype=bool)
    assert row(reader, rows, 3, everything).key() == row(reader, rows, 3).key()


def test_an_empty_list_is_not_a_missing_one_and_unseen_items_are_alike():
    rows = table()
    reader = Reader.fit(rows)
    lists = pa.array([[], None, ["new"], ["newer"]], pa.list_(pa.string()))
    odd = Table(normalise(rows.frame.slice(0, 4).set_column(3, "actions", lists)), rows.roles)
    streams = reader.read(odd)
    bodies = [streams.row(i).body[streams.row(i).body_places == 4].tolist() for i in range(4)]
    assert bodies[0] != bodies[1]
    assert bodies[2] == bodies[3]
    assert len(bodies[2]) == 2


def test_of_a_text_that_is_too_long_both_ends_are_read_and_the_middle_is_not():
    reader = Reader.fit(table())
    filler = "please read the file and send it " * 30_000
    middle = len(filler) // 2
    texts = [filler, "send" + filler[4:], filler[:-7] + "please "]
    texts += [filler[:middle] + "send" + filler[middle + 4 :], None]
    odd = table(n=5, text=texts)
    streams = reader.read(odd)
    plain, begun, ended, hidden, _ = (
        streams.row(i).body[streams.row(i).body_places == 3].tolist() for i in range(5)
    )
    assert plain not in (begun, ended)
    assert plain == hidden
    assert len(plain) == MOST_BODY_TOKENS // 2 + 1  # shared with the other column, and a marker


def test_the_case_of_letters_does_not_count_and_any_bytes_have_tokens():
    reader = Reader.fit(table())
    assert reader.tokenizer.encode("READ").ids == reader.tokenizer.encode("read").ids
    assert reader.tokenizer.encode("\u5ffd\U0001f44d\0").ids


def test_bins_hold_like_shares_of_the_numbers():
    values = np.random.default_rng(0).exponential(size=1000)
    codes = Bins.fit(values).encode(values)
    counts = np.bincount(codes)
    assert len(counts) == 32
    assert counts.min() > 20
    assert Bins.fit(values).encode(np.array([np.nan])).tolist() == [32]
    assert Bins.fit(np.full(5, np.nan)).encode(np.array([np.nan, 3.0])).tolist() == [1, 0]
    assert Bins.fit(np.ones(50)).n_codes == 2


def test_windows_overlap_cover_all_and_are_all_whole():
    for length in (1, 127, 128, 129, 300, MOST_BODY_TOKENS):
        starts = window_starts(length)
        assert starts[0] == 0
        assert starts[-1] + min(length, WINDOW) == length
        assert (np.diff(starts) <= WINDOW - 32 + 1).all()


def test_rows_of_one_length_need_no_padding_and_others_say_where_it_is():
    rows = table(text=["read " * (i + 1) for i in range(60)])
    streams = Reader.fit(rows).read(rows)
    one = stack([streams.row(5)], [window_starts(len(streams.row(5).body))])
    assert one.present is None
    read = [streams.row(0), streams.row(59)]
    both = stack(read, [window_starts(len(own.body)) for own in read])
    lengths = [len(own.head) + len(own.body) for own in read]
    assert both.present.sum(axis=(1, 2)).tolist() == lengths
    assert (both.tokens[~both.present] == 0).all()


def test_a_reader_comes_back_from_json():
    rows = table()
    reader = Reader.fit(rows)
    text = reader.tokenizer.to_str()
    again = Reader.from_document(json.loads(json.dumps(reader.to_document())), text)
    assert again.tokenizer.to_str() == text
    assert row(again, rows).key() == row(reader, rows).key()
