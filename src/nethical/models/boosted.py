"""``boosted``: gradient-boosted trees (LightGBM) on numbers, levels and telling n-grams.

Training is deterministic for any number of threads, stops early on a cut of the train part, and
is stored in LightGBM's own text format: no pickle.

Reference:
    Friedman 2001; Ke et al. 2017 (LightGBM); Lundberg et al. 2020 (tree SHAP, for reasons).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from nethical.data.roles import Role
from nethical.errors import TrainingError
from nethical.models.base import Fitting, Parameter, Parts, Reason, Settings, Traits, filled
from nethical.models.features import (
    Levels,
    Ngrams,
    associated_grams,
    gram_column,
    gram_kinds,
    level_text,
)
from nethical.models.reasons import ranked_reasons
from nethical.models.stopping import stopping_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from nethical.data.table import LabelledTable, Table
    from nethical.run import Progress

    Floats = NDArray[np.float64]

__all__ = ["SPACE", "Boosted", "build"]

ROUNDS_PER_EPOCH = 10
PATIENCE = 20
MOST_TOKENS = 256
BATCH_ROWS = 1 << 16
PARAMETERS: dict[str, Any] = {
    "objective": "binary",
    "metric": "binary_logloss",
    "learning_rate": 0.1,
    "num_leaves": 31,
    "min_data_in_leaf": 20,
    "lambda_l2": 1.0,
    "deterministic": True,
    "force_row_wise": True,
    "feature_pre_filter": False,
    "verbosity": -1,
}
SPACE = (
    Parameter("learning_rate", PARAMETERS["learning_rate"], 0.01, 0.5, is_log=True),
    Parameter("num_leaves", PARAMETERS["num_leaves"], 2, 255, is_whole=True, is_log=True),
    Parameter(
        "min_data_in_leaf", PARAMETERS["min_data_in_leaf"], 5, 500, is_whole=True, is_log=True
    ),
    Parameter("feature_fraction", 1.0, 0.3, 1.0),
    Parameter("lambda_l2", PARAMETERS["lambda_l2"], 0.01, 100.0, is_log=True),
)


def _lightgbm() -> Any:  # noqa: ANN401 - a module
    try:
        import lightgbm
    except OSError as error:
        raise TrainingError(
            f"LightGBM cannot start: {error}",
            mend="install the OpenMP library (`apt-get install libgomp1`)",
        ) from error
    return lightgbm


class Boosted:
    """Boosted trees; see the module for what they read.

    Args:
        settings: What the user decides.
        space: The parameters and their defaults; only a fit reads them.
    """

    model_type = "boosted"
    traits = Traits(space=SPACE)

    def __init__(self, settings: Settings, space: Sequence[Parameter] = SPACE) -> None:
        self._settings = settings
        self._parameters = PARAMETERS | filled(space, settings.parameters)
        self._columns: list[tuple[str, Role]] = []
        self._levels: dict[str, Levels] = {}
        self._fills: dict[str, float] = {}
        self._ngrams: dict[str, list[Ngrams]] = {}
        self._booster: Any = None
        self.fitting = Fitting(None)

    def fit(self, table: LabelledTable, *, rng: np.random.Generator, progress: Progress) -> Self:
        """Learn from labelled rows and return self."""
        lightgbm = _lightgbm()
        self._fit_encoders(table)
        if all(self._width(name) == 0 for name, _ in self._columns):
            raise TrainingError(
                "no n-gram tells the classes apart, so there is nothing for trees to split on",
                mend="add columns, or more rows",
            )
        held = stopping_rows(table, rng)
        matrix = self._matrix(table)
        rounds = self._settings.epochs * ROUNDS_PER_EPOCH
        parameters = self._parameters | {
            "num_threads": self._settings.threads,
            "seed": int(rng.integers(2**31)),
        }
        weights = table.weights
        train = lightgbm.Dataset(
            matrix[~held] if held.any() else matrix,
            table.y[~held],
            weight=None if weights is None else weights[~held],
            categorical_feature=self._level_places(),
            free_raw_data=True,
        )
        callbacks = [lambda env: progress("fit boosted", env.iteration + 1, rounds)]
        watched = []
        if held.any():
            kept = None if weights is None else weights[held]
            watched = [lightgbm.Dataset(matrix[held], table.y[held], weight=kept, reference=train)]
            callbacks.append(lightgbm.early_stopping(PATIENCE, verbose=False))
        del matrix
        self._booster = lightgbm.train(
            parameters, train, rounds, valid_sets=watched, callbacks=callbacks
        )
        used = self._booster.best_iteration or self._booster.current_iteration()
        text = self._booster.model_to_string(num_iteration=used)
        self._booster = lightgbm.Booster(model_str=_without_parameters(text))
        self.fitting = Fitting(
            epochs_run=used / ROUNDS_PER_EPOCH,
            notes=("--batch-size has no effect: each tree reads all rows",),
            details={"trees": used, "rows_for_early_stopping": int(held.sum())},
        )
        return self

    def _fit_encoders(self, table: LabelledTable) -> None:
        self._columns, self._levels, self._ngrams, self._fills = [], {}, {}, {}
        for feature in table.features:
            name, kind = feature.name, feature.feature
            if kind is None:
                continue
            self._columns.append((name, kind))
            if kind == Role.NUMERIC:
                values = table.numeric(name)
                if not np.isnan(values).any():  # trees would take a later gap for a zero
                    self._fills[name] = float(np.median(values))
            if kind == Role.CATEGORICAL:
                self._levels[name] = Levels.fit(table.texts(name))
            for grams in gram_kinds(kind):
                ngrams = Ngrams.fit(gram_column(table, name, grams), grams)
                chosen, _ = associated_grams(table, name, ngrams, MOST_TOKENS)
                kept = Ngrams(grams, ngrams.hashes[chosen], ngrams.idf[chosen])
                self._ngrams.setdefault(name, []).append(kept)

    def _width(self, name: str) -> int:
        return sum(len(n.hashes) for n in self._ngrams[name]) if name in self._ngrams else 1

    def _level_places(self) -> list[int]:
        places, at = [], 0
        for name, kind in self._columns:
            if kind == Role.CATEGORICAL:
                places.append(at)
            at += self._width(name)
        return places

    def _matrix(self, table: Table) -> Floats:
        """Return what the trees read, shape (n, width), NaN where missing."""
        width = sum(self._width(name) for name, _ in self._columns)
        matrix = np.zeros((len(table), width))
        at = 0
        for name, kind in self._columns:
            if kind == Role.NUMERIC:
                values = table.numeric(name)
                fill = self._fills.get(name)
                matrix[:, at] = values if fill is None else np.where(np.isnan(values), fill, values)
            elif kind == Role.CATEGORICAL:
                matrix[:, at] = self._levels[name].encode(table.texts(name))
            for ngrams in self._ngrams.get(name, []):
                entries = ngrams.transform(gram_column(table, name, ngrams.kind))
                matrix[entries.rows, at + entries.columns] = entries.values
                at += len(ngrams.hashes)
            at += name not in self._ngrams
        return matrix

    def score(self, table: Table) -> Floats:
        """Return the log-odds of each row, shape (n,)."""
        scores = np.empty(len(table))
        for start in range(0, len(table), BATCH_ROWS):
            rows = slice(start, min(start + BATCH_ROWS, len(table)))
            part = table.slice(start, rows.stop - start)
            scores[rows] = self._booster.predict(
                self._matrix(part), raw_score=True, num_threads=self._settings.threads
            )
        return scores

    def row_scorer(self) -> Callable[[Mapping[str, Any]], float] | None:
        """Return a scorer of one row; None with texts or sequences."""
        if self._ngrams:
            return None
        booster, fills = self._booster, self._fills
        cells = np.empty((1, len(self._columns)))
        readers: list[tuple[int, str, dict[str, int] | None, int]] = []
        for place, (name, _) in enumerate(self._columns):
            levels = self._levels.get(name)
            codes = {level: i for i, level in enumerate(levels.levels)} if levels else None
            readers.append((place, name, codes, len(codes) if codes is not None else 0))

        def score_row(row: Mapping[str, Any]) -> float:
            values = cells.copy()
            line = values[0]
            for place, name, codes, other in readers:
                value = row.get(name)
                if codes is None:
                    absent = value is None or value - value != 0
                    line[place] = fills.get(name, np.nan) if absent else value
                else:
                    text = level_text(value)
                    line[place] = other + 1 if text is None else codes.get(text, other)
            return float(booster.predict(values, raw_score=True, num_threads=1)[0])

        return score_row

    def explain(self, table: Table, top: int) -> list[list[Reason]]:
        """Return for each row the columns that move its log-odds most (tree SHAP)."""
        if len(table) == 0:
            return []
        threads = self._settings.threads
        shares = self._booster.predict(self._matrix(table), pred_contrib=True, num_threads=threads)
        by_column: dict[str, Floats] = {}
        at = 0
        for name, _ in self._columns:
            width = self._width(name)
            by_column[name] = np.asarray(shares[:, at : at + width].sum(axis=1))
            at += width
        return ranked_reasons(table, by_column, top)

    def to_parts(self) -> Parts:
        """Return the model as plain values."""
        document = {
            "columns": [[name, kind.value] for name, kind in self._columns],
            "fills": dict(self._fills),
            "levels": {name: list(levels.levels) for name, levels in self._levels.items()},
            "ngrams": {name: [n.kind for n in kinds] for name, kinds in self._ngrams.items()},
        }
        arrays: dict[str, NDArray[Any]] = {}
        for c, (name, _) in enumerate(self._columns):
            for ngrams in self._ngrams.get(name, []):
                arrays[f"column{c}.{ngrams.kind}.hashes"] = ngrams.hashes
                arrays[f"column{c}.{ngrams.kind}.idf"] = ngrams.idf
        return Parts(document, arrays, {"trees.txt": self._booster.model_to_string()})

    @classmethod
    def from_parts(cls, parts: Parts) -> Self:
        """Return the model that ``to_parts`` gave."""
        model = cls(Settings())
        document, arrays = parts.document, parts.arrays
        model._columns = [(name, Role(kind)) for name, kind in document["columns"]]
        model._fills = dict(document["fills"])
        model._levels = {n: Levels(tuple(levels)) for n, levels in document["levels"].items()}
        for c, (name, _) in enumerate(model._columns):
            for kind in document["ngrams"].get(name, []):
                prefix = f"column{c}.{kind}."
                ngrams = Ngrams(kind, arrays[f"{prefix}hashes"], arrays[f"{prefix}idf"])
                model._ngrams.setdefault(name, []).append(ngrams)
        model._booster = _lightgbm().Booster(model_str=parts.texts["trees.txt"])
        return model


def _without_parameters(text: str) -> str:
    """Return the model text without the list of training parameters.

    It names the thread count, which does not change a tree but would change the bytes.
    """
    start = text.index("\nparameters:")
    end = text.index("end of parameters", start) + len("end of parameters\n")
    return text[:start] + text[end:]


def build(settings: Settings) -> Boosted:
    """Return an unfitted model."""
    return Boosted(settings)
