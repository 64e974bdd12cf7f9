"""What the transformer reads of a row: one stream of tokens, column after column.

A number is one token per (column, quantile bin), a level one per (column, level), each with a
token for missing values; a text is its byte-pair tokens and a sequence its items, each after a
marker of its column. Everything is learnt from the train rows, and only from what stands in at
least two of them: a word or an item of a single row is in no vocabulary.

Reference:
    Sennrich, Haddow and Birch 2016 (byte-pair encoding).
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.roles import Role
from nethical.models.features import Levels
from nethical.models.transformer.libraries import tokenizers_library

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.data.table import Table

    Tokens = NDArray[np.int32]

__all__ = ["Reader", "Streams"]

PAD, START = 0, 1
FIRST_FREE = 2
MOST_BINS = 32
ROWS_PER_BIN = 25
MOST_ITEMS = 4096  # in the vocabulary of a sequence column
MOST_WORD_TOKENS = 8000
FEWEST_ROWS = 2
VOCABULARY_ROWS = 50_000  # from which byte pairs are learnt
MOST_CHARACTERS = 12_288  # of a text: half from its beginning, half from its end
MOST_BODY_TOKENS = 1536  # of a row's texts and sequences, shared out among their columns
FEWEST_CELL_TOKENS = 64
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Bins:
    """Quantile bins of a numeric column: the code of a number, then one for a missing one.

    Args:
        edges: Where a bin ends and the next begins, increasing.
    """

    edges: tuple[float, ...]

    @classmethod
    def fit(cls, values: NDArray[np.float64]) -> Bins:
        """Learn from values of shape (n,), NaN where missing."""
        present = values[~np.isnan(values)]
        bins = min(MOST_BINS, max(2, len(present) // ROWS_PER_BIN))
        if len(present) == 0:
            return cls(())
        edges = np.unique(np.quantile(present, np.arange(1, bins) / bins))
        return cls(tuple(edges[edges > present.min()].tolist()))

    @property
    def n_codes(self) -> int:
        """Number of codes: the bins and missing."""
        return len(self.edges) + 2

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the code of each number, shape (n,)."""
        codes = np.searchsorted(np.array(self.edges), values, side="right")
        return np.where(np.isnan(values), len(self.edges) + 1, codes)


@dataclass(frozen=True)
class Body:
    """The tokens of a text or sequence column, marker first.

    Args:
        place: The place of the column among the columns.
        missing: The tokens of a missing cell.
        cells: The tokens of each distinct cell.
        codes: The cell of each row, shape (n,), -1 where missing.
    """

    place: int
    missing: Tokens
    cells: Sequence[Tokens]
    codes: NDArray[np.int64]

    def cell(self, row: int) -> Tokens:
        """Return the tokens of one row."""
        code = self.codes[row]
        return self.missing if code < 0 else self.cells[code]


@dataclass(frozen=True)
class Streams:
    """Rows as tokens: a head of one token a column, and a body of texts and sequences.

    Args:
        head: Shape (n, h); the first is the start token.
        head_places: The place of each of them among the columns, 0 for the start token, (h,).
        blank: The head of a row that has nothing, shape (h,).
        bodies: The text and sequence columns.
    """

    head: Tokens
    head_places: Tokens
    blank: Tokens
    bodies: tuple[Body, ...]

    def __len__(self) -> int:
        return len(self.head)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each row's body, shape (n,)."""
        lengths = np.zeros(len(self), dtype=np.int64)
        for body in self.bodies:
            cells = np.array([*map(len, body.cells), len(body.missing)], dtype=np.int64)
            lengths += cells[body.codes]
        return lengths

    def row(self, row: int, kept: NDArray[np.bool_] | None = None) -> Row:
        """Return one row, with the columns (by their place) that are not kept as missing."""
        head = self.head[row]
        if kept is not None:
            head = np.where(kept[self.head_places], head, self.blank)
        if not self.bodies:
            return Row(head, self.head_places, head[:0], head[:0])
        cells = [
            body.cell(row) if kept is None or kept[body.place] else body.missing
            for body in self.bodies
        ]
        if len(cells) == 1:
            places = np.full(len(cells[0]), self.bodies[0].place, dtype=np.int32)
            return Row(head, self.head_places, cells[0], places)
        lengths = [len(cell) for cell in cells]
        places = np.repeat([body.place for body in self.bodies], lengths).astype(np.int32)
        return Row(head, self.head_places, np.concatenate(cells), places)


