"""A saved model as a folder of files: believed whole, or not read at all.

``read`` checks the signature, the digest of every file, and that nothing was added or removed,
before anything in the folder is parsed. The path is resolved once at the start, so a link that
is moved to another version meanwhile never mixes two bundles. Where a registry puts bundles
(``versions/{model_id}``, ``current/{name}``) the signature must say the same as the path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.canonical import digest, file_digest
from nethical.durable import read as read_file
from nethical.errors import IntegrityError, StorageError
from nethical.signing import SIGNATURE_FILE, verify

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

__all__ = ["Bundle", "VerifiedFiles", "read"]

_LARGEST_SIGNATURE = 1 << 20


class VerifiedFiles(Mapping[str, bytes]):
    """The files of a verified bundle by name, each read and checked again when it is asked for.

    Args:
        folder: Where they lie.
        digests: The verified digest of each, ``sha256:`` and hex.
    """

    def __init__(self, folder: Path, digests: Mapping[str, str]) -> None:
        self._folder = folder
        self._digests = dict(digests)

    def __getitem__(self, name: str) -> bytes:
        """Return the bytes of a file.

        Raises:
            KeyError: The bundle has no such file.
            IntegrityError: It was edited since the bundle was verified.
            StorageError: It cannot be read.
        """
        expected = self._digests[name]
        content = read_file(self._folder / name)
        if digest(content) != expected:
            raise IntegrityError(
                f"{self._folder / name} was edited while it was in use",
                mend="restore the folder from a copy, or train again",
            )
        return content

    def __iter__(self) -> Iterator[str]:
        return iter(self._digests)

    def __len__(self) -> int:
        return len(self._digests)


@dataclass(frozen=True)
class Bundle:
    """A saved model whose signature and digests hold.

    Args:
        path: The folder itself, links resolved.
        model_id: The id that was signed.
        files: Every file by name, the signature included; read when asked for.
        claims: What the signer said about the model.
        fingerprint: Of the key that signed.
        signature_digest: ``sha256:`` and hex, of ``model.sig``.
    """

    path: Path
    model_id: str
    files: Mapping[str, bytes]
    claims: Mapping[str, Any]
    fingerprint: str
    signature_digest: str

    def document(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return a JSON file of the bundle."""
        return json.loads(self.files[name])


def read(path: Path, trusted: Mapping[str, EllipticCurvePublicKey]) -> Bundle:
    """Return the bundle in a folder, once its signature and every digest hold.

    Args:
        path: The folder, or a link to it.
        trusted: The public keys that are believed, by fingerprint.

    Raises:
        IntegrityError: The folder is not what was signed, was signed by an unknown key, or lies
            in ``versions`` or ``current`` under another id or name than was signed.
        StorageError: The folder cannot be read.
    """
    try:
        folder = Path(os.path.realpath(path, strict=True))
        digests = {file.name: file_digest(file) for file in _plain_files(folder)}
        if SIGNATURE_FILE not in digests:
            raise IntegrityError(
                f"{path} has no {SIGNATURE_FILE}",
                mend="name the folder of a model, or restore it from a copy",
            )
    except OSError as error:
        raise StorageError(
            f"cannot read the model {path}: {error.strerror or error}",
            mend="check the path and its permissions; `nethical models list` shows the models",
        ) from error
    files = VerifiedFiles(folder, digests)
    others = {
        name: found.removeprefix("sha256:")
        for name, found in digests.items()
        if name != SIGNATURE_FILE
    }
    try:
        signed = verify(files[SIGNATURE_FILE], others, trusted)
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error.what}", mend=error.mend) from error
    found = Bundle(
        path=folder,
        model_id=signed.name,
        files=files,
        claims=signed.claims,
        fingerprint=signed.fingerprint,
        signature_digest=digests[SIGNATURE_FILE],
    )
    _check_place(path, found)
    return found


def _check_place(path: Path, found: Bundle) -> None:
    """Refuse a bundle that lies where a registry would keep another one."""
    given = Path(os.path.abspath(path))  # noqa: PTH100 - links are not to be followed here
    slot = given.name if given.parent.name == "current" else None
    is_version = found.path.parent.name == "versions" or (slot and given.is_symlink())
    if is_version and found.path.name != found.model_id:
        raise IntegrityError(
            f"{found.path} holds the model {found.model_id}",
            mend="restore the folder from a copy, or remove it",
        )
    if slot and found.claims.get("name") != slot:
        raise IntegrityError(
            f"{path} holds {found.model_id}, which was signed for {found.claims.get('name')!r}",
            mend=f"run `nethical models rollback {slot}`, or `nethical models promote` with a "
            f"version of {slot}",
        )


def _plain_files(folder: Path) -> list[Path]:
    """Return the regular files of a folder in name order; anything else in it is refused."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if not entry.is_file(follow_symlinks=False):
            kind = "a link" if entry.is_symlink() else "no plain file"
            raise IntegrityError(
                f"{folder}: {entry.name} is {kind}",
                mend="restore the folder from a copy, or train again",
            )
        if entry.name == SIGNATURE_FILE and entry.stat().st_size > _LARGEST_SIGNATURE:
            raise IntegrityError(
                f"{folder}: {SIGNATURE_FILE} is too large to be a signature",
                mend="restore the folder from a copy, or train again",
            )
    return [folder / entry.name for entry in listed]
