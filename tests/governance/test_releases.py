"""Label releases: they never change, training reads them, and then they judge nothing."""

import hashlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from nethical.data import files
from nethical.data.table import table_digest
from nethical.errors import DataError, IntegrityError, NethicalError, UsageError
from nethical.governance import tables as t
from nethical.governance.answered import answered_sample
from nethical.governance.queue import ReviewQueue
from nethical.governance.releases import LabelReleases, is_for_training
from nethical.governance.reviews import Answer, Case, Source
from nethical.governance.store import GovernanceStore
from nethical.pipeline import train
from nethical.plan import Plan

START = datetime(2026, 1, 1, tzinfo=UTC)
ALLOW, BLOCK, UNSURE = Answer("allow"), Answer("block"), Answer("unsure")


@pytest.fixture
def clock():
    state = SimpleNamespace(now=START)

    def read():
        state.now += timedelta(seconds=1)
        return state.now

    return read


@pytest.fixture
def queue(tmp_path, clock):
    return ReviewQueue(GovernanceStore(tmp_path / "store", clock), clock)


@pytest.fixture
def releases(queue, clock):
    return LabelReleases(queue.store, clock)


def case(number, **changes):
    rng = np.random.default_rng(number)
    features = {"amount": float(rng.normal()), "kind": "abc"[number % 3], "visits": number % 7}
    row = hashlib.sha256(str(number).encode()).hexdigest()[:32]
    fields = {
        "name": "risk",
        "source": Source.AUDIT,
        "stratum": "allow",
        "inclusion_probability": 0.1 if number % 2 else 0.8,
        "severity": 1,
        "uncertainty": 0.0,
        "row_digest": f"row:{row}",
        "features": features,
    }
    return Case(**{**fields, **changes})


def reviewed(queue, cases, answer):
    """Enter cases and let two people answer them alike."""
    queue.enter(cases)
    for number, one in enumerate(cases):
        for who in ("ada", "bob"):
            queue.answer(one.case_id, who, answer(number))


def alternating(number):
    return BLOCK if number % 3 == 0 else ALLOW


def test_the_id_of_a_case_says_whether_training_may_read_it():
    ids = [case(number).case_id for number in range(2000)]
    half = [is_for_training(one) for one in ids]
    assert 900 < sum(half) < 1100
    for one, chosen in zip(ids, half, strict=True):
        assert is_for_training(one, 1.0)
        assert chosen or not is_for_training(one, 0.2)


def test_a_release_holds_labels_and_weights_and_is_read_as_it_was_made(queue, releases, tmp_path):
    cases = [case(number) for number in range(40)]
    reviewed(queue, cases, alternating)
    release = releases.make("risk", by="ada")
    releases.write(release.release_id, tmp_path / "out" / "labels.parquet")
    table = pq.read_table(tmp_path / "out" / "labels.parquet")
    by_id = {one.case_id: (number, one) for number, one in enumerate(cases)}
    assert set(table.column("case_id").to_pylist()) == {i for i in by_id if is_for_training(i)}
    for row in table.to_pylist():
        number, one = by_id[row["case_id"]]
        assert row["label"] == (number % 3 == 0)
        assert row["sample_weight"] == pytest.approx(1 / one.inclusion_probability)
        assert {name: row[name] for name in one.features} == one.features
    assert table_digest(files.load(tmp_path / "out" / "labels.parquet")) == release.digest
    assert release.to_document()["rows"] == table.num_rows


def test_the_same_content_is_the_same_release_and_other_content_another(queue, releases):
    reviewed(queue, [case(number) for number in range(10)], alternating)
    first = releases.make("risk", by="ada")
    assert releases.make("risk", by="bob") == first
    reviewed(queue, [case(number) for number in range(10, 20)], alternating)
    second = releases.make("risk", by="ada")
    assert second.digest != first.digest
    assert [release.release_id for release in releases.listed("risk")] == [
        first.release_id,
        second.release_id,
    ]
    assert releases.find(first.release_id) == first


def test_released_cases_judge_no_model_and_the_others_stand_for_them(queue, releases):
    reviewed(queue, [case(number) for number in range(60)], alternating)
    before = answered_sample(queue.store, "risk")
    release = releases.make("risk", by="ada")
    after = answered_sample(queue.store, "risk")
    assert len(after.cases) == 60 - len(release.rows)
    assert (before.left_out, after.left_out) == (0, len(release.rows))
    assert after.waiting == ()

    def weight(sample):
        return sum(1 / one.inclusion_probability for one in sample.cases)

    assert weight(after) == pytest.approx(weight(before))


