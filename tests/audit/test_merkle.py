import json
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical.audit import merkle
from nethical.errors import IntegrityError

# The reference tree of RFC 6962 implementations: 8 leaves, and the root at each size.
LEAVES = [
    bytes.fromhex(text)
    for text in [
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    ]
]
ROOTS = [
    bytes.fromhex(text)
    for text in """
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
    fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
    aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77
    d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7
    4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4
    76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef
    ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c
    5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328
    """.split()
]
entries_lists = st.lists(st.binary(max_size=6), min_size=1, max_size=70)


def node_of(entries):
    def node(height, index):
        some = entries[index << height : (index + 1) << height]
        assert len(some) == 1 << height
        return merkle.root_hash(b"".join(merkle.leaf_hashes(some)))

    return node


def root_of(entries):
    return merkle.root_hash(b"".join(merkle.leaf_hashes(entries)))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference_tree(size):
    assert root_of(LEAVES[:size]) == ROOTS[size]


def test_the_proofs_that_the_rfc_draws_are_made_of_the_nodes_it_names():
    leaves = merkle.leaf_hashes(LEAVES[:7])
    g, h = merkle.node_hash(*leaves[:2]), merkle.node_hash(*leaves[2:4])
    i, j = merkle.node_hash(*leaves[4:6]), leaves[6]
    k, right = merkle.node_hash(g, h), merkle.node_hash(i, j)
    node = node_of(LEAVES[:7])
    assert merkle.inclusion_proof(0, 7, node) == (leaves[1], h, right)
    assert merkle.inclusion_proof(3, 7, node) == (leaves[2], g, right)
    assert merkle.inclusion_proof(4, 7, node) == (leaves[5], j, k)
    assert merkle.inclusion_proof(6, 7, node) == (i, k)
    assert merkle.consistency_proof(3, 7, node) == (leaves[2], leaves[3], g, right)
    assert merkle.consistency_proof(4, 7, node) == (right,)
    assert merkle.consistency_proof(6, 7, node) == (i, j, k)


@given(entries=entries_lists)
def test_roots_are_those_of_the_definition(naive, entries):
    assert root_of(entries) == naive.root(entries)


@given(entries=entries_lists, data=st.data())
def test_inclusion_proofs_are_those_of_the_definition_and_verify(naive, entries, data):
    index = data.draw(st.integers(0, len(entries) - 1))
    proof = merkle.inclusion_proof(index, len(entries), node_of(entries))
    assert list(proof) == naive.path(index, entries)
    leaf = merkle.leaf_hash(entries[index])
    merkle.verify_inclusion(leaf, index, len(entries), proof, root_of(entries))


@given(entries=entries_lists, data=st.data())
def test_consistency_proofs_are_those_of_the_definition_and_verify(naive, entries, data):
    old = data.draw(st.integers(1, len(entries)))
    proof = merkle.consistency_proof(old, len(entries), node_of(entries))
    assert list(proof) == naive.proof(old, entries)
    roots = root_of(entries[:old]), root_of(entries)
    merkle.verify_consistency(old, len(entries), *roots, proof)


def changed_proofs(proof):
    """Every proof near this one: a hash more, less, cut, changed, or two in each other's place."""
    yield (*proof, bytes(32))
    yield (bytes(32), *proof)
    for at, each in enumerate(proof):
        rest = proof[:at], proof[at + 1 :]
        yield (*rest[0], *rest[1])
        yield (*rest[0], each[:31], *rest[1])
        yield (*rest[0], bytes([each[0] ^ 1]) + each[1:], *rest[1])
        yield (*rest[0], each, each, *rest[1])
    for at in range(len(proof) - 1):
        yield (*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13])
def test_a_changed_inclusion_proof_is_refused(size):
    entries = [bytes([i]) for i in range(size)]
    root = root_of(entries)
    for index, entry in enumerate(entries):
        proof = merkle.inclusion_proof(index, size, node_of(entries))
        leaf = merkle.leaf_hash(entry)
        for changed in changed_proofs(proof):
            with pytest.raises(IntegrityError):
                merkle.verify_inclusion(leaf, index, size, changed, root)
        for elsewhere in {-1, *range(size + 1)} - {index}:
            with pytest.raises(IntegrityError):
                merkle.verify_inclusion(leaf, elsewhere, size, proof, root)
        with pytest.raises(IntegrityError):
            merkle.verify_inclusion(merkle.leaf_hash(b"no"), index, size, proof, root)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 13])
