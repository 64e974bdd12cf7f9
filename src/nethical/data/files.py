"""Tables in files: CSV, TSV, Parquet and JSON lines, plain, gz or zip, one file or a folder.

``load`` reads a whole table, ``batches`` streams one that may be larger than memory, in the
same row order. Archives are untrusted: their names are ignored, only regular files count, and
sizes and ratios are limited.
"""

from __future__ import annotations

import io
import mmap
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from nethical.data.table import normalise
from nethical.errors import DataError

if TYPE_CHECKING:
    import gzip
    import zipfile
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

__all__ = ["SUFFIXES", "batches", "data_files", "load"]

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
SUFFIXES = tuple(FORMATS)
PACKED = (".gz", ".zip")
HIDDEN = (".", "_")
BLOCK_BYTES = 1 << 24
JSON_BLOCK_BYTES = 1 << 26
MAX_MEMBERS = 10_000
MAX_UNPACKED_BYTES = 1 << 36
MAX_RATIO = 200
RATIO_COUNTS_FROM = 1 << 26
SNIFFED_BYTES = 1 << 13
UTF8 = ("utf8", "utf-8")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class _File:
    """One table file: its path, its format, and the archive member it is, if any."""

    path: Path
    format: str
    packing: str = ""
    member: str = ""

    def __str__(self) -> str:
        return f"{self.path} ({self.member})" if self.member else str(self.path)


def load(path: Path, *, encoding: str = "utf8", texts: Collection[str] = ()) -> pa.Table:
    """Return the whole table of a file or folder, normalised.

    Args:
        path: A table file, an archive of such files, or a folder of them.
        encoding: Of text files.
        texts: Columns of CSV files that hold names or codes, never numbers (00501).

    Raises:
        DataError: It is missing, empty, of no known format, or cannot be parsed; the text says
            where.
    """
    import pyarrow as pa

    tables = [(file, normalise(_read(file, encoding, texts))) for file in data_files(path)]
    first_file, first = tables[0]
    for file, table in tables[1:]:
        if table.column_names != first.column_names:
            odd = set(table.column_names) ^ set(first.column_names)
            raise DataError(
                f"{file} and {first_file} have other columns than each other: "
                f"{', '.join(sorted(map(repr, odd))) or 'another order'}",
                mend="give all files of the folder the same columns",
            )
    frame = first
    if len(tables) > 1:
        frame = normalise(
            pa.concat_tables((table for _, table in tables), promote_options="permissive")
        )
    if frame.num_rows == 0:
        raise DataError(f"{path} has a header but no rows", mend="add rows, or name another file")
    return frame


def batches(
    path: Path,
    *,
    types: Mapping[str, Any],
    rows: int = 1 << 17,
    columns: Sequence[str] | None = None,
) -> Iterator[pa.Table]:
    """Yield the table of a file or folder in pieces of at most about ``rows`` rows, in order.

    Args:
        path: As for ``load``.
        types: The pyarrow type of columns in CSV files, where known.
        rows: Largest number of rows of a piece.
        columns: The columns that are wanted, those that are there; None for all.

    Raises:
        DataError: As for ``load``.
    """
    for file in data_files(path):
        for piece in _stream(file, types, rows, columns):
            for start in range(0, piece.num_rows, rows):
                table = normalise(piece.slice(start, rows))
                if columns is not None:
                    table = table.select([c for c in columns if c in table.column_names])
                yield table


