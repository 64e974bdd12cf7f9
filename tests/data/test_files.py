import gzip
import json
import os
import stat
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical.data import files
from nethical.data.files import batches, data_files, load
from nethical.data.table import table_digest
from nethical.errors import DataError

RNG = np.random.default_rng(0)
N = 500
FRAME = pd.DataFrame(
    {
        "n": RNG.integers(-5, 5, N),
        "x": RNG.normal(size=N) + 0.125,
        "gap": np.where(RNG.random(N) < 0.5, np.nan, RNG.normal(size=N)),
        "t": RNG.choice(["plain", "a, b", 'say "yes"', "two\nlines", "ä ö"], N),
        "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N), unit="min"),
        "b": RNG.random(N) < 0.5,
        "label": [0, 1] * (N // 2),
    }
)
FORMATS = ["t.csv", "t.tsv", "t.parquet", "t.pq", "t.jsonl", "t.ndjson", "t.json"]
PACKED = [
    "t.csv.gz",
    "t.csv.zip",
    "t.jsonl.gz",
    "t.json.zip",
    "t.parquet.gz",
    "t.parquet.zip",
    "t.zip",
]


def content_of(name):
    if ".parquet" in name or ".pq" in name:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pandas(FRAME), sink, row_group_size=100)
        return sink.getvalue().to_pybytes()
    if "json" in name:
        records = json.loads(
            FRAME.astype({"when": str}).to_json(orient="records", double_precision=15)
        )
        for record, x, gap in zip(records, FRAME["x"], FRAME["gap"], strict=True):
            record |= {"x": x, "gap": None if np.isnan(gap) else gap}
        if name.startswith(("t.jsonl", "t.ndjson")):
            return "\n".join(map(json.dumps, records)).encode()
        return json.dumps(records, indent=1).encode()
    return FRAME.to_csv(index=False, sep="\t" if "tsv" in name else ",").encode()


def write(folder, name, content=None):
    content = content_of(name) if content is None else content
    content = content.encode() if isinstance(content, str) else content
    path = folder / name
    if name.endswith(".gz"):
        content = gzip.compress(content, 1)
    if name.endswith(".zip"):
        return write_zip(path, {name.removesuffix(".zip") if name != "t.zip" else "t.csv": content})
    path.write_bytes(content)
    return path


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def patch_zip(path, local_offset, central_offset, value):
    """Overwrite two bytes of the headers of a zip of one member."""
    content = bytearray(path.read_bytes())
    for signature, offset in [(b"PK\x03\x04", local_offset), (b"PK\x01\x02", central_offset)]:
        at = content.index(signature) + offset
        content[at : at + 2] = value.to_bytes(2, "little")
    path.write_bytes(content)


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        load(path, **options)
    assert path.name in caught.value.what or "column" in caught.value.what
    return caught.value.what


def joined(path, rows=1 << 17, types=None):
    return pa.concat_tables(batches(path, types=types or {}, rows=rows))


# --- every format ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FORMATS, *PACKED])
def test_the_same_rows_are_the_same_table_from_every_format(tmp_path, name):
    frame = load(write(tmp_path, name))
    expected = load(write(tmp_path, "expected.parquet"))
    assert frame.equals(expected)
    assert table_digest(frame) == table_digest(expected)


def test_the_types_of_a_table_are_those_of_its_values(tmp_path):
    frame = load(write(tmp_path, "t.csv"))
    kinds = ["int64", "double", "double", "large_string", "timestamp[us]", "bool", "int64"]
    assert [str(kind) for kind in frame.schema.types] == kinds
    assert frame.column("gap").null_count == FRAME["gap"].isna().sum()


@pytest.mark.parametrize("name", [*FORMATS, *PACKED])
def test_batches_joined_are_the_loaded_table(tmp_path, name):
    path = write(tmp_path, name)
    pieces = list(batches(path, types={}, rows=64))
    assert max(piece.num_rows for piece in pieces) <= 64
    assert len(pieces) >= N // 64
    assert pa.concat_tables(pieces).equals(load(path))


def test_batches_of_small_blocks_joined_are_the_loaded_table(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 1 << 10)
    path = write(tmp_path, "t.csv")
    assert len(list(batches(path, types={}))) > 10
    assert joined(path).equals(load(path))
    monkeypatch.undo()
    assert joined(path).equals(load(path))


def test_line_ends_in_values_may_fall_between_blocks(tmp_path, monkeypatch):
    path = write(
        tmp_path, "t.csv", "a,b\n" + "".join(f'{i},"two\nlines {i}"\n' for i in range(500))
    )
    expected = load(path)
    monkeypatch.setattr(files, "BLOCK_BYTES", 1000)
    assert load(path).equals(expected)
    assert expected.column("b").to_pylist()[499] == "two\nlines 499"