def test_a_changed_consistency_proof_is_refused(size):
    entries = [bytes([i]) for i in range(size)]
    for old in range(1, size):
        proof = merkle.consistency_proof(old, size, node_of(entries))
        roots = root_of(entries[:old]), root_of(entries)
        for changed in changed_proofs(proof):
            with pytest.raises(IntegrityError):
                merkle.verify_consistency(old, size, *roots, changed)
        with pytest.raises(IntegrityError):
            merkle.verify_consistency(old, size, roots[0], root_of([*entries[1:], b"x"]), proof)
        with pytest.raises(IntegrityError):
            merkle.verify_consistency(old, size, root_of(entries[1 : old + 1]), roots[1], proof)


def test_two_roots_at_one_size_are_a_fork_and_a_log_never_shrinks():
    one, other = root_of([b"a"]), root_of([b"b"])
    merkle.verify_consistency(1, 1, one, one, [])
    with pytest.raises(IntegrityError, match="fork"):
        merkle.verify_consistency(1, 1, one, other, [])
    with pytest.raises(IntegrityError, match="to spare"):
        merkle.verify_consistency(1, 1, one, one, [one])
    with pytest.raises(IntegrityError, match="shrank"):
        merkle.verify_consistency(2, 1, one, one, [])
    with pytest.raises(IntegrityError, match="empty"):
        merkle.verify_consistency(3, 7, one, one, [])


def test_size_0_has_no_proofs_to_make_or_to_check():
    node = node_of([b"a"])
    with pytest.raises(ValueError, match="from size 0"):
        merkle.consistency_proof(0, 1, node)
    with pytest.raises(ValueError, match="no entries"):
        merkle.verify_consistency(0, 1, merkle.EMPTY_ROOT, root_of([b"a"]), [])
    with pytest.raises(ValueError, match="no leaf 0"):
        merkle.inclusion_proof(0, 0, node)
    with pytest.raises(IntegrityError, match="no entry 0"):
        merkle.verify_inclusion(bytes(32), 0, 0, [], merkle.EMPTY_ROOT)


def test_a_leaf_that_spells_out_a_node_is_not_that_node():
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(b"\1" + left + right) != merkle.node_hash(left, right)


def test_a_last_leaf_that_is_doubled_gives_another_root():
    assert root_of([b"a", b"b", b"c"]) != root_of([b"a", b"b", b"c", b"c"])


def shared_proofs(vectors, name):
    return [json.loads(line) for line in (vectors / name).read_text().splitlines()]


def test_the_inclusion_proofs_of_others_are_judged_as_they_judge_them(vectors):
    proofs = shared_proofs(vectors, "rfc6962_inclusion.jsonl")
    assert len(proofs) == 53
    for case in proofs:
        proof = [b64decode(each) for each in case["proof"] or []]
        leaf, root = b64decode(case["leafHash"] or ""), b64decode(case["root"] or "")

        def check(case=case, proof=proof, leaf=leaf, root=root):
            merkle.verify_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)

        judged(check, case)


def test_the_consistency_proofs_of_others_are_judged_as_they_judge_them(vectors):
    proofs = shared_proofs(vectors, "rfc6962_consistency.jsonl")
    assert len(proofs) == 43
    for case in proofs:
        proof = [b64decode(each) for each in case["proof"] or []]
        roots = b64decode(case["root1"] or ""), b64decode(case["root2"] or "")

        def check(case=case, proof=proof, roots=roots):
            merkle.verify_consistency(case["size1"], case["size2"], *roots, proof)

        judged(check, case)


def judged(check, case):
    if case["wantErr"]:
        with pytest.raises((IntegrityError, ValueError)):
            check()
    else:
        check()


def test_the_reference_tree_here_is_the_shared_one(vectors):
    tree = json.loads((vectors / "rfc6962_tree.json").read_text())
    assert [leaf.hex() for leaf in LEAVES] == tree["leaf_inputs_hex"]
    assert [root.hex() for root in ROOTS] == tree["roots_hex_by_size"]
