"""Novelty of sequences, learnt from normal ones: how surprising each step is after the last five.

A sequence is read with five start marks before it and an end mark after it, so that every step,
its end too, has a window of six symbols, however short it is. Three detectors read the windows:
the mean surprise of a Markov chain of order 5 (or less), the mean of the greatest tenth of the
surprises of order 3, and the share of windows that no normal sequence holds (STIDE). All of
them depend on the windows alone, so each distinct window is looked up once.

An item that stands in fewer than two of the sequences learnt from is unseen. It is as
surprising as any step can be, and so are the windows that hold it: a sequence of unseen items is
the most abnormal there is. Windows are known by 64-bit hashes and counts; no item is stored.

Reference:
    Witten and Bell 1991 (back-off, method C); Forrest et al. 1996 and Warrender et al. 1999
    (STIDE).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.models.base import Parts
from nethical.models.reasons import SHOWN_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int64]
    Hashes = NDArray[np.uint64]

__all__ = ["ORDER", "Chain", "Counted", "Novelty", "Steps", "steps", "words"]

WINDOW = 6
ORDER = WINDOW - 1  # of the chain whose mean surprise counts
TOP_ORDER = 3  # of the chain whose greatest surprises count
TOP_SHARE = 0.1
FEWEST_ROWS = 2
MOST_WINDOWS = 1 << 19
MOST_STEPS = 1 << 22
CHUNK_SYMBOLS = 1 << 21
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
START, END, UNSEEN = np.uint64(1), np.uint64(2), np.uint64(3)
END_TEXT, START_TEXT = "(end)", "(start)"


def words(texts: pa.Array) -> pa.Array:
    """Return texts as lists of their lower-cased words, null where missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.utf8_lower(pc.utf8_normalize(texts, form="NFKC"))
    spaced = pc.replace_substring_regex(plain, r"[^\pL\pM\pN_]+", " ")
    lists = pc.split_pattern(pc.utf8_trim_whitespace(spaced), " ")
    return lists.cast(pa.large_list(pa.large_string()))


def _mix(values: Hashes) -> Hashes:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


@dataclass(frozen=True)
class Steps:
    """The steps of some sequences, the end of each among them.

    Args:
        rows: Row of each step, shape (m,), increasing.
        n_rows: Number of sequences.
        windows: The symbol of each step and of the five before it, the step's own first, shape
            (WINDOW, m).
    """

    rows: Codes
    n_rows: int
    windows: Hashes


