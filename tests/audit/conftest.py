"""A key and a small log, and RFC 9162's tree by its own words, to judge the fast one by."""

import hashlib
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical.audit.log import Log

ORIGIN = "nethical.local/test"


def naive_root(entries):
    """RFC 9162, section 2.1.1."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    k = split(len(entries))
    both = naive_root(entries[:k]) + naive_root(entries[k:])
    return hashlib.sha256(b"\1" + both).digest()


def naive_path(index, entries):
    """RFC 9162, section 2.1.3.1."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if index < k:
        return [*naive_path(index, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(index - k, entries[k:]), naive_root(entries[:k])]


def naive_proof(size, entries, *, known=True):
    """RFC 9162, section 2.1.4.1."""
    if size == len(entries):
        return [] if known else [naive_root(entries)]
    k = split(len(entries))
    if size <= k:
        return [*naive_proof(size, entries[:k], known=known), naive_root(entries[k:])]
    return [*naive_proof(size - k, entries[k:], known=False), naive_root(entries[:k])]


def split(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def new_key(seed=1):
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def document(i):
    """A fact like those of runs, from its number."""
    return {"event_type": "warned", "i": i, "message": f"m{i}", "metrics": {"ece": 0.25 + i}}


@pytest.fixture(scope="session")
def naive():
    return SimpleNamespace(root=naive_root, path=naive_path, proof=naive_proof)


@pytest.fixture(scope="session")
def key():
    return new_key()


@pytest.fixture(scope="session")
def other_key():
    return new_key(2)


@pytest.fixture
def make_log(tmp_path, key):
    """Return a function that makes a log of n sealed entries, and m that are not."""

    def make(sealed, unsealed=0, *, name="log", **options):
        log = Log(tmp_path / name, key, origin=ORIGIN, **options)
        if sealed:
            log.extend(document(i) for i in range(sealed))
        log.seal()
        for i in range(sealed, sealed + unsealed):
            log.append(document(i))
        return log

    make.document = document
    return make


@pytest.fixture
def vectors(real_data):
    return real_data("tlog")
