"""The three keys of a machine, and whose other keys are believed here.

The bundle key (P-256) signs models, the log key (Ed25519) audit logs, and the row key (32 random
bytes) blinds row digests. Each is made on first use in the user's configuration folder, readable
by the user alone, and never lies inside a folder that it signs.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from typing import TYPE_CHECKING

from nethical import durable
from nethical.errors import IntegrityError, NethicalError, StorageError, UsageError
from nethical.signing import fingerprint, public_pem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

__all__ = ["Keys", "default_home"]

_BUNDLE_KEY = "bundle.key"
_LOG_KEY = "log.key"
_ROW_KEY = "row.key"
_ROW_KEY_BYTES = 32
_OPEN_TO_OTHERS = 0o077
_WRITABLE_BY_OTHERS = 0o022


def default_home() -> Path:
    """Return the folder of the keys: ``$NETHICAL_HOME``, else the user's configuration folder."""
    from pathlib import Path

    named = os.environ.get("NETHICAL_HOME")
    if named:
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("nethical")


def row_key_name(key: bytes) -> str:
    """Return ``SHA256:`` and the hex SHA-256 of a row key, which does not give it away."""
    return "SHA256:" + hashlib.sha256(key).hexdigest()


class Keys:
    """The keys in one home folder; each is made when it is first used.

    Args:
        home: The folder of the keys; see ``default_home``.
        believed: Public key files to trust beside those in the folder, for this object only.
    """

    def __init__(self, home: Path, *, believed: Sequence[Path] = ()) -> None:
        self.home = home
        self._believed = tuple(believed)

    def must_lie_outside(self, folder: Path) -> None:
        """Refuse keys that would lie inside a folder they sign.

        Raises:
            UsageError: The home folder is that folder, or lies in it.
        """
        if self.home.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"the keys in {self.home} would lie inside {folder}, which they sign",
                mend="set NETHICAL_HOME to a folder outside it",
            )

    def bundle_key(self) -> EllipticCurvePrivateKey:
        """Return the key that signs bundles; the first call makes it.

        Raises:
            IntegrityError: The file is damaged, open to others, or another user's.
            StorageError: It cannot be read or written.
        """
        return _private_key(self._made(_BUNDLE_KEY, _new_bundle_key), self.home / _BUNDLE_KEY)

    def public_key_pem(self) -> bytes:
        """Return the public half of the bundle key, PEM, to hand to those who verify."""
        return public_pem(self.bundle_key().public_key())

    def fingerprint(self) -> str:
        """Return the fingerprint of the bundle key."""
        return fingerprint(self.bundle_key().public_key())

    def log_key(self) -> Ed25519PrivateKey:
        """Return the key that signs audit logs; the first call makes it.

        Raises:
            IntegrityError: The file is damaged, open to others, or another user's.
            StorageError: It cannot be read or written.
        """
        return _log_key(self._made(_LOG_KEY, _new_log_key), self.home / _LOG_KEY)

    def earlier_log_keys(self) -> list[Ed25519PrivateKey]:
        """Return the keys that the log key replaced, newest first.

        They hand over the logs that they signed, each when it is next written.
        """
        return [_log_key(_read_private(file), file) for file in self._earlier(_LOG_KEY)]

    def row_key(self) -> bytes:
        """Return the 32 bytes that blind row digests; the first call makes them.

        Raises:
            IntegrityError: The file is damaged, open to others, or another user's.
            StorageError: It cannot be read or written.
        """
        return _row_key(self._made(_ROW_KEY, _new_row_key), self.home / _ROW_KEY)

    def row_fingerprint(self) -> str:
        """Return ``SHA256:`` and the hex SHA-256 of the row key, which does not give it away."""
        return row_key_name(self.row_key())

    def row_keys(self) -> list[bytes]:
        """Return the row key and those before it, newest first.

        An earlier key is read from ``row.{n}.key``, the higher ``n`` the newer.
        """
        newest = self.row_key()
        older = [_row_key(_read_private(file), file) for file in self._earlier(_ROW_KEY)]
        return list(dict.fromkeys([newest, *older]))

    def export_row_key(self, destination: Path) -> None:
        """Write the row key to a new file that only the user can read.

        Raises:
            UsageError: The file exists already.
            StorageError: It cannot be written.
        """
        key = self.row_key()
        with durable.lock(destination.parent):
            if os.path.lexists(destination):
                raise UsageError(
                    f"{destination} exists already", mend="name a file that does not exist yet"
                )
            durable.write(destination, key, mode=0o600)

    def trusted(self) -> dict[str, EllipticCurvePublicKey]:
        """Return the public keys that are believed here, by fingerprint.

        These are the own key, if it was made already, the files in ``trusted`` of the home
        folder, and those believed by this object.

        Raises:
            IntegrityError: A key file is damaged, another user's, or others may write it.
        """
        believed = []
        folder = self.home / "trusted"
        files = sorted(folder.glob("*.pem"))
        for path in (self.home, folder, *files):
            _check_closed(path, _WRITABLE_BY_OTHERS, "write to", "chmod go-w")
        if _status(self.home / _BUNDLE_KEY):
            believed.append(self.bundle_key().public_key())
        believed += [_public_key(file, IntegrityError, f"remove {file}") for file in files]
        believed += [_public_key(file, UsageError, _SHOW_PEM) for file in self._believed]
        return {fingerprint(key): key for key in believed}

    def trust(self, file: Path) -> str:
        """Believe a public key from now on, and return its fingerprint.

        Raises:
            UsageError: The file holds no P-256 public key in PEM form.
            StorageError: It cannot be read, or the key cannot be kept.
        """
        return self._believe(_public_key(file, UsageError, _SHOW_PEM))

    def _believe(self, key: EllipticCurvePublicKey) -> str:
        known = fingerprint(key)
        self._keep_trusted(f"{known.removeprefix('SHA256:')}.pem", public_pem(key))
        return known

    def _keep_trusted(self, name: str, content: bytes) -> None:
        folder = self.home / "trusted"
        durable.make_folder(folder, mode=0o700)
        with durable.lock(folder):
            durable.sweep(folder)
            durable.write(folder / name, content)

    def _made(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Return the content of a private file, made first if it is not there."""
        path = self.home / name
        if not _status(path):
            durable.make_folder(self.home, mode=0o700)
            with durable.lock(self.home):
                durable.sweep(self.home)
                if not _status(path):
                    durable.write(path, make(), mode=0o600)
        _check_closed(self.home, _WRITABLE_BY_OTHERS, "write to", "chmod go-w")
        return _read_private(path)

    def log_keys(self) -> list[Ed25519PrivateKey]:
        """Return the log key, if it was made already, and those that it replaced, newest first."""
        own = [self.log_key()] if _status(self.home / _LOG_KEY) else []
        return own + self.earlier_log_keys()

    def trusted_log_keys(self) -> list[str]:
        """Return the verifier keys of others' logs that are believed, each a line of text."""
        folder = self.home / "trusted"
        files = sorted(folder.glob("*.vkey"))
        for path in (self.home, folder, *files):
            _check_closed(path, _WRITABLE_BY_OTHERS, "write to", "chmod go-w")
        return [durable.read(file).decode(errors="replace").strip() for file in files]

    def trust_log_key(self, vkey: str) -> None:
        """Believe the log of a verifier key, which the caller has checked, from now on."""
        name = hashlib.sha256(vkey.encode()).hexdigest()
        self._keep_trusted(f"{name}.vkey", f"{vkey}\n".encode())

    def rotate(self, kind: str) -> tuple[str, str]:
        """Replace a key by a new one, keep the old, and return the fingerprints of both.

        What the old key signed stays believed, and rows that the old row key blinded can still
        be recognised.

        Args:
            kind: ``log``, ``bundle`` or ``row``.

        Raises:
            IntegrityError: The key file is damaged, open to others, or another user's.
            StorageError: It cannot be read or written.
        """
        name, make, told = _KINDS[kind]
        old = self._made(name, make)
        before, new = told(old, self.home / name), make()
        if kind == "bundle":
            self._believe(self.bundle_key().public_key())
        with durable.lock(self.home):
            if _read_private(self.home / name) != old:
                raise StorageError(
                    f"another process rotates {self.home / name}", mend="run it alone"
                )
            number = max(self._numbered(name), default=0) + 1
            durable.write(self.home / f"{kind}.{number}.key", old, mode=0o600)
            durable.write(self.home / name, new, mode=0o600)
        return before, told(new, self.home / name)

    def _numbered(self, name: str) -> dict[int, Path]:
        """Return the files of earlier keys of a kind by their number."""
        kind = name.removesuffix(".key")
        return {
            int(match[1]): file
            for file in self.home.glob(f"{kind}.*.key")
            if (match := re.fullmatch(rf"{kind}\.([1-9]\d*)\.key", file.name))
        }

    def _earlier(self, name: str) -> list[Path]:
        """Return the files of earlier keys of a kind, newest first."""
        return [file for _, file in sorted(self._numbered(name).items(), reverse=True)]


_SHOW_PEM = "give what `nethical keys show --pem` prints on the machine of that key"


def _new_bundle_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec

    return _private_pem(ec.generate_private_key(ec.SECP256R1()))


def _new_log_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return _private_pem(Ed25519PrivateKey.generate())


def _private_pem(key: EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _new_row_key() -> bytes:
    return secrets.token_bytes(_ROW_KEY_BYTES)


def _row_key(content: bytes, path: Path) -> bytes:
    if len(content) != _ROW_KEY_BYTES:
        raise _damaged(path)
    return content


def _log_key(pem: bytes, path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = _loaded_key(pem, path)
    if not isinstance(key, Ed25519PrivateKey):
        raise _damaged(path)
    return key


def _loaded_key(pem: bytes, path: Path) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _damaged(path) from error


def _private_key(pem: bytes, path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    key = _loaded_key(pem, path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _damaged(path)
    return key


def _public_key(file: Path, error_type: type[NethicalError], mend: str) -> EllipticCurvePublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = durable.read(file)
    if b"PRIVATE KEY" in pem:
        raise error_type(f"{file} holds a private key, which is to be shown to nobody", mend=mend)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise error_type(f"{file} holds no public key in PEM form", mend=mend) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise error_type(f"{file} holds a key of another kind than P-256", mend=mend)
    return key


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror}",
            mend="check the permissions, or set NETHICAL_HOME to another folder",
        ) from error


def _check_closed(path: Path, mask: int, verb: str, change: str) -> None:
    status = _status(path)
    if status and status.st_uid not in (os.geteuid(), 0):
        raise IntegrityError(
            f"{path} belongs to another user (uid {status.st_uid})",
            mend=f"run `chown {os.geteuid()} {path}` if you trust it, or set NETHICAL_HOME to a "
            "folder of your own",
        )
    if status and stat.S_IMODE(status.st_mode) & mask:
        raise IntegrityError(f"others may {verb} {path}", mend=f"run `{change} {path}`")


def _read_private(path: Path) -> bytes:
    _check_closed(path, _OPEN_TO_OTHERS, "read", "chmod 600")
    return durable.read(path)


def _damaged(path: Path) -> IntegrityError:
    return IntegrityError(
        f"the key file {path} is damaged",
        mend="restore it from a backup; if there is none, move it away and a new one is made",
    )


def _log_key_name(pem: bytes, path: Path) -> str:
    public = _log_key(pem, path).public_key().public_bytes_raw()
    return "SHA256:" + hashlib.sha256(public).hexdigest()


_KINDS: dict[str, tuple[str, Callable[[], bytes], Callable[[bytes, Path], str]]] = {
    "log": (_LOG_KEY, _new_log_key, _log_key_name),
    "bundle": (
        _BUNDLE_KEY,
        _new_bundle_key,
        lambda pem, path: fingerprint(_private_key(pem, path).public_key()),
    ),
    "row": (_ROW_KEY, _new_row_key, lambda key, path: row_key_name(_row_key(key, path))),
}
