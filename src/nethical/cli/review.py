"""``nethical review``: the review queue, who answers it, and what becomes of the answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import (
    add_audit_flags,
    add_models_flags,
    add_person_flag,
    add_storage_flag,
    audited,
)

if TYPE_CHECKING:
    import argparse

    from nethical.cli.console import Console

__all__ = ["add_parser"]

DECISIONS = ("allow", "block", "unsure")
LEVELS = ("LOW", "MEDIUM", "HIGH", "CRITICAL", "EMERGENCY")
STATES = ("open", "adjudicating", "closed")
ROLES = ("viewer", "reviewer", "approver", "admin")


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command and its actions."""
    review = commands.add_parser("review", help="what people decide about single cases")
    review.set_defaults(run=run)
    actions = review.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_cases(actions)
    _add_exchange(actions)
    users = actions.add_parser("users", help="who may review, approve, and look after people")
    _add_users(users.add_subparsers(dest="what", metavar="WHAT", required=True))


def _add_cases(actions: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add what reviewers use."""
    listed = actions.add_parser("list", help="show cases, or all that you may see of one")
    listed.add_argument("case", metavar="CASE", nargs="?", help="an id")
    listed.add_argument("--state", choices=STATES, metavar="STATE", help="of these alone")
    listed.add_argument("--name", metavar="NAME", help="of this model name alone")
    claim = actions.add_parser("claim", help="get the case that comes first, for 15 minutes")
    claim.add_argument("--give-back", metavar="CASE", help="give a claimed case back instead")
    submit = actions.add_parser("submit", help="answer a case that you claimed")
    adjudicate = actions.add_parser("adjudicate", help="decide where two people do not agree")
    submit.add_argument("case", metavar="CASE", nargs="?", help="its id; default: what you claimed")
    adjudicate.add_argument("case", metavar="CASE", help="its id")
    for parser in (submit, adjudicate):
        parser.add_argument(
            "--decision",
            required=True,
            choices=DECISIONS,
            metavar="WORD",
            help=", ".join(DECISIONS),
        )
        parser.add_argument(
            "--tag", action="append", default=[], metavar="TAG", help="what it shows (repeatable)"
        )
        parser.add_argument("--rationale", default="", metavar="TEXT", help="why")
        parser.add_argument("--confidence", type=float, metavar="X", help="how sure, 0 to 1")
    stats = actions.add_parser("stats", help="what waits, what is late, and whether people agree")
    stats.add_argument("--name", metavar="NAME", help="of this model name alone")
    for parser in (listed, claim, submit, adjudicate, stats):
        add_person_flag(parser)
        _add_shared(parser)


def _add_exchange(actions: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add what brings cases and labels in and out."""
    report = actions.add_parser("report", help="let people look at rows, whatever the model said")
    report.add_argument("file", metavar="TABLE", type=Path, help="a table file with the rows")
    report.add_argument(
        "--model", required=True, metavar="MODEL", help="what decided: a name or id"
    )
    report.add_argument(
        "--severity",
        default="HIGH",
        type=str.upper,
        choices=LEVELS,
        metavar="LEVEL",
        help=f"{', '.join(LEVELS)} (default: %(default)s)",
    )
    add_models_flags(report)
    imported = actions.add_parser("import", help="take in reviewed cases, or annotated tasks")
    imported.add_argument("file", metavar="FILE", type=Path, help="a table file, or JSON of tasks")
    imported.add_argument(
        "--name", required=True, metavar="NAME", help="the model name whose decisions they are"
    )
    imported.add_argument(
        "--label-column",
        default="label",
        metavar="COLUMN",
        help="what people decided (default: label)",
    )
    imported.add_argument(
        "--positive-label",
        action="append",
        default=[],
        metavar="VALUE",
        help="a label value that is positive (repeatable)",
    )
    imported.add_argument(
        "--label-studio", action="store_true", help="FILE holds tasks of Label Studio"
    )
    imported.add_argument(
        "--reviewer", metavar="NAME", help="who annotated; default: whom each annotation names"
    )
    exported = actions.add_parser("export", help="write cases as tasks of Label Studio")
    exported.add_argument("-o", "--out", type=Path, required=True, help="a .json file")
    exported.add_argument("--state", choices=STATES, metavar="STATE", help="of these alone")
    exported.add_argument("--name", metavar="NAME", help="of this model name alone")
    release = actions.add_parser("release", help="keep labels for training, or show what was kept")
    release.add_argument("name", metavar="NAME", nargs="?", help="the model name of the cases")
    release.add_argument("-o", "--out", type=Path, help="a .parquet file that --data takes")
    release.add_argument(
        "--share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of the cases that training may read (default: %(default)s)",
    )
    expire = actions.add_parser("expire", help="delete the features of old cases")
    expire.add_argument(
        "--days", type=float, required=True, metavar="N", help="older than so many days"
    )
    for parser in (report, imported, exported, release, expire):
        add_person_flag(parser)
        _add_shared(parser)


def _add_users(whats: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add what looks after people."""
    add = whats.add_parser(
        "add", help="add a person; the password is asked for, or read from stdin"
    )
    add.add_argument("name", metavar="NAME", help="as answers are signed with")
    add.add_argument("--role", required=True, choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    listed = whats.add_parser("list", help="show everybody")
    disable = whats.add_parser("disable", help="let a person sign in no more")
    enable = whats.add_parser("enable", help="let a disabled person sign in again")
    role = whats.add_parser("role", help="give a person another role")
    password = whats.add_parser("password", help="give a person another password, as with add")
    for parser in (disable, enable, role, password):
        parser.add_argument("name", metavar="NAME", help="who")
    role.add_argument("role", metavar="ROLE", choices=ROLES, help=", ".join(ROLES))
    for parser in (add, listed, disable, enable, role, password):
        _add_shared(parser)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    add_storage_flag(parser)
    add_audit_flags(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what ``nethical review ACTION`` asks, and return the exit code."""
    from nethical.cli.reviewing import act
    from nethical.keys import Keys, default_home

    if "decision" in args:  # what is wrong with an answer is said before anything is logged
        from nethical.governance.reviews import Answer

        args.answer = Answer(args.decision, tuple(args.tag), args.rationale, args.confidence)
    keys = Keys(default_home())
    with audited(args, keys, console) as results:
        done = act(args, keys, console)
        results.update(done.logged)
    if console.json_output:
        console.json(done.document)
    return 0