def test_a_type_given_for_a_column_holds_in_every_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 1 << 10)
    path = write(tmp_path, "t.csv", "a,b\n" + "1,2\n" * 2000 + "1.5,x\n")
    types = {"a": pa.float64(), "b": pa.string(), "not there": pa.int64()}
    assert joined(path, types=types).equals(load(path))
    with pytest.raises(DataError, match="cannot be read as csv"):
        joined(path)


def test_text_that_is_no_utf_8_is_refused_where_a_column_is_known_to_be_text(tmp_path):
    path = write(tmp_path, "t.csv", "a\né\n".encode("latin-1"))
    with pytest.raises(DataError, match="is not UTF-8 text"):
        joined(path, types={"a": pa.string()})


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
def test_batches_of_some_columns_hold_those_that_are_there(tmp_path, name):
    path = write(tmp_path, name)
    chosen = pa.concat_tables(batches(path, types={}, columns=["x", "nope", "n"]))
    assert chosen.equals(load(path).select(["x", "n"]))


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_whole_numbers_that_turn_to_fractions_in_a_later_block_are_read(
    tmp_path, name, monkeypatch
):
    monkeypatch.setattr(files, "BLOCK_BYTES", 1 << 10)
    lines = ["a,b,c"] + ["1,2,"] * 2000 + ["1.5,word,7"]
    frame = load(write(tmp_path, name, "\n".join(lines)))
    assert [str(kind) for kind in frame.schema.types] == ["double", "large_string", "int64"]
    assert frame.slice(1999).to_pydict() == {"a": [1.0, 1.5], "b": ["2", "word"], "c": [None, 7]}


def test_values_may_hold_line_ends_commas_and_quotes(tmp_path):
    path = write(tmp_path, "t.csv", 'a,b\n"one\ntwo, ""three""",1\n"","2"\n')
    assert load(path).to_pydict() == {"a": ['one\ntwo, "three"', None], "b": [1, 2]}


def test_line_ends_of_other_systems_are_line_ends(tmp_path):
    assert load(write(tmp_path, "t.csv", "a,b\r\n1,x\r\n")).to_pydict() == {"a": [1], "b": ["x"]}


def test_a_last_line_without_an_end_is_a_row(tmp_path):
    assert load(write(tmp_path, "t.csv", "a\n1\n2")).num_rows == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "a\n1\n"),
        ("t.csv.gz", "a\n1\n"),
        ("t.jsonl", '{"a": 1}\n'),
        ("t.json", '[{"a": 1}]'),
    ],
)
def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path, name, content):
    path = write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())
    assert load(path).to_pydict() == {"a": [1]}
    assert joined(path).to_pydict() == {"a": [1]}


def test_objects_of_a_list_may_lack_keys_in_any_of_them(tmp_path):
    path = write(tmp_path, "t.json", json.dumps([{"a": 1}, {"b": "x", "a": 2}, {"b": None}]))
    assert load(path).to_pydict() == {"a": [1, 2, None], "b": [None, "x", None]}


def test_one_object_a_line_is_read_under_the_suffix_json_too(tmp_path):
    assert load(write(tmp_path, "t.json", '{"a": 1}\n{"a": 2}\n')).num_rows == 2


