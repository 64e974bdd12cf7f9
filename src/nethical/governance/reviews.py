"""What people are asked, what they answer, and what they are shown.

Whoever is still to answer sees the rows' values alone: the source, the stratum, the severity and
the due time of a case follow from what the model said, so they are told with it, afterwards.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nethical.canonical import canonical_json, digest
from nethical.errors import DataError, UsageError
from nethical.history import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CRITICAL",
    "DECISIONS",
    "EMERGENCY",
    "LEVELS",
    "SAMPLED",
    "SEVERITIES",
    "TAGS",
    "Answer",
    "Case",
    "CaseView",
    "Claimed",
    "Entered",
    "Given",
    "ListedCase",
    "ModelVerdict",
    "Source",
    "State",
    "check_reviewer",
    "is_same_person",
    "role_to_report",
    "severity_of",
    "tenth",
]

DECISIONS = ("allow", "block", "unsure")
UNSURE = "unsure"
TAGS = (
    *("false_positive", "missed_violation", "policy_gap"),
    *("correct_decision", "needs_clarification", "edge_case"),
)
SEVERITIES = {1: "LOW", 2: "MEDIUM", 3: "HIGH", 4: "CRITICAL", 5: "EMERGENCY"}
CRITICAL = 4
EMERGENCY = 5
LEVELS = {name: level for level, name in SEVERITIES.items()}
LONGEST_RATIONALE = 4000
DIGITS = 16
TENTHS = 10


class Source(StrEnum):
    """Why a case is reviewed; only the first two are samples of all decisions."""

    GRAY = "gray"
    AUDIT = "audit"
    DISAGREEMENT = "disagreement"
    CRITICAL = "critical"
    REPORTED = "reported"


SAMPLED = frozenset({Source.GRAY, Source.AUDIT})


class State(StrEnum):
    """Where a case stands."""

    OPEN = "open"
    ADJUDICATING = "adjudicating"
    CLOSED = "closed"


@dataclass(frozen=True)
class Case:
    """A row that people shall decide.

    Args:
        name: The model name whose decision it is.
        source: Why it is reviewed.
        stratum: Of the sample that it belongs to.
        inclusion_probability: At which it entered that sample, in (0, 1].
        severity: 1 (LOW) to 5 (EMERGENCY).
        uncertainty: How unsure the decision is, in [0, 1].
        row_digest: A keyed digest of the row, kept when the features are deleted.
        features: What people, and later models, decide on: JSON values by column.
        probability: What the model said, in [0, 1]; None if no model was asked.
        decision: allow, review or block; None likewise.
        model_id: Which model; None likewise.
    """

    name: str
    source: Source
    stratum: str
    inclusion_probability: float
    severity: int
    uncertainty: float
    row_digest: str
    features: Mapping[str, Any]
    probability: float | None = None
    decision: str | None = None
    model_id: str | None = None

    @property
    def case_id(self) -> str:
        """The id: one row of one name is one case, whoever enters it and however often."""
        key = digest(canonical_json({"name": self.name, "row": self.row_digest}))
        return f"case_{key.removeprefix('sha256:')[:DIGITS]}"

    @property
    def tenth(self) -> int:
        """Its uncertainty in whole tenths, from 0 to 9."""
        return tenth(self.uncertainty)


def tenth(uncertainty: float) -> int:
    """Return an uncertainty in whole tenths, from 0 to 9, as the queue orders by it."""
    return min(int(uncertainty * TENTHS), TENTHS - 1)


@dataclass(frozen=True)
class Answer:
    """What somebody decides about a case.

    Args:
        decision: allow, block or unsure.
        tags: Out of ``TAGS``.
        rationale: Why; may be empty.
        confidence: In [0, 1], or None.

    Raises:
        UsageError: A value is not one of these.

    Example:
        >>> Answer("block", tags=("missed_violation",)).label
        True
    """

    decision: str
    tags: tuple[str, ...] = ()
    rationale: str = ""
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise UsageError(
                f"{self.decision!r} is no decision", mend=f"choose one of {', '.join(DECISIONS)}"
            )
        unknown = next((tag for tag in self.tags if tag not in TAGS), None)
        if unknown is not None or len(set(self.tags)) < len(self.tags):
            raise UsageError(
                f"the tags {', '.join(self.tags)} are not known ones, each once",
                mend=f"choose out of {', '.join(TAGS)}",
            )
        if len(self.rationale) > LONGEST_RATIONALE:
            raise UsageError(
                f"the rationale has {len(self.rationale):,} characters",
                mend=f"use at most {LONGEST_RATIONALE:,}",
            )
        if "\0" in self.rationale or any("\ud800" <= c <= "\udfff" for c in self.rationale):
            raise UsageError(
                "the rationale holds characters that are no text", mend="write it in plain text"
            )
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise UsageError(
                f"the confidence is {self.confidence:g}", mend="give a number from 0 to 1"
            )

    def sealed(self, case_id: str, key: bytes) -> str:
        """Return by what a log names this answer to a case, and tells nobody what it says.

        A bare digest would: there are three decisions, and most answers have no words.

        Args:
            case_id: The case.
            key: The row key, 32 bytes; who has it and the store can compute the same again.

        Reference:
            RFC 2104, HMAC: Keyed-Hashing for Message Authentication.
        """
        told = canonical_json({"case_id": case_id, "answer": asdict(self)})
        return "hmac-sha256:" + hmac.digest(key, told, hashlib.sha256).hex()

    @property
    def label(self) -> bool | None:
        """True for block, False for allow, None for unsure."""
        return None if self.decision == UNSURE else self.decision == "block"


def role_to_report(severity: int) -> str:
    """Return the role that may report a row as so severe: an EMERGENCY comes before all else."""
    return "approver" if severity == EMERGENCY else "reviewer"


@dataclass(frozen=True)
class ModelVerdict:
    """What the model said of a case, and what follows from it."""

    probability: float | None
    decision: str | None
    model_id: str | None
    source: str
    stratum: str
    inclusion_probability: float
    severity: int
    uncertainty: float
    due_at: str


@dataclass(frozen=True)
class Given:
    """An answer that was given: by whom and when."""

    reviewer: str
    at: str
    answer: Answer


@dataclass(frozen=True)
class CaseView:
    """A case as one person may see it.

    Args:
        case_id: Its id.
        name: The model name whose decision it is.
        state: Where it stands.
        is_emergency: Whether it comes before all others.
        created_at: When it entered, UTC.
        features: Its values; None once they are deleted.
        may: What this person may do: ``submit``, ``adjudicate`` or nothing (empty).
        own: What this person answered, if they did.
        answers: What both reviewers answered, for whoever may adjudicate, and once it is closed.
        adjudication: What a third person decided, once it is closed.
        label: Whether it is positive; None while it is not closed, or if nobody could tell.
        model: What the model said; None until this person has answered or it is closed.
    """

    case_id: str
    name: str
    state: str
    is_emergency: bool
    created_at: str
    features: Mapping[str, Any] | None
    may: str = ""
    own: Given | None = None
    answers: tuple[Given, ...] = ()
    adjudication: Given | None = None
    label: bool | None = None
    model: ModelVerdict | None = None

    def to_document(self) -> dict[str, Any]:
        """Return the view as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Claimed:
    """A case that is somebody's to answer until a time, UTC."""

    case: CaseView
    lease_until: str

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ListedCase:
    """A case in a list: what anybody may know of it.

    Args:
        case_id: Its id.
        name: The model name whose decision it is.
        state: Where it stands.
        is_emergency: Whether it comes before all others.
        created_at: When it entered, UTC.
        answers: How many of its two answers are there.
        may: What the person who asked may do with it: ``submit`` (what they claimed),
            ``adjudicate``, or nothing (empty).
        label: Once it is closed: whether it is positive; None where nobody could tell.
    """

    case_id: str
    name: str
    state: str
    is_emergency: bool
    created_at: str
    answers: int
    may: str = ""
    label: bool | None = None

    def to_document(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Entered:
    """What became of cases that were handed to the queue, by source.

    Args:
        new: That entered.
        known: That were there already, and stay as they are.
    """

    new: dict[str, int] = field(default_factory=dict)
    known: int = 0


def severity_of(value: object) -> int:
    """Return a severity as a table says it: as a word, or from 1 to 5; 0 where it says none.

    Raises:
        DataError: It is neither.

    Example:
        >>> [severity_of(value) for value in ("emergency", 4.0, None)]
        [5, 4, 0]
    """
    if value is None or value != value:  # noqa: PLR0124 - a missing number
        return 0
    level = LEVELS.get(str(value).strip().upper())
    if level is None and isinstance(value, int | float | str):
        number = str(value).strip().removesuffix(".0")
        level = int(number) if number in {str(each) for each in SEVERITIES} else None
    if level is None:
        raise DataError(
            f"{str(value)[:40]!r} is no severity", mend=f"use {', '.join(LEVELS)}, or 1 to 5"
        )
    return level


def is_same_person(one: str, other: str) -> bool:
    """Return whether two names are of one person: capital letters make nobody another one."""
    return one.lower() == other.lower()


def check_reviewer(name: str) -> None:
    """Refuse what cannot be the name of a person.

    Raises:
        UsageError: It is not.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a person",
            mend="begin with a letter or digit; then letters, digits, dots, dashes, underscores",
        )
