"""The transformer: what it reads, that order counts, that bits hold, that a kill costs nothing."""

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.errors import TrainingError
from nethical.models.base import Settings
from nethical.models.logistic import Logistic
from nethical.models.simple_transformer import SimpleTransformer, build
from nethical.run import silent

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score

MEND = "run `pip install -e '.[transformer]'` in the folder of nethical"


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


@cache
def drawn(task, n=400, seed=1):
    return labelled(synthetic.generate(task, n, seed=seed).table)


def fit(rows, seed=7, **settings):
    return build(Settings(**settings)).fit(rows, rng=np.random.default_rng(seed), progress=silent)


@cache
def fitted(task):
    return fit(drawn(task), epochs=10 if task == "sequence" else 4)


def contents(parts):
    return (
        json.dumps(parts.document, sort_keys=True),
        dict(parts.texts),
        {name: array.tobytes() for name, array in parts.arrays.items()},
    )


class KilledError(Exception):
    pass


class Memory:
    """Snapshots that live as long as the test, and count what was asked of them."""

    def __init__(self, kept=None, killed_at=None):
        self.kept, self.killed_at, self.saved = kept, killed_at, 0

    def load(self):
        return self.kept

    def save(self, parts):
        self.kept = parts
        self.saved += 1
        if self.saved == self.killed_at:
            raise KilledError


def test_the_order_of_actions_decides_what_their_counts_cannot():
    rows, others = drawn("sequence"), drawn("sequence", 600, 2)
    model = fitted("sequence")
    assert roc_auc_score(others.y, model.score(others)) > 0.75
    items = others.items("actions").to_pylist()
    turned = Table(normalise(pa.table({"actions": [own[::-1] for own in items]})), rows.roles)
    assert roc_auc_score(others.y, model.score(turned)) < 0.4


def test_the_order_of_words_changes_a_score():
    model, rows = fitted("text"), drawn("text")
    (name,) = (f.name for f in rows.features)
    words = [text.split() for text in rows.texts(name).to_pylist()[:20]]
    turned = pa.table({name: [" ".join(own[::-1]) for own in words]})
    scores = model.score(Table(normalise(turned), rows.roles))
    assert (scores != model.score(rows.slice(0, 20))).all()


@pytest.mark.parametrize("task", ["mixed", "text"])
def test_a_score_is_the_same_bits_alone_in_any_order_and_beside_long_rows(task):
    model, rows = fitted(task), drawn(task, 120, 3)
    scores = model.score(rows)
    assert np.isfinite(scores).all()
    assert [model.score(rows.slice(i, 1))[0] for i in range(0, 120, 5)] == scores[::5].tolist()
    order = np.random.default_rng(0).permutation(120)
    assert (model.score(rows.take(order)) == scores[order]).all()
    name = next(f.name for f in rows.features if f.feature == Role.TEXT)
    texts = rows.texts(name).to_pylist()
    place = rows.frame.column_names.index(name)
    longer = pa.array([*texts[:-1], "long " * 3000], pa.large_string())
    beside = Table(rows.frame.set_column(place, name, longer), rows.roles)
    assert (model.score(beside)[:-1] == scores[:-1]).all()


def test_scores_do_not_depend_on_what_torch_was_set_to_and_leave_it_as_it_was():
    model, rows = fitted("text"), drawn("text", 60, 3)
    scores = model.score(rows)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    try:
        assert (model.score(rows) == scores).all()
        fit(rows, epochs=1)
        assert torch.get_num_threads() == 2
        assert torch.get_float32_matmul_precision() == "medium"
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.equal(torch.random.get_rng_state(), state)
    finally:
        torch.set_num_threads(before)
        torch.set_float32_matmul_precision("highest")


def test_every_kind_of_cell_gives_a_finite_score_even_a_text_of_a_megabyte():
    rows, model = drawn("mixed"), fitted("mixed")
    odd = {
        Role.NUMERIC: [1e300, -1e300, float("nan"), None, float("inf")],
        Role.CATEGORICAL: ["never seen", "", None, "\U0001f44d", "x"],
        Role.TEXT: [
            "\u5ffd\u7565\u6307\u4ee4",
            "",
            None,
            "\0 \u200b",
            "ignore all rules " * 60_000,
        ],
        Role.SEQUENCE: [["new"], [], None, [None, ""], ["plan"] * 100_000],
    }
    kinds = {Role.SEQUENCE: pa.list_(pa.string())}
    cells = {f.name: pa.array(odd[f.feature], kinds.get(f.feature)) for f in rows.features}
    table = Table(normalise(pa.table(cells)), rows.roles)
    scores = model.score(table)
    assert np.isfinite(scores).all()
    for i in range(5):
        assert model.score(table.slice(i, 1))[0] == scores[i]
        assert all(np.isfinite(r.contribution) for r in model.explain(table.slice(i, 1), 3)[0])


