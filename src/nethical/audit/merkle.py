"""The Merkle tree of RFC 9162: roots, and proofs that anybody can check; no input or output.

An entry is a leaf; a tree over n leaves splits at the largest power of two below n. Leaves and
nodes are hashed with different first bytes, so that neither can be passed off as the other.
A tree of no leaves has a root but no proofs: whoever compares with size 0 has nothing to prove,
and says so itself.

Reference:
    RFC 9162, section 2.1.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nethical.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "consistency_proof",
    "inclusion_proof",
    "join_right",
    "leaf_hash",
    "leaf_hashes",
    "node_hash",
    "pair_hashes",
    "root_hash",
    "subtree_hash",
    "subtrees",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

_MEND = "ask for the proof again; if it still fails, the log or the proof was changed"


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(00 ‖ entry).

    Example:
        >>> leaf_hash(b"").hex()[:16]
        '6e340b9cffb37a98'
    """
    return hashlib.sha256(b"\0" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Return the leaf hash of each entry."""
    sha256 = hashlib.sha256
    return [sha256(b"\0" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def subtree_hash(hashes: bytes) -> bytes:
    """Return the root over 2^k concatenated hashes.

    Args:
        hashes: 2^k hashes of 32 bytes each, one after the other.
    """
    while len(hashes) > HASH_BYTES:
        hashes = pair_hashes(hashes)
    return hashes


def pair_hashes(hashes: bytes) -> bytes:
    """Return the concatenated hashes of the next level; an odd last one has no pair yet."""
    sha256 = hashlib.sha256
    pairs = range(0, len(hashes) - HASH_BYTES, 2 * HASH_BYTES)
    return b"".join([sha256(b"\1" + hashes[i : i + 64]).digest() for i in pairs])


def subtrees(begin: int, end: int) -> list[tuple[int, int]]:
    """Return the complete subtrees that leaves ``begin`` to ``end`` fall into, left to right.

    Args:
        begin: First leaf; a multiple of the largest power of two below the length.
        end: One past the last leaf.

    Returns:
        Pairs (height, index): the subtree over leaves ``index << height`` and on.

    Example:
        >>> subtrees(0, 7)
        [(2, 0), (1, 2), (0, 6)]
    """
    found = []
    while begin < end:
        height = (end - begin).bit_length() - 1
        found.append((height, begin >> height))
        begin += 1 << height
    return found


def join_right(hashes: Sequence[bytes]) -> bytes:
    """Return the root over complete subtrees of falling size, joined from the right.

    Example:
        >>> join_right([]) == EMPTY_ROOT
        True
    """
    if not hashes:
        return EMPTY_ROOT
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def root_hash(hashes: bytes) -> bytes:
    """Return the root of the tree over concatenated leaf hashes.

    Args:
        hashes: Leaf hashes of 32 bytes each, one after the other.

    Example:
        >>> root_hash(leaf_hash(b"one") + leaf_hash(b"two")) == node_hash(
        ...     leaf_hash(b"one"), leaf_hash(b"two")
        ... )
        True
    """
    return join_right(
        [
            subtree_hash(hashes[HASH_BYTES * (i << h) : HASH_BYTES * ((i + 1) << h)])
            for h, i in subtrees(0, len(hashes) // HASH_BYTES)
        ]
    )


def inclusion_proof(
    index: int, tree_size: int, node: Callable[[int, int], bytes]
) -> tuple[bytes, ...]:
    """Return the hashes that lead from a leaf to the root, leaf's sibling first.

    Args:
        index: The leaf, from 0.
        tree_size: Number of leaves of the tree that is proved for.
        node: Returns the hash of the complete subtree (height, index).

    Raises:
        ValueError: The tree has no such leaf.

    Reference:
        RFC 9162, section 2.1.3.1.
    """
    if not 0 <= index < tree_size:
        raise ValueError(f"a tree of {tree_size} leaves has no leaf {index}")
    proof = []
    begin, end = 0, tree_size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_range_hash(middle, end, node))
            end = middle
        else:
            proof.append(_range_hash(begin, middle, node))
            begin = middle
    return tuple(reversed(proof))


def consistency_proof(
    old_size: int, new_size: int, node: Callable[[int, int], bytes]
) -> tuple[bytes, ...]:
    """Return the hashes that show a tree of the new size to begin with that of the old size.

    Args:
        old_size: Number of leaves of the old tree, at least 1.
        new_size: Number of leaves of the new tree.
        node: Returns the hash of the complete subtree (height, index).

    Raises:
        ValueError: The old tree is empty or larger than the new one.

    Reference:
        RFC 9162, section 2.1.4.1.
    """
    if not 0 < old_size <= new_size:
        raise ValueError(f"there is no consistency proof from size {old_size} to {new_size}")
    proof = []
    begin, end = 0, new_size
    while old_size < end:
        middle = begin + _split(end - begin)
        if old_size <= middle:
            proof.append(_range_hash(middle, end, node))
            end = middle
        else:
            proof.append(_range_hash(begin, middle, node))
            begin = middle
    if begin:
        proof.append(_range_hash(begin, end, node))
    return tuple(reversed(proof))


def verify_inclusion(
    leaf: bytes, index: int, tree_size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf hash stands at an index of the tree with this root.

    Raises:
        IntegrityError: It does not, or the proof has another shape than the tree asks for.

    Reference:
        RFC 9162, section 2.1.3.2.
    """
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < tree_size:
        raise IntegrityError(f"a tree of {tree_size} entries has no entry {index}", mend=_MEND)
    position, last = index, tree_size - 1
    computed = leaf
    for sibling in proof:
        if last == 0:
            raise IntegrityError("the inclusion proof has hashes to spare", mend=_MEND)
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            if not position & 1:
                zeros = _trailing_zeros(position)
                position >>= zeros
                last >>= zeros
        else:
            computed = node_hash(computed, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise IntegrityError("the inclusion proof lacks hashes", mend=_MEND)
    if computed != root:
        raise IntegrityError(
            f"the inclusion proof of entry {index} does not lead to the root", mend=_MEND
        )


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of the new size begins with the tree of the old size.

    Raises:
        IntegrityError: It does not, or the proof has another shape than the trees ask for.
        ValueError: The old tree is empty: there is nothing to prove then.

    Reference:
        RFC 9162, section 2.1.4.2.
    """
    if old_size < 1:
        raise ValueError("a tree of no entries is consistent with any; there is no proof to check")
    _check_hashes(old_root, new_root, *proof)
    if old_size > new_size:
        raise IntegrityError(f"the log shrank from {old_size} to {new_size} entries", mend=_MEND)
    if old_size == new_size:
        if proof:
            raise IntegrityError("the consistency proof has hashes to spare", mend=_MEND)
        if old_root != new_root:
            raise IntegrityError(f"two different roots at size {old_size}: a fork", mend=_MEND)
        return
    computed_old, computed_new = _fold_consistency(old_size, new_size, old_root, proof)
    if computed_old != old_root:
        raise IntegrityError(
            f"the consistency proof does not lead to the root at size {old_size}", mend=_MEND
        )
    if computed_new != new_root:
        raise IntegrityError(
            f"the log of size {new_size} does not begin with that of size {old_size}", mend=_MEND
        )


def _fold_consistency(
    old_size: int, new_size: int, old_root: bytes, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Return the roots that the proof leads to, old and new."""
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise IntegrityError("the consistency proof is empty", mend=_MEND)
    zeros = _trailing_zeros(old_size)
    position, last = (old_size - 1) >> zeros, (new_size - 1) >> zeros
    computed_old = computed_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise IntegrityError("the consistency proof has hashes to spare", mend=_MEND)
        if position & 1 or position == last:
            computed_old = node_hash(sibling, computed_old)
            computed_new = node_hash(sibling, computed_new)
            if not position & 1:
                zeros = _trailing_zeros(position)
                position >>= zeros
                last >>= zeros
        else:
            computed_new = node_hash(computed_new, sibling)
        position >>= 1
        last >>= 1
    if last:
        raise IntegrityError("the consistency proof lacks hashes", mend=_MEND)
    return computed_old, computed_new


def _range_hash(begin: int, end: int, node: Callable[[int, int], bytes]) -> bytes:
    return join_right([node(height, index) for height, index in subtrees(begin, end)])


def _split(size: int) -> int:
    """Return the largest power of two below the size."""
    return 1 << (size - 1).bit_length() - 1


def _trailing_zeros(number: int) -> int:
    """Return how often 2 divides the number; all its bits when it is 0."""
    return (number & -number).bit_length() - 1 if number else 64


def _check_hashes(*hashes: bytes) -> None:
    for found in hashes:
        if len(found) != HASH_BYTES:
            raise IntegrityError(f"a hash of {len(found)} bytes instead of 32", mend=_MEND)
