import numpy as np
import pyarrow as pa
import pytest

from nethical.models.novelty import START, UNSEEN, WINDOW, Novelty, steps, words

LISTS = pa.large_list(pa.large_string())
LOOP = [["open", "read", "close"]] * 20 + [["open", "write", "close"]] * 20


def lists(rows):
    return pa.array(rows, LISTS)


def fit(rows):
    return Novelty.fit(lists(rows))


def surprises(novelty, row):
    read = steps(lists([row]), novelty.vocabulary)
    found = novelty.chain.surprises(read.windows, (5, 3))
    return {order: values.tolist() for order, values in found.items()}


def test_witten_bell_back_off_is_as_computed_by_hand():
    novelty = fit([["a"], ["a"], ["b"], ["b"], ["b"]])
    # symbols: a, b, the end, the unseen one; the chain has met a twice, b three times, the end
    # five times: ten steps of three types
    zero = {"a": (2 + 3 / 4) / 13, "b": (3 + 3 / 4) / 13, "end": (5 + 3 / 4) / 13}
    # the start was followed five times by two types; one to five starts tell the same
    p = zero["a"]
    for _ in range(5):
        p = (2 + 2 * p) / 7
    assert surprises(novelty, ["a"])[5][0] == pytest.approx(-np.log(p))
    # a was followed twice by one type, the end, and so were (start, a), (start, start, a), ...
    p = zero["end"]
    for _ in range(5):
        p = (2 + p) / 3
    assert surprises(novelty, ["a"])[5][1] == pytest.approx(-np.log(p))
    p = zero["end"]
    for _ in range(3):
        p = (2 + p) / 3
    assert surprises(novelty, ["a"])[3][1] == pytest.approx(-np.log(p))


def test_a_context_that_was_never_met_leaves_the_shorter_one_to_decide():
    novelty = fit([["a"], ["a"], ["b"], ["b"], ["b"]])
    # "b" follows "a" here for the first time: after a, the end alone was met, twice
    second = surprises(novelty, ["a", "b"])[5][1]
    p = (3 + 3 / 4) / 13
    for _ in range(5):
        p = (0 + 1 * p) / 3
    assert second == pytest.approx(-np.log(p))
    # after (a, b), (start, a, b), ... nothing was met; after b the end, three times
    third = surprises(novelty, ["a", "b"])[5][2]
    assert third == pytest.approx(-np.log((3 + (5 + 3 / 4) / 13) / 4))


def test_the_probabilities_of_all_symbols_sum_to_one_in_any_context():
    rng = np.random.default_rng(0)
    novelty = fit([["abcd"[i] for i in rng.integers(0, 4, 7)] for _ in range(200)])
    known = novelty.vocabulary
    for context in (["a"], ["a", "b", "c"], ["d", "d", "d", "d", "d"]):
        window = steps(lists([[*context, "a"]]), known).windows[:, [len(context)]]
        every = np.repeat(window, len(known) + 1, axis=1)
        every[0] = np.append(known, np.uint64(2))
        total = np.exp(-novelty.chain.surprises(every, (5,))[5]).sum()
        assert 0.9 < total < 1  # the rest is left to the unseen symbol


def test_stide_is_the_share_of_windows_that_no_normal_sequence_holds():
    novelty = fit(LOOP)
    share = novelty.scores(lists([["open", "read", "close"], ["open", "read", "read", "close"]]))[2]
    # the second: open, open read are known; read after read, the close and the end after it not
    assert share.tolist() == [0, 3 / 5]


def test_short_sequences_have_windows_too():
    novelty = fit([["go"], ["go"], ["stop"], ["stop"]])
    known, twice, stopped = novelty.scores(lists([["go"], ["go", "go"], []]))[2].tolist()
    assert (known, twice, stopped) == (0, 2 / 3, 1)


def test_windows_have_the_step_first_and_the_start_before_all():
    read = steps(lists([["a", "b"], None, []]), np.empty(0, dtype=np.uint64))
    assert read.rows.tolist() == [0, 0, 0, 1, 2]
    assert read.windows.shape == (WINDOW, 5)
    assert read.windows[:, 0].tolist() == [UNSEEN, *[START] * 5]
    assert read.windows[1:, 2].tolist() == [UNSEEN, UNSEEN, *[START] * 3]


def test_the_order_of_actions_changes_every_score():
    forward, backward = zip(*fit(LOOP).scores(lists([LOOP[0], LOOP[0][::-1]])), strict=True)
    assert all(there < back for there, back in zip(forward, backward, strict=True))


