"""``nethical govern``: configurations, searches, the promotion gate, and what was moved when."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import (
    acting_person,
    add_audit_flags,
    add_person_flag,
    add_registry_flags,
    add_storage_flag,
    audited,
)
from nethical.errors import RefusedError, UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from nethical.cli.console import Console
    from nethical.governance.governing import Governance
    from nethical.governance.store import GovernanceStore

__all__ = ["add_parser"]

SHOWN_DIGITS = 12


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command and its actions."""
    govern = commands.add_parser("govern", help="configurations, searches, the promotion gate")
    govern.set_defaults(run=run)
    actions = govern.add_subparsers(dest="action", metavar="ACTION", required=True)
    configs = actions.add_parser("configs", help="show configurations, or all of one")
    configs.add_argument("configuration", metavar="CONFIG", nargs="?", help="an id")
    searches = actions.add_parser("search", help="show searches, or the trials of one")
    searches.add_argument("study", metavar="STUDY", nargs="?", help="an id, or its beginning")
    gate = actions.add_parser("gate", help="judge a configuration against production")
    gate.add_argument("configuration", metavar="CONFIG", help="an id")
    gate.add_argument(
        "--data", type=Path, required=True, metavar="TABLE", help="labelled rows to judge on"
    )
    gate.add_argument(
        "--waive-agreement", default="", metavar="REASON", help="judge without reviews by people"
    )
    gate.add_argument(
        "--strict", action="store_true", help="ask the bound of the recall gain for the whole gain"
    )
    gate.add_argument(
        "--await-approval", action="store_true", help="leave it to an approver if it passes"
    )
    gate.add_argument("--fail-on-refusal", action="store_true", help="exit 3 unless it passes")
    promote = actions.add_parser("promote", help="put a configuration into production that passed")
    promote.add_argument("configuration", metavar="CONFIG", help="an id")
    promote.add_argument("--name", default="", help="the model name, if it passed under several")
    promote.add_argument("--reason", default="", metavar="TEXT", help="why, beside that it passed")
    move = actions.add_parser("move", help="make a configuration shadow, or reject it")
    move.add_argument("configuration", metavar="CONFIG", help="an id")
    move.add_argument("status", metavar="STATUS", choices=("shadow", "rejected"), help="the status")
    move.add_argument("--reason", required=True, metavar="TEXT", help="why; kept in the history")
    rollback = actions.add_parser("rollback", help="put back what was in production before")
    rollback.add_argument("name", metavar="NAME", help="the model name")
    rollback.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    history = actions.add_parser("history", help="show what was moved, when, by whom and why")
    history.add_argument("name", metavar="NAME", nargs="?", help="a model name; default: all")
    db = actions.add_parser("db", help="look after the store")
    db.add_argument(
        "what",
        metavar="WHAT",
        choices=("upgrade", "check", "export"),
        help="upgrade, check, export",
    )
    for parser in (promote, move, rollback):
        add_person_flag(parser)
    for parser in actions.choices.values():
        add_storage_flag(parser)
        add_registry_flags(parser)
        add_audit_flags(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what ``nethical govern ACTION`` asks, and return the exit code."""
    from nethical.cli.narrator import Narrator
    from nethical.governance.governing import Governance
    from nethical.governance.store import GovernanceStore
    from nethical.keys import Keys, default_home
    from nethical.registry import Registry
    from nethical.run import Run

    keys = Keys(default_home(), believed=args.key)
    store = GovernanceStore(args.phase89_storage, _now)
    registry = Registry(args.models_dir, keys, _now)
    with audited(args, keys, console) as results:
        governance = Governance(store, registry, Run([Narrator(console)]))
        found = _ACTIONS[args.action](args, governance, console)
        results.update(found)
    if console.json_output:
        console.json(found)
    refused = (
        args.action == "gate"
        and args.fail_on_refusal
        and not (found["promoted"] or found["awaits_approval"])
    )
    if refused:
        raise RefusedError(
            f"the promotion gate says {found['verdict']}", mend="read the criteria above"
        )
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _configs(args: argparse.Namespace, governance: Governance, console: Console) -> dict[str, Any]:
    store = governance.store
    if args.configuration:
        return _one(store, args.configuration, console)
    evaluations = {row.configuration_id: row for row in store.evaluations()}
    statuses = store.statuses()
    rows, documents = [], []
    for row in store.configurations():
        measured = evaluations.get(row.configuration_id)
        fitness = None if measured is None else measured.fitness_score
        status = statuses.get(row.configuration_id, "candidate")
        rows.append(
            (
                row.configuration_id,
                row.model_type,
                status,
                "unknown" if fitness is None else f"{fitness:.4f}",
                "" if measured is None else f"{measured.terms} of 4 terms",
                row.created_at[:16].replace("T", " "),
            )
        )
        documents.append(
            {
                "configuration_id": row.configuration_id,
                "model_type": row.model_type,
                "status": status,
                "fitness_score": fitness,
                "created_at": row.created_at,
            }
        )
    if not rows:
        console.line(f"no configuration in {store}")
    else:
        console.table(("CONFIGURATION", "TYPE", "STATUS", "FITNESS", "OF", "SINCE (UTC)"), rows)
    return {"configurations": documents}


def _one(store: GovernanceStore, configuration_id: str, console: Console) -> dict[str, Any]:
    configuration = store.find(configuration_id)
    found = configuration.configuration_id
    status = store.statuses().get(found, "candidate")
    console.line(f"{found} ({configuration.model_type}, {status})")
    choices = {**configuration.training, **configuration.decision}
    parameters = choices.pop("parameters", {})
    console.table(
        ("CHOICE", "VALUE"), [(n, _shown(v)) for n, v in {**choices, **parameters}.items()]
    )
    measured = [_evaluation(row) for row in store.evaluations(found)]
    for one in measured:
        told = ", ".join(f"{name} {_shown(value)}" for name, value in one["metrics"].items())
        console.line(f"  {one['model_id']}: {told}; agreement {_shown(one['human_agreement'])}")
    reports = [_report(row) for row in store.reports(found)]
    for one in reports:
        console.line(
            f"  gate report {one['number']}: {one['verdict']} against {one['baseline_model']} "
            f"(attempt {one['k']})"
        )
    return {
        "configuration_id": found,
        **configuration.to_document(),
        "status": status,
        "evaluations": measured,
        "reports": reports,
    }


def _shown(value: object) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _evaluation(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a line of the store
    names = ("name", "model_id", "gate_digest", "metrics", "human_agreement", "fitness_score")
    return {name: getattr(row, name) for name in (*names, "terms", "at")}


def _report(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a line of the store
    names = ("number", "candidate", "baseline", "candidate_model", "baseline_model", "name")
    more = ("gate_digest", "k", "alpha", "criteria", "verdict", "waiver", "actor", "at")
    return {name: getattr(row, name) for name in (*names, *more)}


def _search(args: argparse.Namespace, governance: Governance, console: Console) -> dict[str, Any]:
    studies = governance.store.studies()
    if args.study:
        matching = [s for s in studies if s.study_id.removeprefix("sha256:").startswith(args.study)]
        if len(matching) != 1:
            raise UsageError(
                f"{len(matching)} searches are called {args.study!r}",
                mend="name one that `nethical govern search` shows",
            )
        return _trials(governance.store, matching[0], console)
    rows = [
        (
            study.study_id.removeprefix("sha256:")[:SHOWN_DIGITS],
            study.name,
            study.technique,
            f"{len(governance.store.trials(study.study_id))} of {study.iterations}",
            study.created_at[:16].replace("T", " "),
        )
        for study in studies
    ]
    if not rows:
        console.line(f"no search in {governance.store}")
    else:
        console.table(("SEARCH", "NAME", "TECHNIQUE", "TRIALS", "SINCE (UTC)"), rows)
    keys = ("study_id", "name", "technique", "trials", "created_at")
    return {"searches": [dict(zip(keys, row, strict=True)) for row in rows]}


def _trials(store: GovernanceStore, study: Any, console: Console) -> dict[str, Any]:  # noqa: ANN401 - a line of the store
    found = store.trials(study.study_id)
    rows = []
    for number, (parameters, outcome) in found.items():
        told = ", ".join(f"{name} {_shown(value)}" for name, value in parameters.items())
        if "error" in outcome:
            rows.append((str(number), "", "", "", f"failed: {outcome['error']}"))
            continue
        rows.append(
            (
                str(number),
                f"{outcome['recall']:.3f}",
                _shown(outcome["precision"]),
                f"{outcome['false_positive_rate']:.3f}",
                told,
            )
        )
    console.table(("TRIAL", "RECALL", "PRECISION", "FP RATE", "PARAMETERS"), rows)
    return {
        "study_id": study.study_id,
        "technique": study.technique,
        "trials": [
            {"number": number, "parameters": parameters, "outcome": outcome}
            for number, (parameters, outcome) in found.items()
        ],
    }


def _gate(args: argparse.Namespace, governance: Governance, console: Console) -> dict[str, Any]:
    from nethical.cli.governed import say_what_awaits
    from nethical.governance.promotion import Policy

    judged = governance.judge_on(
        args.configuration,
        args.data,
        waiver=args.waive_agreement,
        policy=Policy(strict=args.strict, await_approval=args.await_approval),
    )
    console.info(f"Judged {judged.configuration_id} against {judged.baseline}")
    if judged.awaits:
        say_what_awaits(judged, console)
    return {
        "configuration_id": judged.configuration_id,
        "baseline": judged.baseline,
        "verdict": judged.decision.verdict.value,
        "criteria": [line.to_document() for line in judged.decision.lines],
        "promoted": judged.promoted,
        "awaits_approval": judged.awaits,
    }


def _promote(args: argparse.Namespace, governance: Governance, console: Console) -> dict[str, Any]:
    by = acting_person(args, governance.store, "approver")
    model_id = governance.production.promote(
        args.configuration, name=args.name, reason=args.reason, by=by
    )
    console.line(f"[INFO] Configuration promoted successfully: {model_id} is in production")
    return {"configuration_id": args.configuration, "model_id": model_id, "by": by}


def _move(args: argparse.Namespace, governance: Governance, console: Console) -> dict[str, Any]:
    by = acting_person(args, governance.store, "approver")
    moved = governance.production.move(args.configuration, args.status, reason=args.reason, by=by)
    console.info(f"{moved} is {args.status} from now on")
    return {"configuration_id": moved, "status": args.status, "by": by}


def _rollback(args: argparse.Namespace, governance: Governance, console: Console) -> dict[str, Any]:
    by = acting_person(args, governance.store, "approver")
    model_id = governance.production.rollback(args.name, reason=args.reason, by=by)
    console.line(f"[INFO] {model_id} is in production as {args.name} again")
    return {"name": args.name, "model_id": model_id, "by": by}


def _history(args: argparse.Namespace, governance: Governance, console: Console) -> dict[str, Any]:
    for name in [args.name] if args.name else governance.registry.names():
        governance.production.reconcile(name)
    events = governance.store.events(args.name)
    rows = [
        (
            str(event.number),
            event.at[:16].replace("T", " "),
            event.name,
            event.configuration_id,
            f"{event.from_status} > {event.to_status}",
            event.actor,
            event.reason,
        )
        for event in events
    ]
    if not rows:
        console.line(f"nothing was moved in {governance.store}")
    else:
        head = ("MOVE", "AT (UTC)", "NAME", "CONFIGURATION", "STATUS", "BY", "REASON")
        console.table(head, rows)
    names = ("number", "configuration_id", "name", "from_status", "to_status", "model_id")
    more = ("previous", "gate_report", "actor", "reason", "at")
    return {"moves": [{name: getattr(event, name) for name in (*names, *more)} for event in events]}


def _db(args: argparse.Namespace, governance: Governance, console: Console) -> dict[str, Any]:
    store: GovernanceStore = governance.store
    if args.what == "export":
        exported = store.export()
        if not console.json_output:
            import json

            console.line(json.dumps(exported, indent=1, ensure_ascii=False))
        return exported
    had = store.version()
    if args.what == "upgrade":
        store.upgrade()
    elif had is not None:
        store.check()
    now = store.version()
    console.line(f"[INFO] {store}: schema {now or 'none yet'}" + _changed(had, now))
    return {"store": str(store), "schema": now, "had": had}


def _changed(had: str | None, now: str | None) -> str:
    return "" if had == now else f" (it had {had or 'none'})"


_ACTIONS: dict[str, Callable[[argparse.Namespace, Governance, Console], dict[str, Any]]] = {
    "configs": _configs,
    "search": _search,
    "gate": _gate,
    "promote": _promote,
    "move": _move,
    "rollback": _rollback,
    "history": _history,
    "db": _db,
}