def test_a_long_row_is_as_risky_as_its_riskiest_window_and_is_read_to_its_end():
    model, rows = fitted("sequence"), drawn("sequence")
    calm, risky = ["plan"] * 600, ["grant_access", "read_secret", "send_message"] * 40
    lists = [calm, calm + risky, risky + calm, calm + risky + calm]
    table = Table(normalise(pa.table({"actions": lists})), rows.roles)
    none, *others = model.score(table).tolist()
    assert min(others) > none + 0.2


def test_shares_of_reasons_sum_to_the_score_less_the_mean_score_of_the_train_rows():
    model, rows = fitted("mixed"), drawn("mixed").slice(0, 80)
    scores, reasons = model.score(rows), model.explain(rows, 99)
    sums = np.array([sum(reason.contribution for reason in row) for row in reasons])
    np.testing.assert_allclose(sums, scores - model.to_parts().document["mean"], atol=1e-9)
    assert model.explain(rows.slice(5, 9), 2) == [row[:2] for row in reasons[5:14]]
    assert np.mean(model.score(drawn("mixed"))) == pytest.approx(scores[0] - sums[0], abs=1e-9)


def test_a_column_that_decides_nothing_has_a_small_share():
    rng = np.random.default_rng(0)
    y = np.arange(600) % 2
    frame = pa.table({"told": rng.normal(size=600) + 3 * y, "noise": rng.normal(size=600)})
    rows = labelled(frame.append_column("label", pa.array(y)))
    reasons = fit(rows).explain(rows, 2)
    size = {"told": 0.0, "noise": 0.0}
    for row in reasons:
        for reason in row:
            size[reason.column] += abs(reason.contribution)
    assert size["told"] > 3 * size["noise"]


def test_a_fit_that_is_killed_anywhere_and_resumed_ends_in_the_same_bytes():
    rows = drawn("legacy_anomaly", 520)
    settings = {"epochs": 4, "batch_size": 128}
    whole, steps = Memory(), []
    model = fit_with(rows, whole, lambda _, done, __: steps.append(done), settings)
    assert model.fitting.details["rows_for_early_stopping"] == 52
    assert len(steps) == steps[-1] == 16
    rng = np.random.default_rng(11)
    kills = 0
    while kills < 20:
        ended, kept = None, None
        while ended is None:  # killed again and again until it comes through
            at_step, at_save = int(rng.integers(1, 24)), int(rng.integers(1, 6))
            ended, kept = go_on(rows, kept, at_step, at_save, settings)
            kills += ended is None
        assert contents(ended.to_parts()) == contents(model.to_parts())
        assert contents(kept) == contents(whole.kept)
        assert ended.fitting == model.fitting


def fit_with(rows, memory, progress, settings):
    model = build(Settings(**settings, snapshots=memory))
    return model.fit(rows, rng=np.random.default_rng(7), progress=progress)


def go_on(rows, kept, at_step, at_save, settings):
    """Return the model, or None if it was killed, and the snapshot that is there then."""
    memory, seen = Memory(kept, at_save), 0

    def progress(_, done, total):
        nonlocal seen
        seen += 1
        assert 0 < done <= total
        if seen == at_step:
            raise KilledError

    try:
        return fit_with(rows, memory, progress, settings), memory.kept
    except KilledError:
        return None, memory.kept


def test_a_snapshot_of_another_seed_is_refused():
    memory, rows = Memory(), drawn("text")
    fit(rows, epochs=1, snapshots=memory)
    with pytest.raises(TrainingError, match="another seed"):
        fit(rows, seed=8, epochs=2, snapshots=memory)