def test_a_sequence_of_unseen_items_is_the_most_abnormal_of_all():
    rng = np.random.default_rng(1)
    rows = [[f"s{i % 6}" for i in range(start, start + 8)] for start in rng.integers(0, 6, 300)]
    novelty = fit(rows)
    scrambled = [[f"s{i}" for i in rng.integers(0, 6, 8)] for _ in range(300)]
    unseen = [[f"new{i}" for i in range(8)], ["new"] * 3, ["other"] * 50]
    scores = novelty.scores(lists(scrambled + unseen))
    for detector in scores:
        assert detector[-3:].min() >= detector[:-3].max()
    assert all(detector[-1] > detector[:-3].max() for detector in scores[:2])


def test_an_item_of_one_sequence_alone_is_unseen_however_often_it_stands_there():
    novelty = fit([*LOOP, ["odd"] * 50])
    assert len(novelty.vocabulary) == 4
    assert novelty.scores(lists([["odd"] * 50]))[2][0] == 1


def test_empty_and_missing_sequences_are_alike_and_finite():
    empty, missing = zip(*fit(LOOP).scores(lists([[], None])), strict=True)
    assert empty == missing
    assert np.isfinite(empty).all()
    assert all(score.shape == (0,) for score in fit(LOOP).scores(lists([])))


def test_nothing_but_empty_sequences_can_be_learnt_from():
    usual, other = zip(*fit([[], None, []]).scores(lists([[], ["a"]])), strict=True)
    assert all(a < b for a, b in zip(usual, other, strict=True))


def test_a_row_scores_the_same_alone_in_chunks_and_among_others(monkeypatch):
    rng = np.random.default_rng(2)
    rows = [[f"i{k}" for k in rng.integers(0, 9, size)] for size in rng.integers(0, 30, 200)]
    novelty, every = fit(rows), lists(rows)
    scores = novelty.scores(every)
    for start in range(0, 200, 9):
        for whole, part in zip(scores, novelty.scores(every.slice(start, 1)), strict=True):
            assert whole[start] == part[0]
    monkeypatch.setattr("nethical.models.novelty.CHUNK_SYMBOLS", 100)
    for whole, part in zip(scores, novelty.scores(every), strict=True):
        assert (whole == part).all()
    assert {k: v.tobytes() for k, v in fit(rows).to_parts().arrays.items()} == {
        k: v.tobytes() for k, v in novelty.to_parts().arrays.items()
    }


def test_too_many_windows_are_cut_down_to_frequent_ones_and_still_score(monkeypatch):
    rng = np.random.default_rng(3)
    rows = [[f"i{k}" for k in rng.integers(0, 40, 20)] for _ in range(100)] + LOOP
    monkeypatch.setattr("nethical.models.novelty.MOST_WINDOWS", 50)
    novelty = fit(rows)
    assert all(len(array) <= 50 for array in novelty.to_parts().arrays.values())
    scores = novelty.scores(lists(rows))
    assert np.isfinite(scores).all()
    assert scores[0][-40:].max() < scores[0][:100].min()


def test_of_very_many_steps_evenly_spaced_rows_are_read(monkeypatch):
    monkeypatch.setattr("nethical.models.novelty.MOST_STEPS", 80)
    novelty = fit(LOOP)  # 160 steps
    assert novelty.chain.followed[0].counts.tolist() == [80]


def test_the_most_surprising_step_is_named_with_how_often_it_was_seen():
    shown = fit(LOOP).surprising_steps(
        lists([["open", "read", "send", "close"], ["open", "close"], LOOP[0], [], ["x" * 90]])
    )
    assert shown[0] == "send (never seen)"
    assert shown[1] == "open > close (never seen)"
    assert shown[2] == "open > read (1 in 2)"
    assert shown[3] == "(start) > (end) (never seen)"
    assert len(shown[4]) <= 60
    assert shown[4].endswith("x (never seen)")


def test_words_are_lower_case_and_without_marks():
    texts = pa.array(["Ignore, the RULES!", None, "caf\u00e9 \uff21\uff22"], pa.large_string())
    assert words(texts).to_pylist() == [["ignore", "the", "rules"], None, ["caf\u00e9", "ab"]]


def test_no_item_is_stored_and_the_parts_score_the_same():
    novelty = fit(LOOP)
    parts = novelty.to_parts()
    assert all(array.dtype.kind in "fiu" for array in parts.arrays.values())
    again = Novelty.from_parts(parts)
    for ours, theirs in zip(novelty.scores(lists(LOOP)), again.scores(lists(LOOP)), strict=True):
        assert (ours == theirs).all()
