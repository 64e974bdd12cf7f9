"""``nethical keys``: the keys of this machine, and whose others are believed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import add_audit_flags, audited

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from nethical.cli.console import Console
    from nethical.keys import Keys

__all__ = ["add_parser", "run"]

KINDS = ("log", "bundle", "row")


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add ``keys`` to the commands."""
    keys = commands.add_parser("keys", help="the keys of this machine, and whose are believed")
    keys.set_defaults(run=run)
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="show fingerprints and the public key")
    show.add_argument("--pem", action="store_true", help="print the public key only")
    trust = actions.add_parser("trust", help="believe the models, or the log, of another key")
    trust.add_argument(
        "file", metavar="FILE", type=Path, help="its public key, PEM, or a log's verifier key"
    )
    export = actions.add_parser("export-row-key", help="hand the row key to an auditor")
    export.add_argument("file", metavar="FILE", type=Path, help="a file to be made")
    rotate = actions.add_parser("rotate", help="replace a key; what the old one signed stays good")
    rotate.add_argument("kind", metavar="KEY", choices=KINDS, help=", ".join(KINDS))
    for parser in (show, trust, export, rotate):
        parser.add_argument("--json", action="store_true", help="print one JSON document")
        add_audit_flags(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do what ``nethical keys ACTION`` asks, and return the exit code."""
    from nethical.keys import Keys, default_home

    keys = Keys(default_home())
    with audited(args, keys, console):
        _ACTIONS[args.action](args, keys, console)
    return 0


def _trust(args: argparse.Namespace, keys: Keys, console: Console) -> None:
    """Believe a bundle key, or the verifier key of a log."""
    from nethical import durable
    from nethical.audit.notes import VerifierKey
    from nethical.errors import UsageError

    try:
        key = VerifierKey.from_vkey(durable.read(args.file).decode(errors="replace"))
    except UsageError:
        trusted = keys.trust(args.file)
        console.info(f"models signed by {trusted} are believed from now on")
    else:
        trusted = key.to_vkey()
        keys.trust_log_key(trusted)
        console.info(f"the log {key.name} is believed by its key {key.key_id.hex()} from now on")
    if console.json_output:
        console.json({"trusted": trusted})


def _export_row_key(args: argparse.Namespace, keys: Keys, console: Console) -> None:
    keys.export_row_key(args.file)
    console.info(f"row key written to {args.file}; whoever has it can recognise rows")
    if console.json_output:
        console.json({"path": str(args.file), "row_fingerprint": keys.row_fingerprint()})


def _rotate(args: argparse.Namespace, keys: Keys, console: Console) -> None:
    old, new = keys.rotate(args.kind)
    console.info(f"the {args.kind} key {old} is replaced by {new}; the old one is kept")
    if args.kind == "log":
        console.info("each log is handed over to it, by an entry, when it is next written")
    if console.json_output:
        console.json({"key": args.kind, "old": old, "new": new})


def _fingerprint(key: Ed25519PrivateKey) -> str:
    """Return what `keys rotate log` calls a log key."""
    return "SHA256:" + hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()


def _show(args: argparse.Namespace, keys: Keys, console: Console) -> None:
    from nethical.audit.notes import VerifierKey

    pem = keys.public_key_pem().decode()
    if args.pem and not console.json_output:
        console.line(pem.rstrip())
        return
    own = keys.fingerprint()
    others = sorted(keys.trusted().keys() - {own})
    logs = [_fingerprint(key) for key in keys.log_keys()[:1]]  # made when it first signs
    trusted_logs = [VerifierKey.from_vkey(line) for line in keys.trusted_log_keys()]
    if console.json_output:
        document = {
            "home": str(keys.home),
            "fingerprint": own,
            "public_key": pem,
            "row_fingerprint": keys.row_fingerprint(),
            "trusted": others,
            "log_fingerprint": logs[0] if logs else None,
            "trusted_logs": [key.to_vkey() for key in trusted_logs],
        }
        console.json(document)
        return
    rows = [
        ["bundle key", own, "signs models"],
        ["row key", keys.row_fingerprint(), "blinds row digests"],
        *(["log key", own_log, "signs audit logs"] for own_log in logs),
        *(["trusted", other, "its models are believed"] for other in others),
        *(["trusted", f"{k.name}+{k.key_id.hex()}", "its log is believed"] for k in trusted_logs),
    ]
    console.line(f"keys in {keys.home}")
    console.table(["KEY", "FINGERPRINT", "USE"], rows)
    console.line(f"\n{pem.rstrip()}")


_ACTIONS: dict[str, Callable[[argparse.Namespace, Keys, Console], None]] = {
    "show": _show,
    "trust": _trust,
    "export-row-key": _export_row_key,
    "rotate": _rotate,
}
