import math
import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency
from sklearn.feature_extraction.text import TfidfVectorizer

from nethical.data import synthetic
from nethical.data.roles import Role, RoleHints, infer
from nethical.data.table import LabelledTable, Table, normalise
from nethical.models import features, ngrams
from nethical.models.features import Levels, Ngrams, Numbers, associated_grams, level_text
from nethical.models.scorecard import value_text

NAN = math.nan


def labelled(frame, **roles):
    frame = normalise(frame)
    return LabelledTable.read(frame, infer(frame, RoleHints(roles)))[0]


@pytest.fixture(scope="module")
def messages():
    """A text task whose messages hold plain ASCII."""
    table = labelled(synthetic.generate("text", 500, seed=5).table, message=Role.TEXT)
    assert all(text.isascii() for text in table.texts("message").to_pylist())
    return table


@pytest.fixture(scope="module")
def actions():
    return labelled(synthetic.generate("sequence", 400, seed=5).table, actions=Role.SEQUENCE)


# --- numbers -----------------------------------------------------------------------------------


def test_numbers_have_the_mean_and_deviation_of_the_present_values():
    values = np.random.default_rng(0).normal(50, 4, 500)
    values[::7] = np.nan
    numbers = Numbers.fit(values)
    assert numbers.mean == pytest.approx(np.nanmean(values), rel=1e-12)
    assert numbers.scale == pytest.approx(np.nanstd(values), rel=1e-12)
    scaled = numbers.scaled(values)
    assert np.array_equal(np.isnan(scaled), np.isnan(values))
    assert np.nanmean(scaled) == pytest.approx(0, abs=0.05)


def test_numbers_are_cut_at_three_deviations_either_way():
    numbers = Numbers(10.0, 2.0)
    assert numbers.scaled(np.array([16.0, 16.1, 1e300, 4.0, -1e300, 11.0, NAN])).tolist()[:6] == [
        *(3.0, 3.0, 3.0, -3.0, -3.0, 0.5)
    ]


@pytest.mark.parametrize(
    ("values", "mean"),
    [([], 0.0), ([NAN, NAN], 0.0), ([5.0], 5.0), ([0.1] * 1000, 0.1), ([1e300, -1e300], 0.0)],
)
def test_numbers_without_a_usable_spread_keep_the_scale_one(values, mean):
    with np.errstate(over="ignore"):
        numbers = Numbers.fit(np.array(values, dtype=float))
    assert numbers.scale == 1.0
    assert numbers.mean == pytest.approx(mean)


# --- levels ------------------------------------------------------------------------------------


def strings(values):
    return pa.array(values, pa.large_string())


def test_levels_go_from_the_most_frequent_and_ties_by_name():
    levels = Levels.fit(strings(["b", "a", "c", "b", "a", "z", "z", "z", None, "once"]))
    assert levels.levels == ("z", "a", "b")
    assert levels.names() == ("z", "a", "b", "(other)", "(missing)")
    assert levels.n_codes == 5
    assert levels.encode(strings(["b", "z", None, "once", "new", "a"])).tolist() == [
        2,
        0,
        4,
        3,
        3,
        1,
    ]


def test_at_most_255_levels_are_kept_and_they_are_the_most_frequent():
    values = [f"level {i:03}" for i in range(300) for _ in range(2 + (i < 100))]
    levels = Levels.fit(strings(values))
    assert len(levels.levels) == 255
    assert levels.levels[:100] == tuple(f"level {i:03}" for i in range(100))
    assert set(levels.levels[100:]) == {f"level {i:03}" for i in range(100, 255)}
    assert levels.encode(strings(["level 254", "level 255"])).tolist() == [254, 255]
    assert Levels.fit(strings(values), most=3).levels == ("level 000", "level 001", "level 002")


def test_levels_of_nothing_know_other_and_missing_only():
    levels = Levels.fit(strings([None, None, "a"]))
    assert levels.levels == ()
    assert levels.encode(strings(["a", None])).tolist() == [0, 1]
    assert levels.encode(strings([])).tolist() == []


