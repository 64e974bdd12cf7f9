"""What ``/api/v1`` takes and gives, with the limits of everything that is taken."""

from typing import Annotated, Any, Literal

from fastapi import Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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


class AnswerIn(BaseModel):
    """An answer to a case."""

    model_config = ConfigDict(extra="forbid")
    decision: Decision
    tags: list[Tag] = Field(default=[], max_length=6, json_schema_extra={"uniqueItems": True})
    rationale: Rationale = ""
    confidence: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)


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
