"""What each column of a table is: its role, why, and whether a model may read it.

Roles are inferred from names and contents, shown to the user, stored with the model, and each
can be set by hand. Nothing is guessed twice: a stored model applies the roles it was trained
with.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nethical.data.labels import Labelling, read_labels
from nethical.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

__all__ = ["ROLE_NAMES", "ColumnRole", "Role", "RoleHints", "Roles", "find_label", "infer"]


class Role(StrEnum):
    """What a column is."""

    LABEL = "label"
    TEXT = "text"
    SEQUENCE = "sequence"
    CATEGORICAL = "categorical"
    NUMERIC = "numeric"
    WEIGHT = "weight"
    TIME = "time"
    ID = "id"
    IGNORE = "ignore"
    GROUP = "group"
    FAIRNESS = "fairness"
    AGENT = "agent"
    RESOURCE = "resource"
    AMOUNT = "amount"


EVENT_ROLES = (Role.AGENT, Role.RESOURCE, Role.TIME)
FEATURE_ROLES = (Role.NUMERIC, Role.CATEGORICAL, Role.TEXT, Role.SEQUENCE)
SINGLE_ROLES = (Role.LABEL, Role.WEIGHT, Role.TIME, Role.GROUP, Role.AGENT, Role.RESOURCE)
LABEL_NAMES = ("label", "target", "class")
ROLE_NAMES = {
    Role.GROUP: ("group", "group_id", "session", "session_id", "conversation_id"),
    Role.WEIGHT: ("weight", "sample_weight"),
    Role.AGENT: ("agent", "agent_id"),
    Role.RESOURCE: ("resource", "resource_id"),
    Role.AMOUNT: ("amount",),
}
ID_NAME = re.compile(
    r"^column 1$|^unnamed: ?\d+$|^(row_?)?(id|index|uuid|guid|key)$|_(id|uuid|guid)$", re.IGNORECASE
)
DELIMITERS = ("|", "->", ";", ">", ",")
TEXT_MEAN_LENGTH = 30
TEXT_UNIQUE_SHARE = 0.5
NEAR_CONSTANT_SHARE = 1e-4
SAMPLE_ROWS = 20_000


@dataclass(frozen=True)
class ColumnRole:
    """One column's role.

    Args:
        name: The column.
        role: What it is.
        feature: How models read it (numeric, categorical, text, sequence), or None if not.
        why: Why it got this role, for people.
        delimiter: What separates the items of a sequence that is written as text.
        derived: Whether it was made from other rows, and so does not tell what row this is.
    """

    name: str
    role: Role
    feature: Role | None
    why: str
    delimiter: str | None = None
    derived: bool = False


@dataclass(frozen=True)
class Roles:
    """The roles of a table's columns, in the table's order, and how its label reads.

    Args:
        columns: One entry a column.
        labelling: Which label values are positive and negative; None without a label.
    """

    columns: tuple[ColumnRole, ...]
    labelling: Labelling | None

    def named(self, role: Role) -> tuple[str, ...]:
        """Return the columns of a role."""
        return tuple(column.name for column in self.columns if column.role == role)

    def one(self, role: Role) -> str | None:
        """Return the column of a role that at most one column has, or None."""
        return next(iter(self.named(role)), None)

    @property
    def features(self) -> tuple[ColumnRole, ...]:
        """The columns that models read."""
        return tuple(column for column in self.columns if column.feature is not None)

    @property
    def identifying(self) -> tuple[ColumnRole, ...]:
        """The columns that tell what row it is: features, or an event and its bare features."""
        if not any(column.derived for column in self.columns):
            return self.features
        return tuple(
            column
            for column in self.columns
            if (column.feature is not None and not column.derived) or column.role in EVENT_ROLES
        )

    def without(self, dropped: set[str]) -> Roles:
        """Return roles in which these columns are no longer read by models."""
        columns = tuple(
            ColumnRole(c.name, Role.IGNORE, None, "dropped: it gives the label away")
            if c.name in dropped
            else c
            for c in self.columns
        )
        return Roles(columns, self.labelling)

    def labelled_by(self, frame: pa.Table, hints: RoleHints) -> Roles:
        """Return roles whose labels read as in this table, if these know no positive.

        Who learns from normal rows may meet the first labels in the rows that judge it.
        """
        label = self.one(Role.LABEL) or find_label(frame, hints, needed=False)
        if label is None or label not in frame.column_names:
            return self
        if self.labelling and self.labelling.positive:
            return self
        labelling = read_labels(
            frame.column(label), label, hints.positive_labels, negatives_suffice=True
        )
        known = tuple(column for column in self.columns if column.name != label)
        column = ColumnRole(label, Role.LABEL, None, "by its name")
        return Roles((*known, column), labelling)

    def to_document(self) -> dict[str, Any]:
        """Return the roles as JSON values."""
        return {
            "columns": [
                {
                    "name": c.name,
                    "role": c.role.value,
                    "feature": c.feature.value if c.feature else None,
                    "why": c.why,
                    "delimiter": c.delimiter,
                    **({"derived": True} if c.derived else {}),
                }
                for c in self.columns
            ],
            "labelling": self.labelling.to_document() if self.labelling else None,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Roles:
        """Return the roles that ``to_document`` wrote."""
        columns = tuple(
            ColumnRole(
                c["name"],
                Role(c["role"]),
                Role(c["feature"]) if c["feature"] else None,
                c["why"],
                c["delimiter"],
                c.get("derived", False),
            )
            for c in document["columns"]
        )
        labelling = document["labelling"]
        return cls(columns, Labelling.from_document(labelling) if labelling else None)


@dataclass(frozen=True)
class RoleHints:
    """What the user said about columns.

    Args:
        roles: Role by column name.
        positive_labels: Label values that are positive; empty to decide by their meaning.
        use_fairness_columns: Let models read the fairness columns too.
    """

    roles: Mapping[str, Role] = field(default_factory=dict)
    positive_labels: tuple[str, ...] = ()
    use_fairness_columns: bool = False


def infer(
    frame: pa.Table, hints: RoleHints, *, label_needed: bool = True, features_needed: bool = True
) -> Roles:
    """Return the role of every column.

    Args:
        frame: A normalised table.
        hints: What the user said; it always wins.
        label_needed: Whether a table without a label, or of negatives alone, is an error.
        features_needed: Whether a table without a feature is an error.

    Raises:
        UsageError: A named column is missing, or two columns have a role that one can have.
        DataError: There is no label, it has one value, or more than two without a choice.
    """
    _check_hints(frame, hints)
    label = find_label(frame, hints, needed=label_needed)
    columns = []
    taken = {role for role in hints.roles.values() if role in SINGLE_ROLES}
    for name in frame.column_names:
        if name == label:
            why = "as given" if name in hints.roles else "by its name"
            column = ColumnRole(name, Role.LABEL, None, why)
        elif name in hints.roles:
            column = _given(frame, name, hints)
        else:
            column = _by_name(frame, name, taken) or _by_content(frame, name, taken)
        if column.role in SINGLE_ROLES:
            taken.add(column.role)
        columns.append(column)
    labelling = None
    if label:
        labelling = read_labels(
            frame.column(label), label, hints.positive_labels, negatives_suffice=not label_needed
        )
    roles = Roles(tuple(columns), labelling)
    if features_needed and not roles.features:
        raise DataError(
            f"no column is left to learn from; columns: {', '.join(frame.column_names)}",
            mend="add feature columns, or give one a role with --column NAME=numeric",
        )
    return roles


def _check_hints(frame: pa.Table, hints: RoleHints) -> None:
    for name in hints.roles:
        if name not in frame.column_names:
            raise UsageError(
                f"column {name!r} is not in the data; found: {', '.join(frame.column_names[:30])}",
                mend="correct the name in the flag that names this column",
            )
    for role in SINGLE_ROLES:
        named = [name for name, given in hints.roles.items() if given == role]
        if len(named) > 1:
            raise UsageError(
                f"columns {', '.join(map(repr, named))} all have the role {role.value}",
                mend=f"give the role {role.value} to one column",
            )


def find_label(frame: pa.Table, hints: RoleHints, *, needed: bool) -> str | None:
    """Return the label column, as given or by its name; None if there is none and none needed.

    Raises:
        DataError: There is none, and one is needed.
    """
    given = [name for name, role in hints.roles.items() if role == Role.LABEL]
    if given:
        return given[0]
    lower = {name.lower(): name for name in reversed(frame.column_names) if name not in hints.roles}
    found = [lower[name] for name in LABEL_NAMES if name in lower][:1]
    flags = [name for key, name in lower.items() if key.startswith("is_")]
    if not found and len(flags) == 1:
        found = flags
    if not found and needed:
        raise DataError(
            f"no label column found; columns: {', '.join(frame.column_names[:30])}",
            mend="name it with --label-column COLUMN",
        )
    return found[0] if found else None


def _given(frame: pa.Table, name: str, hints: RoleHints) -> ColumnRole:
    role = hints.roles[name]
    natural = _by_content(frame, name, {Role.TIME, Role.ID})
    if role in FEATURE_ROLES:
        delimiter = natural.delimiter if role == Role.SEQUENCE else None
        if role == Role.SEQUENCE and delimiter is None and not _is_list(frame, name):
            delimiter = " "
        if role == Role.NUMERIC:
            _check_numeric(frame, name, role)
        return ColumnRole(name, role, role, "as given", delimiter)
    if role in {Role.AMOUNT, Role.WEIGHT}:
        _check_numeric(frame, name, role)
    if role == Role.AMOUNT:
        return ColumnRole(name, role, Role.NUMERIC, "as given")
    feature = None
    if role == Role.FAIRNESS and hints.use_fairness_columns:
        feature = natural.feature
    return ColumnRole(name, role, feature, "as given")


def _check_numeric(frame: pa.Table, name: str, role: Role) -> None:
    if not _is_numeric(frame, name):
        raise DataError(
            f"column {name!r} was given as {role.value} but holds "
            f"{frame.schema.field(name).type} values",
            mend="give it as categorical or text, or clean the values that are not numbers",
        )


def _is_numeric(frame: pa.Table, name: str) -> bool:
    import pyarrow as pa

    kind = frame.schema.field(name).type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _is_list(frame: pa.Table, name: str) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_large_list(frame.schema.field(name).type))


def _by_name(frame: pa.Table, name: str, taken: set[Role]) -> ColumnRole | None:
    for role, names in ROLE_NAMES.items():
        if name.lower() in names and role not in taken:
            if role == Role.AMOUNT:
                natural = _by_content(frame, name, {Role.TIME, Role.ID})
                if natural.feature != Role.NUMERIC:
                    return None
                return ColumnRole(name, role, Role.NUMERIC, "by its name")
            if role == Role.WEIGHT and not _is_numeric(frame, name):
                return None
            return ColumnRole(name, role, None, "by its name")
    return None


def _by_content(frame: pa.Table, name: str, taken: set[Role]) -> ColumnRole:
    import pyarrow as pa

    kind = frame.schema.field(name).type
    column = frame.column(name)
    present = len(column) - column.null_count
    if pa.types.is_null(kind):
        return ColumnRole(name, Role.IGNORE, None, "holds nothing, or nested values")
    if pa.types.is_timestamp(kind):
        if Role.TIME in taken:
            return ColumnRole(name, Role.IGNORE, None, "a second time column")
        return ColumnRole(name, Role.TIME, None, "holds time stamps")
    if pa.types.is_large_list(kind):
        return ColumnRole(name, Role.SEQUENCE, Role.SEQUENCE, "holds lists")
    distinct = _distinct(column)
    if distinct <= 1 and (present in {0, len(column)} or distinct == 0):
        return ColumnRole(name, Role.IGNORE, None, "constant")
    if distinct == 2 and present == len(column) and _rare(column, len(column)):  # noqa: PLR2004
        return ColumnRole(name, Role.IGNORE, None, "near-constant")
    is_text = pa.types.is_large_string(kind)
    if Role.ID not in taken and distinct == len(column) > 1 and _id_like(name, column, is_text):
        return ColumnRole(name, Role.ID, None, "a different value in every row")
    if not is_text:
        return ColumnRole(name, Role.NUMERIC, Role.NUMERIC, "holds numbers")
    return _string_role(name, column, distinct / max(present, 1))


def _distinct(column: pa.ChunkedArray) -> int:
    """Return the number of distinct values; of many numbers, those among the first rows.

    Numbers are counted whole only where that decides something: few values, or an id.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(column.type):
        first = pc.count_distinct(column.slice(0, SAMPLE_ROWS)).as_py()
        if first > 2 and first < len(column):  # noqa: PLR2004 - neither constant nor two values
            return int(first)
    return int(pc.count_distinct(column).as_py())


