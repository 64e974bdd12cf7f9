import numpy as np
import pyarrow as pa
import pytest

from nethical.canonical import digest
from nethical.drift.cells import Scored, summarise
from nethical.drift.cohorts import CohortRun
from nethical.drift.rows import (
    RowSet,
    from_parquet,
    overlap,
    paired,
    read_rows,
    rows_digest,
    sketch,
)
from nethical.errors import IntegrityError
from nethical.record import scored_rows_file


def row_set(seed, n=50):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 2**63, (n, 2)).astype(np.uint64)
    return ids, rng.random(n), rng.integers(-1, 2, n).astype(np.int8)


def run_of(content, path):
    cells = summarise(Scored(np.array([0.5]), np.array([1], np.int8), 0.5))
    details = {"rows_file": digest(content)}
    return CohortRun("run_a", "m", "m", "p", "rows", str(path), cells, details)


def test_the_digest_of_rows_does_not_depend_on_their_order_but_on_every_row_and_label():
    ids, _, y = row_set(1)
    order = np.random.default_rng(2).permutation(50)
    one = rows_digest(ids, y)
    assert rows_digest(ids[order], y[order]) == one
    assert rows_digest(ids[1:], y[1:]) != one
    assert rows_digest(ids, np.where(np.arange(50) == 7, -y, y).astype(np.int8)) != one or y[7] == 0
    assert rows_digest(ids, np.where(np.arange(50) == 7, (y + 2) % 3 - 1, y).astype(np.int8)) != one
    assert rows_digest(ids[:, ::-1], y) != one
    assert one.startswith("sha256:")


def test_a_row_that_occurs_twice_is_not_the_row_that_occurs_once():
    ids, _, y = row_set(3)
    twice = np.concatenate([ids, ids[:1]]), np.concatenate([y, y[:1]])
    assert rows_digest(*twice) != rows_digest(ids, y)


@pytest.mark.parametrize("grouped", [False, True])
def test_rows_are_read_as_they_were_written_in_the_order_of_their_digests(tmp_path, grouped):
    ids, p, y = row_set(4)
    names = np.arange(50) // 5
    groups = pa.array([f"{k:016d}".encode() for k in names]) if grouped else None
    content = scored_rows_file(ids, p, y, groups)
    (tmp_path / "scores.parquet").write_bytes(content)
    found = read_rows(run_of(content, "scores.parquet"), tmp_path)
    order = np.lexsort((y, ids[:, 1], ids[:, 0]))
    np.testing.assert_array_equal(found.ids, ids[order])
    np.testing.assert_array_equal(found.y_proba, p[order])
    np.testing.assert_array_equal(found.y_true, y[order])
    if grouped:
        pairs = set(zip(found.clusters.tolist(), names[order].tolist(), strict=True))
        assert len(pairs) == 10
    else:
        assert found.clusters is None


def test_rows_without_a_group_are_groups_of_their_own():
    ids, p, y = row_set(5, 6)
    groups = pa.array([b"a", None, b"b", b"a", None, b"b"])
    codes = from_parquet(scored_rows_file(ids, p, y, groups)).clusters
    assert codes[0] == codes[3]
    assert codes[2] == codes[5]
    assert len(set(codes.tolist())) == 4


def test_an_absolute_path_of_a_bundle_stays_as_it_is(tmp_path):
    content = scored_rows_file(*row_set(6))
    (tmp_path / "scores.parquet").write_bytes(content)
    found = read_rows(run_of(content, tmp_path / "scores.parquet"), tmp_path / "elsewhere")
    assert len(found.ids) == 50


def test_rows_that_are_not_kept_any_more_are_none(tmp_path):
    assert read_rows(run_of(b"", "gone.parquet"), tmp_path) is None
    assert read_rows(run_of(b"", ""), tmp_path) is None


def test_a_file_of_rows_that_was_changed_is_told(tmp_path):
    content = scored_rows_file(*row_set(7))
    (tmp_path / "scores.parquet").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="run_a was summarised from") as caught:
        read_rows(run_of(content, "scores.parquet"), tmp_path)
    assert caught.value.mend


def test_only_the_same_rows_with_the_same_labels_are_pairs():
    ids, p, y = row_set(8)
    a = RowSet(ids, p, y, None).ordered()
    order = np.random.default_rng(9).permutation(50)
    b = RowSet(ids[order], 1 - p[order], y[order], None).ordered()
    np.testing.assert_allclose(paired(a, b)[0].y_proba + paired(a, b)[1].y_proba, 1.0)
    other = np.where(np.arange(50) == 3, 1, np.where(y == 1, 0, y)).astype(np.int8)
    for wrong in (RowSet(ids, p, other, None), RowSet(ids[1:], p[1:], y[1:], None)):
        assert paired(a, wrong.ordered()) is None
    assert paired(a, None) is None
    assert paired(None, a) is None


@pytest.mark.parametrize(
    ("n_a", "n_b", "shared"),
    [(5000, 5000, 0), (5000, 5000, 2000), (5000, 5000, 5000), (3000, 9000, 3000), (80, 100, 40)],
)
def test_how_many_rows_two_sets_share_is_told_from_a_hundred_of_each(n_a, n_b, shared):
    found = []
    for seed in range(40):
        ids, _, _ = row_set(seed, n_a + n_b - shared)
        found.append(overlap(sketch(ids[:n_a]), sketch(ids[n_a - shared :])))
    truth = shared / min(n_a, n_b)
    assert np.mean(found) == pytest.approx(truth, abs=0.06)
    assert np.std(found) < 0.12
    if truth in {0, 1}:
        assert found == pytest.approx([truth] * 40, abs=0.35 * truth)


def test_rows_that_repeat_others_or_are_not_known_share_nothing():
    ids, _, _ = row_set(1, 200)
    assert sketch(np.concatenate([ids, ids])) is None
    assert overlap(None, sketch(ids)) == overlap(sketch(ids), None) == 0
    assert len(sketch(row_set(2, 100_000)[0])["smallest"]) == 2048