@pytest.mark.parametrize(
    "values",
    [
        [True, False, None],
        [1, -2, None],
        [1.0, 2.0, -3.0, None],
        [0.5, 1.0, 1e-5, 2.5e-7, 123456.25, 12345678901.5, -0.1, 1e-300, None],
        ["a", "", " b", None],
    ],
)
def test_a_level_is_spelt_alike_for_one_row_and_for_a_column(values):
    frame = normalise(pa.table({"x": values}))
    roles = infer(
        frame.append_column("y", frame.column("x")), RoleHints({"y": Role.TEXT}), label_needed=False
    )
    assert [level_text(value) for value in values] == Table(frame, roles).texts("x").to_pylist()


def test_numbers_as_levels_are_spelt_as_arrow_spells_them():
    rng = np.random.default_rng(0)
    values = 10.0 ** rng.uniform(-320, 300, 3000) * rng.choice([-1, 1], 3000)
    values = np.concatenate([values, np.round(10.0 ** rng.uniform(-9, 14, 3000), 3)])
    values = values[values != np.floor(values)]
    texts = pa.array(values).cast(pa.large_string()).to_pylist()
    assert [value_text(value) for value in values.tolist()] == texts


# --- n-grams -----------------------------------------------------------------------------------


def words(text):
    found = re.findall(r"[a-z0-9_]+", text.lower())
    return [*found, *(" ".join(pair) for pair in pairwise(found))]


def characters(text):
    padded = [f" {word} " for word in text.lower().split()]
    return [w[i : i + n] for n in (3, 4, 5) for w in padded for i in range(len(w) - n + 1)]


def items(row):
    return [" > ".join(row[i : i + n]) for n in (1, 2, 3) for i in range(len(row) - n + 1)]


def dense(rows, width):
    matrix = np.zeros((rows.n_rows, width))
    matrix[rows.rows, rows.columns] = rows.values
    return matrix


def columns_by_content(matrix):
    """Return the columns in an order that their content decides."""
    rounded = np.round(matrix, 9)
    return matrix[:, np.lexsort(rounded)]


@pytest.mark.parametrize("kind", ["words", "characters", "items"])
def test_tfidf_is_that_of_scikit_learn(messages, actions, kind):
    column = actions.items("actions") if kind == "items" else messages.texts("message")
    analyzer = {"words": words, "characters": characters, "items": items}[kind]
    peer = TfidfVectorizer(analyzer=analyzer, min_df=2, max_df=0.98, sublinear_tf=True)
    learnt, others = column.slice(0, 300), column.slice(300)
    wanted = peer.fit(learnt.to_pylist()).transform(others.to_pylist()).toarray()
    fitted = Ngrams.fit(learnt, kind)
    assert len(fitted.hashes) == wanted.shape[1] > 20
    assert np.sort(fitted.idf) == pytest.approx(np.sort(peer.idf_), rel=1e-12)
    got = dense(fitted.transform(others), wanted.shape[1])
    if kind == "characters":  # decoded texts are stripped, so columns are matched by content
        assert columns_by_content(got) == pytest.approx(columns_by_content(wanted), abs=1e-12)
        return
    names = fitted.read_back(learnt, np.arange(len(fitted.hashes)))
    spelt = [names[i] if kind == "items" else " ".join(re.findall(r"\w+", names[i])) for i in names]
    order = [peer.vocabulary_[name] for name in spelt]
    assert sorted(order) == list(range(wanted.shape[1]))
    assert got[:, list(names)] == pytest.approx(wanted[:, order], abs=1e-12)