def _symbols(lists: pa.Array) -> tuple[Hashes, Codes, Codes]:
    """Return a symbol for each item, the item's row, and the lengths of the sequences."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(lists)), lengths)
    encoded = pc.list_flatten(lists).fill_null("").cast(pa.large_string()).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    digests = b"".join(hashlib.blake2b(n.encode(), digest_size=8).digest() for n in names)
    hashes = np.maximum(np.frombuffer(digests, dtype=np.uint64), UNSEEN + np.uint64(1))
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return hashes[codes], rows, lengths.astype(np.int64)


def _recurring(lists: pa.Array) -> Hashes:
    """Return the symbols that stand in at least FEWEST_ROWS sequences, increasing."""
    symbols, rows, _ = _symbols(lists)
    known, codes = np.unique(symbols, return_inverse=True)
    pairs = np.unique(rows * max(len(known), 1) + codes) % max(len(known), 1)
    return np.asarray(known[np.bincount(pairs, minlength=len(known)) >= FEWEST_ROWS])


def _is_among(values: Hashes, known: Hashes) -> tuple[Codes, NDArray[np.bool_]]:
    """Return the place of each value among increasing known ones, and whether it is there."""
    if len(known) == 0:
        return np.zeros(len(values), dtype=np.int64), np.zeros(len(values), dtype=bool)
    at = np.minimum(np.searchsorted(known, values), len(known) - 1)
    return at, known[at] == values


def steps(lists: pa.Array, vocabulary: Hashes) -> Steps:
    """Return the steps of lists of texts; a missing list reads as an empty one.

    Args:
        lists: Shape (n,).
        vocabulary: The known symbols, increasing; others read as UNSEEN.
    """
    symbols, rows, lengths = _symbols(lists)
    symbols = np.where(_is_among(symbols, vocabulary)[1], symbols, UNSEEN)
    ends = np.cumsum(lengths + WINDOW) - 1
    line = np.full(len(symbols) + WINDOW * len(lists), START, dtype=np.uint64)
    line[ends] = END
    line[np.arange(len(symbols)) + (rows + 1) * WINDOW - 1] = symbols
    at = np.flatnonzero(line != START)
    owner = np.repeat(np.arange(len(lists)), lengths + 1)
    return Steps(owner, len(lists), np.stack([line[at - back] for back in range(WINDOW)]))


@dataclass(frozen=True)
class Counted:
    """How often each of some hashes was met.

    Args:
        hashes: Increasing, shape (u,).
        counts: Shape (u,).
    """

    hashes: Hashes
    counts: Floats

    @classmethod
    def of(cls, hashes: Hashes, counts: Floats) -> Counted:
        """Return increasing hashes with their counts, the most frequent if they are too many."""
        if len(hashes) > MOST_WINDOWS:
            kept = counts > np.partition(counts, -MOST_WINDOWS)[-MOST_WINDOWS]
            hashes, counts = hashes[kept], counts[kept]
        return cls(hashes, counts)

    def count(self, hashes: Hashes) -> Floats:
        """Return how often each hash was met, shape (m,)."""
        at, found = _is_among(hashes, self.hashes)
        return np.where(found, self.counts[at], 0.0) if len(self.hashes) else np.zeros(len(hashes))


def _suffixes(symbols: Hashes) -> Iterator[Hashes]:
    """Yield the hashes of the last symbol, the last two and so on; symbols is (length, m)."""
    hashes = np.zeros(symbols.shape[1], dtype=np.uint64)
    for line in symbols:
        hashes = _mix(hashes * MULTIPLIER + line)
        yield hashes


def _distinct(windows: Hashes, counts: Floats | None = None) -> tuple[Hashes, Floats, Codes]:
    """Return the distinct windows, how often each stands there, and which one each was."""
    *_, whole = _suffixes(windows)
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return windows[:, first], np.bincount(inverse, weights=counts).astype(np.float64), inverse


@dataclass(frozen=True)
class Chain:
    """A Markov chain with Witten-Bell back-off from order 5 down to the uniform distribution.

    Args:
        grams: How often each run of 1 to WINDOW symbols was met, by length.
        followed: How often each run of 0 to WINDOW - 1 symbols was followed by another.
        types: By how many different ones it was followed, the hashes as in ``followed``.
        n_symbols: Number of symbols that a step can be, the unseen one among them.
    """

    grams: tuple[Counted, ...]
    followed: tuple[Counted, ...]
    types: tuple[Floats, ...]
    n_symbols: int

    @classmethod
    def fit(cls, windows: Hashes, counts: Floats, n_symbols: int) -> Chain:
        """Learn from distinct windows, shape (WINDOW, m), and how often each stands there."""
        grams, followed, types = [], [], []
        before = [np.zeros(windows.shape[1], dtype=np.uint64), *_suffixes(windows[1:])]
        for runs, contexts in zip(_suffixes(windows), before, strict=True):
            hashes, first, inverse = np.unique(runs, return_index=True, return_inverse=True)
            met = np.bincount(inverse, weights=counts).astype(np.float64)
            context, place = np.unique(contexts[first], return_inverse=True)
            known = windows[0, first] != UNSEEN
            grams.append(Counted.of(hashes[known], met[known]))
            kept = Counted.of(context, np.bincount(place, weights=met).astype(np.float64))
            followed.append(kept)
            types.append(np.bincount(place)[np.isin(context, kept.hashes)].astype(np.float64))
        return cls(tuple(grams), tuple(followed), tuple(types), n_symbols)

    @cached_property
    def greatest(self) -> float:
        """The surprise of an unseen symbol: no step can have more."""
        scale = [float(np.max(1 + f.counts / t, initial=1.0)) for f, t in self._contexts]
        return float(np.sum(np.log(scale)) + np.log(self.n_symbols))

    @property
    def _contexts(self) -> Iterator[tuple[Counted, Floats]]:
        return zip(self.followed, self.types, strict=True)

    def surprises(self, windows: Hashes, orders: Collection[int]) -> dict[int, Floats]:
        """Return by order -log of the probability of each window's last symbol, shape (m,)."""
        p = np.full(windows.shape[1], 1 / self.n_symbols)
        before = [np.zeros(windows.shape[1], dtype=np.uint64), *_suffixes(windows[1:])]
        found: dict[int, Floats] = {}
        for order, (runs, contexts) in enumerate(zip(_suffixes(windows), before, strict=True)):
            if len(self.followed[order].hashes):
                at, known = _is_among(contexts, self.followed[order].hashes)
                total, types = self.followed[order].counts[at], self.types[order][at]
                backed = (self.grams[order].count(runs) + types * p) / (total + types)
                p = np.where(known, backed, p)
            if order in orders:
                found[order] = np.where(windows[0] == UNSEEN, self.greatest, -np.log(p))
        return found

    def is_new(self, windows: Hashes) -> NDArray[np.bool_]:
        """Return whether each window was never met, or holds an unseen symbol."""
        *_, whole = _suffixes(windows)
        return np.asarray((self.grams[-1].count(whole) == 0) | (windows == UNSEEN).any(axis=0))


