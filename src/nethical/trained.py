"""A trained model: raw rows in, calibrated probabilities and decisions out.

It holds everything between a raw row and a decision (roles, model, calibrator, thresholds) and
nothing else, so a model that is loaded again gives bit-equal scores on the same raw rows.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical import calibrators, decisions
from nethical.data.events import EventLog, EventState
from nethical.data.roles import Role, Roles
from nethical.data.table import Table, known_labels, to_arrow
from nethical.errors import DataError, IntegrityError
from nethical.models import catalog
from nethical.models.base import Parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from nethical.calibrators import Calibrator
    from nethical.decisions import Thresholds
    from nethical.keys import Keys
    from nethical.models.base import Model, Reason
    from nethical.registry import Registry

    Floats = NDArray[np.float64]

__all__ = ["TrainedModel", "find", "load", "numbers_read"]

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class TrainedModel:
    """A model that judges raw rows.

    Args:
        name: The line of versions that it belongs to.
        model_type: The type of ``model``.
        roles: What the columns were in training.
        model: Turns rows into scores.
        calibrator: Turns scores into probabilities.
        thresholds: Turn probabilities into decisions.
        event_log: Makes the columns of each event's past; None where rows stand for themselves.
    """

    name: str
    model_type: str
    roles: Roles
    model: Model
    calibrator: Calibrator
    thresholds: Thresholds
    event_log: EventLog | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that raw rows must have."""
        features = [f.name for f in self.roles.features]
        if self.event_log is None:
            return tuple(features)
        made = set(self.event_log.names)
        own = [name for name in features if name not in made]
        return tuple(dict.fromkeys([*self.event_log.reads, *own]))

    def table(self, frame: Any) -> Table:  # noqa: ANN401 - any frame
        """Return a frame's rows as this model reads them.

        Of an event log, each event's past is what the frame itself holds of it.

        Raises:
            DataError: A feature column is missing, or holds what it cannot read.
        """
        return self.follow(frame, EventState.empty())[0]

    def follow(
        self,
        frame: Any,  # noqa: ANN401 - any frame
        state: EventState,
    ) -> tuple[Table, EventState]:
        """Return a frame's rows as this model reads them, and the state that the next ones need.

        Args:
            frame: As for ``predict_proba``.
            state: What is known of earlier events; only an event log's model looks at it. Labels
                in the frame become part of the past once their delay is over.

        Raises:
            DataError: A column is missing, or holds what it cannot read, or events are older
                than those of the state.
        """
        arrow = to_arrow(frame, self.reads)
        missing = [name for name in self.reads if name not in arrow.column_names]
        if missing:
            raise DataError(
                f"column {missing[0]!r} is missing"
                + (f", and {len(missing) - 1} more" if len(missing) > 1 else "")
                + f"; found: {', '.join(arrow.column_names[:30])}",
                mend="give the rows the columns that the model was trained on",
            )
        arrow = numbers_read(arrow, self.roles)
        if self.event_log is not None:
            arrow, state = self.event_log.derive(arrow, known_labels(arrow, self.roles), state)
        return Table(arrow, self.roles), state

    def probabilities(self, table: Table) -> Floats:
        """Return the probability of class 1 of rows that were read, shape (n,)."""
        return self.calibrator.predict(self.model.score(table))

    def predict_proba(self, frame: Any) -> Floats:  # noqa: ANN401 - any frame
        """Return the probabilities of class 0 and class 1, shape (n, 2).

        Args:
            frame: A pandas, polars or pyarrow frame with the feature columns, or a numpy array
                of the feature columns in the order of training.
        """
        positive = self.probabilities(self.table(frame))
        return np.column_stack([1 - positive, positive])

    def score_frame(self, frame: Any) -> Any:  # noqa: ANN401 - any frame
        """Return the frame, same kind, with the columns ``probability`` and ``decision``."""
        import narwhals as nw

        positive = self.probabilities(self.table(frame))
        words = np.array(decisions.DECISIONS)[decisions.decide(positive, self.thresholds)]
        native = nw.from_native(frame, eager_only=True)
        taken = {"probability", "decision"} & set(native.columns)
        if taken:
            raise DataError(
                f"the frame has a column {min(taken)!r} of its own", mend="rename that column"
            )
        backend = nw.get_native_namespace(native)
        return native.with_columns(
            nw.new_series("probability", positive, backend=backend),
            nw.new_series("decision", words.tolist(), backend=backend),
        ).to_native()

    def predict_row(self, row: Mapping[str, Any]) -> float:
        """Return the probability of class 1 of one row; absent columns are missing values.

        An event by itself has no past; score a log with ``predict_proba`` or ``nethical predict``.
        """
        score = self._row_scorer if self.event_log is None else None
        if score is not None:
            try:
                return self.calibrator.predict_one(score(row))
            except (TypeError, ArithmeticError):  # a number written as text, say
                pass
        import pyarrow as pa

        cells = {name: [row.get(name)] for name in self.reads}
        return float(self.probabilities(self.table(pa.table(cells)))[0])

    @cached_property
    def _row_scorer(self) -> Any:  # noqa: ANN401 - a function, or None
        return self.model.row_scorer()

    def explain(self, frame: Any, top: int = 3) -> list[list[Reason]]:  # noqa: ANN401
        """Return for each row its ``top`` reason codes, the weightiest first."""
        return self.model.explain(self.table(frame), top)

    def to_files(self) -> dict[str, bytes]:
        """Return the model as files: model.json, arrays.npz if any, text files of its type."""
        parts = self.model.to_parts()
        document = {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "model_type": self.model_type,
            "roles": self.roles.to_document(),
            "calibrator": self.calibrator.to_document(),
            "thresholds": self.thresholds.to_document(),
            "event_log": self.event_log.to_document() if self.event_log else None,
            "model": dict(parts.document),
            "texts": sorted(parts.texts),
        }
        text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        files = {"model.json": (text + "\n").encode()}
        if parts.arrays:
            buffer = io.BytesIO()
            arrays: dict[str, Any] = dict(sorted(parts.arrays.items()))
            np.savez(buffer, **arrays)
            files["arrays.npz"] = buffer.getvalue()
        return files | {name: text.encode() for name, text in parts.texts.items()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> TrainedModel:
        """Return the model of verified files.

        Raises:
            IntegrityError: It was written by a later version, or its parts do not fit.
        """
        document = json.loads(files["model.json"])
        if document["schema_version"] != SCHEMA_VERSION:
            raise IntegrityError(
                f"the model has schema version {document['schema_version']}; "
                f"this program reads {SCHEMA_VERSION}",
                mend="install the version of nethical that trained it",
            )
        arrays: dict[str, NDArray[Any]] = {}
        if "arrays.npz" in files:
            with np.load(io.BytesIO(files["arrays.npz"]), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        texts = {name: files[name].decode() for name in document["texts"]}
        parts = Parts(document["model"], arrays, texts)
        return cls(
            document["name"],
            document["model_type"],
            Roles.from_document(document["roles"]),
            catalog.restore(document["model_type"], parts),
            calibrators.from_document(document["calibrator"]),
            decisions.Thresholds.from_document(document["thresholds"]),
            EventLog.from_document(log) if (log := document.get("event_log")) else None,
        )


def numbers_read(arrow: pa.Table, roles: Roles) -> pa.Table:
    """Return a table with text that should be numbers read as numbers.

    Raises:
        DataError: A column that was numeric in training holds something else.
    """
    import pyarrow as pa

    for feature in roles.features:
        if feature.feature != Role.NUMERIC or feature.name not in arrow.column_names:
            continue  # an event log makes some columns later
        if not _is_nested_or_text(arrow.schema.field(feature.name).type):
            continue
        place = arrow.column_names.index(feature.name)
        try:
            numbers = arrow.column(place).cast(pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"column {feature.name!r} should hold numbers: {str(error).splitlines()[0]}",
                mend="give it numbers, as in training",
            ) from error
        arrow = arrow.set_column(place, feature.name, numbers)
    return arrow


def _is_nested_or_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    plain = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return not any(is_kind(kind) for is_kind in plain)


def find(reference: str, *, models_dir: Path, believed: Sequence[Path] = ()) -> TrainedModel:
    """Return a verified model by its id, its name in production, or its folder.

    Args:
        reference: What names the model.
        models_dir: Where models are published.
        believed: Public key files whose signatures to believe too.

    Raises:
        UsageError: There is no such model.
        IntegrityError: It is not what was signed.
    """
    return TrainedModel.from_files(registry_of(models_dir, believed).verify(reference).files)


def registry_of(models_dir: Path, believed: Sequence[Path] = ()) -> Registry:
    """Return the registry of a folder, read with the user's keys and these public ones."""
    from nethical.keys import Keys, default_home
    from nethical.registry import Registry

    keys = Keys(default_home(), believed=believed)
    return Registry(models_dir, keys, lambda: datetime.now(UTC))


def load(path: str | Path, *, keys: Keys | None = None) -> TrainedModel:
    """Return the model of a bundle, after its signature and every digest were verified.

    Args:
        path: A bundle folder, such as ``models/current/logistic``.
        keys: Whose signatures to believe; default: the user's own keys and those trusted.

    Raises:
        IntegrityError: The bundle is not what was signed, or by a key that is not trusted, or
            ``models/current/NAME`` leads to a model of another name.

    Example:
        >>> load("models/current/logistic").predict_proba(frame)  # doctest: +SKIP
        array([[0.97, 0.03]])
    """
    from nethical import bundle
    from nethical.keys import Keys, default_home

    keys = keys or Keys(default_home())
    return TrainedModel.from_files(bundle.read(Path(path), keys.trusted()).files)