@dataclass(frozen=True)
class Row:
    """One row's tokens and the places of their columns."""

    head: Tokens
    head_places: Tokens
    body: Tokens
    body_places: Tokens

    def key(self) -> bytes:
        """Return bytes that are equal for rows of equal tokens."""
        return self.head.tobytes() + b"|" + self.body.tobytes()


@dataclass
class Reader:
    """Turns rows into streams of tokens.

    Args:
        columns: Name and kind of each column, in order; places count from 1.
        coders: Bins or levels of each column that has a vocabulary of its own.
        tokenizer: The byte pairs of all text columns, or None without texts.
    """

    columns: list[tuple[str, Role]] = field(default_factory=list)
    coders: dict[str, Bins | Levels] = field(default_factory=dict)
    tokenizer: Any = None

    @classmethod
    def fit(cls, table: Table) -> Reader:
        """Learn vocabularies from the train rows."""
        reader = cls()
        for feature in table.features:
            name, kind = feature.name, feature.feature
            if kind is None:
                continue
            reader.columns.append((name, kind))
            if kind == Role.NUMERIC:
                reader.coders[name] = Bins.fit(table.numeric(name))
            elif kind == Role.CATEGORICAL:
                reader.coders[name] = Levels.fit(table.texts(name))
            elif kind == Role.SEQUENCE:
                reader.coders[name] = Levels.fit(
                    _distinct_items(table.items(name)), most=MOST_ITEMS
                )
        texts = [name for name, kind in reader.columns if kind == Role.TEXT]
        if texts:
            reader.tokenizer = _fit_tokenizer([table.texts(name) for name in texts])
        return reader

    def offsets(self) -> list[int]:
        """Return the first token of each column, then of the byte pairs, then their end."""
        widths = [FIRST_FREE]
        for name, kind in self.columns:
            coder = self.coders.get(name)
            body = 2 if kind in (Role.TEXT, Role.SEQUENCE) else 0  # marker and missing
            widths.append(body + (coder.n_codes if coder else 0))
        widths.append(self.tokenizer.get_vocab_size() if self.tokenizer else 0)
        return [int(total) for total in np.cumsum(widths)]

    def read(self, table: Table) -> Streams:
        """Return the tokens of each row."""
        offsets = self.offsets()
        heads = [np.full(len(table), START)]
        head_places, blank = [0], [START]
        bodies: list[Body] = []
        wide = sum(kind in (Role.TEXT, Role.SEQUENCE) for _, kind in self.columns)
        most = max(MOST_BODY_TOKENS // max(wide, 1), FEWEST_CELL_TOKENS)
        for place, ((name, kind), first) in enumerate(
            zip(self.columns, offsets, strict=False), start=1
        ):
            coder = self.coders.get(name)
            if kind == Role.TEXT:
                cells, codes = _words(table.texts(name), self.tokenizer, most)
                bodies.append(_body(place, first, cells, codes, offsets[-2]))
            elif isinstance(coder, Bins):
                heads.append(first + coder.encode(table.numeric(name)))
            elif kind == Role.CATEGORICAL and isinstance(coder, Levels):
                heads.append(first + coder.encode(table.texts(name)))
            elif isinstance(coder, Levels):
                cells, codes = _items(table.items(name), coder, most)
                bodies.append(_body(place, first, cells, codes, first + 2))
            if kind in (Role.NUMERIC, Role.CATEGORICAL) and coder is not None:
                head_places.append(place)
                blank.append(first + coder.n_codes - 1)
        return Streams(
            np.column_stack(heads).astype(np.int32),
            np.array(head_places, dtype=np.int32),
            np.array(blank, dtype=np.int32),
            tuple(bodies),
        )

    def to_document(self) -> dict[str, Any]:
        """Return the vocabularies as JSON values, but for the byte pairs."""
        return {
            "columns": [[name, kind.value] for name, kind in self.columns],
            "edges": {n: list(c.edges) for n, c in self.coders.items() if isinstance(c, Bins)},
            "levels": {n: list(c.levels) for n, c in self.coders.items() if isinstance(c, Levels)},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], tokenizer: str | None) -> Reader:
        """Return the reader that ``to_document`` gave, with its byte pairs as JSON text."""
        coders: dict[str, Bins | Levels] = {}
        coders |= {name: Bins(tuple(edges)) for name, edges in document["edges"].items()}
        coders |= {name: Levels(tuple(levels)) for name, levels in document["levels"].items()}
        columns = [(name, Role(kind)) for name, kind in document["columns"]]
        library = tokenizers_library() if tokenizer else None
        read = library.Tokenizer.from_str(tokenizer) if library else None
        return cls(columns, coders, read)


