"""Keep the checkpoints of logs with a time stamp of somebody else (RFC 3161), by openssl.

    nethical audit anchor LOG --anchor 'command:python examples/anchors/timestamp.py'

Needs the program openssl. Told by environment variables:

    ANCHOR_TSA_FOLDER    where notes and time stamps are kept
    ANCHOR_TSA_URL       the time stamp authority; or
    ANCHOR_TSA_COMMAND   a program that reads a query and prints the reply
    ANCHOR_TSA_CA        its root certificates, PEM, from a source that you believe
    ANCHOR_TSA_CHAIN     certificates between its own and those, PEM, if replies lack them

Beside `keep`, `give` and `list` there is `when ORIGIN SIZE`: it prints the time that is proved.

A time stamp proves that a note existed then. It does not prove that no other one did, and the
folder can be removed: keep it where you would keep any anchor.
"""

# ruff: noqa: INP001, S603 - a program that is started, and starts what its user named

import hashlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

MAX_REPLY = 1 << 20


def openssl(*arguments: str | Path) -> bytes:
    """Run ``openssl ts``, and return what it prints; its complaint is the error."""
    command = ["openssl", "ts", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    if done.returncode:
        told = done.stderr.decode(errors="replace")
        # thread : error : code : library : function : reason : file : line : more
        reason = re.search(
            r"^\w+:error:\w+:[^:]*:[^:]*:([^:]*):[^:]*:\d+:(.*)$", told, re.MULTILINE
        )
        why = " ".join(filter(None, reason.groups())) if reason else told
        raise ValueError(f"openssl ts {arguments[0]} failed: {why}")
    return done.stdout


def asked(query: bytes) -> bytes:
    """Return the reply of the time stamp authority."""
    command, url = os.environ.get("ANCHOR_TSA_COMMAND"), os.environ.get("ANCHOR_TSA_URL", "")
    if command:
        arguments = shlex.split(command)
        done = subprocess.run(arguments, input=query, capture_output=True, check=True, timeout=60)
        return done.stdout
    if not url.startswith(("http://", "https://")):
        raise KeyError("ANCHOR_TSA_URL")
    kind = {"Content-Type": "application/timestamp-query"}
    request = urllib.request.Request(url, data=query, headers=kind)  # noqa: S310 - see above
    with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        return bytes(reply.read(MAX_REPLY))


def verify(reply: Path, *about: str | Path) -> None:
    """Raise unless a reply is a time stamp about this, by the authority that is believed."""
    chain = os.environ.get("ANCHOR_TSA_CHAIN")
    untrusted = ["-untrusted", chain] if chain else []
    openssl("-verify", "-in", reply, *about, "-CAfile", os.environ["ANCHOR_TSA_CA"], *untrusted)


def write(path: Path, content: bytes) -> None:
    """Write a file that appears whole, or not at all."""
    temporary = path.with_name(f".tmp-{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def keep(folder: Path, size: str, note: bytes) -> None:
    """Have a note stamped and keep both, unless a note of that size is kept."""
    if (folder / f"{size}.note").exists():
        return  # it is asked for afterwards, and compared
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        said, query, reply = (Path(scratch) / name for name in ("note", "query", "reply"))
        said.write_bytes(note)
        openssl("-query", "-data", said, "-sha256", "-cert", "-out", query)
        reply.write_bytes(asked(query.read_bytes()))
        verify(reply, "-queryfile", query)
        write(folder / f"{size}.tsr", reply.read_bytes())
    write(folder / f"{size}.note", note)


def give(folder: Path, size: str) -> bytes:
    """Return a note once its time stamp holds, empty when there is none."""
    note = folder / f"{size}.note"
    if not note.exists():
        return b""
    content = note.read_bytes()
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch) / "note"  # what is verified is what is given, whoever writes there
        said.write_bytes(content)
        verify(folder / f"{size}.tsr", "-data", said)
    return content


def when(folder: Path, size: str) -> str:
    """Return the time that a stamp proves, once it holds."""
    if not give(folder, size):
        raise ValueError(f"no checkpoint of {size} entries is kept")
    told = openssl("-reply", "-in", folder / f"{size}.tsr", "-text").decode()
    return "".join(re.findall(r"^Time stamp: (.*)$", told, re.MULTILINE))


def main(verb: str, origin: str, size: str = "0") -> None:
    """Do what the protocol of anchors asks for."""
    folder = Path(os.environ["ANCHOR_TSA_FOLDER"]) / hashlib.sha256(origin.encode()).hexdigest()
    size = str(int(size))
    if verb == "keep":
        keep(folder, size, sys.stdin.buffer.read())
    elif verb == "give":
        sys.stdout.buffer.write(give(folder, size))
    elif verb == "list":
        sizes = sorted(int(note.stem) for note in folder.glob("*.note") if note.stem.isdecimal())
        sys.stdout.writelines(f"{each}\n" for each in sizes)
    elif verb == "when":
        sys.stdout.write(when(folder, size) + "\n")
    else:
        raise ValueError(f"unknown verb {verb}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyError as error:
        sys.exit(f"{error.args[0]} is not set")
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode(errors="replace").split("\n")
        sys.exit(f"{error.cmd[0]} failed: {' '.join(filter(None, told))}")
    except (OSError, TypeError, ValueError, subprocess.TimeoutExpired) as error:
        sys.exit(" ".join(str(error).split()))
