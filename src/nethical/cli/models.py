"""``nethical models``: look at the registry, and move what is in production."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import (
    add_audit_flags,
    add_drift_dir,
    add_registry_flags,
    add_storage_flag,
    audited,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nethical.bundle import Bundle
    from nethical.cli.console import Console
    from nethical.registry import Registry

__all__ = ["add_parser", "run"]

_MODEL = "a model id or its beginning, a name (its version in production), or a folder"


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``models`` to the commands."""
    models = commands.add_parser("models", help="the registry of models")
    models.set_defaults(run=run)
    actions = models.add_subparsers(dest="action", metavar="ACTION", required=True)
    shared = _shared_flags()

    def add(action: str, description: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            action, help=description, description=description, parents=[shared]
        )
        return parser

    parser = add("list", "list the versions, and which are in production")
    parser.add_argument("--name", help="only the versions of this name")
    parser = add("show", "show metrics, criteria and claims of a model")
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser = add("verify", "check the signature and every file of a model, or of all")
    parser.add_argument("model", metavar="MODEL", nargs="?", help=_MODEL)
    parser.add_argument(
        "--audit", type=Path, metavar="PATH", help="an audit folder that must tell of it as well"
    )
    parser.add_argument(
        "--log-key",
        action="append",
        default=[],
        metavar="VKEY",
        help="a verifier key of that log (repeatable; default: your own and those you trust)",
    )
    parser = add("promote", "put a version into production, as a recorded override")
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument("--reason", required=True, help="why; kept in the history")
    parser = add("rollback", "put the previous version of a name back into production")
    parser.add_argument("name", metavar="NAME", help="the name whose version is rolled back")
    parser.add_argument("--reason", required=True, help="why; kept in the history")
    parser = add("export", "copy a verified model to a folder of its own")
    parser.add_argument("model", metavar="MODEL", help=_MODEL)
    parser.add_argument("destination", metavar="DEST", type=Path, help="a folder to be made")
    parser = add(
        "prune",
        "remove old versions; current ones, those before them, those of a cohort and those that a "
        "promotion may still need stay",
    )
    parser.add_argument(
        "--keep", type=int, required=True, metavar="N", help="how many others of a name to keep"
    )
    parser.add_argument("--name", help="only the versions of this name")
    add_drift_dir(parser)  # what a cohort refers to stays
    add_storage_flag(parser)  # and what a promotion may still need


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what ``nethical models ACTION`` asks, and return the exit code."""
    from datetime import UTC, datetime

    from nethical.keys import Keys, default_home
    from nethical.registry import Registry

    keys = Keys(default_home(), believed=args.key)
    registry = Registry(args.models_dir, keys, lambda: datetime.now(UTC))
    with audited(args, keys, console):
        _ACTIONS[args.action](args, registry, console)
    return 0


def _shared_flags() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    add_registry_flags(shared)
    add_audit_flags(shared)
    return shared


def _list(args: argparse.Namespace, registry: Registry, console: Console) -> None:
    versions = registry.versions(args.name)
    if console.json_output:
        console.json(
            [
                {
                    "model_id": version.model_id,
                    "name": version.name,
                    "status": version.status,
                    "published_at": version.published_at,
                    **version.details,
                }
                for version in versions
            ]
        )
        return
    if not versions:
        console.info(f"no models in {args.models_dir}")
        return
    rows = [
        [
            version.model_id,
            version.name or "-",
            version.status,
            str(version.details.get("verdict") or "-"),
            version.published_at or "-",
        ]
        for version in reversed(versions)
    ]
    console.table(["MODEL", "NAME", "STATUS", "VERDICT", "PUBLISHED"], rows)


def _show(args: argparse.Namespace, registry: Registry, console: Console) -> None:
    import json

    found = registry.verify(args.model)
    metrics = json.loads(found.files["metrics.json"]) if "metrics.json" in found.files else {}
    status = next(
        (known.status for known in registry.versions() if known.model_id == found.model_id),
        "not in this registry",
    )
    if console.json_output:
        console.json({**_described(found), "status": status, "metrics": metrics})
        return
    console.line(f"{found.model_id}  ({status})")
    console.line(f"  name     {found.claims.get('name', '-')}")
    console.line(f"  verdict  {metrics.get('verdict', '-')}")
    console.line(f"  path     {found.path}")
    console.line(f"  signed   {found.fingerprint}")
    _print_metrics(metrics, console)
    _print_criteria(metrics, console)
    console.line("\nclaims")
    console.table(
        ["CLAIM", "VALUE"],
        [[claim, _cell(value)] for claim, value in sorted(found.claims.items())],
    )


def _print_metrics(metrics: Mapping[str, Any], console: Console) -> None:
    values, intervals = metrics.get("metrics", {}), metrics.get("intervals", {})
    if values:
        console.line("\nmetrics on the gate part, with 95 % intervals")
        rows = [
            [metric, _cell(value), *map(_cell, intervals.get(metric) or ("", ""))]
            for metric, value in values.items()
        ]
        console.table(["METRIC", "VALUE", "LOW", "HIGH"], rows)


def _print_criteria(metrics: Mapping[str, Any], console: Console) -> None:
    criteria = metrics.get("criteria", [])
    if criteria:
        columns = ["name", "estimate", "bound", "threshold", "n", "verdict"]
        console.line("\ncriteria")
        rows = [[_cell(criterion.get(column)) for column in columns] for criterion in criteria]
        console.table([column.upper() for column in columns], rows)


def _verify(args: argparse.Namespace, registry: Registry, console: Console) -> None:
    references = [args.model] if args.model else [known.model_id for known in registry.versions()]
    found = [registry.verify(reference) for reference in references]
    saved = _in_the_log(found, args, registry)
    if console.json_output:
        console.json(
            [
                {**_described(bundle), **({"entry": saved[bundle.model_id]} if saved else {})}
                for bundle in found
            ]
        )
        return
    for bundle in found:
        console.info(
            f"{bundle.model_id}: {len(bundle.files)} files as signed by {bundle.fingerprint}"
        )
        if saved:
            console.info(
                f"{bundle.model_id}: its run is in the log {bundle.claims['origin']}, which says "
                f"the same at entry {saved[bundle.model_id]}"
            )
    if not found:
        console.info(f"no models in {args.models_dir}")


def _in_the_log(
    found: list[Bundle], args: argparse.Namespace, registry: Registry
) -> dict[str, int]:
    """Return the entry of the log that tells of each model; nothing if no log was named."""
    if args.audit is None:
        return {}
    from nethical.audit.crosscheck import check_model
    from nethical.audit.rotation import open_log
    from nethical.audit.verification import believed, located

    log_path = located(args.audit)[1]
    reader = open_log(log_path, believed(log_path, registry.keys, args.log_key))
    return {bundle.model_id: check_model(bundle, reader).index for bundle in found}


def _promote(args: argparse.Namespace, registry: Registry, console: Console) -> None:
    model_id = registry.promote(args.model, reason=args.reason)
    _moved(model_id, registry, console)


def _rollback(args: argparse.Namespace, registry: Registry, console: Console) -> None:
    model_id = registry.rollback(args.name, reason=args.reason)
    _moved(model_id, registry, console)


def _moved(model_id: str, registry: Registry, console: Console) -> None:
    entry = next(entry for entry in reversed(registry.history()) if entry["model_id"] == model_id)
    console.info(f"{entry['name']} is now {model_id}; recorded as {entry['event']}")
    if console.json_output:
        console.json(entry)


def _export(args: argparse.Namespace, registry: Registry, console: Console) -> None:
    found = registry.export(args.model, args.destination)
    console.info(f"{found.model_id} copied to {args.destination}")
    console.info(f"Verify it: nethical models verify {args.destination} --key KEY.pem")
    console.info("KEY.pem is what `nethical keys show --pem` prints where it was signed")
    if console.json_output:
        console.json({**_described(found), "path": str(args.destination)})


def _prune(args: argparse.Namespace, registry: Registry, console: Console) -> None:
    from datetime import UTC, datetime

    from nethical.drift.cohorts import Cohorts
    from nethical.governance.store import GovernanceStore, models_needed

    cohorts = Cohorts(Path(args.drift_report_dir), lambda: datetime.now(UTC))
    store = GovernanceStore(args.phase89_storage, lambda: datetime.now(UTC))
    production = [one.model_id for one in registry.versions() if one.status == "current"]
    needed = models_needed(store, production) if store.version() is not None else set()
    protected = {*cohorts.models(), *needed}
    removed = registry.prune(args.keep, name=args.name, protected=protected)
    for model_id in removed:
        console.info(f"removed {model_id}")
    console.info(f"{len(removed)} versions removed")
    if console.json_output:
        console.json({"removed": removed})


def _described(found: Bundle) -> dict[str, Any]:
    return {
        "model_id": found.model_id,
        "path": str(found.path),
        "fingerprint": found.fingerprint,
        "signature_digest": found.signature_digest,
        "claims": dict(found.claims),
    }


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, str):
        return value
    import json

    return json.dumps(value)


_ACTIONS: dict[str, Callable[[argparse.Namespace, Registry, Console], None]] = {
    "list": _list,
    "show": _show,
    "verify": _verify,
    "promote": _promote,
    "rollback": _rollback,
    "export": _export,
    "prune": _prune,
}