def _body(
    place: int, first: int, cells: list[NDArray[np.int64]], codes: NDArray[np.int64], base: int
) -> Body:
    """Return a column's tokens: its marker is ``first``, a missing cell the one after."""
    marked = [np.append(first, cell + base).astype(np.int32) for cell in cells]
    return Body(place, np.array([first + 1], dtype=np.int32), marked, codes)


def _words(
    texts: pa.Array,
    tokenizer: Any,  # noqa: ANN401
    most: int,
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return the byte-pair tokens of each distinct text, and the text of each row."""
    encoded = texts.dictionary_encode()
    cells = [
        _both_ends(np.array(tokenizer.encode(_excerpt(text)).ids, dtype=np.int64), most)
        for text in encoded.dictionary.to_pylist()
    ]
    return cells, encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)


def _items(
    lists: pa.Array, levels: Levels, most: int
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """Return the tokens of each row's items, and which rows have a list at all."""
    import pyarrow.compute as pc

    codes = levels.encode(pc.list_flatten(lists))
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(lengths)
    cells = [_both_ends(cell, most) for cell in np.split(codes, ends[:-1])] if len(ends) else []
    missing = lists.is_null().to_numpy(zero_copy_only=False)
    return cells, np.where(missing, -1, np.arange(len(lists)))


def _excerpt(text: str) -> str:
    """Return a text, or the two ends of one that is longer than MOST_CHARACTERS."""
    half = MOST_CHARACTERS // 2
    return text if len(text) <= MOST_CHARACTERS else text[:half] + text[-half:]


def _both_ends(tokens: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return tokens, less the middle of more than most."""
    half = most // 2
    return tokens if len(tokens) <= most else np.concatenate([tokens[:half], tokens[-half:]])


def _distinct_items(lists: pa.Array) -> pa.Array:
    """Return each item once for each row that it stands in."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = pc.list_flatten(lists)
    rows = pc.list_parent_indices(lists)
    pairs = pa.table({"row": rows, "item": flat}).group_by(["row", "item"]).aggregate([])
    items = pairs.column("item").combine_chunks()
    return pa.concat_arrays(items.chunks) if isinstance(items, pa.ChunkedArray) else items


def _fit_tokenizer(columns: list[pa.Array]) -> Any:  # noqa: ANN401 - a tokenizer
    """Return byte pairs learnt from the words that stand in at least two rows."""
    library = tokenizers_library()
    split = library.pre_tokenizers.Split(library.Regex(WORDS), "isolated")
    plain = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.normalizer = library.normalizers.Sequence(
        [library.normalizers.NFC(), library.normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([split, plain])
    rows = _word_sets(columns, tokenizer.normalizer, split)
    standing = Counter(word for words in rows for word in words)
    kept = [[w for w in words if standing[w] >= FEWEST_ROWS] for words in rows]
    trainer = library.trainers.BpeTrainer(
        vocab_size=MOST_WORD_TOKENS,
        min_frequency=FEWEST_ROWS,
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    with _one_thread():
        tokenizer.train_from_iterator(kept, trainer)
    return tokenizer


def _word_sets(columns: list[pa.Array], normalizer: Any, split: Any) -> list[list[str]]:  # noqa: ANN401
    """Return the distinct words of each row, over its text columns."""
    n = len(columns[0])
    rows = np.unique(np.linspace(0, max(n - 1, 0), min(n, VOCABULARY_ROWS)).astype(np.int64))
    texts = [column.take(rows).to_pylist() for column in columns]
    sets = []
    for cells in zip(*texts, strict=True):
        words: dict[str, None] = {}
        for cell in cells:
            if cell is not None:
                normal = normalizer.normalize_str(_excerpt(cell))
                words |= dict.fromkeys(word for word, _ in split.pre_tokenize_str(normal))
        sets.append(list(words))
    return sets


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the tokenizers library, which asks the environment, from starting threads."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
