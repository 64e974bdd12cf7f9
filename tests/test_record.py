import io
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical import bundle, record
from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.split import split
from nethical.data.table import LabelledTable, normalise
from nethical.keys import Keys, row_key_name
from nethical.signing import sign

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


def read(content):
    return pq.read_table(io.BytesIO(content))


@pytest.fixture(scope="module")
def table():
    frame = synthetic.generate("mixed", 900, seed=1).table
    return labelled(frame, channel=Role.FAIRNESS)


@pytest.fixture(scope="module")
def parts(table):
    how = split(table, seed=42)
    return {name: table.rows(how.mask(name)) for name in how.counts()}


@pytest.fixture(scope="module")
def probabilities(parts):
    return np.random.default_rng(0).random(len(parts["gate"]))


def test_the_digests_of_scores_and_of_rows_are_the_same(parts, probabilities):
    rows = read(record.rows_file(parts, KEY))
    scores = read(record.scores_file(parts["gate"], probabilities, KEY))
    gate = [
        d
        for d, part in zip(*(rows.column(c).to_pylist() for c in ("row", "part")), strict=True)
        if part == "gate"
    ]
    assert scores.column("row").to_pylist() == gate
    assert scores.column("probability").to_pylist() == probabilities.tolist()
    assert scores.column("label").to_pylist() == parts["gate"].y.tolist()
    assert all(len(digest) == 16 for digest in gate)
    assert len(set(gate)) == len(gate)


def test_every_row_of_every_part_is_recorded_in_order(parts):
    rows = read(record.rows_file(parts, KEY))
    assert rows.num_rows == 900
    names = rows.column("part").to_pylist()
    assert names == [name for name, part in parts.items() for _ in range(len(part))]
    assert {"train", "calibrate", "gate"} <= set(names)


def test_each_group_has_a_digest_of_its_own(parts, probabilities):
    gate = parts["gate"]
    scores = read(record.scores_file(gate, probabilities, KEY))
    names = gate.texts("group").to_pylist()
    assert len(set(names)) > 5
    assert all(name.startswith("group-") for name in names)
    pairs = set(zip(names, scores.column("group").to_pylist(), strict=True))
    assert len(pairs) == len(set(names)) == len({digest for _, digest in pairs})
    other = read(record.scores_file(gate, probabilities, OTHER))
    assert set(other.column("group").to_pylist()).isdisjoint(d for _, d in pairs)


def test_fairness_groups_are_kept_by_name_and_nothing_else_of_a_row_is(parts, probabilities):
    gate = parts["gate"]
    content = record.scores_file(gate, probabilities, KEY)
    scores = read(content)
    assert scores.column_names == ["row", "probability", "label", "group", "fairness:channel"]
    assert scores.column("fairness:channel").to_pylist() == gate.texts("channel").to_pylist()
    messages = [m for m in gate.frame.column("message").to_pylist() if m]
    plain = content + record.rows_file(parts, KEY)
    assert messages
    assert not any(message.encode() in plain for message in messages)
    assert b"group-" not in plain


def test_a_table_without_groups_or_fairness_has_three_columns():
    rows = labelled(synthetic.generate("risk", 50, seed=1).table)
    scores = read(record.scores_file(rows, np.linspace(0, 1, 50), KEY))
    assert scores.column_names == ["row", "probability", "label"]


def test_the_files_are_the_same_bytes_every_time(table, parts, probabilities):
    assert record.rows_file(parts, KEY) == record.rows_file(parts, KEY)
    first = record.scores_file(parts["gate"], probabilities, KEY)
    again = labelled(
        pa.concat_tables([table.frame.slice(0, 100), table.frame.slice(100)]), channel=Role.FAIRNESS
    )
    how = split(again, seed=42)
    chunked = again.rows(how.mask("gate"))
    assert record.scores_file(chunked, probabilities, KEY) == first
    assert record.scores_file(chunked, probabilities, OTHER) != first


@dataclass(frozen=True)
class Folder:
    """A bundle as it lies on disk, signed."""

    path: object
    keys: Keys

    def read(self):
        return bundle.read(self.path, self.keys.trusted())


@pytest.fixture
def folder(tmp_path, parts):
    keys = Keys(tmp_path / "home")
    path = tmp_path / "m_1"
    path.mkdir()
    stored = {
        "run.json": json.dumps({"row_key": row_key_name(KEY)}).encode(),
        "rows.parquet": record.rows_file(parts, KEY),
    }
    signature = sign(stored, name="m_1", key=keys.bundle_key(), claims={})
    for name, content in {**stored, "model.sig": signature}.items():
        (path / name).write_bytes(content)
    return Folder(path, keys)


def test_exactly_the_rows_that_a_model_learnt_from_are_found(folder, table, parts):
    learnt_by_model = record.learnt_by(folder.read(), [OTHER, KEY])
    learnt = learnt_by_model(table)
    gate = {d.tobytes() for d in parts["gate"].digests(KEY)}
    assert learnt.tolist() == [d.tobytes() not in gate for d in table.digests(KEY)]
    assert learnt.sum() == 900 - len(parts["gate"])
    for name, part in parts.items():
        assert set(learnt_by_model(part).tolist()) == {name != "gate"}


def test_new_rows_were_not_learnt_from(folder):
    frame = synthetic.generate("mixed", 300, seed=77).table
    learnt_by_model = record.learnt_by(folder.read(), [KEY])
    assert not learnt_by_model(labelled(frame, channel=Role.FAIRNESS)).any()


def test_without_the_row_key_nobody_knows_what_was_learnt_from(folder):
    for keys in ([], [OTHER]):
        assert record.learnt_by(folder.read(), keys) is None
