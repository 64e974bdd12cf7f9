"""``nethical predict``: score a file or folder of any size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import DEFAULT_STORAGE, add_registry_flags, add_storage_flag
from nethical.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from nethical.cli.console import Console
    from nethical.governance.queue import ReviewQueue
    from nethical.governance.sampling import CaseSampler
    from nethical.trained import TrainedModel

__all__ = ["add_parser"]

ABSENT = {
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
    parser.add_argument(
        "--review",
        action="store_true",
        help="put the gray zone and an audit of the other rows into the review queue",
    )
    parser.add_argument(
        "--review-rate",
        type=float,
        metavar="SHARE",
        help="share of the automatic decisions to audit (with --review)",
    )
    parser.add_argument(
        "--review-limit",
        type=int,
        metavar="N",
        help="cases of each kind, at most (with --review)",
    )
    parser.add_argument(
        "--severity-column",
        metavar="COLUMN",
        help="how severe each row is: critical ones are reviewed too (with --review)",
    )
    add_storage_flag(parser)
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
    _check_review(args)
    from nethical.cli.narrator import shorter_past
    from nethical.event_memory import History
    from nethical.scoring import predict
    from nethical.trained import TrainedModel, registry_of

    bundle = registry_of(args.models_dir, args.key).verify(args.model)
    model = TrainedModel.from_files(bundle.files)
    sampler = _sampler(args, model, bundle.model_id, console) if args.review else None
    reasons = REASONS if args.explain else 0
    history = History(model, args.state, args.late_labels) if args.state else None
    scored = predict(
        model,
        args.data,
        args.out,
        keep=args.keep,
        reasons=reasons,
        history=history,
        look=sampler.look if sampler else None,
    )
    if model.event_log is not None and history is None:
        console.warn(shorter_past(model.event_log))
    if history is not None and args.late_labels:
        console.info(f"{history.late_known:,} late labels are part of the past now")
        if history.late_unmet:
            console.warn(f"{history.late_unmet:,} late labels met no event of {args.state}")
    shares = ", ".join(f"{word} {n:,}" for word, n in scored.decisions.items())
    console.info(f"Scored {scored.rows:,} rows into {args.out}: {shares}")
    review = _ask(args, sampler, console) if sampler else None
    if args.json:
        found = {"rows": scored.rows, "decisions": scored.decisions, "out": str(args.out)}
        console.json({**found, "review": review})
    return 0


def _check_review(args: argparse.Namespace) -> None:
    """Refuse flags of the review queue without --review."""
    given = {
        "--review-rate": args.review_rate is not None,
        "--review-limit": args.review_limit is not None,
        "--severity-column": args.severity_column is not None,
        "--phase89-storage": args.phase89_storage != DEFAULT_STORAGE,
    }
    lonely = next((flag for flag, is_given in given.items() if is_given), None)
    if lonely and not args.review:
        raise UsageError(f"{lonely} without --review", mend=f"pass --review, or leave {lonely} out")


def _sampler(
    args: argparse.Namespace, model: TrainedModel, model_id: str, console: Console
) -> CaseSampler:
    """Return what draws cases, once it is sure that the store can be used."""
    from nethical.governance.reporting import shadow_of
    from nethical.governance.sampling import AUDIT_RATE, MOST, CaseSampler, Rates, Watched
    from nethical.keys import Keys, default_home
    from nethical.trained import registry_of

    rates = Rates(
        audit=AUDIT_RATE if args.review_rate is None else args.review_rate,
        most=MOST if args.review_limit is None else args.review_limit,
    )
    store = _queue(args).store
    store.check()
    shadow = shadow_of(store, registry_of(args.models_dir, args.key), model)
    if shadow is not None:
        console.info(f"{shadow[0]} is in shadow: what it decides otherwise is reviewed")
    watched = Watched(shadow and shadow[1], args.severity_column)
    return CaseSampler(model, model_id, Keys(default_home()).row_key(), rates, watched)


def _queue(args: argparse.Namespace) -> ReviewQueue:
    from datetime import UTC, datetime

    from nethical.governance.queue import ReviewQueue
    from nethical.governance.store import GovernanceStore

    def now() -> datetime:
        return datetime.now(UTC)

    return ReviewQueue(GovernanceStore(args.phase89_storage, now), now)


def _ask(args: argparse.Namespace, sampler: CaseSampler, console: Console) -> dict[str, Any]:
    """Put what was drawn into the queue, and return what ``--json`` prints of it."""
    from nethical.cli.narrator import asked_of_people
    from nethical.governance.asking import asked

    fact = asked(_queue(args), sampler)
    console.info(asked_of_people(fact.entered, fact.drawn, fact.most))
    return {"entered": fact.entered, "drawn": fact.drawn, "most": fact.most}
