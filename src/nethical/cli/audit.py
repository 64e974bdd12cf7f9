"""``nethical audit``: verify a log and read it, prove what it holds, keep its checkpoints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.console import OutputError
from nethical.cli.flags import DEFAULT_AUDIT_PATH

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from nethical.audit.agreement import Recomputed
    from nethical.audit.notes import VerifierKey
    from nethical.audit.proofs import TlogProof
    from nethical.audit.reading import LogReader
    from nethical.audit.runs import Event, LoggedRun
    from nethical.audit.verification import Verified
    from nethical.cli.console import Console
    from nethical.errors import IntegrityError

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``audit`` to the commands."""
    audit = commands.add_parser("audit", help="verify the audit log, read it, prove what it holds")
    audit.set_defaults(run=run)
    actions = audit.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(name, help=summary)
        parser.add_argument(
            "path",
            metavar="PATH",
            nargs="?",
            type=Path,
            default=Path(DEFAULT_AUDIT_PATH),
            help=f"the audit folder, or a log (default: {DEFAULT_AUDIT_PATH})",
        )
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
        return parser

    def add_key(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--key",
            action="append",
            default=[],
            metavar="VKEY",
            help="a verifier key to believe, or a file with it (repeatable; default: your own "
            "and those that you trust)",
        )

    parser = add("verify", "check every entry, run and signature; offline, writing nothing")
    add_key(parser)
    parser.add_argument("--proof", type=Path, metavar="FILE", help="verify a receipt instead")
    parser.add_argument(
        "--recompute",
        metavar="RUN",
        help="derive the metrics and the verdict of a run again from its model's stored scores",
    )
    parser.add_argument(
        "--models-dir", type=Path, default=Path("models"), help="where its model is"
    )
    _add_anchor(parser, required=False)
    parser = add("show", "list the runs, or one run's facts in order")
    add_key(parser)
    parser.add_argument("--run-id", metavar="RUN", help="a run, the beginning of its id, or latest")
    parser.add_argument(
        "--operations", action="store_true", help="what was done beside runs, and by whom"
    )
    parser.add_argument(
        "--type", action="append", metavar="EVENT", help="only events of a kind (repeatable)"
    )
    parser = add("prove", "write a receipt: proof that the log holds one fact")
    add_key(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--index", type=int, metavar="N", help="the entry with this index")
    what.add_argument(
        "--run-id", metavar="RUN", help="the end of a run, which vouches for all of it"
    )
    what.add_argument("--model", metavar="MODEL", help="the entry that a model was saved")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser = add("report", "tell one run to an auditor, as a page and as Markdown")
    add_key(parser)
    parser.add_argument("--run-id", metavar="RUN", default="latest", help="default: latest")
    _add_anchor(parser, required=False)
    parser.add_argument(
        "--models-dir", type=Path, default=Path("models"), help="where its model is"
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="DIR", help="default: this folder"
    )
    parser = add("checkpoint", "print the signed checkpoint, to be kept elsewhere")
    add_key(parser)
    add("key", "print the key by which others verify the log")
    parser = add("anchor", "keep the checkpoint elsewhere, and read it back")
    add_key(parser)
    _add_anchor(parser, required=True)


def _add_anchor(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--anchor",
        action="append",
        required=required,
        default=None if required else [],
        metavar="SPEC",
        help="where checkpoints are kept: file:PATH, git:REPO or command:PROGRAM (repeatable)",
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what ``nethical audit ACTION`` asks, and return the exit code."""
    _ACTIONS[args.action](args, console)
    return 0


def _keys(args: argparse.Namespace) -> tuple[Path, list[VerifierKey]]:
    """Return the folder of the log, and the keys by which it is believed."""
    from nethical.audit.verification import believed, located
    from nethical.keys import Keys, default_home

    log_path = located(args.path)[1]
    return log_path, believed(log_path, Keys(default_home()), getattr(args, "key", []))


def _reader(args: argparse.Namespace) -> LogReader:
    from nethical.audit.rotation import open_log

    return open_log(*_keys(args))


def _signing_key(reader: LogReader) -> VerifierKey:
    """Return the key that signed the head of a log that was opened by a believed one."""
    if reader.key is None:
        raise AssertionError("a log is opened by a key here")
    return reader.key


def _verify(args: argparse.Namespace, console: Console) -> None:
    from nethical.audit.anchors import anchor
    from nethical.audit.verification import verify

    if args.proof is not None:
        _verify_proof(args, console)
        return
    verified = verify(args.path, _keys(args)[1], [anchor(spec) for spec in args.anchor])
    found = verified.examined
    again = _recomputed(args) if found.sound else None
    if console.json_output:
        document = _document(verified, args.path)
        console.json({**document, "recomputed": again and again.to_document()})
    for fault in found.faults:
        console.line(f"[FAULT] {fault}")
    for warning in found.warnings:
        console.warn(str(warning))
    found.check()
    if found.checkpoint is not None:
        root = found.checkpoint.root_hash.hex()
        console.info(f"{found.checkpoint.origin}: {found.checkpoint.tree_size:,} entries sealed")
        if found.unsealed:
            console.info(
                f"{found.unsealed:,} more are acknowledged and not sealed yet: until then no key "
                "vouches for them"
            )
        console.info(f"{verified.runs:,} runs, {found.checkpoints:,} signed checkpoints")
        if verified.operations:
            console.info(f"{verified.operations:,} operations beside the runs")
        console.info(f"Merkle root: {root}")
    console.info(f"Proved: {verified.level}")
    if found.anchored_size is None:
        console.info("Name a checkpoint that was kept elsewhere with --anchor to prove more")
    if again is not None:
        _tell_recomputed(again, console)


def _recomputed(args: argparse.Namespace) -> Recomputed | None:
    """Return a run's numbers beside those that its model's scores give, if that was asked for."""
    if args.recompute is None:
        return None
    from nethical.audit.recompute import recompute
    from nethical.audit.runs import find_run
    from nethical.errors import UsageError
    from nethical.trained import registry_of

    run = find_run(_reader(args), args.recompute)
    saved = run.first("model_saved")
    if saved is None:
        raise UsageError(f"run {run.run_id} saved no model", mend="name a run that was completed")
    return recompute(run, registry_of(args.models_dir, []).verify(saved.document["model_id"]))


def _tell_recomputed(again: Recomputed, console: Console) -> None:
    from nethical.errors import IntegrityError

    console.line()
    console.info(f"Derived again from the scores of {again.model_id}:")
    console.table(("What", "Logged", "Derived", "Agreement"), again.rows())
    if not again.equal:
        raise IntegrityError(
            f"what was logged of {again.run_id} is not what its model's scores give",
            mend="see which line differs, and ask who trained it",
        )
    console.info("Equal: every number that can be derived is the one that was logged")


def _document(verified: Verified, path: Path) -> dict[str, Any]:
    found = verified.examined
    checkpoint = found.checkpoint
    return {
        "path": str(path),
        "sound": found.sound,
        "proved": verified.level,
        "origin": checkpoint and checkpoint.origin,
        "tree_size": checkpoint and checkpoint.tree_size,
        "merkle_root": checkpoint and checkpoint.root_hash.hex(),
        "unsealed": found.unsealed,
        "runs": verified.runs,
        "operations": verified.operations,
        "checkpoints": found.checkpoints,
        "anchored_size": found.anchored_size,
        "fault_count": found.fault_count,
        "faults": [vars(fault) for fault in found.faults],
        "warnings": [vars(warning) for warning in found.warnings],
    }


def _verify_proof(args: argparse.Namespace, console: Console) -> None:
    """Verify a receipt by the receipt and a key alone."""
    from nethical import durable
    from nethical.audit.checkpoint import read_checkpoint
    from nethical.audit.notes import VerifierKey
    from nethical.audit.proofs import TlogProof
    from nethical.audit.verification import vkey_of
    from nethical.errors import IntegrityError, UsageError
    from nethical.keys import Keys, default_home

    proof = TlogProof.from_bytes(durable.read(args.proof))
    if proof.extra is None:
        raise IntegrityError(
            f"{args.proof} does not hold the entry that it proves",
            mend="ask for a receipt with its entry: nethical audit prove",
        )
    origin = read_checkpoint(proof.checkpoint_note).origin
    keys = [vkey_of(text) for text in args.key]
    if not keys:
        home = Keys(default_home())
        keys = [VerifierKey.from_vkey(line) for line in home.trusted_log_keys()]
        try:
            keys += [VerifierKey.of(origin, key) for key in home.log_keys()]
        except UsageError as error:  # what stands in the receipt is nobody's wrong usage
            raise IntegrityError(f"{args.proof}: {error.what}", mend="ask for it again") from error
    checkpoint = _verified_by_any(proof, proof.extra, keys, origin)
    document = _told(proof.extra)
    if console.json_output:
        console.json(
            {
                "origin": checkpoint.origin,
                "tree_size": checkpoint.tree_size,
                "merkle_root": checkpoint.root_hash.hex(),
                "index": proof.index,
                "entry": document,
            }
        )
        return
    console.info(
        f"Proved: entry {proof.index} of {checkpoint.origin}, as sealed at "
        f"{checkpoint.tree_size:,} entries"
    )
    console.line(json.dumps(document, indent=2, ensure_ascii=False))


def _told(entry: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return what an entry says: a document, or text where another's log holds no such."""
    from nethical.audit.entries import decode_entry

    try:
        return decode_entry(entry)
    except (ValueError, RecursionError):
        return entry.decode(errors="backslashreplace")


def _verified_by_any(proof: TlogProof, entry: bytes, keys: list[Any], origin: str) -> Any:  # noqa: ANN401
    from nethical.errors import IntegrityError

    refusal = IntegrityError(
        f"no key of the log {origin} is believed here", mend="name it with --key"
    )
    for key in keys:
        try:
            return proof.verify(entry, key)
        except IntegrityError as error:
            refusal = error
    raise refusal


def _show(args: argparse.Namespace, console: Console) -> None:
    """Show what a log tells, once its entries are known to be those that were sealed."""
    from nethical.audit.examine import examine
    from nethical.audit.rotation import open_log
    from nethical.cli.audit_show import show

    log_path, keys = _keys(args)
    reader = open_log(log_path, keys)
    examine(log_path, _signing_key(reader), contents=False).check()
    show(args, reader, console)


def _prove(args: argparse.Namespace, console: Console) -> None:
    from nethical import durable
    from nethical.audit.runs import events, find_run
    from nethical.audit.views import receipt_event
    from nethical.errors import UsageError

    reader = _reader(args)
    if args.index is not None:
        index = args.index
    elif args.run_id is not None:
        index = receipt_event(find_run(reader, args.run_id)).index
    else:
        holding = [b'"event_type":"model_saved"', json.dumps(args.model).encode()]
        saved = events(reader.entries(), 0, holding=holding)
        found = [event.index for event in saved if event.document.get("model_id") == args.model]
        if not found:
            raise UsageError(
                f"the log holds no model {args.model!r}",
                mend="give the whole id; `nethical models list` shows them",
            )
        index = found[-1]
    receipt = reader.receipt(index)
    durable.write(args.output, receipt.to_bytes())
    console.info(f"Receipt of entry {index} written to {args.output}")
    console.info(f"Verify it: nethical audit verify --proof {args.output} --key VKEY")
    if console.json_output:
        console.json({"path": str(args.output), "index": index, "tree_size": reader.tree_size})


def _report(args: argparse.Namespace, console: Console) -> None:
    """Write the report of a run: what the log says, and what was proved of it here."""
    from nethical import durable
    from nethical.audit.anchors import anchor
    from nethical.audit.report import ReportSource, render
    from nethical.audit.runs import find_run
    from nethical.audit.verification import verify

    verified = verify(args.path, _keys(args)[1], [anchor(spec) for spec in args.anchor])
    verified.examined.check()
    reader = _reader(args)
    run = find_run(reader, args.run_id)
    again, checked = _model_checks(args, run, reader)
    source = ReportSource(
        run=run,
        origin=reader.checkpoint.origin,
        vkey=_signing_key(reader).to_vkey(),
        note=reader.note,
        tree_size=reader.tree_size,
        root=reader.checkpoint.root_hash.hex(),
        level=verified.level,
        recomputed=again,
        checked=checked,
    )
    durable.make_folder(args.output)
    paths = [args.output / f"{run.run_id}.{ending}" for ending in ("md", "html")]
    for path, text in zip(paths, render(source), strict=True):
        durable.write(path, text.encode())
        console.info(f"Report written to {path}")
    if console.json_output:
        console.json({"run_id": run.run_id, "paths": [str(path) for path in paths]})


def _model_checks(
    args: argparse.Namespace, run: LoggedRun, reader: LogReader
) -> tuple[Recomputed | None, Event | IntegrityError | None]:
    """Return a run's numbers derived again and what its model says of the log, if it is here."""
    from nethical.audit.crosscheck import check_model
    from nethical.audit.recompute import recompute
    from nethical.errors import IntegrityError, UsageError
    from nethical.trained import registry_of

    saved = run.first("model_saved")
    if saved is None:
        return None, None
    try:
        bundle = registry_of(args.models_dir, []).verify(saved.document["model_id"])
    except UsageError:
        return None, None  # the model is not here: the report says that nobody asked
    except IntegrityError as error:
        return None, error
    again = recompute(run, bundle)
    try:
        return again, check_model(bundle, reader)
    except IntegrityError as error:
        return again, error


def _checkpoint(args: argparse.Namespace, console: Console) -> None:
    reader = _reader(args)
    if console.json_output:
        checkpoint = reader.checkpoint
        console.json(
            {
                "origin": checkpoint.origin,
                "tree_size": checkpoint.tree_size,
                "merkle_root": checkpoint.root_hash.hex(),
                "note": reader.note.decode(),
            }
        )
        return
    try:
        sys.stdout.write(reader.note.decode())  # byte for byte: it is signed
        sys.stdout.flush()
    except OSError as error:
        raise OutputError(
            f"cannot write the checkpoint: {error.strerror or error}",
            mend="let it go to a terminal, an open pipe, or a disk with free space",
        ) from error


def _key(args: argparse.Namespace, console: Console) -> None:
    key = _signing_key(_reader(args))
    if console.json_output:
        console.json({"origin": key.name, "key": key.to_vkey()})
        return
    console.line(key.to_vkey())


def _anchor(args: argparse.Namespace, console: Console) -> None:
    from nethical.audit.anchors import anchor, keep

    reader = _reader(args)
    for spec in args.anchor:
        kept = keep(anchor(spec), reader.note, _signing_key(reader))
        console.info(f"Checkpoint of {kept.tree_size:,} entries kept and read back: {spec}")
    if console.json_output:
        console.json({"tree_size": reader.tree_size, "anchors": list(args.anchor)})


_ACTIONS: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "verify": _verify,
    "show": _show,
    "prove": _prove,
    "report": _report,
    "checkpoint": _checkpoint,
    "key": _key,
    "anchor": _anchor,
}