def test_another_encoding_is_read_when_it_is_named(tmp_path):
    path = write(tmp_path, "t.csv", "café,b\né,1\n".encode("latin-1"))
    assert load(path, encoding="latin-1").to_pydict() == {"café": ["é"], "b": [1]}
    path = write(tmp_path, "u.csv", "café,b\né,1\n".encode("utf-16"))
    assert load(path, encoding="utf-16").to_pydict() == {"café": ["é"], "b": [1]}


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b" \n\n", "is empty"),
        ("t.csv.gz", b"", "is empty"),
        ("t.csv.zip", b"", "is empty"),
        ("t.jsonl", b"\n", "is empty"),
        ("t.csv", b"a,b\n", "has a header but no rows"),
        ("t.csv.gz", b"a,b\n", "has a header but no rows"),
        ("t.json", b"[]", "is empty"),
        ("t.csv", "a\né\n".encode("latin-1"), "bytes that are not UTF-8"),
        ("t.csv", "é\na\n".encode("latin-1"), "not UTF-8 text"),
        ("t.csv", "a\nb\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("t.csv.gz", "a\nb\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("t.csv", "a\nb\n".encode("utf-16-le"), "is binary, not csv text"),
        ("t.csv", b"\x89PNG\r\n\x1a\n\0\0", "is binary, not csv text"),
        ("t.jsonl.zip", b"\x7fELF\0\0", "is binary, not jsonl text"),
        ("t.csv", b"\n<!DOCTYPE html><html>", "is a web page"),
        ("t.csv.gz", b"<html><body>", "is a web page"),
        ("t.csv", b"version https://git-lfs.github.com/spec/v1\n", "is a pointer"),
        ("t.csv", b"a,a\n1,2\n", "two columns are named 'a'"),
        ("t.parquet", b"a,b\n1,2\n", "cannot be read as parquet"),
        ("t.jsonl", b'{"a": 1}\n{"a": }\n', "cannot be read as jsonl"),
        ("t.jsonl", b'{"a": 1}\n{"a": "x"}\n', "cannot be read as jsonl"),
        ("t.json", b'[{"a": 1}, 2]', "holds items that are no objects"),
        ("t.json", b'[{"a": 1},', "is not JSON"),
        ("t.json", b"[" * 100_000, "is not JSON"),
        ("t.json", b'[{"a": 1}, {"a": "x"}]', "cannot be read as jsonl"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, name, content, said):
    path = write(tmp_path, name, content)
    what = refusal(path)
    assert said in what
    assert "\n" not in what


def test_a_ragged_row_is_named_by_its_line_and_content(tmp_path):
    what = refusal(write(tmp_path, "t.csv", "a,b\n1,2\n3,4,5\n6,7\n"))
    assert "is ragged" in what
    assert "Row #3: Expected 2 columns, got 3: 3,4,5" in what
    assert "got 1: 3" in refusal(write(tmp_path, "t.csv.gz", "a,b\n1,2\n3\n"))


def test_a_second_object_after_the_first_record_of_a_list_is_no_list(tmp_path):
    assert "is not JSON" in refusal(write(tmp_path, "t.json", '[{"a": 1}]\n[{"a": 2}]'))


@pytest.mark.parametrize("cut", [0.5, 0.99])
@pytest.mark.parametrize("name", ["t.csv.gz", "t.parquet", "t.parquet.gz", "t.zip"])
def test_a_file_that_was_cut_short_is_refused(tmp_path, name, cut):
    path = write(tmp_path, name)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * cut)])
    assert "cannot be read" in (what := refusal(path)) or "not a whole zip archive" in what


def test_a_batch_is_refused_as_the_whole_is(tmp_path):
    for name, content in [("t.csv", "a,b\n1,2\n3\n"), ("t.csv", b"a\0"), ("t.parquet", b"x")]:
        path = write(tmp_path, name, content)
        with pytest.raises(DataError) as caught:
            joined(path)
        assert str(path) in caught.value.what


def test_a_file_that_is_not_there_or_of_no_known_kind_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nope.csv")
    assert "no known table format" in refusal(write(tmp_path, "table.xlsx", b"x"))
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    assert "no regular file" in refusal(pipe)


# --- folders ---------------------------------------------------------------------------------


def test_a_folder_is_its_tables_in_the_order_of_their_names(tmp_path):
    write(tmp_path, "b.csv", "a,t\n3,z\n")
    write(tmp_path, "a.parquet", load_bytes({"a": [1.5, 2.0], "t": ["x", "y"]}))
    write(tmp_path, "c.jsonl.gz", '{"a": 4, "t": "w"}\n')
    write(tmp_path, "_SUCCESS.csv", "no")
    write(tmp_path, ".hidden.csv", "no")
    write(tmp_path, "notes.md", "no")
    (tmp_path / "deeper.csv").mkdir()
    frame = load(tmp_path)
    assert frame.to_pydict() == {"a": [1.5, 2.0, 3.0, 4.0], "t": ["x", "y", "z", "w"]}
    assert [file.path.name for file in data_files(tmp_path)] == ["a.parquet", "b.csv", "c.jsonl.gz"]
    assert [piece.num_rows for piece in batches(tmp_path, types={})] == [2, 1, 1]


def load_bytes(columns):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def test_a_folder_without_tables_is_refused(tmp_path):
    write(tmp_path, "notes.md", "no")
    with pytest.raises(DataError, match="holds no table file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("other", "said"), [("a,c\n1,2\n", "'b', 'c'"), ("b,a\n1,2\n", "another order")]
)
def test_files_of_a_folder_with_other_columns_are_refused(tmp_path, other, said):
    write(tmp_path, "1.csv", "a,b\n1,2\n")
    write(tmp_path, "2.csv", other)
    with pytest.raises(DataError, match=said) as caught:
        load(tmp_path)
    assert "1.csv" in caught.value.what
    assert "2.csv" in caught.value.what


