import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from nethical.errors import IntegrityError
from nethical.signing import fingerprint, public_pem, sign, verify

FILES = {"model.json": b'{"a": 1}', "arrays.npz": b"\x00\x01", "card.md": b"# card\n"}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
CLAIMS = {"run_id": "run_1", "tree_size": 12, "merkle_root": None}


@pytest.fixture(scope="module")
def key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def trusted(key):
    return {fingerprint(key.public_key()): key.public_key()}


@pytest.fixture(scope="module")
def signature(key):
    return sign(FILES, name="m_1", key=key, claims=CLAIMS)


def payload_of(signature):
    return json.loads(base64.b64decode(json.loads(signature)["dsseEnvelope"]["payload"]))


def resigned(signature, key, change):
    """A signature that holds, by this key, over a changed statement."""
    from cryptography.hazmat.primitives import hashes

    statement = payload_of(signature)
    change(statement)
    payload = json.dumps(statement).encode()
    document = json.loads(signature)
    envelope = document["dsseEnvelope"]
    header = f"DSSEv1 28 application/vnd.in-toto+json {len(payload)} ".encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    mark = key.sign(header + payload, ec.ECDSA(hashes.SHA256()))
    envelope["signatures"][0]["sig"] = base64.b64encode(mark).decode()
    return json.dumps(document).encode()


def test_what_was_signed_comes_back(signature, trusted):
    signed = verify(signature, DIGESTS, trusted)
    assert signed.name == "m_1"
    assert signed.claims == CLAIMS
    assert signed.fingerprint in trusted


def test_the_signature_has_the_form_of_openssf_model_signing(signature, key):
    document, statement = json.loads(signature), payload_of(signature)
    hint = hashlib.sha256(public_pem(key.public_key())).hexdigest()
    assert document["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert document["verificationMaterial"] == {"publicKey": {"hint": hint}, "tlogEntries": []}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://model_signing/signature/v1.0"
    assert [resource["name"] for resource in statement["predicate"]["resources"]] == sorted(FILES)
    raw = b"".join(bytes.fromhex(DIGESTS[name]) for name in sorted(DIGESTS))
    assert statement["subject"] == [
        {"name": "m_1", "digest": {"sha256": hashlib.sha256(raw).hexdigest()}}
    ]
    assert fingerprint(key.public_key()) == f"SHA256:{hint}"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "model.sig"])
def test_a_name_that_is_not_flat_is_not_signed(key, name):
    with pytest.raises(ValueError, match="cannot be the name"):
        sign({name: b""}, name="m", key=key, claims={})


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_edited_file_is_named(signature, trusted, name):
    with pytest.raises(IntegrityError, match=f"{name} was edited"):
        verify(signature, {**DIGESTS, name: "0" * 64}, trusted)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(signature, trusted, name):
    fewer = {other: found for other, found in DIGESTS.items() if other != name}
    with pytest.raises(IntegrityError, match=f"{name} is missing"):
        verify(signature, fewer, trusted)


def test_an_added_file_is_named(signature, trusted):
    with pytest.raises(IntegrityError, match=r"extra\.txt was added"):
        verify(signature, {**DIGESTS, "extra.txt": "0" * 64}, trusted)


def test_many_faults_are_counted_not_listed(signature, trusted):
    extras = {f"x{i}": "0" * 64 for i in range(9)}
    with pytest.raises(IntegrityError, match="and 4 more"):
        verify(signature, {**DIGESTS, **extras}, trusted)


def test_an_unknown_key_is_told_with_the_way_to_trust_it(signature, key):
    with pytest.raises(IntegrityError, match="not trusted") as caught:
        verify(signature, DIGESTS, {})
    assert fingerprint(key.public_key()) in caught.value.what
    assert "nethical keys trust FILE" in caught.value.mend


def test_another_key_that_calls_itself_ours_is_refused(signature, key):
    other = ec.generate_private_key(ec.SECP256R1())
    trusted = {fingerprint(key.public_key()): other.public_key()}
    with pytest.raises(IntegrityError, match="does not fit"):
        verify(signature, DIGESTS, trusted)


def test_no_flipped_bit_of_a_signature_passes_with_other_content(signature, trusted):
    """JSON and base64 have bytes that carry nothing; all that carry something are guarded."""
    genuine = verify(signature, DIGESTS, trusted)
    for position in range(len(signature)):
        edited = bytearray(signature)
        edited[position] ^= 1
        try:
            assert verify(bytes(edited), DIGESTS, trusted) == genuine
        except IntegrityError:
            continue


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json"}',
    ],
)
def test_what_is_no_signature_is_refused_as_such(content, trusted):
    with pytest.raises(IntegrityError, match="is not a model signature"):
        verify(content, DIGESTS, trusted)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("mediaType",), "other"),
        (("verificationMaterial",), None),
        (("verificationMaterial", "publicKey"), []),
        (("verificationMaterial", "publicKey", "hint"), "short"),
        (("verificationMaterial", "publicKey", "hint"), 7),
        (("dsseEnvelope", "payloadType"), "text/plain"),
        (("dsseEnvelope", "payload"), "not base64!"),
        (("dsseEnvelope", "payload"), 7),
        (("dsseEnvelope", "signatures"), []),
        (("dsseEnvelope", "signatures"), [{"sig": ""}, {"sig": ""}]),
        (("dsseEnvelope", "signatures"), ["x"]),
    ],
)
def test_a_signature_of_another_form_is_refused(signature, trusted, path, value):
    document = json.loads(signature)
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(IntegrityError, match="is not a model signature"):
        verify(json.dumps(document).encode(), DIGESTS, trusted)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda s: s.update(_type="other"),
        lambda s: s.update(subject=[]),
        lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
        lambda s: s["predicate"]["resources"][0].update(algorithm="blake2"),
        lambda s: s["predicate"]["resources"][0].update(digest="zz"),
        lambda s: s["predicate"]["serialization"].update(method="shards"),
        lambda s: s["predicate"].update(resources={}),
        lambda s: s["predicate"].update(nethical=7),
        lambda s: s["predicate"].pop("resources"),
    ],
)
def test_a_trusted_key_cannot_make_another_statement_pass(signature, key, trusted, change):
    with pytest.raises(IntegrityError, match="is not a model signature"):
        verify(resigned(signature, key, change), DIGESTS, trusted)


def test_a_statement_that_lists_a_file_twice_is_refused(signature, key, trusted):
    def twice(statement):
        resources = statement["predicate"]["resources"]
        resources.append(resources[0])
        raw = b"".join(bytes.fromhex(resource["digest"]) for resource in resources)
        statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(raw).hexdigest()

    with pytest.raises(IntegrityError, match="is not a model signature"):
        verify(resigned(signature, key, twice), DIGESTS, trusted)


def test_a_signature_by_another_tool_has_no_claims(signature, key, trusted):
    theirs = resigned(signature, key, lambda s: s["predicate"].pop("nethical"))
    assert verify(theirs, DIGESTS, trusted).claims == {}
