"""What ``nethical review`` does, action by action."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import acting_person, audit_path
from nethical.errors import DataError, UsageError

if TYPE_CHECKING:
    import argparse

    from nethical.cli.console import Console
    from nethical.governance.people import People, Person
    from nethical.governance.queue import ReviewQueue
    from nethical.governance.reviews import Answer, CaseView, Given
    from nethical.keys import Keys
    from nethical.metrics.intervals import Interval

__all__ = ["Done", "act"]

NEEDED = {
    "claim": "reviewer",
    "submit": "reviewer",
    "adjudicate": "reviewer",
    "stats": "approver",  # a stratum of one case would say what the model said of it
    "import": "approver",  # it answers and adjudicates for others
    "release": "approver",
    "expire": "admin",
}


@dataclass(frozen=True)
class Done:
    """What an action led to: what ``--json`` prints, and what the audit log keeps of it."""

    document: dict[str, Any]
    logged: dict[str, Any] = field(default_factory=dict)


def act(args: argparse.Namespace, keys: Keys, console: Console) -> Done:
    """Do one action."""
    from nethical.governance.queue import ReviewQueue
    from nethical.governance.reviews import LEVELS, role_to_report
    from nethical.governance.store import GovernanceStore

    queue = ReviewQueue(GovernanceStore(args.phase89_storage, _now), _now)
    if args.action == "users":
        return _users(args, queue, console)
    needed = NEEDED.get(args.action, "viewer")
    if args.action == "report":
        needed = role_to_report(LEVELS[args.severity])
    person = acting_person(args, queue.store, needed)
    if args.action in _WITH_KEYS:
        return _WITH_KEYS[args.action](args, queue, keys, person, console)
    return _ACTIONS[args.action](args, queue, person, console)


def _now() -> datetime:
    return datetime.now(UTC)


# --- cases -----------------------------------------------------------------------------------


def _list(args: argparse.Namespace, queue: ReviewQueue, person: str, console: Console) -> Done:
    if args.case:
        view = queue.case(args.case, person)
        _show(view, console)
        return Done(view.to_document())
    found = queue.listed(args.state, reviewer=person, name=args.name)
    rows = [
        (
            case.case_id,
            case.name,
            case.state + (", EMERGENCY" if case.is_emergency else ""),
            f"{case.answers} of 2",
            case.created_at[:16].replace("T", " "),
            _label(case.label) if case.state == "closed" else case.may,
        )
        for case in found
    ]
    counts = queue.counts()
    if rows:
        console.table(("CASE", "NAME", "STATE", "ANSWERS", "SINCE (UTC)", ""), rows)
    told = ", ".join(f"{n:,} {state}" for state, n in counts.items())
    console.info(f"{queue.store}: {told}; shown {len(rows):,}")
    return Done({"cases": [case.to_document() for case in found], "counts": counts})


def _label(label: bool | None) -> str:  # noqa: FBT001 - a value, not a choice
    return "nobody could tell" if label is None else "block" if label else "allow"


def _show(view: CaseView, console: Console) -> None:
    """Print what this person may see of a case."""
    urgent = ", EMERGENCY" if view.is_emergency else ""
    console.line(f"{view.case_id} ({view.name}, {view.state}{urgent})")
    if view.features is None:
        console.line("  the features are deleted")
    else:
        rows = [(name, str(value)) for name, value in sorted(view.features.items())]
        console.table(("COLUMN", "VALUE"), rows)
    for given in view.answers:
        console.line(f"  {given.reviewer}: {_said(given)}")
    if view.adjudication is not None:
        console.line(f"  {view.adjudication.reviewer} adjudicated: {_said(view.adjudication)}")
    if view.model is not None and view.model.decision is not None:
        console.line(
            f"  the model {view.model.model_id}: {view.model.decision} "
            f"(probability {view.model.probability:.3f}, {view.model.stratum})"
        )


def _said(given: Given) -> str:
    """Return an answer in one line, so that no rationale looks like a line of ours."""
    return f"{given.answer.decision}. {' '.join(given.answer.rationale.split())}"


def _claim(args: argparse.Namespace, queue: ReviewQueue, person: str, console: Console) -> Done:
    if args.give_back:
        queue.release(args.give_back, person)
        console.info(f"{args.give_back} is free again")
        return Done({"given_back": args.give_back}, {"case_id": args.give_back, "by": person})
    claimed = queue.claim(person)
    if claimed is None:
        console.info(f"Nothing waits for {person}")
        return Done({"case": None, "lease_until": None})
    _show(claimed.case, console)
    console.info(f"It is yours until {claimed.lease_until[:16].replace('T', ' ')} (UTC)")
    return Done(claimed.to_document(), {"case_id": claimed.case.case_id, "by": person})


def _answer(
    args: argparse.Namespace, queue: ReviewQueue, keys: Keys, person: str, console: Console
) -> Done:
    """Keep an answer to a slot, or of a third person."""
    answer: Answer = args.answer
    case_id = args.case or queue.held(person)
    if case_id is None:
        raise UsageError(f"{person} has claimed no case", mend="run `nethical review claim`")
    logged = {"case_id": case_id, "by": person}
    if audit_path(vars(args)) is not None:
        logged["answer"] = answer.sealed(case_id, keys.row_key())
    keep = queue.adjudicate if args.action == "adjudicate" else queue.submit
    view = keep(case_id, person, answer)
    _show(view, console)
    logged["state"] = view.state
    if args.action == "adjudicate":  # nobody is to answer after them
        logged["decision"] = answer.decision
    return Done(view.to_document(), logged)


def _stats(args: argparse.Namespace, queue: ReviewQueue, person: str, console: Console) -> Done:
    del person
    found = queue.stats(args.name)
    told = ", ".join(f"{n:,} {state}" for state, n in found.states.items())
    console.line(f"{told}; {found.overdue:,} overdue")
    if found.hours_to_close is not None:
        median, late = found.hours_to_close
        console.line(f"From entry to label: median {median:.1f} h, 95 % within {late:.1f} h")
    if found.agreement is not None:
        one = found.agreement
        console.line(
            f"Two people agree: {_interval(one.raw)}; alpha {_interval(one.alpha)}; "
            f"AC1 {_interval(one.ac1)} ({one.n:,} cases; {found.unsure:,} with an unsure one)"
        )
    reviewers = [
        (name, str(r.answers), str(r.unsure), _interval(r.with_peer), _interval(r.with_label))
        for name, r in found.reviewers.items()
    ]
    if reviewers:
        console.table(("REVIEWER", "ANSWERS", "UNSURE", "AS THE OTHER", "AS THE LABEL"), reviewers)
    strata = [
        (name, str(s.entered), str(s.closed), str(s.labelled), _interval(s.alike))
        for name, s in found.strata.items()
    ]
    if strata:
        console.table(("STRATUM", "ENTERED", "CLOSED", "LABELLED", "AGREED"), strata)
    return Done(found.to_document())


def _interval(one: Interval) -> str:
    if one.estimate != one.estimate:
        return "unknown"
    return f"{one.estimate:.3f} [{one.low:.3f}, {one.high:.3f}]"


# --- in and out ------------------------------------------------------------------------------


def _report(
    args: argparse.Namespace, queue: ReviewQueue, keys: Keys, person: str, console: Console
) -> Done:
    from nethical.data import files
    from nethical.governance.reporting import deciding_model, enter_reported, reported_cases
    from nethical.governance.reviews import LEVELS
    from nethical.trained import registry_of

    model_id, model = deciding_model(registry_of(args.models_dir, args.key), args.model)
    severity = LEVELS[args.severity]
    cases = reported_cases(model, model_id, keys.row_key(), files.load(args.file), severity)
    told = enter_reported(queue, model, cases, severity)
    there = f", {told['known']:,} are in the queue already" if told["known"] else ""
    new = f"{told['entered']:,} new cases"
    console.info(f"Review queue: {new} of {model.name}, {args.severity}{there}")
    return Done(told, {**told, "by": person})


def _import(
    args: argparse.Namespace, queue: ReviewQueue, keys: Keys, person: str, console: Console
) -> Done:
    if args.label_studio:
        return _import_tasks(args, queue, keys, person, console)
    if args.reviewer:
        raise UsageError("--reviewer without --label-studio", mend="leave --reviewer out")
    from nethical.governance.cases import read_cases

    store = queue.store
    cases = read_cases(
        args.file,
        name=args.name,
        label=args.label_column,
        positive=tuple(args.positive_label),
        now=store.now(),
    )
    kept = store.import_cases(cases)
    strata = sorted({case["stratum"] for case in cases})
    console.info(f"{kept:,} reviewed cases of {args.name} ({', '.join(strata)}) in {store}")
    return Done({"cases": kept, "strata": strata}, {"cases": kept, "by": person})


def _import_tasks(
    args: argparse.Namespace, queue: ReviewQueue, keys: Keys, person: str, console: Console
) -> Done:
    from nethical.governance.label_studio import answer_tasks, read_tasks

    try:
        content = args.file.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot read {args.file}: {error.strerror or error}", mend="check the path"
        ) from error
    tasks = read_tasks(content, name=args.name, key=keys.row_key(), reviewer=args.reviewer)
    found = answer_tasks(queue, tasks)
    for line in found.refused:
        console.warn(line)
    console.info(
        f"{len(tasks):,} tasks: {found.entered:,} new cases, {found.answered:,} answers, "
        f"{found.adjudicated:,} adjudications, {len(found.refused):,} refused"
    )
    document = asdict(found)
    return Done(document, {**document, "refused": len(found.refused), "by": person})


def _export(args: argparse.Namespace, queue: ReviewQueue, person: str, console: Console) -> Done:
    from nethical import durable
    from nethical.governance.label_studio import tasks_of

    if args.out.suffix != ".json":
        raise UsageError(f"{args.out} is not called .json", mend="name it NAME.json")
    tasks = tasks_of(queue, state=args.state, name=args.name)
    durable.make_folder(args.out.absolute().parent)
    durable.write(args.out, json.dumps(tasks, indent=1, ensure_ascii=False).encode() + b"\n")
    console.info(f"{len(tasks):,} cases as tasks of Label Studio in {args.out}")
    told = {"tasks": len(tasks), "out": str(args.out)}
    return Done(told, {**told, "by": person})


def _release(args: argparse.Namespace, queue: ReviewQueue, person: str, console: Console) -> Done:
    from nethical.governance.releases import LabelReleases

    releases = LabelReleases(queue.store, _now)
    if args.name is None:
        if args.out is not None:
            raise UsageError("--out without NAME", mend="name the model whose labels to keep")
        found = [release.to_document() for release in releases.listed()]
        rows = [
            (r["release_id"], r["name"], f"{r['rows']:,}", r["created_at"][:16], r["created_by"])
            for r in found
        ]
        console.table(("RELEASE", "NAME", "LABELS", "SINCE (UTC)", "BY"), rows)
        return Done({"releases": found})
    release = releases.make(args.name, by=person, share=args.share)
    document = release.to_document()
    console.info(
        f"{release.release_id}: {document['rows']:,} labels of {release.name}, "
        f"{document['positives']:,} positive ({release.digest[:19]}...)"
    )
    if args.out is not None:
        releases.write(release.release_id, args.out)
        console.info(f"Train with --data {args.out}; these cases judge no model any more")
        document["out"] = str(args.out)
    return Done(document, document)


def _expire(args: argparse.Namespace, queue: ReviewQueue, person: str, console: Console) -> Done:
    if not 0 <= args.days <= 36500:  # noqa: PLR2004 - a hundred years
        raise UsageError(f"--days is {args.days:g}", mend="give 0 or more")
    before = _now() - timedelta(days=args.days)
    n = queue.expire_features(before)
    console.info(f"The features of {n:,} cases are deleted; digests, answers and labels stay")
    return Done(
        {"expired": n}, {"expired": n, "before": f"{before:%Y-%m-%dT%H:%M:%SZ}", "by": person}
    )


# --- people ----------------------------------------------------------------------------------


def _users(args: argparse.Namespace, queue: ReviewQueue, console: Console) -> Done:
    from nethical.governance.people import People

    people = People(queue.store)
    if args.what == "list":
        found = people.listed()
        rows = [(p.name, p.role, p.created_at[:16], p.disabled_at or "") for p in found]
        console.table(("NAME", "ROLE", "SINCE (UTC)", "DISABLED"), rows)
        return Done({"people": [asdict(person) for person in found]})
    person = _changed(args, people)
    told = {
        "disable": "is disabled",
        "enable": f"may sign in again, as {person.role}",
        "password": "has another password, and their sessions are ended",
    }
    console.info(f"{person.name} {told.get(args.what, f'may act as {person.role}')}")
    return Done(asdict(person), asdict(person))


def _changed(args: argparse.Namespace, people: People) -> Person:
    """Add or change a person, and return them."""
    match args.what:
        case "add":
            return people.add(args.name, args.role, _password(args.name))
        case "disable":
            return people.disable(args.name)
        case "enable":
            return people.enable(args.name)
        case "role":
            return people.set_role(args.name, args.role)
        case _:
            return people.set_password(args.name, _password(args.name))


def _password(name: str) -> str:
    """Return a new password: asked for twice at a terminal, else one line of standard input."""
    if not sys.stdin.isatty():
        try:
            return sys.stdin.readline().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError("the password is no text", mend="give it in UTF-8") from error
    from getpass import getpass

    first = getpass(f"Password of {name}: ")
    if getpass("Once more: ") != first:
        raise UsageError("the two passwords differ", mend="type the same one twice")
    return first


_WITH_KEYS = {
    "submit": _answer,
    "adjudicate": _answer,
    "report": _report,
    "import": _import,
}
_ACTIONS = {
    "list": _list,
    "claim": _claim,
    "stats": _stats,
    "export": _export,
    "release": _release,
    "expire": _expire,
}
