"""Label releases: what people decided, as training data that never changes.

Whoever trains on all reviewed cases has none left that may judge the model. So the id of a case
says, before anybody looks, whether training may ever read it; those that a release holds are
marked in the same transaction, and from then on count in no gate's agreement.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical import durable
from nethical.data.table import normalise, table_digest
from nethical.errors import DataError, IntegrityError, UsageError
from nethical.governance import tables as t
from nethical.governance.case_views import stamp
from nethical.governance.cases import column_of
from nethical.governance.reviews import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

    from nethical.governance.store import GovernanceStore

__all__ = ["LABEL", "SHARE", "WEIGHT", "LabelReleases", "Release", "is_for_training"]

LABEL, WEIGHT, CASE_ID = "label", "sample_weight", "case_id"
SHARE = 0.5
DIGITS = 12


@dataclass(frozen=True)
class Release:
    """Labels that training may read.

    Args:
        release_id: Its id.
        digest: Of the table that training reads, so a written file can be compared with it.
        name: The model name whose cases they are.
        rows: case_id, row_digest, label, weight and decided_by of each.
        created_at: UTC.
        created_by: Who made it.
    """

    release_id: str
    digest: str
    name: str
    rows: tuple[Mapping[str, Any], ...]
    created_at: str
    created_by: str

    def to_document(self) -> dict[str, Any]:
        """Return the release as JSON values, with the number of rows in their place."""
        return {
            "release_id": self.release_id,
            "digest": self.digest,
            "name": self.name,
            "rows": len(self.rows),
            "positives": sum(row["label"] for row in self.rows),
            "created_at": self.created_at,
            "created_by": self.created_by,
        }


def is_for_training(case_id: str, share: float = SHARE) -> bool:
    """Return whether the id of a case lies in the share of all that training may read."""
    drawn = int.from_bytes(hashlib.sha256(f"release/{case_id}".encode()).digest()[:8], "big")
    return drawn < share * 2**64


class LabelReleases:
    """The label releases of a governance store.

    Args:
        store: Where they are kept.
        clock: Returns the current UTC time.
    """

    def __init__(self, store: GovernanceStore, clock: Callable[[], datetime]) -> None:
        self.store = store
        self._clock = clock

    def make(self, name: str, *, by: str, share: float = SHARE) -> Release:
        """Keep what people decided as a release, and return it; the same content is the same one.

        Cases whose label nobody could tell are left out; so are those whose features are deleted.

        Args:
            name: The model name whose cases they are.
            by: Who makes it.
            share: Of the cases that training may read, in (0, 1]; the others stay for the gate.

        Raises:
            UsageError: There is no such case, or the share is out of its range.
        """
        if not 0 < share <= 1:
            raise UsageError(
                f"the share for training is {share:g}", mend="give a number above 0, and at most 1"
            )
        with self.store.writing() as db:
            cases = [case for case in _decided(db, name) if is_for_training(case.case_id, share)]
            if not cases:
                raise UsageError(
                    f"no closed case of {name} is there that training may read",
                    mend="review more cases first, or give a larger --share",
                )
            rows = [_row(case) for case in cases]
            digest = table_digest(_table(cases, rows))
            values = {
                "release_id": f"rel_{digest.removeprefix('sha256:')[:DIGITS]}",
                "digest": digest,
                "name": name,
                "rows": rows,
                "created_at": stamp(self._clock()),
                "created_by": by,
            }
            known = db.execute(
                sa.select(t.label_release).where(t.label_release.c.digest == digest)
            ).first()
            if known is not None:
                return _release(known)
            db.execute(t.label_release.insert().values(values))
            marked = [{"marked": case.case_id} for case in cases]
            db.execute(
                t.review_case.update()
                .where(t.review_case.c.case_id == sa.bindparam("marked"))
                .values(used_for_training=True),
                marked,
            )
        return self.find(str(values["release_id"]))

    def listed(self, name: str | None = None) -> list[Release]:
        """Return the releases, of one model name or of all, the oldest first."""
        query = sa.select(t.label_release).order_by(
            t.label_release.c.created_at, t.label_release.c.release_id
        )
        if name is not None:
            query = query.where(t.label_release.c.name == name)
        with self.store.reading() as db:
            return [_release(row) for row in db.execute(query)]

    def find(self, release_id: str) -> Release:
        """Return a release.

        Raises:
            UsageError: There is none of that id.
        """
        query = sa.select(t.label_release).where(t.label_release.c.release_id == release_id)
        with self.store.reading() as db:
            row = db.execute(query).first()
        if row is None:
            raise UsageError(
                f"there is no label release {release_id!r}",
                mend="name one that `nethical review release` lists",
            )
        return _release(row)

    def table(self, release_id: str) -> pa.Table:
        """Return a release as the table that training reads.

        Beside the features it has the columns ``label`` (0 or 1), ``sample_weight`` (how many
        decisions a case stands for) and ``case_id``.

        Raises:
            UsageError: There is no such release.
            DataError: The features of a case were deleted since.
            IntegrityError: It is not what was released.
        """
        release = self.find(release_id)
        wanted = {row["case_id"]: row for row in release.rows}
        with self.store.reading() as db:
            cases = [case for case in _decided(db, release.name) if case.case_id in wanted]
        if len(cases) < len(wanted):
            raise DataError(
                f"the features of {len(wanted) - len(cases):,} cases of {release_id} are deleted",
                mend="use the file that was written when it was made, or make a new release",
            )
        table = _table(cases, [wanted[case.case_id] for case in cases])
        if table_digest(table) != release.digest:
            raise IntegrityError(
                f"the cases of {release_id} are not what was released",
                mend="restore the store from a copy",
            )
        return table

    def write(self, release_id: str, path: Path) -> None:
        """Write a release as a Parquet file that ``--data`` takes.

        Raises:
            UsageError: There is no such release, or the file is not called .parquet.
            DataError: As for ``table``.
            IntegrityError: Likewise.
            StorageError: It cannot be written.
        """
        import pyarrow.parquet as pq

        if path.suffix != ".parquet":
            raise UsageError(f"{path} is not called .parquet", mend="name it NAME.parquet")
        buffer = io.BytesIO()
        pq.write_table(self.table(release_id), buffer, compression="zstd")
        durable.make_folder(path.absolute().parent)
        durable.write(path, buffer.getvalue())


def _decided(db: sa.Connection, name: str) -> list[Any]:
    """Return the closed cases of a name that have a label and features, by their ids."""
    case, third = t.review_case, t.adjudication
    query = (
        sa.select(case, third.c.adjudicator)
        .outerjoin(third, third.c.case_id == case.c.case_id)
        .where(
            case.c.name == name,
            case.c.state == State.CLOSED.value,
            case.c.label.is_not(None),
            case.c.features.is_not(sa.null()),
        )
        .order_by(case.c.case_id)
    )
    return list(db.execute(query).all())


def _row(case: sa.Row[Any]) -> dict[str, Any]:
    return {
        "case_id": case.case_id,
        "row_digest": case.row_digest,
        "label": int(case.label),
        "weight": 1 / case.inclusion_probability,
        "decided_by": "agreement" if case.adjudicator is None else "adjudication",
    }


def _table(cases: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return cases as a table, features by name, with the weights of a release.

    The weights are its own: how many decisions a case stands for changes when its row is
    drawn at a larger share, and what was released does not.
    """
    import pyarrow as pa

    own = {LABEL, WEIGHT, CASE_ID}
    names = sorted({name for case in cases for name in case.features})
    clash = next((name for name in names if name in own), None)
    if clash is not None:
        raise DataError(
            f"a feature is called {clash!r}, as a column of the release",
            mend="rename the column in the data that the cases come from",
        )
    columns: dict[str, Any] = {name: column_of(cases, name) for name in names}
    columns[LABEL] = pa.array([int(case.label) for case in cases])
    columns[WEIGHT] = pa.array([row["weight"] for row in rows])
    columns[CASE_ID] = pa.array([row["case_id"] for row in rows])
    return normalise(pa.table(columns))


def _release(row: sa.Row[Any]) -> Release:
    return Release(
        row.release_id, row.digest, row.name, tuple(row.rows), row.created_at, row.created_by
    )
