"""Sign a bundle, and say whether a folder is still the one that was signed; pure bytes.

The signature is an OpenSSF model-signing v1.0 file, so the verifiers of others accept it: a
Sigstore bundle (v0.3) around a DSSE envelope around an in-toto statement that lists the
digest of every file. What we claim beside that is signed under ``predicate["nethical"]``.

Reference:
    OpenSSF Model Signing v1.0; DSSE v1.0 protocol; in-toto Attestation Statement v1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nethical.canonical import canonical_json
from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

__all__ = ["SIGNATURE_FILE", "Signed", "fingerprint", "public_pem", "sign", "verify"]

SIGNATURE_FILE = "model.sig"

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_FAULTS_SHOWN = 5


@dataclass(frozen=True)
class Signed:
    """What a signature that holds says.

    Args:
        fingerprint: Of the key that signed.
        name: What was signed; for our bundles the model id.
        claims: What the signer said about it, as JSON values.
    """

    fingerprint: str
    name: str
    claims: dict[str, Any]


def public_pem(key: EllipticCurvePublicKey) -> bytes:
    """Return the public key as PEM SubjectPublicKeyInfo."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: EllipticCurvePublicKey) -> str:
    """Return ``SHA256:`` and the hex SHA-256 of the PEM: the hex of the Sigstore key hint."""
    return "SHA256:" + hashlib.sha256(public_pem(key)).hexdigest()


def sign(
    files: Mapping[str, bytes],
    *,
    name: str,
    key: EllipticCurvePrivateKey,
    claims: Mapping[str, Any],
) -> bytes:
    """Return the content of ``model.sig`` for these files.

    Args:
        files: Every file of the bundle but the signature; flat names to content.
        name: What is signed; for our bundles the model id.
        key: A P-256 private key.
        claims: JSON values to sign beside the files.

    Raises:
        ValueError: A file name is not flat, or is that of the signature.

    Example:
        >>> from cryptography.hazmat.primitives.asymmetric import ec
        >>> key = ec.generate_private_key(ec.SECP256R1())
        >>> signature = sign({"a.txt": b"a"}, name="m", key=key, claims={"run_id": "r"})
        >>> trusted = {fingerprint(key.public_key()): key.public_key()}
        >>> verify(signature, {"a.txt": hashlib.sha256(b"a").hexdigest()}, trusted).claims
        {'run_id': 'r'}
    """
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    for file in files:
        if "/" in file or file in ("", ".", "..", SIGNATURE_FILE):
            raise ValueError(f"{file!r} cannot be the name of a signed file")
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    payload = canonical_json(_statement(digests, name, claims))
    mark = key.sign(_pre_authentication(payload), ECDSA(SHA256()))
    return canonical_json(
        {
            "mediaType": _MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": fingerprint(key.public_key()).removeprefix("SHA256:")},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(mark).decode(), "keyid": ""}],
            },
        }
    )


def verify(
    signature: bytes,
    files: Mapping[str, str],
    trusted: Mapping[str, EllipticCurvePublicKey],
) -> Signed:
    """Return what was signed, once the signature and every digest hold.

    Args:
        signature: The content of ``model.sig``.
        files: Every other file of the folder: name to hex SHA-256.
        trusted: The public keys that are believed, by fingerprint.

    Raises:
        IntegrityError: The signature is malformed or edited, its key is not trusted, or a file
            was edited, added or removed.
    """
    try:
        signer, payload, mark = _open_envelope(signature)
    except _MALFORMED as error:
        raise _malformed(str(error)) from error
    if signer not in trusted:
        raise IntegrityError(
            f"{SIGNATURE_FILE} was made by the key {signer}, which is not trusted here",
            mend="if you know that key, run `nethical keys trust FILE` with its public key file",
        )
    _check_mark(trusted[signer], payload, mark)
    try:
        name, digests, claims = _open_statement(payload)
    except _MALFORMED as error:
        raise _malformed(str(error)) from error
    _check_files(digests, files)
    return Signed(signer, name, claims)


def _statement(digests: Mapping[str, str], name: str, claims: Mapping[str, Any]) -> dict[str, Any]:
    resources = [
        {"name": file, "algorithm": "sha256", "digest": digests[file]} for file in sorted(digests)
    ]
    return {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root(resources)}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
            },
            "resources": resources,
            "nethical": dict(claims),
        },
    }


def _root(resources: list[dict[str, str]]) -> str:
    raw = b"".join(bytes.fromhex(resource["digest"]) for resource in resources)
    return hashlib.sha256(raw).hexdigest()


def _pre_authentication(payload: bytes) -> bytes:
    return f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def _open_envelope(signature: bytes) -> tuple[str, bytes, bytes]:
    """Return the fingerprint of the key it names, the payload and the mark under it."""
    document = json.loads(signature)
    _expect(document["mediaType"], _MEDIA_TYPE)
    hint = document["verificationMaterial"]["publicKey"]["hint"]
    if not re.fullmatch(r"[0-9a-f]{64}", hint):
        raise ValueError("it does not name its key")
    envelope = document["dsseEnvelope"]
    _expect(envelope["payloadType"], _PAYLOAD_TYPE)
    (only,) = envelope["signatures"]
    payload = base64.b64decode(envelope["payload"], validate=True)
    return "SHA256:" + hint, payload, base64.b64decode(only["sig"], validate=True)


def _open_statement(payload: bytes) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Return the name, the digest of each file and our claims of a signed statement."""
    statement = json.loads(payload)
    _expect(statement["_type"], _STATEMENT_TYPE)
    _expect(statement["predicateType"], _PREDICATE_TYPE)
    (subject,) = statement["subject"]
    predicate = statement["predicate"]
    _expect(predicate["serialization"]["method"], "files")
    resources = predicate["resources"]
    for resource in resources:
        _expect(resource["algorithm"], "sha256")
    _expect(subject["digest"]["sha256"], _root(resources))
    digests = {str(resource["name"]): str(resource["digest"]) for resource in resources}
    _expect(len(digests), len(resources))
    return str(subject["name"]), digests, dict(predicate.get("nethical", {}))


def _expect(found: object, expected: object) -> None:
    if found != expected:
        raise ValueError(f"it says {str(found)[:80]!r} where {expected!r} belongs")


def _check_mark(key: EllipticCurvePublicKey, payload: bytes, mark: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(mark, _pre_authentication(payload), ECDSA(SHA256()))
    except InvalidSignature as error:
        raise IntegrityError(
            f"{SIGNATURE_FILE} was edited: the signature does not fit what it signs",
            mend="restore the folder from a copy, or train again",
        ) from error


def _check_files(signed: Mapping[str, str], found: Mapping[str, str]) -> None:
    both = signed.keys() & found.keys()
    faults = [
        *(f"{name} was edited" for name in sorted(both) if found[name] != signed[name]),
        *(f"{name} is missing" for name in sorted(signed.keys() - found.keys())),
        *(f"{name} was added" for name in sorted(found.keys() - signed.keys())),
    ]
    if faults:
        more = f" and {len(faults) - _FAULTS_SHOWN} more" if len(faults) > _FAULTS_SHOWN else ""
        raise IntegrityError(
            "not what was signed: " + ", ".join(faults[:_FAULTS_SHOWN]) + more,
            mend="restore the folder from a copy, or train again",
        )


def _malformed(why: str) -> IntegrityError:
    return IntegrityError(
        f"{SIGNATURE_FILE} is not a model signature: {why}",
        mend="restore the folder from a copy, or train again",
    )