@dataclass(frozen=True)
class Novelty:
    """What the normal sequences of a column look like.

    Args:
        vocabulary: The known symbols, increasing, shape (v,).
        chain: What follows what.
        order: How many symbols before a step its mean surprise looks at, 1 to ORDER.
    """

    vocabulary: Hashes
    chain: Chain
    order: int = ORDER

    @property
    def detectors(self) -> tuple[str, str, str]:
        """What the detectors are called."""
        return (
            f"mean surprise, order {self.order}",
            f"greatest surprises, order {TOP_ORDER}",
            "windows never seen",
        )

    @classmethod
    def fit(cls, lists: pa.Array, order: int = ORDER) -> Novelty:
        """Learn from lists of texts, shape (n,), null where missing.

        Of very many steps, those of evenly spaced rows are read.
        """
        lists = _thinned(lists)
        vocabulary = _recurring(lists)
        found = [_distinct(steps(chunk, vocabulary).windows)[:2] for chunk in _chunks(lists)]
        windows = np.concatenate([windows for windows, _ in found], axis=1)
        windows, counts, _ = _distinct(windows, np.concatenate([counts for _, counts in found]))
        n_symbols = len(vocabulary) + 2  # the end and the unseen symbol
        return cls(vocabulary, Chain.fit(windows, counts, n_symbols), order)

    def scores(self, lists: pa.Array) -> list[Floats]:
        """Return the raw score of each detector, each of shape (n,), higher is more abnormal."""
        parts = [self._scores(chunk) for chunk in _chunks(lists)]
        if not parts:
            return [np.empty(0) for _ in self.detectors]
        return [np.concatenate(found) for found in zip(*parts, strict=True)]

    def _scores(self, lists: pa.Array) -> tuple[Floats, ...]:
        read = steps(lists, self.vocabulary)
        windows, _, which = _distinct(read.windows)
        surprises = self.chain.surprises(windows, (self.order, TOP_ORDER))
        lengths = np.bincount(read.rows, minlength=read.n_rows)
        long, short = (surprises[order][which] for order in (self.order, TOP_ORDER))
        mean = np.bincount(read.rows, weights=long, minlength=read.n_rows) / lengths
        order = np.lexsort((-short, read.rows))
        many = np.maximum(np.ceil(TOP_SHARE * lengths), 1)
        place = np.arange(len(order)) - (np.cumsum(lengths) - lengths)[read.rows]
        top = place < many[read.rows]
        greatest = np.bincount(read.rows[top], weights=short[order][top], minlength=read.n_rows)
        new = self.chain.is_new(windows)[which].astype(np.float64)
        share = np.bincount(read.rows, weights=new, minlength=read.n_rows) / lengths
        return mean, greatest / many, share

    def surprising_steps(self, lists: pa.Array) -> list[str]:
        """Return for each row its most surprising step, and how often it was seen after that."""
        read = steps(lists, self.vocabulary)
        if read.n_rows == 0:
            return []
        surprise = self.chain.surprises(read.windows, (self.order,))[self.order]
        order = np.lexsort((-surprise, read.rows))
        at = order[np.searchsorted(read.rows, np.arange(read.n_rows))]
        met = np.stack(
            [
                gram.count(runs)
                for gram, runs in zip(self.chain.grams, _suffixes(read.windows[:, at]), strict=True)
            ]
        )
        first = np.searchsorted(read.rows, np.arange(read.n_rows))
        shown = []
        for row, items in enumerate(lists.to_pylist()):
            symbols = [*[START_TEXT] * (WINDOW - 1), *(items or []), END_TEXT]
            end = int(at[row] - first[row]) + WINDOW
            never = np.flatnonzero(met[:, row] == 0)
            length = int(never[0]) + 1 if len(never) else 2
            run = [str(symbol) for symbol in symbols[end - length : end]]
            odds = round(float(np.exp(surprise[at[row]])))
            shown.append(_step_text(run, "never seen" if len(never) else f"1 in {odds:,}"))
        return shown

    def to_parts(self) -> Parts:
        """Return this as plain values."""
        arrays: dict[str, NDArray[Any]] = {"vocabulary": self.vocabulary}
        for i, (gram, followed) in enumerate(
            zip(self.chain.grams, self.chain.followed, strict=True)
        ):
            arrays |= {f"gram{i}.hashes": gram.hashes, f"gram{i}.counts": gram.counts}
            arrays |= {f"after{i}.hashes": followed.hashes, f"after{i}.counts": followed.counts}
            arrays[f"after{i}.types"] = self.chain.types[i]
        document = {"n_symbols": self.chain.n_symbols}
        if self.order != ORDER:
            document["order"] = self.order
        return Parts(document, arrays)

    @classmethod
    def from_parts(cls, parts: Parts) -> Novelty:
        """Return what ``to_parts`` gave."""
        a = parts.arrays
        places = range(WINDOW)
        grams = tuple(Counted(a[f"gram{i}.hashes"], a[f"gram{i}.counts"]) for i in places)
        followed = tuple(Counted(a[f"after{i}.hashes"], a[f"after{i}.counts"]) for i in places)
        types = tuple(a[f"after{i}.types"] for i in places)
        chain = Chain(grams, followed, types, parts.document["n_symbols"])
        return cls(a["vocabulary"], chain, parts.document.get("order", ORDER))


def _step_text(run: list[str], seen: str) -> str:
    """Return a run of items as text, its start cut off if it is long."""
    room = SHOWN_CHARACTERS - len(seen) - len(" ()")
    text = " > ".join(run)
    return f"{text if len(text) <= room else '...' + text[len(text) - room + 3 :]} ({seen})"


def _thinned(lists: pa.Array) -> pa.Array:
    """Return evenly spaced rows with no more than about MOST_STEPS steps."""
    import pyarrow as pa
    import pyarrow.compute as pc

    total = (pc.sum(pc.list_value_length(lists)).as_py() or 0) + len(lists)
    apart = -(-total // MOST_STEPS)
    return lists if apart <= 1 else lists.take(pa.array(np.arange(0, len(lists), apart)))


def _chunks(lists: pa.Array) -> Iterator[pa.Array]:
    """Yield some rows at a time, at least one chunk if there are rows."""
    import pyarrow.compute as pc

    sizes = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False) + WINDOW
    total = np.cumsum(sizes)
    start = 0
    while start < len(lists):
        done = total[start] - sizes[start]
        end = max(int(np.searchsorted(total, done + CHUNK_SYMBOLS, side="right")), start + 1)
        yield lists.slice(start, end - start)
        start = end
