import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical.audit.merkle import leaf_hashes, root_hash, subtree_hash
from nethical.audit.tiles import (
    RightEdge,
    Tile,
    bundle_hashes,
    decode_bundle,
    encode_bundle,
    tiles_at,
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(1, 1000), "tile/1/x001/000"),
        (Tile(63, 1234067), "tile/63/x001/x234/067"),
        (Tile(None, 1234067), "tile/entries/x001/x234/067"),
        (Tile(2, 123456078, 2), "tile/2/x123/x456/078.p/2"),
        (Tile(None, 0, 255), "tile/entries/000.p/255"),
    ],
)
def test_a_tile_has_one_path(tile, path):
    assert tile.path == path
    assert Tile.from_path(path) == tile


@pytest.mark.parametrize(
    "path",
    """tile/0/x1/000 tile/0/x000/001 tile/0/1 tile/0/0001 tile/0/123/456 tile/00/000 tile/64/000
    tile/-1/000 tile/0/000.p/0 tile/0/000.p/256 tile/0/000.p/01 tile/0/000.p tile/0/000.p/
    tile/0/x001 tile/data/000 tile/0/000/ /tile/0/000 tile/0/../000
    checkpoint tile/0/\u0661\u0662\u0663
    """.split(),
)
def test_what_is_not_the_one_path_of_a_tile_is_refused(path):
    with pytest.raises(ValueError, match="not the path"):
        Tile.from_path(path)


@given(st.none() | st.integers(0, 63), st.integers(0, 2**55), st.integers(1, 256))
def test_paths_lead_back_to_their_tile(level, index, width):
    tile = Tile(level, index, width)
    assert Tile.from_path(tile.path) == tile


def test_paths_and_shapes_are_those_of_the_specification(vectors):
    for case in json.loads((vectors / "tile_paths.json").read_text()):
        if case.get("bad"):
            with pytest.raises(ValueError, match="not the path"):
                Tile.from_path("tile/0/" + case["path"])
        else:
            tile = Tile(0, case["index"], case.get("width", 256))
            assert tile.path == "tile/0/" + case["path"]
    for case in json.loads((vectors / "tile_shapes.json").read_text()):
        for level, full, width in tiles_at(case["tree_size"]):
            assert case[f"level{level}_full"] == full
            assert case[f"level{level}_partial"] == width


def test_an_empty_log_has_no_tiles():
    assert list(tiles_at(0)) == []
    assert list(tiles_at(256)) == [(0, 1, 0), (1, 0, 1)]


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_gives_its_entries_back(entries):
    content = encode_bundle(entries)
    assert decode_bundle(content, len(entries)) == entries
    assert bundle_hashes(content, len(entries)) == b"".join(leaf_hashes(entries))


def test_the_longest_entry_fits_a_bundle_and_a_longer_one_does_not():
    longest = bytes(65_535)
    assert decode_bundle(encode_bundle([longest, b"x"]), 2) == [longest, b"x"]
    with pytest.raises(OverflowError):
        encode_bundle([bytes(65_536)])


@pytest.mark.parametrize(
    ("content", "width", "why"),
    [
        (b"", 1, "ends after 0 of 1"),
        (b"\0\1a\0", 2, "ends after 1 of 2"),
        (b"\0\1a", 2, "ends after 1 of 2"),
        (b"\0\2a", 1, "inside entry 0 of 1"),
        (b"\xff\xffa\0\1b", 2, "ends after 1 of 2"),
        (b"\0\1ab", 1, "1 bytes follow"),
    ],
)
def test_a_bundle_that_is_cut_or_goes_on_is_refused(content, width, why):
    for read in (decode_bundle, bundle_hashes):
        with pytest.raises(ValueError, match=why):
            read(content, width)


def hashes_of(n):
    return b"".join(leaf_hashes(n.to_bytes(4, "big") for n in range(n)))


@given(st.lists(st.integers(0, 700), max_size=6))
def test_a_tree_that_grows_in_steps_is_the_tree_that_is_made_at_once(steps):
    total = sum(steps)
    leaves = hashes_of(total)
    edge, tiles, at = RightEdge(), {}, 0
    for step in steps:
        some = leaves[at * 32 : (at + step) * 32]
        assert edge.root_with(some) == root_hash(leaves[: (at + step) * 32])
        tiles.update(edge.extend(some))
        at += step
        assert edge.root() == root_hash(leaves[: at * 32])
    tiles.update(edge.partial())
    expected = {}
    hashes = leaves
    for level, full, width in tiles_at(total):
        for index in range(full + bool(width)):
            tile = Tile(level, index, 256 if index < full else width)
            expected[tile] = hashes[index * 8192 : (index + 1) * 8192]
        hashes = b"".join(subtree_hash(hashes[i * 8192 : (i + 1) * 8192]) for i in range(full))
    assert tiles == expected


def test_a_tree_of_three_levels_has_the_root_of_its_leaves():
    leaves = hashes_of(70_000)
    edge = RightEdge()
    full = edge.extend(leaves)
    assert edge.root() == root_hash(leaves)
    assert [len(hashes) // 32 for hashes in edge.levels] == [112, 17, 1]
    assert len(full) == 274
    assert [tile for tile, _ in edge.partial()] == [
        Tile(0, 273, 112),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
