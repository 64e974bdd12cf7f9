import numpy as np
import pytest

from nethical.errors import IntegrityError
from nethical.models.base import Parts
from nethical.snapshots import StoredSnapshots

KEY = bytes(range(32))
PLAN = {"plan": {"seed": 42, "epochs": 3}, "data": "sha256:00"}
PARTS = Parts(
    {"epoch": 2, "loss": [0.5, 0.25], "name": "\u2192"},
    {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(7)},
    {"tokenizer.json": "{}"},
)


def stored(folder, identity=PLAN, *, resume=True):
    return StoredSnapshots(folder, identity, lambda: KEY, resume=resume)


def test_a_snapshot_comes_back_as_it_was(tmp_path):
    stored(tmp_path).save(PARTS)
    snapshots = stored(tmp_path)
    found = snapshots.load()
    assert found.document == PARTS.document
    assert found.texts == PARTS.texts
    assert found.arrays.keys() == PARTS.arrays.keys()
    for name, array in PARTS.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    assert snapshots.notes() == ["resumed from a snapshot"]


def test_the_last_snapshot_takes_the_place_of_earlier_ones(tmp_path):
    snapshots = stored(tmp_path)
    for epoch in range(3):
        snapshots.save(Parts({"epoch": epoch}))
    assert stored(tmp_path).load().document == {"epoch": 2}
    assert len(list(tmp_path.rglob("*.npz"))) == 1


@pytest.mark.parametrize(
    "other", [{**PLAN, "data": "sha256:01"}, {**PLAN, "plan": {"seed": 43, "epochs": 3}}]
)
def test_another_plan_or_other_data_never_go_on_from_it(other, tmp_path):
    stored(tmp_path).save(PARTS)
    snapshots = stored(tmp_path, other)
    assert snapshots.load() is None
    assert "found no snapshot of this plan" in snapshots.notes()[0]


def test_without_the_wish_to_resume_training_begins_anew(tmp_path):
    stored(tmp_path).save(PARTS)
    snapshots = stored(tmp_path, resume=False)
    assert snapshots.load() is None
    assert snapshots.notes() == []


def test_a_type_that_never_asks_is_told_of(tmp_path):
    assert stored(tmp_path).notes() == ["--resume has no effect: this type leaves no snapshots"]


@pytest.mark.parametrize("place", [0, 200, -1])
def test_an_edited_snapshot_is_refused(place, tmp_path):
    stored(tmp_path).save(PARTS)
    (file,) = tmp_path.rglob("*.npz")
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match="not what was written") as caught:
        stored(tmp_path).load()
    assert "--resume" in caught.value.mend


def test_a_cut_snapshot_is_refused(tmp_path):
    stored(tmp_path).save(PARTS)
    (file,) = tmp_path.rglob("*.npz")
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(IntegrityError):
        stored(tmp_path).load()


def test_only_its_owner_may_read_it_and_nothing_is_left_of_it_in_the_end(tmp_path):
    snapshots = stored(tmp_path)
    snapshots.save(PARTS)
    (file,) = tmp_path.rglob("*.npz")
    assert file.stat().st_mode & 0o077 == 0
    (file.parent / ".tmp-of-a-killed-run").touch()
    snapshots.save(PARTS)
    snapshots.remove()
    assert list(tmp_path.iterdir()) == []
    snapshots.remove()
