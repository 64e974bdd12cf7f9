"""``simple_transformer``: a small transformer encoder, learnt from nothing but the train rows.

Texts, sequences, levels and numbers are read as one stream of tokens; the order of words and
of items counts. A row longer than a window is read in windows that overlap, and is as risky as the
riskiest of them; of a very long text only both ends are read (``tokens.MOST_CHARACTERS``). A
score is the logit over a temperature, plus what class weights took from the log-odds.
Each row is computed alone, in its own shape, on one CPU thread: its score thus is the same bits
whatever stands beside it.

Reference:
    Vaswani et al. 2017; Guo et al. 2017 (temperature scaling).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nethical.errors import TrainingError
from nethical.models.base import Fitting, Parts, Reason, Settings, Traits, filled
from nethical.models.reasons import ranked_reasons
from nethical.models.stopping import stopping_rows
from nethical.models.transformer.encoder import Shape, forward, stack, window_starts
from nethical.models.transformer.libraries import exact, tokenizers_library, torch_library
from nethical.models.transformer.tokens import Reader
from nethical.models.transformer.training import AUTO, SPACE, Descent, Examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table
    from nethical.models.transformer.encoder import Arrays
    from nethical.models.transformer.tokens import Row, Streams
    from nethical.run import Progress

    Floats = NDArray[np.float64]

__all__ = ["SimpleTransformer", "build"]

BLOCK_ROWS = 4096
MEAN_ROWS = 1024
MOST_CLASS_WEIGHT = 3.0  # a rare class is made up for by half its log-odds, and up to nine times


class SimpleTransformer:
    """A small encoder; see the module for what it reads and what a score is."""

    model_type = "simple_transformer"
    traits = Traits(beside="logistic", space=SPACE)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._values = filled(SPACE, settings.parameters)
        self._reader = Reader()
        self._tokenizer: str | None = None
        self._shape = Shape(0, 0, 0, 0, 0, 0)
        self._weights: Arrays = {}
        self._temperature = 1.0
        self._prior = 0.0
        self._mean = 0.0
        self.fitting = Fitting(None)

    def fit(self, table: LabelledTable, *, rng: np.random.Generator, progress: Progress) -> Self:
        """Learn from labelled rows and return self.

        Raises:
            TrainingError: A library is missing, all rows of any weight are of one class, or
                training ran away.
        """
        torch = torch_library()
        tokenizers_library()
        weighty = table.y if table.weights is None else table.y[table.weights > 0]
        if len(np.unique(weighty)) == 1 or len(weighty) == 0:
            raise TrainingError(
                "all rows to learn from are of one class", mend="add rows of the other class"
            )
        seed = int(rng.integers(2**62))
        self._reader = Reader.fit(table)
        self._tokenizer = self._reader.tokenizer and self._reader.tokenizer.to_str()
        *_, words, tokens = self._reader.offsets()
        places = len(self._reader.columns) + 1
        given: dict[str, Any] = {
            name: self._values[name] for name in ("width", "layers") if self._values[name] != AUTO
        }
        self._shape = Shape.for_rows(
            len(table), tokens=tokens, words=tokens - words, places=places, **given
        )
        examples = _examples(table, self._reader.read(table), np.random.default_rng(seed))
        self._prior = examples.prior
        settings, alike = self._settings, _are_alike(examples.streams)
        if alike:
            settings = replace(settings, epochs=0, snapshots=None)
        with exact(torch):
            descent = Descent(self._shape, examples, settings, seed)
            outcome = descent.run(lambda done, of: progress("fit simple_transformer", done, of))
        self._weights, self._temperature = outcome.weights, outcome.temperature
        some = np.unique(np.linspace(0, len(table) - 1, MEAN_ROWS).astype(np.int64))
        self._mean = float(np.mean(self.score(table.take(some))))
        notes = ["--threads has no effect: it computes on one thread"]
        if self._settings.threads == 1:
            notes = []
        if alike:
            notes.append("all rows read the same, so each gets the base rate")
        self.fitting = Fitting(
            epochs_run=float(outcome.epochs_run),
            notes=tuple(notes),
            details={
                "best_epoch": outcome.best_epoch,
                "parameters": int(sum(array.size for array in self._weights.values())),
                "temperature": self._temperature,
                "device": outcome.device,
                "threads": 1,
                "rows_for_early_stopping": len(examples.held),
                "held_losses": list(outcome.losses) if len(examples.held) else [],
            },
        )
        return self

    def score(self, table: Table) -> Floats:
        """Return the tempered log-odds of each row, shape (n,)."""
        scores = np.empty(len(table))
        for start, streams in self._blocks(table):
            rows = (streams.row(i) for i in range(len(streams)))
            scores[start : start + len(streams)] = self._scores(rows, len(streams))
        return scores

    def row_scorer(self) -> Callable[[Mapping[str, Any]], float] | None:
        """Return None: a row alone costs as much in a table of one."""
        return None

    def explain(self, table: Table, top: int) -> list[list[Reason]]:
        """Return for each row the columns that move its score most.

        With S a row's score, a column's effect is the mean of what it takes from S when it is
        made missing and of what it adds to a row in which all else is missing: for one or two
        columns that is its Shapley value. Effects do not sum to S less the mean score of the
        train rows; what is left over is shared out in proportion to their sizes.
        """
        names = [name for name, _ in self._reader.columns]
        shares: dict[str, list[Floats]] = {name: [] for name in names}
        for _, streams in self._blocks(table):
            for name, share in zip(names, self._effects(streams), strict=True):
                shares[name].append(share)
        if len(table) == 0:
            return []
        return ranked_reasons(table, {n: np.concatenate(own) for n, own in shares.items()}, top)

    def _effects(self, streams: Streams) -> list[Floats]:
        """Return the share of each column in each row's score, less the mean score."""
        places = np.arange(len(self._reader.columns) + 1)

        def without(kept: NDArray[np.bool_]) -> Floats:
            rows = (streams.row(i, kept) for i in range(len(streams)))
            return self._scores(rows, len(streams))

        whole, empty = without(places >= 0), without(places < 0)
        effects = [
            (whole - without(places != place) + without(places == place) - empty) / 2
            for place in places[1:].tolist()
        ]
        left = whole - self._mean
        size = np.zeros(len(streams))
        for effect in effects:
            left = left - effect
            size = size + np.abs(effect)
        even = np.full(len(streams), 1 / max(len(effects), 1))
        return [
            effect + left * np.divide(np.abs(effect), size, out=even.copy(), where=size > 0)
            for effect in effects
        ]

    def _blocks(self, table: Table) -> Iterator[tuple[int, Streams]]:
        """Yield the tokens of some rows at a time, and the first of them."""
        for start in range(0, len(table), BLOCK_ROWS):
            yield start, self._reader.read(table.slice(start, min(BLOCK_ROWS, len(table) - start)))

    def _scores(self, rows: Iterator[Row], n: int) -> Floats:
        """Return the score of each row; rows of equal tokens are computed once."""
        torch = torch_library()
        known: dict[bytes, float] = {}
        logits = np.empty(n)
        with exact(torch), torch.inference_mode():
            weights = {name: torch.from_numpy(array) for name, array in self._weights.items()}
            for i, row in enumerate(rows):
                key = row.key()
                logit = known.get(key)
                if logit is None:
                    batch = stack([row], [window_starts(len(row.body))])
                    tensors = batch.tensors(torch.from_numpy)
                    logit = known[key] = float(forward(weights, self._shape, tensors))
                logits[i] = logit
        return logits / self._temperature + self._prior

    def to_parts(self) -> Parts:
        """Return the model as plain values."""
        document = {
            "reader": self._reader.to_document(),
            "shape": self._shape.to_document(),
            "temperature": self._temperature,
            "prior": self._prior,
            "mean": self._mean,
        }
        texts = {} if self._tokenizer is None else {"tokenizer.json": self._tokenizer}
        return Parts(document, dict(self._weights), texts)

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Return the model that ``to_parts`` gave.

        Raises:
            TrainingError: A library is missing.
        """
        torch_library()
        tokenizers_library()
        model = cls(Settings())
        document = parts.document
        model._tokenizer = parts.texts.get("tokenizer.json")
        model._reader = Reader.from_document(document["reader"], model._tokenizer)
        model._shape = Shape(**document["shape"])
        model._weights = {name: np.asarray(array) for name, array in parts.arrays.items()}
        model._temperature = document["temperature"]
        model._prior = document["prior"]
        model._mean = document["mean"]
        return model


def _examples(table: LabelledTable, streams: Streams, rng: np.random.Generator) -> Examples:
    """Return the train rows as examples, a tenth of them held for early stopping."""
    held = stopping_rows(table, rng)
    y = table.y
    weights = np.ones(len(table)) if table.weights is None else table.weights
    totals = np.array([weights[y == label].sum() for label in (0, 1)])
    balance = ((totals[::-1] / totals) ** 0.25).clip(1 / MOST_CLASS_WEIGHT, MOST_CLASS_WEIGHT)
    balance /= np.average(balance, weights=totals)
    rows = np.arange(len(table))
    return Examples(streams, y, weights, balance, rows[~held], rows[held])


def _are_alike(streams: Streams) -> bool:
    """Return whether all rows are the same tokens."""
    first = streams.row(0).key()
    return all(streams.row(i).key() == first for i in range(len(streams)))


def build(settings: Settings) -> SimpleTransformer:
    """Return an unfitted model."""
    return SimpleTransformer(settings)
