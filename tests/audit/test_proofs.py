from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical.audit.notes import VerifierKey
from nethical.audit.proofs import TlogProof
from nethical.audit.reading import LogReader
from nethical.errors import IntegrityError

hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=5).map(tuple)


@given(st.integers(0, 2**62), hashes, st.none() | st.binary(max_size=9))
def test_a_receipt_leads_back_byte_for_byte(index, proof, extra):
    receipt = TlogProof(index, proof, b"log\n1\nroot\n\n\xe2\x80\x94 a b\n", extra)
    assert TlogProof.from_bytes(receipt.to_bytes()) == receipt


def test_a_receipt_is_written_as_the_specification_shows():
    receipt = TlogProof(7, (bytes(32),), b"note\n", b"more")
    assert receipt.to_bytes() == (
        b"c2sp.org/tlog-proof@v1\nextra bW9yZQ==\nindex 7\n"
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nnote\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"c2sp.org/tlog-proof@v2\nindex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\n",
        b"c2sp.org/tlog-proof@v1\nindex 00\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex -1\n\nnote",
        b"c2sp.org/tlog-proof@v1\nextra !\nindex 0\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\nextra AAAA\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\n" + 64 * (b"A" * 43 + b"=\n") + b"\nnote",
        b"c2sp.org/tlog-proof@v1\nindex 0\n\xff\n\nnote",
    ],
)
def test_what_is_no_receipt_is_refused(content):
    with pytest.raises(IntegrityError, match="not a receipt"):
        TlogProof.from_bytes(content)


def test_a_receipt_needs_the_key_alone_and_holds_for_its_entry_alone(make_log, key, other_key):
    log = make_log(300)
    reader = LogReader(log.path, log.key)
    receipt = TlogProof.from_bytes(reader.receipt(299).to_bytes())
    assert receipt.extra == reader.entry(299)
    assert receipt.verify(reader.entry(299), log.key).tree_size == 300
    wrong = [
        (receipt, reader.entry(298), log.key),
        (receipt, receipt.extra + b" ", log.key),
        (replace(receipt, index=298), receipt.extra, log.key),
        (replace(receipt, index=300), receipt.extra, log.key),
        (replace(receipt, hashes=receipt.hashes[:-1]), receipt.extra, log.key),
        (replace(receipt, hashes=(*receipt.hashes, bytes(32))), receipt.extra, log.key),
        (receipt, receipt.extra, VerifierKey.of(log.origin, other_key)),
        (receipt, receipt.extra, VerifierKey.of("example.com/b", key)),
    ]
    for proof, entry, by in wrong:
        with pytest.raises(IntegrityError):
            proof.verify(entry, by)
