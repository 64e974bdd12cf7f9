import json
import math
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.errors import TrainingError
from nethical.models import boosted
from nethical.models.base import Parts, Settings
from nethical.models.boosted import Boosted, build
from nethical.models.stopping import stopping_rows
from nethical.run import silent

TABULAR = ["severity_max", "frequency_score", "channel", "region", "label"]


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


def fit(table, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return build(Settings(**settings)).fit(table, rng=rng, progress=silent)


@pytest.fixture(scope="module")
def mixed():
    """Numbers, categories, text, actions and groups; the model stops early."""
    table = labelled(synthetic.generate("mixed", 1000, seed=1).table)
    return table, fit(table)


def with_rare_levels(frame):
    """Return rows some of whose channels occur once, and some are missing, by label."""
    draw, y = np.random.default_rng(0).random(len(frame)), np.array(frame.column("label"))
    cells = frame.column("channel").to_pylist()
    for i in np.flatnonzero(draw < np.where(y == 1, 0.2, 0.05)).tolist():
        cells[i] = f"rare {i}"
    for i in np.flatnonzero(draw > np.where(y == 1, 0.95, 0.8)).tolist():
        cells[i] = None
    return frame.set_column(frame.column_names.index("channel"), "channel", pa.array(cells))


@pytest.fixture(scope="module")
def tabular():
    frame = synthetic.generate("mixed", 1000, seed=1).table.select(TABULAR)
    table = labelled(with_rare_levels(frame))
    return table, fit(table)


def text_of(model):
    return model.to_parts().texts["trees.txt"]


THREADS = """
import hashlib, sys
import numpy as np
from nethical.data import synthetic
from nethical.data.roles import RoleHints, infer
from nethical.data.table import LabelledTable, normalise
from nethical.models.base import Settings
from nethical.models.boosted import build
from nethical.run import silent

frame = normalise(synthetic.generate("mixed", 1000, seed=1).table)
table = LabelledTable.read(frame, infer(frame, RoleHints()))[0]
for threads in (1, 2):
    model = build(Settings(epochs=3, threads=threads))
    model.fit(table, rng=np.random.default_rng(0), progress=silent)
    reasons = repr(model.explain(table.slice(0, 20), 9))
    stored = model.to_parts().texts["trees.txt"]
    for made in (stored.encode(), model.score(table).tobytes(), reasons.encode()):
        print(threads, hashlib.sha256(made).hexdigest(), "num_threads" in stored)
"""


def test_trees_scores_and_reasons_are_the_same_with_one_thread_and_with_two():
    ran = subprocess.run(
        [sys.executable, "-c", THREADS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_WAIT_POLICY": "passive"},  # idle threads spin else
    )
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert [line[0] for line in lines] == ["1"] * 3 + ["2"] * 3
    assert [line[1:] for line in lines[:3]] == [line[1:] for line in lines[3:]]
    assert {line[2] for line in lines} == {"False"}


def test_the_generator_decides_the_trees(mixed):
    table, model = mixed
    assert text_of(fit(table)) == text_of(model)
    assert text_of(fit(table, seed=1)) != text_of(model)


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_decide_when_to_stop_never_split_a_group(mixed, seed):
    table = mixed[0]
    held = stopping_rows(table, np.random.default_rng(seed))
    assert 50 <= held.sum() < len(table) / 3
    shares = [held[table.groups == group].mean() for group in np.unique(table.groups)]
    assert set(shares) == {0.0, 1.0}
    assert set(table.y[held]) == set(table.y[~held]) == {0, 1}


def test_rows_without_groups_are_held_back_one_in_ten_and_few_rows_not_at_all(tabular):
    table = tabular[0]
    held = stopping_rows(table, np.random.default_rng(0))
    assert held.sum() == len(table) / 10
    few = stopping_rows(table.rows(np.arange(400)), np.random.default_rng(0))
    assert not few.any()


def test_training_stops_early_and_says_after_how_many_trees(mixed):
    table = mixed[0]
    steps = []
    model = build(Settings(epochs=60)).fit(
        table, rng=np.random.default_rng(0), progress=lambda *step: steps.append(step)
    )
    trees = text_of(model).count("\nTree=")
    assert trees == model.fitting.details["trees"] < 600
    assert model.fitting.epochs_run == trees / 10
    assert len(steps) == trees + boosted.PATIENCE
    assert model.fitting.details["rows_for_early_stopping"] > 0


def test_rounds_are_ten_an_epoch_when_nothing_stops_them(tabular):
    model = fit(tabular[0].rows(np.arange(400)), epochs=2)
    assert text_of(model).count("\nTree=") == 20
    assert model.fitting.epochs_run == 2
    assert model.fitting.details["rows_for_early_stopping"] == 0


def test_a_model_survives_its_parts_bit_for_bit(mixed):
    table, model = mixed
    parts = model.to_parts()
    document = json.loads(json.dumps(parts.document, sort_keys=True))
    texts = {name: text.encode().decode() for name, text in parts.texts.items()}
    again = Boosted.from_parts(Parts(document, parts.arrays, texts))
    assert (again.score(table) == model.score(table)).all()
    assert again.to_parts().texts == parts.texts
    assert again.explain(table.slice(0, 20), 9) == model.explain(table.slice(0, 20), 9)


def test_unseen_and_missing_levels_are_scored_and_unseen_ones_alike(tabular):
    table, model = tabular
    place = table.frame.column_names.index("channel")
    base = table.frame.slice(0, 200)

    def scores(value):
        column = pa.array([value] * len(base), pa.large_string())
        return model.score(Table(base.set_column(place, "channel", column), table.roles))

    assert (scores("never seen") == scores("nor this")).all()
    assert np.isfinite(scores("never seen")).all()
    assert np.isfinite(scores(None)).all()
    known = [scores(level) for level in model._levels["channel"].levels]
    assert np.ptp(known, axis=0).max() > 0.1, "the column counts"


def cell(row, name):
    """Return a cell as a column has it, where NaN is a missing value."""
    value = row.get(name)
    return None if isinstance(value, float) and math.isnan(value) else value


def test_one_row_scores_as_many_do_whatever_is_missing_or_new(tabular):
    table, model = tabular
    score_row = model.row_scorer()
    rng = np.random.default_rng(3)
    numbers = [None, float("nan"), float("inf"), -float("inf"), -0.0, 1e300, 1, True]
    levels = [None, float("nan"), "never seen", "", 5, 2.0, 1e-5]
    for row in table.frame.select(TABULAR[:4]).slice(0, 300).to_pylist():
        for name, odd in zip(TABULAR[:4], (numbers, numbers, levels, levels), strict=True):
            if rng.random() < 0.3:
                row[name] = odd[rng.integers(len(odd))]
            elif rng.random() < 0.1:
                del row[name]
        cells = {name: [cell(row, name)] for name in TABULAR[:4]}
        assert score_row(row) == model.score(Table(normalise(pa.table(cells)), table.roles))[0], row


def reason_sums(model, table):
    return np.array([sum(r.contribution for r in row) for row in model.explain(table, 99)])


def test_reasons_sum_to_the_score_less_that_of_the_average_row_that_trees_were_grown_on(mixed):
    table, model = mixed
    held = stopping_rows(table, np.random.default_rng(0))
    grown_on = model.score(table)[~held].mean()
    assert reason_sums(model, table) == pytest.approx(model.score(table) - grown_on, abs=1e-8)
    assert grown_on == pytest.approx(model.score(table).mean(), abs=0.2)


def test_without_early_stopping_that_is_the_average_training_row(mixed):
    table = mixed[0].rows(np.arange(400))
    model = fit(table)
    scores = model.score(table)
    assert reason_sums(model, table) == pytest.approx(scores - scores.mean(), abs=1e-8)
    for row in model.explain(table.slice(0, 50), 99):
        assert {reason.column for reason in row} == {f.name for f in table.features}
        shares = [abs(reason.contribution) for reason in row]
        assert shares == sorted(shares, reverse=True)


def test_no_rows_have_no_reasons(mixed):
    table, model = mixed
    assert model.explain(table.slice(0, 0), 3) == []


def test_fitting_again_forgets_the_first_table(mixed):
    table, model = mixed
    twice = build(Settings())
    for _ in range(2):
        twice.fit(table, rng=np.random.default_rng(0), progress=silent)
    assert text_of(twice) == text_of(model)
    assert twice.to_parts().document == model.to_parts().document


def test_text_that_tells_nothing_is_refused_in_one_line(capfd):
    table = labelled(pa.table({"t": ["same words"] * 60, "label": np.arange(60) % 2}), t=Role.TEXT)
    with pytest.raises(TrainingError, match="no n-gram tells the classes apart"):
        fit(table)
    assert capfd.readouterr() == ("", "")


def test_training_prints_nothing(tabular, capfd):
    fit(tabular[0], epochs=1)
    assert capfd.readouterr() == ("", "")


def test_weights_count_as_copies_do():
    frame = synthetic.generate("risk", 400, seed=2).table
    twice = np.random.default_rng(0).random(400) < 0.5
    weighted = labelled(frame.append_column("weight", pa.array(np.where(twice, 1.9, 0.1))))
    light = fit(weighted).score(labelled(frame))
    plain = fit(labelled(frame)).score(labelled(frame))
    y = np.array(frame.column("label"))
    loss = np.logaddexp(0, light) - y * light
    even = np.logaddexp(0, plain) - y * plain
    assert loss[twice].mean() < even[twice].mean()
    assert loss[~twice].mean() > 1.5 * even[~twice].mean()


BROKEN = """
import sys
from nethical.errors import TrainingError
from nethical.models import catalog
from nethical.models.base import Parts, Settings
import numpy as np, pyarrow as pa
from nethical.data.roles import RoleHints, infer
from nethical.data.table import LabelledTable, normalise
from nethical.run import silent

frame = normalise(pa.table({"x": np.arange(200) % 7, "label": np.arange(200) % 2}))
table = LabelledTable.read(frame, infer(frame, RoleHints()))[0]
fits = lambda name: catalog.build(name, Settings()).fit(
    table, rng=np.random.default_rng(0), progress=silent
)
stored = Parts({"columns": [], "levels": {}, "fills": {}, "ngrams": {}}, {}, {"trees.txt": ""})
for attempt in (lambda: fits("boosted"), lambda: catalog.restore("boosted", stored)):
    try:
        attempt()
    except TrainingError as error:
        print(error.exit_code, error.what, "|", error.mend)
print(len(fits("logistic").score(table)))
"""


def test_a_machine_without_openmp_is_told_what_to_install_and_other_types_go_on(tmp_path):
    missing = "libgomp.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "lightgbm.py").write_text(f"raise OSError({missing!r})\n")
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{BROKEN}"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = ran.stdout.splitlines()
    mend = "install the OpenMP library (`apt-get install libgomp1`)"
    told = f"5 LightGBM cannot start: {missing} | {mend}"
    assert lines == [told, told, "200"]
