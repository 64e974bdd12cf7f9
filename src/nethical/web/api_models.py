"""What ``/api/v1`` takes and gives, with the limits of everything that is taken."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from nethical.history import NAME

__all__ = [
    "AnswerIn",
    "CaseId",
    "CaseOut",
    "ClaimedOut",
    "Decision",
    "Limit",
    "ListedOut",
    "MeOut",
    "Offset",
    "Problem",
    "ReportIn",
    "ReportOut",
    "StateName",
    "Tag",
    "Word",
]

LONGEST_RATIONALE = 4000
Decision = Literal["allow", "block", "unsure"]
Tag = Literal[
    "false_positive",
    "missed_violation",
    "policy_gap",
    "correct_decision",
    "needs_clarification",
    "edge_case",
]
StateName = Literal["open", "adjudicating", "closed"]
Word = Annotated[str, Path(min_length=1, max_length=128)]
CaseId = Annotated[str, Path(min_length=1, max_length=128)]
Limit = Annotated[int, Query(ge=1, le=200)]
Offset = Annotated[int, Query(ge=0, le=1_000_000_000)]
Rationale = Annotated[str, StringConstraints(max_length=LONGEST_RATIONALE, pattern=r"^[^\x00]*$")]
# Kept with the case as it is given, so it has to be text that any store can keep.
Text = Annotated[str, StringConstraints(strict=True, pattern=r"^[^\x00]*$")]
Column = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Truth = Annotated[bool, Field(strict=True)]
Cell = Truth | Whole | Number | Text | list[Text] | None
Level = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL", "EMERGENCY"]
Severity = Annotated[int, Field(strict=True, ge=1, le=5)]
# As the command line takes it: in letters of any size.
IN_CAPITALS = BeforeValidator(lambda given: given.upper() if isinstance(given, str) else given)


class AnswerIn(BaseModel):
    """An answer to a case."""

    model_config = ConfigDict(extra="forbid")
    decision: Decision
    tags: list[Tag] = Field(default=[], max_length=6, json_schema_extra={"uniqueItems": True})
    rationale: Rationale = ""
    confidence: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)


class ReportIn(BaseModel):
    """Rows that people shall look at, whatever the model said of them."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$", examples=["payments"])]
    rows: Annotated[list[dict[Column, Cell]], Field(min_length=1, max_length=100)]
    severity: Annotated[Severity | Level, IN_CAPITALS] = "HIGH"


class ReportOut(BaseModel):
    """What became of rows that were reported: ``known`` ones were in the queue already."""

    name: str
    severity: Level
    entered: int
    known: int


class Problem(BaseModel):
    """Why a request was refused, and how to mend it."""

    detail: str
    mend: str = ""


class MeOut(BaseModel):
    """Who is signed in, and the token that comes with everything that they change."""

    name: str
    role: str
    csrf: str


class GivenOut(BaseModel):
    """An answer that was given."""

    reviewer: str
    at: str
    answer: dict[str, Any]


class CaseOut(BaseModel):
    """A case as one person may see it: ``model`` is null until they have answered."""

    case_id: str
    name: str
    state: str
    is_emergency: bool
    created_at: str
    features: dict[str, Any] | None
    may: str
    own: GivenOut | None
    answers: list[GivenOut]
    adjudication: GivenOut | None
    label: bool | None
    model: dict[str, Any] | None


class ClaimedOut(BaseModel):
    """A case that is somebody's to answer until a time, UTC."""

    case: CaseOut
    lease_until: str


class ListedOut(BaseModel):
    """A case in a list: what anybody may know of it."""

    case_id: str
    name: str
    state: str
    is_emergency: bool
    created_at: str
    answers: int
    may: str
    label: bool | None