def _rare(column: pa.ChunkedArray, n_rows: int) -> bool:
    import pyarrow.compute as pc

    counts = pc.value_counts(column).field("counts")
    return bool(pc.min(counts).as_py() <= n_rows * NEAR_CONSTANT_SHARE)


def _id_like(name: str, column: pa.ChunkedArray, is_text: bool) -> bool:  # noqa: FBT001
    import pyarrow as pa
    import pyarrow.compute as pc

    if is_text:
        spaced = pc.any(pc.match_substring(column.slice(0, SAMPLE_ROWS), " ")).as_py()
        return not spaced and bool(ID_NAME.search(name))
    if not pa.types.is_integer(column.type):
        return False
    steps = pc.min_max(pc.pairwise_diff(column.combine_chunks())).as_py()
    return bool(ID_NAME.search(name)) or (steps["min"] == steps["max"] == 1)


def _string_role(name: str, column: pa.ChunkedArray, unique_share: float) -> ColumnRole:
    import pyarrow.compute as pc

    sample = column.drop_null().slice(0, SAMPLE_ROWS).combine_chunks()
    delimiter = _delimiter(sample)
    if delimiter is not None:
        why = f"items separated by {delimiter!r}"
        return ColumnRole(name, Role.SEQUENCE, Role.SEQUENCE, why, delimiter)
    mean_length = pc.mean(pc.utf8_length(sample)).as_py()
    if mean_length > TEXT_MEAN_LENGTH:
        return ColumnRole(name, Role.TEXT, Role.TEXT, f"{mean_length:.0f} characters on average")
    if unique_share > TEXT_UNIQUE_SHARE:
        return ColumnRole(
            name, Role.TEXT, Role.TEXT, f"{unique_share:.0%} of its values are unique"
        )
    return ColumnRole(name, Role.CATEGORICAL, Role.CATEGORICAL, "a limited set of values")


def _delimiter(sample: pa.Array) -> str | None:
    """Return the delimiter by which most values fall into few, often repeated items."""
    import pyarrow.compute as pc

    for delimiter in DELIMITERS:
        has = pc.mean(pc.match_substring(sample, delimiter).cast("int8")).as_py()
        if has is None or has < 0.9:  # noqa: PLR2004 - nearly every value is a sequence
            continue
        items = pc.list_flatten(pc.split_pattern(sample, delimiter))
        kinds = pc.count_distinct(items).as_py()
        words = pc.mean(
            pc.match_substring(pc.utf8_trim_whitespace(items), " ").cast("int8")
        ).as_py()
        if kinds * 5 <= len(items) and words < 0.05:  # noqa: PLR2004 - items recur, no prose
            return delimiter
    return None
