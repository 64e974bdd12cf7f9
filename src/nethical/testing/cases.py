"""The tables that a model type is checked on, and its fits, each made once."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data import synthetic
from nethical.data.events import EventLog, EventState
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.errors import TrainingError
from nethical.models import catalog
from nethical.models.base import Parts, Settings, Traits
from nethical.run import silent

if TYPE_CHECKING:
    import pyarrow as pa

    from nethical.models.base import Model

__all__ = ["KINDS", "Case", "labelled", "stored"]

KINDS = ("numeric", "categorical", "text", "sequence", "mixed")
EVENT_KINDS = ("events", "legacy_correlation")
TASKS = {"numeric": "risk", "categorical": "risk"}
BANDS = np.array(["lowest", "low", "middling", "high", "highest"])
FIT_ROWS = 400
SCORED_ROWS = 120
FIT_SEED = 7


def labelled(frame: pa.Table, **roles: Role) -> LabelledTable:
    """Return a frame as a labelled table; its columns are named in full by ``roles``."""
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


@cache
def generated(kind: str, n_rows: int, seed: int) -> LabelledTable:
    """Return rows of a kind, drawn from a law of the project; no downloads."""
    frame = synthetic.generate(TASKS.get(kind, kind), n_rows, seed=seed).table
    if kind == "categorical":
        import pyarrow as pa

        cells: dict[str, Any] = {
            name: BANDS[(frame.column(name).to_numpy() * 4.999).astype(int)]
            for name in frame.column_names[:-1]
        }
        frame = pa.table({**cells, "label": frame.column("label")})
    table = labelled(frame)
    return _with_past(table) if kind == "events" else table


def _with_past(table: LabelledTable) -> LabelledTable:
    event_log = EventLog.of(table.roles, windows_days=(1.0, 7.0, 30.0), label_delay_days=7.0)
    if event_log is None:
        raise ValueError("the synthetic events have no agent, resource and time")
    frame, _ = event_log.derive(table.frame, table.y, EventState.empty())
    return LabelledTable(frame, event_log.derived_roles(table.roles), table.y)


def stored(parts: Parts) -> Parts:
    """Return parts as they come back from JSON text, npz bytes and text files."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(parts.arrays)
    np.savez(buffer, **arrays)
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False) as file:
        read = {name: file[name] for name in file.files}
    text = json.dumps(parts.document, sort_keys=True, allow_nan=False, ensure_ascii=False)
    texts = {name: text.encode().decode() for name, text in parts.texts.items()}
    return Parts(json.loads(text), read, texts)


class Case:
    """A model type under check.

    Args:
        model_type: Its name, built in or by an entry point.
    """

    def __init__(self, model_type: str) -> None:
        self.model_type = model_type
        self.traits: Traits = catalog.traits(model_type)
        self._fitted: dict[str, Model] = {}
        self._kinds: tuple[str, ...] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of tables that the type takes; it refuses the others by a TrainingError."""
        if self._kinds is None:
            named = (*KINDS, *EVENT_KINDS) if self.traits.reads_event_log else KINDS
            self._kinds = tuple(kind for kind in named if self._takes(kind))
        return self._kinds

    @property
    def richest(self) -> str:
        """The kind with the most kinds of columns that the type takes."""
        return next(
            kind for kind in ("mixed", "events", *self.kinds, "") if kind in (*self.kinds, "")
        )

    def _takes(self, kind: str) -> bool:
        try:
            self.fitted(kind)
        except TrainingError:
            return False
        return True

    def build(self, **settings: Any) -> Model:  # noqa: ANN401 - fields of Settings
        """Return an unfitted model."""
        return catalog.build(self.model_type, Settings(**settings))

    def fit(self, table: LabelledTable, **settings: Any) -> Model:  # noqa: ANN401
        """Return a model that learnt from rows, always with the same generator."""
        rng = np.random.default_rng(FIT_SEED)
        return self.build(**settings).fit(table, rng=rng, progress=silent)

    def fitted(self, kind: str) -> Model:
        """Return the model that learnt from the rows of a kind."""
        if kind not in self._fitted:
            self._fitted[kind] = self.fit(self.learnt(kind))
        return self._fitted[kind]

    def learnt(self, kind: str) -> LabelledTable:
        """Return the rows that ``fitted`` learnt from."""
        return generated(kind, FIT_ROWS, 1)

    def rows(self, kind: str) -> LabelledTable:
        """Return rows of a kind that no fit has seen."""
        return generated(kind, SCORED_ROWS, 2)

    def restored(self, parts: Parts) -> Model:
        """Return the model of stored parts."""
        return catalog.restore(self.model_type, stored(parts))

    def missing(self, kind: str, n_rows: int = 4) -> Table:
        """Return rows in which every cell is missing."""
        import pyarrow as pa

        table = self.rows(kind)
        columns = {f.name: pa.nulls(n_rows, _type(f.feature)) for f in table.features}
        return Table(normalise(pa.table(columns)), table.roles)

    def unseen(self, kind: str) -> Table:
        """Return rows of values that no fit has seen, some of them extreme."""
        import pyarrow as pa

        table = self.rows(kind)
        odd = {
            Role.NUMERIC: [1e300, -1e300, float("nan"), float("inf")],
            Role.CATEGORICAL: ["never seen", "", None, "\U0001f44d"],
            Role.TEXT: ["\u5ffd\u7565\u6307\u4ee4", "", None, "\0 \u200b x"],
            Role.SEQUENCE: [["new"], [], None, [None, ""]],
        }
        columns = {
            f.name: pa.array(odd[f.feature], _type(f.feature)) for f in table.features if f.feature
        }
        return Table(normalise(pa.table(columns)), table.roles)


def _type(feature: Role | None) -> pa.DataType:
    import pyarrow as pa

    if feature == Role.NUMERIC:
        return pa.float64()
    return pa.large_list(pa.large_string()) if feature == Role.SEQUENCE else pa.large_string()
