"""``nethical``: parse, build, call, print; the one place where errors become two lines."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from nethical.cli.console import Console, OutputError, printable
from nethical.errors import NethicalError, TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

COMMANDS = {
    "train": "train, calibrate and judge a model, and publish it",
    "predict": "score a file or folder of any size",
    "evaluate": "measure and judge a model on other data",
    "models": "the registry: list, show, verify, promote, roll back, export, prune",
    "audit": "verify the audit log, read it, prove what it holds",
    "drift": "cohorts of scored rows: add, list, compare, report, watch",
    "govern": "configurations, searches, the promotion gate, what was moved",
    "review": "what people decided about single cases",
    "serve": "the pages: runs, models, drift, configurations, review",
    "keys": "your keys, and whose others are believed",
}
INTERRUPTED = 130


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are two clear lines, and that takes no abbreviations."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the arguments."""
        raise UsageError(message, mend=f"see `{self.prog} --help`")


def _parser(command: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the named command's own flags are built."""
    from nethical import __version__

    parser = _Parser(
        prog="nethical", description="Train risk models that nobody has to take on trust."
    )
    parser.add_argument("--version", action="version", version=f"nethical {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name == command:
            import_module(f"nethical.cli.{name}").add_parser(commands)
        else:
            commands.add_parser(name, help=summary)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: What stands after ``nethical``; default: from the command line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = next((word for word in words if word in COMMANDS), None)
    # Terminated is interrupted: locks are released, and the run says so.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        parsed = _parser(command).parse_args(words)
        console = Console(
            json_output=getattr(parsed, "json", False), quiet=getattr(parsed, "quiet", False)
        )
        code = int(parsed.run(parsed, console))
        console.flush()
    except OutputError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush
        return _two_lines(error)
    except NethicalError as error:
        return _two_lines(error)
    except MemoryError as error:
        needed = TrainingError(
            f"the memory does not suffice: {error}", mend="pass fewer rows, or free memory"
        )
        return _two_lines(needed)
    except KeyboardInterrupt:
        print("error: interrupted before the end", file=sys.stderr)
        print(
            "mend: run the command again; `nethical models list` shows what was published",
            file=sys.stderr,
        )
        return INTERRUPTED
    except Exception:  # noqa: BLE001 - the CLI's edge: a bug of ours is shown whole
        import traceback

        traceback.print_exc()
        print("error: this is a bug of nethical", file=sys.stderr)
        print("mend: please report it with the lines above", file=sys.stderr)
        return 1
    return code


def _two_lines(error: NethicalError) -> int:
    print(f"error: {_one_line(error.what)}", file=sys.stderr)
    print(f"mend: {_one_line(error.mend)}", file=sys.stderr)
    return error.exit_code


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))[:600]


if __name__ == "__main__":
    sys.exit(main())
