"""``nethical audit show``: the runs of a log, the facts of one, and what was done beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from nethical.audit.logged_operations import LoggedOperation
    from nethical.audit.reading import LogReader
    from nethical.audit.runs import Event
    from nethical.cli.console import Console

__all__ = ["show"]

_DETAIL = 110


def show(args: argparse.Namespace, reader: LogReader, console: Console) -> None:
    """Print what was asked for of a log whose entries were found to be those it signed."""
    from nethical.errors import UsageError

    if args.operations and (args.run_id or args.type):
        raise UsageError(
            "--operations shows what is beside the runs", mend="leave out --run-id and --type"
        )
    if args.operations:
        _show_operations(reader, console)
    elif args.run_id is None:
        _show_runs(reader, console)
    else:
        _show_run(args, reader, console)


def _show_runs(reader: LogReader, console: Console) -> None:
    from nethical.audit.runs import all_runs

    found = all_runs(reader)
    if console.json_output:
        console.json(
            [{"run_id": r.run_id, "outcome": r.outcome, "events": len(r.events)} for r in found]
        )
        return
    rows = []
    for each in found:
        started, decided = each.events[0].document, each.first("gate_decided")
        verdict = str(decided.document.get("verdict")) if decided else "-"
        model = str(started.get("model_type", "-"))
        rows.append([each.run_id, each.events[0].at[:19], model, verdict, each.outcome])
    console.table(["RUN", "BEGAN (UTC)", "TYPE", "VERDICT", "OUTCOME"], rows)


def _show_run(args: argparse.Namespace, reader: LogReader, console: Console) -> None:
    from nethical.audit.runs import find_run

    events = [
        event
        for event in find_run(reader, args.run_id).events
        if not args.type or event.event_type in args.type
    ]
    if any(event.index >= reader.tree_size for event in events):
        console.warn(f"entries from {reader.tree_size} on are not sealed yet: no key vouches")
    if console.json_output:
        console.json([{**event.document, "index": event.index} for event in events])
        return
    rows = [[str(e.index), e.at[11:23], e.event_type, _detail(e)] for e in events]
    console.table(["INDEX", "TIME (UTC)", "EVENT", "WHAT"], rows)


def _show_operations(reader: LogReader, console: Console) -> None:
    from nethical.audit.logged_operations import all_operations

    found = all_operations(reader)
    if any(each.begun.index >= reader.tree_size for each in found):
        console.warn(f"entries from {reader.tree_size} on are not sealed yet: no key vouches")
    if console.json_output:
        console.json([_document(each) for each in found])
        return
    rows = [
        [str(e.begun.index), e.begun.at[:19], e.by, e.command, e.outcome, _given(e)] for e in found
    ]
    console.table(["INDEX", "BEGAN (UTC)", "BY", "COMMAND", "OUTCOME", "WITH"], rows)


def _document(each: LoggedOperation) -> dict[str, Any]:
    document = {"index": each.begun.index, "outcome": each.outcome, **each.begun.document}
    document.pop("phase", None)
    if each.ended is not None:
        told = each.ended.document
        document["ended"] = told.get("timestamp")
        document |= {key: told[key] for key in ("results", "error") if key in told}
    return document


def _given(each: LoggedOperation) -> str:
    """Return what an operation was done with, and its error, on one line."""
    if each.outcome == "-":
        return _detail(each.begun)
    arguments = each.begun.document.get("arguments")
    given = arguments.items() if isinstance(arguments, dict) else ()
    told = [f"{name} {value}" for name, value in given]
    if each.ended is not None and "error" in each.ended.document:
        told.append(str(each.ended.document["error"]))
    return _shortened(", ".join(told))


def _detail(event: Event) -> str:
    """Return the plain members of an event on one line."""
    plain = (str, int, float, bool)
    return _shortened(
        ", ".join(
            f"{key} {value}"
            for key, value in event.document.items()
            if key not in {"event_type", "run_id", "timestamp"} and isinstance(value, plain)
        )
    )


def _shortened(told: str) -> str:
    return told if len(told) <= _DETAIL else told[: _DETAIL - 3] + "..."
