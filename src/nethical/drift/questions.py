"""Which question two cohorts can answer.

Three are kept apart: whether one model does otherwise on other rows, whether two models do
otherwise on the same rows, and whether two ways of training differ. A single retraining answers
none of them: the models differ, and that is all that can be said.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nethical.drift.process import FEWEST_RUNS

if TYPE_CHECKING:
    from nethical.drift.cohorts import Cohort

__all__ = ["ROWS_NOT_KEPT", "UNJUDGED", "Kind", "Question", "asked"]

NOT_DRIFT = "models differ, not attributable to drift: "
ROWS_NOT_KEPT = NOT_DRIFT + "the rows that both scored are not kept, so they cannot be paired"
ONE_RETRAINING = (
    f"{NOT_DRIFT}a single retraining gives another model (compare {FEWEST_RUNS} or more runs of "
    "each)"
)
OTHER_MODEL = (
    f"{NOT_DRIFT}neither the model nor the rows are the same (score one set of rows with both, or "
    f"compare {FEWEST_RUNS} or more runs of each)"
)
FEW_SETS_OF_ROWS = (
    f"{NOT_DRIFT}the models of a cohort were judged by fewer than {FEWEST_RUNS} sets of rows, so "
    "how much rows vary is not known (judge every model by rows of its own, or all by the same)"
)
NOTHING_NEW = "the same model on the same rows: there is nothing to compare"


class Kind(StrEnum):
    """Which question a comparison answers."""

    OTHER_ROWS = "same_model_other_rows"
    SAME_ROWS = "same_rows_two_models"
    PROCESS = "training_process"
    RETRAIN = "single_retrain"
    NOTHING_NEW = "same_model_same_rows"


UNJUDGED = {Kind.RETRAIN, Kind.NOTHING_NEW}


@dataclass(frozen=True)
class Question:
    """What is compared.

    Args:
        kind: The question.
        reference: The reference; of several models perhaps the one that both cohorts hold.
        current: What is compared with it, likewise.
        told: Why nothing is judged; else what is to be added to the verdict in words.
    """

    kind: Kind
    reference: Cohort
    current: Cohort
    told: str = ""


def asked(reference: Cohort, current: Cohort) -> Question:
    """Return the question that two cohorts can answer.

    Cohorts that hold the same models (those of the values of a column, run after run) are
    compared by the newest of these alone: their models are not two ways of training, and the
    rows of one are those of the others once more.
    """
    kind, told = _kind(reference, current)
    theirs, ours = set(reference.models), set(current.models)
    is_part = theirs <= ours or ours <= theirs
    if len(theirs) == len(ours) == 1 or not (kind == Kind.RETRAIN or is_part):
        return Question(kind, reference, current, told)
    for model in reversed(current.models):
        if model in theirs:
            a, b = reference.of_model(model), current.of_model(model)
            if _rows(a) != _rows(b):
                name = b.runs[-1].model
                return Question(Kind.OTHER_ROWS, a, b, f" (by {name} alone, of several models)")
    return Question(kind, reference, current, told)


def _kind(reference: Cohort, current: Cohort) -> tuple[Kind, str]:
    """Return the question of all models of both, and why it cannot be judged."""
    theirs, ours = set(reference.models), set(current.models)
    rows_a, rows_b = _rows(reference), _rows(current)
    if len(theirs) == len(ours) == 1:
        if theirs == ours:
            return (Kind.NOTHING_NEW, NOTHING_NEW) if rows_a == rows_b else (Kind.OTHER_ROWS, "")
        if reference.runs[0].process == current.runs[0].process:
            return Kind.RETRAIN, ONE_RETRAINING
        one_set = len(rows_a) == 1 and rows_a == rows_b
        return (Kind.SAME_ROWS, "") if one_set else (Kind.RETRAIN, OTHER_MODEL)
    if min(len(theirs), len(ours)) < FEWEST_RUNS:
        return Kind.RETRAIN, ONE_RETRAINING
    # Rows that all models of a cohort share vary in no spread between its models.
    if rows_a != rows_b and min(len(rows_a), len(rows_b)) < FEWEST_RUNS:
        return Kind.RETRAIN, FEW_SETS_OF_ROWS
    return Kind.PROCESS, ""


def _rows(cohort: Cohort) -> set[str]:
    return {run.rows_digest for run in cohort.runs}
