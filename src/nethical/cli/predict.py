"""``nethical predict``: score a file or folder of any size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import add_registry_flags
from nethical.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from nethical.cli.console import Console

__all__ = ["add_parser"]

ABSENT = {
    "review": "the review queue",
    "engine": "the distributed engine",
}
REASONS = 3


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse keeps this type private
    """Add the command and its flags."""
    parser = commands.add_parser(
        "predict",
        help="score a file or folder of any size",
        description="Score rows into the columns probability and decision, in row order.",
    )
    parser.add_argument("model", metavar="MODEL", help="an id, a name in production, or a folder")
    parser.add_argument("data", metavar="DATA", type=Path, help="a table file, or a folder of them")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="a .csv, .parquet or .jsonl file"
    )
    parser.add_argument("--keep", action="append", default=[], metavar="COLUMN", help="copy it too")
    parser.add_argument("--explain", action="store_true", help="add the column reasons")
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="the past of an event log, kept between calls"
    )
    parser.add_argument(
        "--late-labels",
        type=Path,
        metavar="FILE",
        help="labels of earlier events that became known (with --state)",
    )
    parser.add_argument("--review", action="store_true", help="not in this release")
    parser.add_argument("--engine", help="not in this release")
    add_registry_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Score as asked and print how many rows got which decision."""
    for flag, part in ABSENT.items():
        if getattr(args, flag):
            raise UsageError(
                f"--{flag}: {part} is not part of this release", mend="leave the flag out"
            )
    if args.late_labels and not args.state:
        raise UsageError("--late-labels without --state", mend="name the state with --state FILE")
    from nethical.cli.narrator import shorter_past
    from nethical.event_memory import History
    from nethical.scoring import predict
    from nethical.trained import find

    model = find(args.model, models_dir=args.models_dir, believed=args.key)
    reasons = REASONS if args.explain else 0
    history = History(model, args.state, args.late_labels) if args.state else None
    scored = predict(model, args.data, args.out, keep=args.keep, reasons=reasons, history=history)
    if model.event_log is not None and history is None:
        console.warn(shorter_past(model.event_log))
    if history is not None and args.late_labels:
        console.info(f"{history.late_known:,} late labels are part of the past now")
        if history.late_unmet:
            console.warn(f"{history.late_unmet:,} late labels met no event of {args.state}")
    shares = ", ".join(f"{word} {n:,}" for word, n in scored.decisions.items())
    console.info(f"Scored {scored.rows:,} rows into {args.out}: {shares}")
    if args.json:
        console.json({"rows": scored.rows, "decisions": scored.decisions, "out": str(args.out)})
    return 0
