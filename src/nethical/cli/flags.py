"""Flags that several commands share."""

from __future__ import annotations

from argparse import SUPPRESS
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from nethical.cli.console import Console
    from nethical.governance.store import GovernanceStore
    from nethical.keys import Keys

__all__ = [
    "DEFAULT_AUDIT_PATH",
    "DEFAULT_DRIFT_DIR",
    "DEFAULT_STORAGE",
    "DEFAULT_WINDOW",
    "TECHNIQUES",
    "acting_person",
    "add_audit_flags",
    "add_drift_dir",
    "add_models_flags",
    "add_person_flag",
    "add_registry_flags",
    "add_storage_flag",
    "audit_path",
    "audited",
]

DEFAULT_AUDIT_PATH = "training_audit_logs"
DEFAULT_DRIFT_DIR = "training_drift_reports"
DEFAULT_WINDOW = "week"
DEFAULT_STORAGE = "training_governance_data"
TECHNIQUES = ("random_search", "grid_search", "evolutionary")


def add_registry_flags(parser: argparse.ArgumentParser) -> None:
    """Add where models lie, whose signatures are believed, and the output for programs."""
    add_models_flags(parser)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def add_models_flags(parser: argparse.ArgumentParser) -> None:
    """Add where models lie, and whose signatures are believed."""
    parser.add_argument("--models-dir", type=Path, default=Path("models"), help="default: models")
    parser.add_argument(
        "--key",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a public key to believe for this call (repeatable)",
    )


def add_audit_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, *, anchors: bool = False
) -> None:
    """Add whether, and where, what happens is logged."""
    parser.add_argument(
        "--enable-audit",
        action="store_true",
        default=SUPPRESS,
        help="log every fact in a Merkle log that anybody can verify",
    )
    parser.add_argument(
        "--audit-path",
        metavar="DIR",
        default=DEFAULT_AUDIT_PATH,
        help="the audit folder",
    )
    if anchors:
        parser.add_argument(
            "--anchor",
            action="append",
            metavar="SPEC",
            default=SUPPRESS,
            help="keep checkpoints elsewhere too: file:PATH, git:REPO or command:PROGRAM "
            "(repeatable)",
        )


def add_drift_dir(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add where drift reports and cohorts lie."""
    parser.add_argument(
        "--drift-report-dir",
        metavar="DIR",
        default=DEFAULT_DRIFT_DIR,
        help="folder of drift reports and cohorts (default: %(default)s)",
    )


def add_storage_flag(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add where configurations and reviews are kept."""
    parser.add_argument(
        "--phase89-storage",
        metavar="DIR",
        default=DEFAULT_STORAGE,
        help="the governance store: a folder, or the URL of a database (default: %(default)s)",
    )


def add_person_flag(parser: argparse.ArgumentParser) -> None:
    """Add who acts."""
    parser.add_argument(
        "--as", dest="person", metavar="NAME", help="who you are; default: the user of this machine"
    )


def acting_person(args: argparse.Namespace, store: GovernanceStore, role: str) -> str:
    """Return who acts; where people were added, somebody who may act as a role.

    Raises:
        UsageError: They may not.
    """
    from nethical.governance.people import People
    from nethical.registry import user

    name = str(args.person or user())
    People(store).may(name, role)
    return name


def audit_path(given: Mapping[str, Any]) -> Path | None:
    """Return the audit folder that was asked for, None when none was.

    Raises:
        UsageError: A flag of the audit was given, but not the one that enables it.
    """
    if given.get("enable_audit"):
        return Path(given["audit_path"])
    for flag, absent in (("audit_path", DEFAULT_AUDIT_PATH), ("anchor", None)):
        if given.get(flag) != absent:
            name = "--" + flag.replace("_", "-")
            raise UsageError(
                f"{name} is given, but --enable-audit is not",
                mend=f"pass --enable-audit as well, or leave {name} out",
            )
    return None


NO_ARGUMENTS = {"command", "action", "run", "json", "enable_audit", "audit_path", "operation"}
# What somebody wrote in their own words is not put where nothing can be deleted, nor what they
# answered where whoever answers next may read it.
NO_ARGUMENTS |= {"rationale", "decision", "tag", "confidence", "answer"}


def _told(name: str, value: object) -> str:
    """Return an argument as a log keeps it."""
    if name != "phase89_storage" or "://" not in str(value):
        return str(value)
    from nethical.governance.database import database_url, without_password

    return without_password(database_url(str(value)))


@contextmanager
def audited(args: argparse.Namespace, keys: Keys, console: Console) -> Iterator[dict[str, Any]]:
    """Log what a command does, if that was asked for, around the block that does it.

    What the block puts into the mapping that it gets is logged as the results.
    """
    given = vars(args)
    path = audit_path(given)
    if path is None:
        yield {}
        return
    from nethical.audit.operations import operation

    arguments = {
        name: _told(name, value)
        for name, value in given.items()
        if name not in NO_ARGUMENTS and value is not None and value is not False and value != []
    }
    with operation(path, keys, f"{args.command} {args.action}", arguments) as going_on:
        yield going_on.results
    if going_on.audit is not None:
        console.info(f"Merkle root: {going_on.audit.merkle_root}")
