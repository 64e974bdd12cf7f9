"""Cases as tasks of Label Studio, and its annotations as answers.

A task of a case that is not closed holds the row's values alone: no prediction, no answer of
anybody, nothing that follows from what the model said.

Reference:
    Label Studio documentation, "Label Studio JSON format of annotated tasks".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from nethical.canonical import canonical_json
from nethical.errors import DataError, UsageError
from nethical.governance import tables as t
from nethical.governance.case_views import view_of
from nethical.governance.reviews import Answer, Case, Source, check_reviewer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nethical.governance.queue import ReviewQueue
    from nethical.governance.reviews import CaseView, Given

__all__ = ["Annotation", "Imported", "Task", "answer_tasks", "read_tasks", "tasks_of"]

CASE, NAME, ROW = "nethical_case", "nethical_name", "nethical_row"
OWN = (CASE, NAME, ROW)
NOWHERE = "nethical.invalid"  # people have names here, and annotations want an address
LONGEST_NAME = 64
REPORTED_SEVERITY = 2


@dataclass(frozen=True)
class Annotation:
    """An answer of somebody: to a slot, or of a third person."""

    reviewer: str
    answer: Answer
    is_final: bool


@dataclass(frozen=True)
class Task:
    """A task that was read: the case, and its annotations."""

    case: Case
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True)
class Imported:
    """What became of tasks.

    Args:
        entered: Cases that are new.
        answered: Answers that are kept, those that were there already among them.
        adjudicated: Cases that a third person decided.
        refused: What could not be kept, and why, in one line each.
    """

    entered: int
    answered: int
    adjudicated: int
    refused: tuple[str, ...]


# --- out -------------------------------------------------------------------------------------


def tasks_of(
    queue: ReviewQueue, *, state: str | None = None, name: str | None = None
) -> list[dict[str, Any]]:
    """Return cases as tasks; those whose features are deleted are not among them.

    Args:
        queue: Where they are.
        state: Of these alone; None for all.
        name: Of this model name alone.
    """
    case = t.review_case
    query = sa.select(case.c.case_id, case.c.row_digest).order_by(case.c.created_at, case.c.case_id)
    query = query.where(case.c.features.is_not(sa.null()))
    if state is not None:
        query = query.where(case.c.state == state)
    if name is not None:
        query = query.where(case.c.name == name)
    with queue.store.reading() as db:
        found = [(row, view_of(db, row.case_id, "")) for row in db.execute(query).all()]
    return [_task(number, view, row.row_digest) for number, (row, view) in enumerate(found, 1)]


def _task(number: int, view: CaseView, row_digest: str) -> dict[str, Any]:
    own = {CASE: view.case_id, NAME: view.name, ROW: row_digest}
    task: dict[str, Any] = {
        "id": number,
        "data": {**(view.features or {}), **own},
        "annotations": [_annotation(given, is_final=False) for given in view.answers],
        "predictions": [],
    }
    if view.adjudication is not None:
        task["annotations"].append(_annotation(view.adjudication, is_final=True))
    if view.model is not None and view.model.decision is not None:
        prediction = {
            "model_version": view.model.model_id,
            "score": view.model.probability,
            "result": [_choices("decision", [view.model.decision])],
        }
        task["predictions"] = [prediction]
    return task


def _annotation(given: Given, *, is_final: bool) -> dict[str, Any]:
    answer = given.answer
    result = [_choices("decision", [answer.decision])]
    if answer.tags:
        result.append(_choices("tags", list(answer.tags)))
    if answer.rationale:
        result.append(_result("rationale", "textarea", {"text": [answer.rationale]}))
    if answer.confidence is not None:
        result.append(_result("confidence", "number", {"number": answer.confidence}))
    return {
        "completed_by": {"email": f"{given.reviewer}@{NOWHERE}"},
        "created_at": given.at,
        "ground_truth": is_final,
        "was_cancelled": False,
        "result": result,
    }


def _choices(name: str, chosen: list[str]) -> dict[str, Any]:
    return _result(name, "choices", {"choices": chosen})


def _result(name: str, kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    return {"from_name": name, "to_name": "case", "type": kind, "value": dict(value)}


# --- in --------------------------------------------------------------------------------------


def read_tasks(
    content: bytes, *, name: str | None, key: bytes, reviewer: str | None = None
) -> list[Task]:
    """Return the tasks of a Label Studio export.

    Args:
        content: The JSON file.
        name: The model name of tasks that tell none; None to refuse those.
        key: Blinds the digests of rows that have none.
        reviewer: Who annotated; None for whom each annotation names.

    Raises:
        DataError: It is no such export, or holds an answer that nobody can give here.
    """
    try:
        document = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DataError(f"this is no JSON: {error}", mend="export it as JSON again") from error
    if not isinstance(document, list):
        raise DataError("this is no list of tasks", mend="export it as JSON, not as JSON-MIN")
    tasks = []
    for place, task in enumerate(document, 1):
        try:
            tasks.append(_read(task, name, key, reviewer))
        except UsageError as error:
            raise DataError(f"task {place}: {error.what}", mend=error.mend) from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(
                f"task {place} cannot be read: {type(error).__name__}: {error}",
                mend="export it as JSON, with the names that the labelling set-up has",
            ) from error
    return tasks


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _read(task: Mapping[str, Any], name: str | None, key: bytes, reviewer: str | None) -> Task:
    told = dict(task["data"])
    features = {column: value for column, value in told.items() if column not in OWN}
    name = told.get(NAME) or name
    if not name:
        raise DataError("a task names no model", mend="name it with --name NAME")
    row = told.get(ROW)
    if row is None:
        row = "hmac:" + hmac.new(key, canonical_json(features), hashlib.sha256).hexdigest()
    case = Case(
        str(name),
        Source.REPORTED,
        Source.REPORTED.value,
        1.0,
        REPORTED_SEVERITY,
        1.0,
        str(row),
        features,
    )
    if CASE in told and told[CASE] != case.case_id:
        raise DataError(
            f"{str(told[CASE])[:40]!r} is not the case that its row says",
            mend=f"leave the columns {', '.join(OWN)} as they were exported",
        )
    given = [one for one in task.get("annotations", ()) if not one.get("was_cancelled")]
    return Task(case, tuple(_answer(one, reviewer) for one in given))


def _answer(annotation: Mapping[str, Any], reviewer: str | None) -> Annotation:
    parts = {one["from_name"]: one["value"] for one in annotation["result"]}
    (decision,) = parts["decision"]["choices"]
    confidence = parts.get("confidence", {}).get("number")
    answer = Answer(
        str(decision),
        tuple(map(str, parts.get("tags", {}).get("choices", ()))),
        "\n".join(map(str, parts.get("rationale", {}).get("text", ()))),
        None if confidence is None else float(confidence),
    )
    who = reviewer or _name_of(annotation.get("completed_by"))
    check_reviewer(who)
    return Annotation(who, answer, bool(annotation.get("ground_truth")))


def _name_of(who: object) -> str:
    """Return somebody's name here: of an address what stands before the @, of a number itself."""
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    if isinstance(who, int):
        return f"annotator-{who}"
    name = re.sub(r"[^A-Za-z0-9._-]", "-", str(who or "").partition("@")[0])
    return name.lstrip("._-")[:LONGEST_NAME] or "annotator"


def answer_tasks(queue: ReviewQueue, tasks: Sequence[Task]) -> Imported:
    """Keep the cases of tasks that are new, and their annotations as answers.

    An annotation that is called a ground truth adjudicates. What the queue does not allow (both
    slots are taken, somebody answered otherwise) is told and left out; the same file may be
    taken in twice.
    """
    entered = queue.enter([task.case for task in tasks])
    answered = adjudicated = 0
    refused: list[str] = []
    for task in tasks:
        case_id = task.case.case_id
        for one in sorted(task.annotations, key=lambda annotation: annotation.is_final):
            said = _keep(queue, case_id, one)
            if said:
                refused.append(said)
            elif one.is_final:
                adjudicated += 1
            else:
                answered += 1
    return Imported(sum(entered.new.values()), answered, adjudicated, tuple(refused))


def _keep(queue: ReviewQueue, case_id: str, one: Annotation) -> str:
    """Keep an annotation, or return why not."""
    try:
        keep = queue.adjudicate if one.is_final else queue.answer
        keep(case_id, one.reviewer, one.answer)
    except UsageError as error:
        return error.what
    return ""