def data_files(path: Path) -> list[_File]:
    """Return the table files of a path, a folder's in the order of their names.

    Raises:
        DataError: There is none.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", mend="check the path")
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.is_file() and _format(p.name)[0])
        files = [file for p in inside if not p.name.startswith(HIDDEN) for file in _open(p)]
        if not files:
            raise DataError(
                f"the folder {path} holds no table file",
                mend=f"put {', '.join(SUFFIXES)} files in it, or name a file",
            )
        return files
    if not path.is_file():
        raise DataError(f"{path} is no regular file", mend="name a file or a folder of files")
    return _open(path)


def _format(name: str) -> tuple[str, str]:
    """Return the format of a file name and how it is packed, empty where unknown."""
    lower = name.lower()
    packing = next((p for p in PACKED if lower.endswith(p)), "")
    inner = lower.removesuffix(packing)
    found = next((kind for suffix, kind in FORMATS.items() if inner.endswith(suffix)), "")
    if packing == ".zip":
        return found or "zip", packing
    return found, packing


def _open(path: Path) -> list[_File]:
    kind, packing = _format(path.name)
    if not kind:
        raise DataError(
            f"{path} has no known table format",
            mend=f"name it with one of {', '.join(SUFFIXES)}, plain or with .gz or .zip",
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty", mend="name a file with a header and rows")
    if packing == ".zip":
        return _members(path)
    return [_File(path, kind, packing)]


def _members(path: Path) -> list[_File]:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            infos = [i for i in archive.infolist() if not i.is_dir()]
    except zipfile.BadZipFile as error:
        raise DataError(
            f"{path} is not a whole zip archive: {error}", mend="fetch the archive again"
        ) from error
    unpacked = sum(info.file_size for info in infos)
    packed = max(sum(info.compress_size for info in infos), 1)
    bomb = unpacked > RATIO_COUNTS_FROM and unpacked / packed > MAX_RATIO
    if len(infos) > MAX_MEMBERS or unpacked > MAX_UNPACKED_BYTES or bomb:
        raise DataError(
            f"{path} would unpack to {unpacked:,} bytes in {len(infos):,} files",
            mend="unpack it by hand if you trust it, and pass the folder",
        )
    tables = [i for i in infos if _is_table_member(i)]
    if not tables:
        raise DataError(
            f"{path} holds no table file", mend=f"put a {', '.join(SUFFIXES)} file in it"
        )
    if any(info.flag_bits & 1 for info in tables):
        raise DataError(f"{path} is encrypted", mend="unpack it by hand and pass the file")
    tables.sort(key=lambda info: info.filename)
    return [_File(path, _format(i.filename)[0], ".zip", i.filename) for i in tables]


def _is_table_member(info: zipfile.ZipInfo) -> bool:
    """Return whether an archive member is a regular, visible file with the name of a table."""
    kind, packing = _format(info.filename)
    unix_mode = info.external_attr >> 16
    regular = stat.S_IFMT(unix_mode) in {0, stat.S_IFREG}
    hidden = PurePosixPath(info.filename).name.startswith(HIDDEN)
    return bool(kind) and not packing and regular and not hidden


class _Unpacked(io.RawIOBase):
    """What a gz file unpacks to, up to the limit that keeps a small file from filling memory."""

    def __init__(self, packed: gzip.GzipFile, path: Path) -> None:
        self._packed = packed
        self._path = path
        self._allowed = max(RATIO_COUNTS_FROM, MAX_RATIO * path.stat().st_size)
        self._read = 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes.

        Raises:
            DataError: The limit is passed.
        """
        left = self._allowed - self._read + 1
        content = self._packed.read(left if size < 0 else min(size, left))
        self._read += len(content)
        if self._read > self._allowed:
            raise DataError(
                f"{self._path} unpacks to more than {self._allowed:,} bytes",
                mend="unpack it by hand if you trust it, and pass the file",
            )
        return content


@contextmanager
def _bytes(file: _File) -> Iterator[Any]:
    """Yield the file's content, unpacked, as a binary stream."""
    if file.packing == ".zip":
        import zipfile

        with zipfile.ZipFile(file.path) as archive, archive.open(file.member) as member:
            yield member
    elif file.packing == ".gz":
        import gzip

        with gzip.open(file.path) as packed:
            yield _Unpacked(packed, file.path)
    else:
        with file.path.open("rb") as raw:
            yield raw


@contextmanager
def _source(file: _File) -> Iterator[Any]:
    """Yield the file's content as something that pyarrow reads from."""
    import pyarrow as pa

    if not file.packing:
        yield str(file.path)
        return
    with _bytes(file) as content:
        seekable = file.format == "parquet"
        yield pa.PythonFile(io.BytesIO(content.read()) if seekable else content, mode="r")


@contextmanager
def _explained(file: _File) -> Iterator[None]:
    """Turn what the readers raise into two clear lines."""
    import zipfile
    import zlib

    import pyarrow as pa

    try:
        yield
    except (
        pa.ArrowInvalid,
        pa.ArrowTypeError,
        pa.ArrowNotImplementedError,
        pa.ArrowKeyError,
    ) as error:
        _explain(file, error)
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text", mend="save the file in UTF-8") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise DataError(
            f"{file} cannot be read: {str(error).partition(chr(10))[0]}",
            mend="check that the file is whole and readable, or fetch it again",
        ) from error


def _explain(file: _File, error: Exception) -> None:
    text = str(error).splitlines()[0][:200]
    if "Empty CSV file" in text or "Empty JSON" in text:
        raise DataError(f"{file} is empty", mend="name a file with rows") from error
    if "UTF8" in text or "utf8" in text or "UTF-8" in text:
        raise DataError(f"{file} is not UTF-8 text", mend="save the file in UTF-8") from error
    if "Expected" in text and "columns" in text:
        raise DataError(
            f"{file} is ragged: {text}", mend="give each row as many fields as the header"
        ) from error
    raise DataError(
        f"{file} cannot be read as {file.format}: {text}",
        mend="mend the file at this place, or save it again",
    ) from error


def _sniff(file: _File, encoding: str) -> None:
    """Refuse what is plainly no table in text, before a parser guesses."""
    if file.format == "parquet":
        return
    head = _head(file)
    utf8 = encoding.lower() in UTF8
    if utf8 and head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{file} is UTF-16, not UTF-8", mend="save the file in UTF-8")
    if utf8 and b"\0" in head:
        raise DataError(
            f"{file} is binary, not {file.format} text", mend="save the table as CSV or Parquet"
        )
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        raise DataError(f"{file} is a web page", mend="download the table itself")
    if start.startswith(b"version https://git-lfs"):
        raise DataError(f"{file} is a pointer to a large file", mend="run `git lfs pull` first")
    if not start:
        raise DataError(f"{file} is empty", mend="name a file with a header and rows")
    if file.format == "jsonl" and not start.startswith((b"{", b"[")):
        raise DataError(f"{file} holds no JSON objects", mend="save one object a line")