@pytest.mark.parametrize("kind", ["words", "characters", "items"])
def test_a_rows_tfidf_knows_no_other_row_and_no_chunk(messages, actions, kind, monkeypatch):
    column = actions.items("actions") if kind == "items" else messages.texts("message")
    fitted = Ngrams.fit(column, kind)
    whole = dense(fitted.transform(column), len(fitted.hashes))
    alone = dense(fitted.transform(column.slice(17, 1)), len(fitted.hashes))
    assert (alone == whole[17:18]).all()
    weights = np.random.default_rng(0).normal(size=len(fitted.hashes))
    product = fitted.transform(column).dot(weights)
    monkeypatch.setattr(ngrams, "CHUNK_SYMBOLS", 200)
    assert (dense(fitted.transform(column), len(fitted.hashes)) == whole).all()
    assert (fitted.transform(column).dot(weights) == product).all()
    chunked = Ngrams.fit(column, kind)
    assert (chunked.hashes == fitted.hashes).all()
    assert (chunked.idf == fitted.idf).all()
    assert product == pytest.approx(whole @ weights, abs=1e-12)


def test_rows_of_unknown_empty_and_missing_text_are_all_zero(messages):
    fitted = Ngrams.fit(messages.texts("message"), "words")
    rows = fitted.transform(strings(["qqq zzz", "", None]))
    assert (rows.n_rows, len(rows.values)) == (3, 0)
    assert rows.dot(np.ones(len(fitted.hashes))).tolist() == [0.0, 0.0, 0.0]
    nothing = Ngrams.fit(strings([]), "words")
    assert nothing.transform(strings(["a b"])).dot(nothing.idf).tolist() == [0.0]


def test_grams_in_one_row_or_in_nearly_all_are_not_kept():
    column = strings([f"always word{i % 3} unique{i}" for i in range(60)])
    fitted = Ngrams.fit(column, "words")
    names = fitted.read_back(column, np.arange(len(fitted.hashes)))
    assert set(names.values()) == {f"{a}word{i}" for i in range(3) for a in ("", "always ")}


def test_too_many_grams_are_cut_to_the_more_frequent_whole_ties_out(monkeypatch):
    column = strings([" ".join(f"t{j}" for j in range(8) if i % (j + 2) == 0) for i in range(120)])
    full = Ngrams.fit(column, "words")
    frequency = np.round(121 / np.exp(full.idf - 1)) - 1
    monkeypatch.setattr(features, "MAX_GRAMS", 5)
    cut = Ngrams.fit(column, "words")
    least = np.sort(frequency)[-5]
    assert 0 < len(cut.hashes) <= 5
    assert set(cut.hashes.tolist()) == set(full.hashes[frequency > least].tolist())


def test_read_back_gives_the_texts_that_were_wanted_and_no_others(messages):
    column = messages.texts("message")
    fitted = Ngrams.fit(column, "words")
    wanted = np.arange(0, len(fitted.hashes), 7)
    names = fitted.read_back(column, wanted)
    assert sorted(names) == wanted.tolist()
    for place, text in names.items():
        (again,) = ngrams.grams(strings([text]), "words")
        assert fitted.hashes[place] in again.hashes
    assert fitted.read_back(strings(["nothing known"]), wanted) == {}


@pytest.mark.parametrize("kind", ["words", "items"])
def test_associated_grams_have_the_largest_chi_squares(messages, actions, kind):
    table = actions if kind == "items" else messages
    name = "actions" if kind == "items" else "message"
    fitted = Ngrams.fit(features.gram_column(table, name, kind), kind)
    chosen, rows = associated_grams(table, name, fitted, 12)
    present = dense(rows, len(fitted.hashes)) > 0
    scores = np.zeros(len(fitted.hashes))
    for column in range(present.shape[1]):
        counts = np.array(
            [[np.sum((present[:, column] == p) & (table.y == y)) for y in (0, 1)] for p in (0, 1)]
        )
        if counts[1].sum() >= 5:
            scores[column] = chi2_contingency(counts, correction=False).statistic
    assert len(chosen) == 12
    assert (np.diff(chosen) > 0).all()
    assert scores[chosen].min() > 3.84
    others = np.delete(scores, chosen)
    assert scores[chosen].min() >= others.max() - 1e-9
    everything, _ = associated_grams(table, name, fitted, 10_000)
    assert set(everything.tolist()) == set(np.flatnonzero(scores > 3.84).tolist())
