"""``nethical review``: what people decided, brought in from elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import add_audit_flags, add_storage_flag, audited

if TYPE_CHECKING:
    import argparse

    from nethical.cli.console import Console

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command and its actions."""
    review = commands.add_parser("review", help="what people decided about single cases")
    review.set_defaults(run=run)
    actions = review.add_subparsers(dest="action", metavar="ACTION", required=True)
    imported = actions.add_parser("import", help="take in reviewed cases")
    imported.add_argument("file", metavar="FILE", type=Path, help="a table file of reviewed cases")
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
    imported.add_argument("--json", action="store_true", help="one JSON document on stdout")
    add_storage_flag(imported)
    add_audit_flags(imported)


def run(args: argparse.Namespace, console: Console) -> int:
    """Take in reviewed cases and say how many."""
    from nethical.governance.cases import read_cases
    from nethical.governance.store import GovernanceStore
    from nethical.keys import Keys, default_home

    keys = Keys(default_home())
    store = GovernanceStore(args.phase89_storage, lambda: datetime.now(UTC))
    with audited(args, keys, console) as results:
        cases = read_cases(
            args.file,
            name=args.name,
            label=args.label_column,
            positive=tuple(args.positive_label),
            now=store.now(),
        )
        results["cases"] = store.import_cases(cases)
    strata = sorted({case["stratum"] for case in cases})
    console.info(f"{len(cases):,} reviewed cases of {args.name} ({', '.join(strata)}) in {store}")
    if console.json_output:
        console.json({"cases": len(cases), "strata": strata})
    return 0