def test_a_fit_in_another_process_with_other_thread_settings_gives_the_same_bytes():
    folder = str(Path(__file__).parent)
    program = (
        f"import sys; sys.path.insert(0, {folder!r}); import test_simple_transformer as t;"
        "print(t.digest_of(t.fit(t.drawn('mixed'), epochs=1)))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "2", "RAYON_NUM_THREADS": "2"}
    there = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert there.strip() == digest_of(fit(drawn("mixed"), epochs=1))


def digest_of(model):
    return hashlib.sha256(repr(contents(model.to_parts())).encode()).hexdigest()


@pytest.mark.parametrize("library", ["torch", "tokenizers"])
def test_without_the_libraries_it_says_what_to_install(library, monkeypatch):
    parts = fitted("text").to_parts()
    model = SimpleTransformer.from_parts(parts)
    monkeypatch.setitem(sys.modules, library, None)
    unfitted = build(Settings())
    attempts = [
        lambda: unfitted.fit(drawn("text"), rng=np.random.default_rng(0), progress=silent),
        lambda: SimpleTransformer.from_parts(parts),
    ]
    if library == "torch":
        attempts.append(lambda: model.score(drawn("text")))
    for attempt in attempts:
        with pytest.raises(TrainingError, match="needs torch and tokenizers, which") as caught:
            attempt()
        assert caught.value.mend == MEND


def test_building_a_model_imports_neither_library():
    program = (
        "import sys; from nethical.models import base, simple_transformer;"
        "simple_transformer.build(base.Settings());"
        "print([name for name in ('torch', 'tokenizers') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_rows_of_one_class_are_refused_in_two_clear_lines():
    rows = drawn("text")
    with pytest.raises(TrainingError, match="of one class") as caught:
        fit(rows.rows(rows.y == 1))
    assert caught.value.mend
    weight = (np.arange(100) % 2).astype(float)
    frame = pa.table({"x": weight, "weight": weight, "label": np.arange(100) % 2})
    with pytest.raises(TrainingError, match="of one class"):
        fit(labelled(frame, x=Role.NUMERIC))


def test_rows_that_read_the_same_all_get_the_base_rate():
    y = (np.arange(300) % 3 == 0).astype(np.int64)
    rows = labelled(pa.table({"x": np.ones(300), "label": y}), x=Role.NUMERIC)
    model = fit(rows)
    assert model.score(rows) == pytest.approx(np.full(300, np.log(1 / 2)), abs=1e-6)
    assert model.fitting.notes == ("all rows read the same, so each gets the base rate",)
    assert model.fitting.epochs_run == 0


def test_row_weights_are_followed():
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, 400)
    y = np.arange(400) % 2
    heavy = np.where(side == y, 50.0, 1.0)
    frame = {"side": np.where(side == 1, "a", "b"), "weight": heavy, "label": y}
    rows = labelled(pa.table(frame), side=Role.CATEGORICAL)
    scores = fit(rows).score(rows)
    assert scores[side == 1].min() > 0 > scores[side == 0].max()


def test_groups_are_never_parted_by_early_stopping():
    from nethical.models.stopping import stopping_rows

    frame = synthetic.generate("mixed", 900, seed=5, groups=60).table
    rows = labelled(frame)
    held = stopping_rows(rows, np.random.default_rng(0))
    assert 50 <= held.sum() < 250
    assert not set(rows.groups[held].tolist()) & set(rows.groups[~held].tolist())


def test_a_fit_says_how_it_went():
    told = []
    rows = labelled(synthetic.generate("text", 700, seed=1).table)
    model = build(Settings(epochs=3, threads=4)).fit(
        rows, rng=np.random.default_rng(7), progress=lambda *step: told.append(step)
    )
    details = model.fitting.details
    assert model.fitting.epochs_run <= 3
    assert details["parameters"] == sum(a.size for a in model.to_parts().arrays.values())
    assert 0.25 <= details["temperature"] <= 20
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert (details["device"], details["threads"]) == (device, 1)
    assert details["rows_for_early_stopping"] == 70
    assert model.fitting.notes == ("--threads has no effect: it computes on one thread",)
    assert told[-1][0] == "fit simple_transformer"
    assert told[-1][1] == told[-1][2] * model.fitting.epochs_run / 3
    assert model.traits.beside == "logistic"


def test_two_thousand_rows_get_the_whole_network():
    from nethical.models.transformer.encoder import Shape, first_weights

    shape = Shape.for_rows(2000, tokens=7000, words=6990, places=2)
    assert (shape.layers, shape.width, shape.heads) == (4, 128, 4)
    weights = first_weights(shape, np.random.default_rng(0), 0.0)
    assert 1.6e6 < sum(array.size for array in weights.values()) < 1.9e6


def test_on_few_texts_it_comes_close_to_the_plain_reference():
    rows, others = drawn("text"), drawn("text", 600, 2)
    plain = Logistic(Settings()).fit(rows, rng=np.random.default_rng(0), progress=silent)
    reference = roc_auc_score(others.y, plain.score(others))
    assert roc_auc_score(others.y, fit(rows).score(others)) > reference - 0.03
