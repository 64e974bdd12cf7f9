import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical.audit.journal import first_index, pack_records, scan_records

ROOT = bytes(range(32))
some_entries = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


@given(some_entries, st.integers(0, 2**40))
def test_records_lead_back_to_their_entries(entries, index):
    content, head = pack_records(entries, index, ROOT)
    found = scan_records(content, index, ROOT)
    assert (found.entries, found.head, found.good_bytes) == (entries, head, len(content))
    assert (found.torn_bytes, found.changed) == (0, False)
    assert first_index(content) == index


def test_records_written_one_by_one_are_those_written_together():
    together, head = pack_records([b"a", b"b"], 5, ROOT)
    one, between = pack_records([b"a"], 5, ROOT)
    other, last = pack_records([b"b"], 6, between)
    assert (one + other, last) == (together, head)


def test_an_empty_journal_has_no_records():
    found = scan_records(b"", 3, ROOT)
    assert (found.entries, found.head, found.changed) == ([], ROOT, False)
    assert first_index(b"\0" * 11) is None


@given(some_entries, st.data())
def test_a_write_that_was_cut_anywhere_is_torn_and_what_came_before_is_kept(entries, data):
    before, head = pack_records([b"kept"], 0, ROOT)
    more, _ = pack_records(entries, 1, head)
    cut = data.draw(st.integers(0, len(more)))
    found = scan_records(before + more[:cut], 0, ROOT)
    assert not found.changed
    assert found.entries == [b"kept", *entries][: len(found.entries)]
    assert found.good_bytes + found.torn_bytes == len(before) + cut


@given(some_entries, st.data())
def test_a_changed_bit_is_never_taken_for_a_crash(entries, data):
    content, _ = pack_records(entries, 7, ROOT)
    at = data.draw(st.integers(0, len(content) * 8 - 1))
    changed = bytearray(content)
    changed[at // 8] ^= 1 << at % 8
    found = scan_records(bytes(changed), 7, ROOT)
    assert found.changed
    assert found.entries == entries[: len(found.entries)]


@pytest.mark.parametrize("zeros", [1, 44, 4096])
def test_zeros_where_the_file_grew_in_a_power_cut_are_torn(zeros):
    content, _ = pack_records([b"kept"], 0, ROOT)
    found = scan_records(content + bytes(zeros), 0, ROOT)
    assert (found.entries, found.torn_bytes, found.changed) == ([b"kept"], zeros, False)


@pytest.mark.parametrize("offset", [0, 100, 512, 700])
def test_a_record_whose_last_sectors_never_arrived_is_torn(offset):
    content, _ = pack_records([b"x" * 2000], 3, ROOT)
    boundary = -((offset + len(content)) % 512) or -512
    for zeros in (boundary, boundary - 512):
        lost = content[:zeros] + bytes(-zeros)
        assert scan_records(lost, 3, ROOT, offset).torn_bytes == len(content)
    zeroed = content[: boundary + 1] + bytes(-boundary - 1)
    assert scan_records(zeroed, 3, ROOT, offset).changed


def test_a_record_of_another_place_or_of_no_chain_is_a_change():
    content, head = pack_records([b"a", b"b", b"c"], 0, ROOT)
    width = len(content) // 3
    one, two, three = content[:width], content[width : 2 * width], content[2 * width :]
    forged, _ = pack_records([b"d"], 9, head)
    for changed in (two + three, one + three, one + three + two, content + forged, content + three):
        assert scan_records(changed, 0, ROOT).changed


def test_two_damaged_records_before_good_ones_are_a_change():
    content, _ = pack_records([b"a", b"b", b"c", b"d"], 0, ROOT)
    width = len(content) // 4
    changed = content[:width] + b"\xff" * 2 * width + content[3 * width :]
    assert scan_records(changed, 0, ROOT).changed