def _head(file: _File) -> bytes:
    with _bytes(file) as content:
        head: bytes = content.read(SNIFFED_BYTES)
    return head.removeprefix(BYTE_ORDER_MARK)


def _read(file: _File, encoding: str, texts: Collection[str]) -> pa.Table:
    with _explained(file):
        _sniff(file, encoding)
        if file.format == "jsonl" and _is_array(file):
            return _read_array(file)
        with _source(file) as source:
            frame = _parse(file, source, encoding, texts)
        frame.column_names  # noqa: B018 - decodes the header, which may be no UTF-8
        return frame


def _parse(
    file: _File,
    source: Any,  # noqa: ANN401 - path or stream
    encoding: str,
    texts: Collection[str],
) -> pa.Table:
    if file.format == "parquet":
        import pyarrow.parquet as pq

        return pq.read_table(source, partitioning=None)
    if file.format == "jsonl":
        from pyarrow import json

        return json.read_json(source, read_options=_json_options())
    import pyarrow as pa
    from pyarrow import csv

    options = _csv_options(file, encoding, dict.fromkeys(texts, pa.string()))
    try:
        return csv.read_csv(source, **options)
    except pa.ArrowInvalid as error:
        if file.packing or "Expected" not in str(error):
            raise
        options["read_options"].use_threads = False  # one thread counts the rows it reads
        return csv.read_csv(source, **options)


def _stream(
    file: _File, types: Mapping[str, Any], rows: int, columns: Sequence[str] | None
) -> Iterator[pa.Table]:
    import pyarrow as pa

    with _explained(file):
        _sniff(file, "utf8")
        if file.format == "jsonl" and _is_array(file):
            yield _read_array(file)
            return
        with _source(file) as source:
            for batch in _parsed(file, source, types, rows, columns):
                batch.schema.names  # noqa: B018 - decodes the header, which may be no UTF-8
                yield pa.Table.from_batches([batch])


def _parsed(
    file: _File,
    source: Any,  # noqa: ANN401 - path or stream
    types: Mapping[str, Any],
    rows: int,
    columns: Sequence[str] | None,
) -> Iterator[pa.RecordBatch]:
    if file.format == "parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(source, pre_buffer=False) as parquet:
            wanted = None
            if columns is not None:
                wanted = [c for c in columns if c in parquet.schema_arrow.names]
            yield from parquet.iter_batches(batch_size=rows, columns=wanted)
    elif file.format == "jsonl":
        from pyarrow import json

        with json.open_json(source, read_options=_json_options()) as reader:
            yield from reader
    else:
        from pyarrow import csv

        with csv.open_csv(source, **_csv_options(file, "utf8", types)) as reader:
            yield from reader


def _csv_options(file: _File, encoding: str, types: Mapping[str, Any]) -> dict[str, Any]:
    from pyarrow import csv

    return {
        "read_options": csv.ReadOptions(block_size=BLOCK_BYTES, encoding=encoding),
        "parse_options": csv.ParseOptions(
            delimiter="\t" if file.format == "tsv" else ",",
            newlines_in_values=_has_quotes(file),
        ),
        "convert_options": csv.ConvertOptions(
            column_types=dict(types) or None,
            # NA may be a country: among texts only the empty one is missing (see normalise).
            strings_can_be_null=False,
        ),
    }


def _has_quotes(file: _File) -> bool:
    """Return whether values may hold line ends, which costs the parser its parallel scan."""
    if file.packing:
        return True
    with file.path.open("rb") as raw, mmap.mmap(raw.fileno(), 0, prot=mmap.PROT_READ) as content:
        return content.find(b'"') >= 0


def _json_options() -> Any:  # noqa: ANN401 - pyarrow.json.ReadOptions
    from pyarrow import json

    return json.ReadOptions(block_size=JSON_BLOCK_BYTES)


def _is_array(file: _File) -> bool:
    name = file.member or file.path.name.removesuffix(file.packing)
    return name.lower().endswith(".json") and _head(file).lstrip().startswith(b"[")


def _read_array(file: _File) -> pa.Table:
    """Return the table of a file that holds one JSON list of objects."""
    import json as standard

    from pyarrow import json

    with _bytes(file) as content:
        text = content.read().removeprefix(BYTE_ORDER_MARK)
    try:
        records = standard.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{file} is not JSON: {error}", mend="save one object a line (JSON lines)"
        ) from error
    if not all(isinstance(record, dict) for record in records):
        raise DataError(f"{file} holds items that are no objects", mend="save a list of objects")
    lines = "\n".join(standard.dumps(record) for record in records).encode()
    return json.read_json(io.BytesIO(lines), read_options=_json_options())