def test_who_decided_is_told_and_what_nobody_could_tell_is_left_out(queue, releases):
    cases = [case(number) for number in range(6)]
    queue.enter(cases)
    pairs = [(ALLOW, ALLOW), (ALLOW, BLOCK), (BLOCK, UNSURE), (UNSURE, UNSURE)]
    thirds = [None, BLOCK, ALLOW, UNSURE]
    for one, pair, third in zip(cases[:4], pairs, thirds, strict=True):
        for who, answer in zip(("ada", "bob"), pair, strict=True):
            queue.answer(one.case_id, who, answer)
        if third:
            queue.adjudicate(one.case_id, "cy", third)
    release = releases.make("risk", by="ada", share=1.0)
    told = {row["case_id"]: (row["label"], row["decided_by"]) for row in release.rows}
    assert told == {
        cases[0].case_id: (0, "agreement"),
        cases[1].case_id: (1, "adjudication"),
        cases[2].case_id: (0, "adjudication"),
    }


@pytest.mark.parametrize("share", [0, -1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(releases, share):
    with pytest.raises(UsageError, match="share"):
        releases.make("risk", by="ada", share=share)


def test_nothing_to_release_is_told(queue, releases):
    queue.enter([case(1)])
    with pytest.raises(UsageError, match="no closed case of risk"):
        releases.make("risk", by="ada", share=1.0)
    assert releases.listed() == []
    with pytest.raises(UsageError, match="no label release"):
        releases.find("rel_none")


def test_a_release_outlives_its_features_as_a_file_alone(queue, releases, clock, tmp_path):
    reviewed(queue, [case(number) for number in range(8)], alternating)
    release = releases.make("risk", by="ada", share=1.0)
    queue.expire_features(clock() + timedelta(days=1))
    assert releases.find(release.release_id) == release
    with pytest.raises(DataError, match="features of 8 cases"):
        releases.write(release.release_id, tmp_path / "late.parquet")
    assert not (tmp_path / "late.parquet").exists()


def test_cases_that_were_changed_behind_the_release_s_back_are_found(queue, releases, tmp_path):
    reviewed(queue, [case(number) for number in range(8)], alternating)
    release = releases.make("risk", by="ada", share=1.0)
    with queue.store.writing() as db:
        db.execute(
            t.review_case.update()
            .where(t.review_case.c.case_id == case(3).case_id)
            .values(label=False)
        )
    with pytest.raises(IntegrityError):
        releases.write(release.release_id, tmp_path / "labels.parquet")


def test_a_release_keeps_its_weights_when_its_rows_are_drawn_at_a_larger_share(queue, releases):
    cases = [case(number) for number in range(8)]
    reviewed(queue, cases, alternating)
    release = releases.make("risk", by="ada", share=1.0)
    queue.enter([case(number, inclusion_probability=0.9) for number in range(8)])
    table = releases.table(release.release_id)
    assert table_digest(table) == release.digest
    assert set(table.column("sample_weight").to_pylist()) == {1 / 0.1, 1 / 0.8}
    assert releases.make("risk", by="ada", share=1.0).digest != release.digest


def test_a_feature_that_is_called_as_a_column_of_ours_is_refused(queue, releases):
    reviewed(queue, [case(1, features={"label": 1})], alternating)
    with pytest.raises(DataError, match="'label'"):
        releases.make("risk", by="ada", share=1.0)
    assert releases.listed() == []
    assert answered_sample(queue.store, "risk").left_out == 0


def test_numbers_here_and_words_there_are_words(queue, releases):
    values = [1, "two", 2.5, None]
    reviewed(queue, [case(k, features={"x": v, "y": k}) for k, v in enumerate(values)], alternating)
    release = releases.make("risk", by="ada", share=1.0)
    told = releases.table(release.release_id).column("x").to_pylist()
    assert sorted(map(str, told)) == ["1", "2.5", "None", "two"]


def test_a_file_of_another_kind_is_refused(queue, releases, tmp_path):
    reviewed(queue, [case(1)], alternating)
    release = releases.make("risk", by="ada", share=1.0)
    with pytest.raises(UsageError, match=r"\.parquet"):
        releases.write(release.release_id, tmp_path / "labels.csv")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NethicalError):
        releases.write(release.release_id, tmp_path / "file" / "labels.parquet")


def test_training_reads_a_release_with_its_weights(queue, releases, tmp_path):
    def truth(number):
        return BLOCK if case(number).features["amount"] > 0 else ALLOW

    reviewed(queue, [case(number) for number in range(300)], truth)
    release = releases.make("risk", by="ada", share=1.0)
    releases.write(release.release_id, tmp_path / "labels.parquet")
    outcome = train(
        Plan("logistic", data=tmp_path / "labels.parquet", models_dir=str(tmp_path / "models"))
    )
    roles = {c.name: c.role.value for c in outcome.prepared.roles.columns}
    assert (roles["label"], roles["sample_weight"]) == ("label", "weight")
    assert {f.name for f in outcome.prepared.roles.features} == {"amount", "kind", "visits"}
    assert outcome.judged.evaluation.metrics_document()["roc_auc"] > 0.9
