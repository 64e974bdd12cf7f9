"""Event logs from the command line: trained, then scored day after day with a state."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv as pa_csv

from nethical import Plan, Run
from nethical.data.events import EventState
from nethical.data.synthetic import generate
from nethical.data.table import known_labels, normalise
from nethical.preparation import prepare

ROLES = (
    *("--column", "card=agent", "--column", "shop=resource"),
    *("--column", "paid=amount", "--time-column", "when", "--label-column", "bad"),
)
NAMES = ["card", "shop", "paid", "when", "bad"]
DAY = 86_400_000_000


@pytest.fixture(scope="module")
def log(command, tmp_path_factory):
    """A folder with a trained model, and the whole log."""
    folder = tmp_path_factory.mktemp("log")
    table = generate("events", 5000, seed=1).table
    table = table.select(["agent", "resource", "amount", "time", "label"]).rename_columns(NAMES)
    pq.write_table(table, folder / "log.parquet")
    pq.write_table(part(table, day_of(table) < 75), folder / "past.parquet")
    done = command(
        *("train", "--model-type", "correlation", "--data", "past.parquet", "--name", "log"),
        *(*ROLES, "--label-delay", "5", "--windows", "2,9", "--json"),
        cwd=folder,
    )
    assert done.code == 0, done.err
    return folder, table, done


def day_of(table):
    micros = table.column("when").cast(pa.int64()).to_numpy()
    return (micros - micros.min()) // DAY


def part(table, rows):
    return table.filter(pa.array(rows))


def test_the_run_says_how_far_it_looks_back_and_leaves_a_gap_for_late_labels(log):
    folder, _, done = log
    assert "Looked back 2, 9 days from each of" in done.err
    assert "rows of the 5 days before the gate part are in no part" in done.err
    model = Path(folder / done.document["model_path"])
    document = json.loads((model / "model.json").read_text())
    assert document["event_log"] == {
        "agent": "card",
        "resource": "shop",
        "time": "when",
        "amount": "paid",
        "windows_days": [2.0, 9.0],
        "label_delay_days": 5.0,
    }
    stored = "".join(path.read_bytes().decode("latin-1") for path in model.iterdir())
    assert "agent-1" not in stored
    assert "resource-1" not in stored
    assert done.document["metrics"]["roc_auc"] > 0.7


def scores(path):
    return pq.read_table(path).column("probability").to_numpy()


def test_day_by_day_with_a_state_gives_the_scores_of_everything_at_once(log, command, tmp_path):
    folder, table, _ = log
    model = ("predict", "log_", "--models-dir", folder / "models")
    done = command(*model, folder / "log.parquet", "-o", "once.parquet", cwd=tmp_path)
    assert done.code == 0, done.err
    once = scores(tmp_path / "once.parquet")
    day = day_of(table)
    for first in range(0, 45, 5):  # no longer than the delay: what counts was delivered before
        rows = (day >= first) & (day < first + 5)
        today = part(table, rows).drop_columns("bad")
        shuffled = np.random.default_rng(first).permutation(len(today))
        pq.write_table(today.take(pa.array(shuffled)), tmp_path / "today.parquet")
        words = [*model, "today.parquet", "-o", "out.parquet", "--state", "log.state"]
        if first:
            known = part(table, (day >= first - 5) & (day < first))
            pq.write_table(known, tmp_path / "known.parquet")
            words += ["--late-labels", "known.parquet"]
        done = command(*words, cwd=tmp_path)
        assert done.code == 0, done.err
        assert "met no event" not in done.out
        np.testing.assert_array_equal(scores(tmp_path / "out.parquet"), once[rows][shuffled])
    assert (tmp_path / "log.state").stat().st_mode & 0o077 == 0


def test_labels_in_the_data_count_once_their_delay_is_over(log, command, tmp_path):
    """Fed with its labels, in any pieces, the log gives the same scores to the last bit."""
    folder, table, _ = log
    model = ("predict", "log_", "--models-dir", folder / "models")
    done = command(*model, folder / "log.parquet", "-o", "once.parquet", cwd=tmp_path)
    assert done.code == 0, done.err
    day = day_of(table)
    found = []
    for first, last in ((0, 33), (33, 34), (34, 80), (80, 91)):
        pq.write_table(part(table, (day >= first) & (day < last)), tmp_path / "piece.parquet")
        words = (*model, "piece.parquet", "-o", "out.parquet", "--state", "log.state")
        assert command(*words, cwd=tmp_path).code == 0
        found.append(scores(tmp_path / "out.parquet"))
    np.testing.assert_array_equal(np.concatenate(found), scores(tmp_path / "once.parquet"))
    bare = part(table, day < 91).drop_columns("bad")
    pq.write_table(bare, tmp_path / "bare.parquet")
    assert command(*model, "bare.parquet", "-o", "bare_out.parquet", cwd=tmp_path).code == 0
    assert (scores(tmp_path / "bare_out.parquet") != scores(tmp_path / "once.parquet")).any()


def test_what_a_state_cannot_be_is_refused_and_it_stays_as_it_was(log, command, tmp_path):
    folder, table, _ = log
    model = ("predict", "log_", "--models-dir", folder / "models")
    day = day_of(table)
    for name, rows in (("a", day < 40), ("b", (day >= 40) & (day < 50)), ("old", day == 3)):
        pq.write_table(part(table, rows), tmp_path / f"{name}.parquet")
    pq.write_table(part(table, day < 9).drop_columns("bad"), tmp_path / "unlabelled.parquet")
    state = tmp_path / "log.state"
    assert command(*model, "a.parquet", "-o", "o.csv", "--state", state, cwd=tmp_path).code == 0
    kept = state.read_bytes()

    def refused(code, said, *words, path=state):
        done = command(*model, *words, "-o", "new.csv", "--state", path, cwd=tmp_path)
        assert (done.code, done.err.count("\n")) == (code, 2), done.err
        assert said in done.err
        assert not (tmp_path / "new.csv").exists()
        assert state.read_bytes() == kept

    refused(4, "older than the newest", "old.parquet")
    refused(4, "no label column", "b.parquet", "--late-labels", "unlabelled.parquet")
    edited = tmp_path / "edited.state"
    edited.write_bytes(kept[:-9] + bytes([kept[-9] ^ 1]) + kept[-8:])
    refused(6, "state", "b.parquet", path=edited)
    edited.write_bytes(b"something else")
    refused(6, "state", "b.parquet", path=edited)
    done = command(*model, "b.parquet", "-o", "n.csv", "--late-labels", "a.parquet", cwd=tmp_path)
    assert done.code == 2
    assert "--late-labels without --state" in done.err


def test_a_model_without_an_event_log_keeps_no_state(command, tmp_path):
    command("train", "--model-type", "heuristic", "--num-samples", "1000", cwd=tmp_path)
    pq.write_table(generate("risk", 9, seed=3).table, tmp_path / "rows.parquet")
    words = ("predict", "heuristic", "rows.parquet", "-o", "o.csv", "--state", "s")
    done = command(*words, cwd=tmp_path)
    assert done.code == 2
    assert "reads no event log" in done.err


def test_times_that_are_missing_or_no_times_are_refused_in_training(command, tmp_path):
    table = generate("events", 600, seed=2).table
    when = table.column("time").to_pylist()
    when[5] = None
    place = table.column_names.index("time")
    for name, column, said in (
        ("gap", pa.array(when), "missing in 1"),
        ("words", pa.array(["soon"] * 600), "cannot be read"),
    ):
        pq.write_table(table.set_column(place, "time", column), tmp_path / f"{name}.parquet")
        done = command(
            *("train", "--model-type", "correlation", "--data", f"{name}.parquet"),
            *("--time-column", "time"),
            cwd=tmp_path,
        )
        assert done.code == 4, done.err
        assert said in done.err
        assert not (tmp_path / "models" / "versions").exists()


def test_the_five_older_columns_are_read_as_they_are(command, tmp_path):
    words = ("train", "--model-type", "correlation", "--data", "synthetic:legacy_correlation")
    done = command(*words, "--num-samples", "2000", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.document["metrics"]["roc_auc"] > 0.99
    assert "Looked back" not in done.err


def test_a_table_of_other_columns_is_refused_in_two_lines(command, tmp_path):
    words = ("train", "--model-type", "correlation", "--data", "sklearn:breast_cancer")
    done = command(*words, cwd=tmp_path)
    assert done.code == 5
    assert done.err.count("\n") == 2
    assert "agent, resource and time" in done.err


def test_evaluate_reads_the_past_from_its_own_rows(log, command, tmp_path):
    folder, _, _ = log
    words = ("evaluate", "log_", folder / "log.parquet", "--models-dir", folder / "models")
    done = command(*words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.document["metrics"]["roc_auc"] > 0.7


# --- what is learnt from is what is scored ---------------------------------------------------


def events(n=3000, seed=1):
    table = generate("events", n, seed=seed).table
    return table.select(["agent", "resource", "amount", "time", "label"])


def prepared(folder, table, **plan):
    said = []

    class Listener:
        def record(self, fact, **_):
            said.append(fact)

        def seal(self):
            return None

    plan = Plan("correlation", data=table, models_dir=str(folder), **plan)
    return prepare(plan, Run([Listener()])), said


def derived(found, part="gate"):
    names = found.event_log.names
    return found.parts[part].frame.select(list(names)).to_pandas()


def test_events_without_a_label_are_part_of_the_past_all_the_same(tmp_path):
    table = events()
    label = table.column("label").to_pylist()
    known = [value if i % 5 == 0 else None for i, value in enumerate(label)]
    partly = table.set_column(4, "label", pa.array(known))
    found, _ = prepared(tmp_path, partly)
    roles = found.roles
    frame, _ = found.event_log.derive(
        normalise(partly), known_labels(normalise(partly), roles), EventState.empty()
    )
    rows = np.flatnonzero([value is not None for value in known])
    whole = frame.select(list(found.event_log.names)).take(pa.array(rows)).to_pandas()
    gate = derived(found)
    assert len(gate) < len(whole) < len(table) / 4
    assert gate.equals(whole.tail(len(gate)).reset_index(drop=True))


def test_a_log_without_an_amount_or_any_other_column_is_enough(tmp_path):
    found, _ = prepared(tmp_path, events().drop_columns("amount"))
    assert {f.name for f in found.roles.features} == set(found.event_log.names)


@pytest.mark.parametrize("named", [True, False])
def test_ids_of_agents_and_resources_are_text_to_the_last_digit(named, tmp_path):
    table = events(1500)
    agents = {name: f"00{10**20 + i}" for i, name in enumerate(set(table["agent"].to_pylist()))}
    ids = pa.array([agents[name] for name in table.column("agent").to_pylist()])
    name = "who" if named else "agent_id"
    table = table.set_column(0, name, ids)
    pa_csv.write_csv(table, tmp_path / "log.csv", pa_csv.WriteOptions(quoting_style="none"))
    roles = {name: "agent"} if named else {}
    found, _ = prepared(tmp_path, str(tmp_path / "log.csv"), columns=roles)
    own, _ = prepared(tmp_path, table, columns={name: "agent"})
    assert derived(found).equals(derived(own))


def test_a_sample_of_a_log_keeps_the_past_of_its_events(tmp_path):
    table = events()
    whole, _ = prepared(tmp_path, table, split="random")
    some, _ = prepared(tmp_path, table, split="random", num_samples=1000)
    counts = [f"{key}_events_30d" for key in ("agent", "resource")]
    means = [
        np.mean([f.numeric(name).mean() for f in found.parts.values() for name in counts])
        for found in (whole, some)
    ]
    assert sum(map(len, some.parts.values())) == 1000
    assert means[1] == pytest.approx(means[0], rel=0.1)


def test_a_test_table_leaves_the_same_gap_as_the_split(tmp_path):
    table = events()
    day = (table.column("time").cast(pa.int64()).to_numpy()) // DAY
    day = day - day.min()
    pq.write_table(part(table, day >= 70), tmp_path / "test.parquet")
    found, said = prepared(
        tmp_path, part(table, day < 70), test_data=str(tmp_path / "test.parquet")
    )
    learnt = [
        found.parts[name].frame.column("time").cast(pa.int64()) for name in ("train", "calibrate")
    ]
    first = found.parts["gate"].frame.column("time").cast(pa.int64()).to_numpy().min()
    assert max(times.to_numpy().max() for times in learnt) < first - 7 * DAY
    assert any("labels were not known yet" in getattr(fact, "message", "") for fact in said)
    columns, _ = found.event_log.derive(
        normalise(table), table["label"].to_numpy().astype(np.int8), EventState.empty()
    )
    whole = columns.select(list(found.event_log.names)).to_pandas()[day >= 70]
    assert derived(found).equals(whole.reset_index(drop=True))


def test_a_log_is_split_by_time_also_where_there_are_groups(tmp_path):
    table = events().append_column("session", pa.array([f"s{i % 50}" for i in range(3000)]))
    found, _ = prepared(tmp_path, table, columns={"session": "group"})
    assert found.split.strategy == "temporal"
    _, said = prepared(tmp_path, table, split="random")
    assert any("not split by time" in getattr(fact, "message", "") for fact in said)


def test_rows_that_were_learnt_from_are_known_wherever_a_log_begins(log, command, tmp_path):
    folder, table, _ = log
    pq.write_table(
        part(table, (day_of(table) >= 10) & (day_of(table) < 20)), tmp_path / "cut.parquet"
    )
    words = ("evaluate", "log_", tmp_path / "cut.parquet", "--models-dir", folder / "models")
    done = command(*words, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.document["learnt"] == done.document["rows"] > 100
    assert "nothing is known before the first event" in done.err


def test_an_output_never_takes_the_place_of_the_state_or_the_labels(log, command, tmp_path):
    folder, table, _ = log
    pq.write_table(part(table, day_of(table) < 9), tmp_path / "a.parquet")
    model = ("predict", "log_", "a.parquet", "--models-dir", folder / "models")
    for name in ("state.csv", "late.csv"):
        words = ("-o", name, "--state", "state.csv", "--late-labels", "late.csv")
        (tmp_path / "late.csv").write_text("card,shop,when,bad\n")
        done = command(*model, *words, cwd=tmp_path)
        assert done.code == 2
        assert "would overwrite" in done.err
        assert (tmp_path / "late.csv").read_text() == "card,shop,when,bad\n"
    words = ("-o", "o.csv", "--state", "state.csv", "--late-labels", "late.csv")
    assert command(*model, *words, cwd=tmp_path).code == 0  # a day on which nothing became known