# --- archives are untrusted ------------------------------------------------------------------


def test_a_zip_is_its_tables_in_the_order_of_their_names(tmp_path):
    members = {
        "z/2.csv": "a\n2\n",
        "./1.csv": "a\n1\n",
        "z/": "",
        "readme.md": "no",
        "__MACOSX/z/._2.csv": "no",
        "z/.hidden.csv": "no",
        "z/inner.csv.gz": "no",
    }
    assert load(write_zip(tmp_path / "t.zip", members)).to_pydict() == {"a": [1, 2]}


def test_a_member_that_names_another_folder_is_read_and_its_name_ignored(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    path = write_zip(inside / "t.zip", {"../../evil.csv": "a\n1\n", "/etc/evil.csv": "a\n2\n"})
    assert sorted(load(path).column("a").to_pylist()) == [1, 2]
    assert [file.name for file in tmp_path.rglob("*")] == ["inside", "t.zip"]


def test_a_member_that_is_a_link_is_no_table(tmp_path):
    link = zipfile.ZipInfo("link.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "holds no table file" in refusal(tmp_path / "t.zip")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "t.zip", {"t.csv": b"a\n" + b"0\n" * 200_000})
    monkeypatch.setattr(files, "RATIO_COUNTS_FROM", 400_001)
    assert "would unpack to 400,002 bytes in 1 files" in refusal(path)
    monkeypatch.setattr(files, "RATIO_COUNTS_FROM", 400_002)
    assert load(path).num_rows == 200_000


def test_a_zip_of_too_many_or_too_large_files_is_refused(tmp_path, monkeypatch):
    path = write_zip(tmp_path / "t.zip", {f"{i}.csv": "a\n1\n" for i in range(4)})
    assert load(path).num_rows == 4
    monkeypatch.setattr(files, "MAX_MEMBERS", 3)
    assert "in 4 files" in refusal(path)
    monkeypatch.setattr(files, "MAX_MEMBERS", 4)
    monkeypatch.setattr(files, "MAX_UNPACKED_BYTES", 15)
    assert "would unpack to 16 bytes" in refusal(path)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.jsonl.gz", "t.parquet.gz", "t.json.gz"])
def test_a_gz_bomb_is_refused_while_it_unpacks(tmp_path, monkeypatch, name):
    content = {
        "t.csv.gz": b"a\n" + b"0\n" * 200_000,
        "t.jsonl.gz": b'{"a": 0}\n' * 50_000,
        "t.parquet.gz": load_bytes({"a": [0]}) + b"\0" * 400_000,
        "t.json.gz": b"[" + b" " * 400_000 + b'{"a": 0}]',
    }[name]
    path = write(tmp_path, name, content)
    assert len(content) / path.stat().st_size > 50
    monkeypatch.setattr(files, "RATIO_COUNTS_FROM", 1 << 10)
    monkeypatch.setattr(files, "MAX_RATIO", 50)
    assert "unpacks to more than" in refusal(path)
    with pytest.raises(DataError, match="unpacks to more than"):
        joined(path)
    assert load(write(tmp_path, "small.csv.gz", "a\n1\n")).num_rows == 1


def test_an_encrypted_zip_is_refused(tmp_path):
    path = write_zip(tmp_path / "t.zip", {"t.csv": "a\n1\n"})
    patch_zip(path, 6, 8, 1)
    assert "is encrypted" in refusal(path)


def test_a_zip_of_an_unknown_compression_is_refused(tmp_path):
    path = write_zip(tmp_path / "t.zip", {"t.csv": "a\n1\n"})
    patch_zip(path, 8, 10, 9)
    assert "cannot be read: That compression method is not supported" in refusal(path)


def test_a_zip_member_that_is_not_what_its_checksum_says_is_refused(tmp_path):
    path = write_zip(tmp_path / "t.zip", {"t.csv": "a\n1\n"})
    patch_zip(path, 14, 16, 0)
    assert "cannot be read: Bad CRC-32" in refusal(path)


def test_a_file_of_no_objects_is_refused_before_the_parser_sees_it(tmp_path):
    for name in ("t.json", "t.jsonl"):
        with pytest.raises(DataError, match="holds no JSON objects"):
            load(write(tmp_path, name, "null"))


def test_a_country_may_be_called_na_and_codes_keep_their_zeros(tmp_path):
    path = write(tmp_path, "t.csv", "country,zip\nNA,00501\nDE,10115\n,20000\n")
    assert load(path, texts=["zip"]).to_pydict() == {
        "country": ["NA", "DE", None],
        "zip": ["00501", "10115", "20000"],
    }
