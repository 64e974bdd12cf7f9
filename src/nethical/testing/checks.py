"""What every model type owes: one function a promise, each told in its docstring.

A check takes a :class:`~nethical.testing.cases.Case` and raises a ``BrokenPromiseError`` with
the table and the row where the promise does not hold.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data.roles import Role
from nethical.data.table import LabelledTable, Table, table_digest
from nethical.errors import TrainingError
from nethical.models.base import Fitting, Parts, Traits
from nethical.testing import parameter_checks
from nethical.testing.cases import FIT_SEED, KINDS, Case, labelled, stored
from nethical.testing.promises import require, require_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nethical.models.base import Model, Reason

    Check = Callable[[Case], None]

__all__ = ["CHECKS"]

CANARY = "zebra7f3a9 quokka7f3a9"
CLOSE = 1e-6
ROW_CLOSE = 1e-12
EVERY_COLUMN = 999
PLAIN_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.[a-z]+")
RESERVED_FILES = frozenset({"model.json", "arrays.npz", "metrics.json", "run.json", "model.sig"})


# --- the contract ----------------------------------------------------------------------------


def has_every_member_of_the_protocol(case: Case) -> None:
    """The class has the members of ``Model``, and its name is the one it is built by."""
    model = case.build()
    for name in ("fit", "score", "row_scorer", "explain", "to_parts", "from_parts"):
        require(callable(getattr(model, name, None)), f"{name} is missing")
    require(model.model_type == case.model_type, f"model_type is {model.model_type!r}")
    require(isinstance(model.fitting, Fitting), "fitting is no Fitting before a fit")
    require(isinstance(case.traits, Traits), "traits is no Traits")


def takes_some_kind_of_table(case: Case) -> None:
    """At least one kind of table can be learnt from."""
    require(case.kinds, f"it refuses every kind of table: {', '.join(KINDS)}")


def refuses_in_two_clear_lines(case: Case) -> None:
    """A table that it can make nothing of is refused by a TrainingError with both lines."""
    for kind in KINDS:
        if kind in case.kinds:
            continue
        try:
            case.fit(case.learnt(kind))
        except TrainingError as error:
            require(error.what and error.mend, f"{kind}: the refusal lacks a line")
            require("\n" not in error.what + error.mend, f"{kind}: a line is broken in two")


def fit_returns_itself(case: Case) -> None:
    """``fit`` returns the model that it was called on."""
    model = case.build()
    rng = np.random.default_rng(FIT_SEED)
    found = model.fit(case.learnt(case.richest), rng=rng, progress=lambda *_: None)
    require(found is model, "fit returned something else than self")


def tells_how_fitting_went(case: Case) -> None:
    """``fitting`` holds epochs that are a number or None, notes, and JSON details."""
    for kind in case.kinds:
        fitting = case.fitted(kind).fitting
        used = fitting.epochs_run
        require(used is None or (math.isfinite(used) and used >= 0), f"epochs_run is {used!r}")
        require(all(isinstance(note, str) for note in fitting.notes), "a note is no text")
        json.dumps(dict(fitting.details), allow_nan=False)


def progress_never_exceeds_its_total(case: Case) -> None:
    """Progress is told in rising steps that end at the total at most."""
    seen: list[tuple[str, int, int]] = []
    case.build().fit(
        case.learnt(case.richest),
        rng=np.random.default_rng(FIT_SEED),
        progress=lambda *told: seen.append(told),
    )
    for step, done, total in seen:
        require(step and 0 <= done <= total, f"progress said {done} of {total} of {step!r}")


# --- scores ----------------------------------------------------------------------------------


def scores_are_finite_numbers(case: Case) -> None:
    """``score`` returns float64 of shape (n,), all finite."""
    for kind in case.kinds:
        scores = case.fitted(kind).score(case.rows(kind))
        require(scores.shape == (len(case.rows(kind)),), f"{kind}: shape {scores.shape}")
        require(scores.dtype == np.float64, f"{kind}: dtype {scores.dtype}")
        require(np.isfinite(scores).all(), f"{kind}: a score is not finite")


def scores_tell_rows_apart(case: Case) -> None:
    """Rows that differ get scores that differ, on the whole."""
    for kind in case.kinds:
        distinct = len(np.unique(case.fitted(kind).score(case.rows(kind))))
        require(distinct > 1, f"{kind}: all rows have one score")


def a_row_alone_scores_as_among_others(case: Case) -> None:
    """A single row scores bit for bit as it does in its table."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind)
        scores = model.score(rows)
        places = range(0, len(rows), 7)
        alone = np.array([model.score(rows.slice(i, 1))[0] for i in places])
        require_equal(alone, scores[list(places)], f"{kind}: a row alone scores otherwise")


def pieces_score_as_the_whole(case: Case) -> None:
    """A table cut into pieces scores bit for bit as the whole."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind)
        pieces = [model.score(rows.slice(i, 37)) for i in range(0, len(rows), 37)]
        require_equal(np.concatenate(pieces), model.score(rows), f"{kind}: pieces score otherwise")


def the_order_of_rows_does_not_matter(case: Case) -> None:
    """Rows in another order have the same scores and reasons."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind)
        order = np.random.default_rng(0).permutation(len(rows))
        said = f"{kind}: another order of rows, other scores"
        require_equal(model.score(rows.take(order)), model.score(rows)[order], said)
        reasons = model.explain(rows, 3)
        some = order[:9]
        moved = model.explain(rows.take(some), 3)
        require(moved == [reasons[i] for i in some.tolist()], f"{kind}: other reasons")


def columns_that_are_not_features_do_not_matter(case: Case) -> None:
    """Only feature columns are read, in whatever order they stand."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind)
        names = [f.name for f in rows.features][::-1]
        bare = Table(rows.frame.select(names), rows.roles)
        require_equal(model.score(bare), model.score(rows), f"{kind}: other columns are read")


def scoring_changes_nothing(case: Case) -> None:
    """Scoring twice gives the same, and leaves table and model as they were."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind)
        before, digest = stored(model.to_parts()), table_digest(rows.frame)
        first = model.score(rows)
        model.explain(rows.slice(0, 5), 3)
        require_equal(model.score(rows), first, f"{kind}: a second look gives other scores")
        require(_same(before, stored(model.to_parts())), f"{kind}: scoring changed the model")
        require(table_digest(rows.frame) == digest, f"{kind}: scoring changed the table")


# --- odd rows --------------------------------------------------------------------------------


def no_rows_have_no_scores(case: Case) -> None:
    """An empty table has scores of shape (0,) and no reasons."""
    for kind in case.kinds:
        model, none = case.fitted(kind), case.rows(kind).slice(0, 0)
        require(model.score(none).shape == (0,), f"{kind}: an empty table has scores")
        require(model.explain(none, 3) == [], f"{kind}: an empty table has reasons")


def missing_values_are_scored(case: Case) -> None:
    """Rows in which everything is missing have one and the same finite score."""
    for kind in case.kinds:
        scores = case.fitted(kind).score(case.missing(kind))
        require(np.isfinite(scores).all(), f"{kind}: missing values have no finite score")
        require(len(set(scores.tolist())) == 1, f"{kind}: equal rows have different scores")


def unseen_and_extreme_values_are_scored(case: Case) -> None:
    """Levels, words and items that no fit has seen, and 1e300, have finite scores and reasons."""
    for kind in case.kinds:
        model, odd = case.fitted(kind), case.unseen(kind)
        require(np.isfinite(model.score(odd)).all(), f"{kind}: unseen values have no finite score")
        shares = [r.contribution for row in model.explain(odd, EVERY_COLUMN) for r in row]
        require(all(map(math.isfinite, shares)), f"{kind}: unseen values have no finite reason")


def labels_are_not_read_in_scoring(case: Case) -> None:
    """Scores do not change with the labels."""
    kind = case.richest
    model, rows = case.fitted(kind), case.rows(kind)
    label = rows.frame.column_names.index("label")
    frame = rows.frame.set_column(label, "label", rows.frame.column("label").take([0] * len(rows)))
    turned = LabelledTable(frame, rows.roles, 1 - rows.y)
    require_equal(model.score(turned), model.score(rows), "other labels, other scores")


# --- odd tables ------------------------------------------------------------------------------


def _odd_tables() -> dict[str, LabelledTable]:
    import pyarrow as pa

    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    z = rng.normal(size=400) + y
    words = rng.integers(0, 900, 400)
    found: dict[str, tuple[dict[str, Any], dict[str, Role]]] = {
        "a constant": ({"c": np.full(400, 3.5), "z": z}, {"c": Role.NUMERIC}),
        "one level": ({"c": ["same"] * 400, "z": z}, {"c": Role.CATEGORICAL}),
        "nothing": ({"c": pa.nulls(400, pa.float64()), "z": z}, {"c": Role.NUMERIC}),
        "no texts": ({"c": pa.nulls(400, pa.string()), "z": z}, {"c": Role.TEXT}),
        "empty lists": ({"c": pa.array([[]] * 400, pa.list_(pa.string())), "z": z}, {}),
        "true or false": ({"c": z > 0, "z": rng.normal(size=400)}, {}),
        "infinities": ({"z": np.where(np.arange(400) % 10 == 1, np.inf, z)}, {}),
        "one column": ({"z": z}, {}),
        "large numbers": ({"z": z * 1e100}, {}),
        "many levels": ({"c": [f"l{i}" for i in words], "z": z}, {"c": Role.CATEGORICAL}),
    }
    return {
        name: labelled(pa.table({**columns, "label": y}), **roles)
        for name, (columns, roles) in found.items()
    }


def odd_columns_are_learnt_from_or_refused(case: Case) -> None:
    """Constant, empty, infinite and very many values give finite scores, or a clear refusal."""
    for name, table in _odd_tables().items():
        model = _fit_or_refuse(case, table, name)
        if model is None:
            continue
        scores = model.score(table)
        require(np.isfinite(scores).all(), f"{name}: a score is not finite")
        again = case.restored(model.to_parts())
        require_equal(again.score(table), scores, f"{name}: reloaded, other scores")


def one_class_is_learnt_from_or_refused(case: Case) -> None:
    """Rows of one class only give finite scores, or a clear refusal."""
    for kind in case.kinds:
        table = case.learnt(kind)
        for label in (0, 1):
            rows = table.rows(table.y == label)
            model = _fit_or_refuse(case, rows, f"{kind}, class {label} only")
            if model is not None:
                require(np.isfinite(model.score(rows)).all(), f"{kind}: a score is not finite")


def few_rows_are_learnt_from_or_refused(case: Case) -> None:
    """Two rows give finite scores, or a clear refusal."""
    for kind in case.kinds:
        table = case.learnt(kind)
        places = np.array([int(np.argmax(table.y == 0)), int(np.argmax(table.y == 1))])
        model = _fit_or_refuse(case, table.rows(places), f"{kind}, two rows")
        if model is not None:
            scores = model.score(case.rows(kind))
            require(np.isfinite(scores).all(), f"{kind}, two rows: a score is not finite")


def _fit_or_refuse(case: Case, table: LabelledTable, name: str) -> Model | None:
    try:
        return case.fit(table)
    except TrainingError as error:
        require(error.what and error.mend, f"{name}: the refusal lacks a line")
        return None


# --- what is stored --------------------------------------------------------------------------


def reloaded_scores_are_equal(case: Case) -> None:
    """A model from its parts, through JSON and npz, scores and explains bit for bit the same."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind)
        again = case.restored(model.to_parts())
        require(again.model_type == case.model_type, f"{kind}: reloaded as {again.model_type!r}")
        require_equal(again.score(rows), model.score(rows), f"{kind}: reloaded, other scores")
        few = rows.slice(0, 9)
        same = again.explain(few, EVERY_COLUMN) == model.explain(few, EVERY_COLUMN)
        require(same, f"{kind}: reloaded, other reasons")


def parts_are_plain_values(case: Case) -> None:
    """Parts are JSON without NaN, numeric arrays without objects, and text files of plain names."""
    for kind in case.kinds:
        parts = case.fitted(kind).to_parts()
        json.dumps(parts.document, allow_nan=False)
        for name, array in parts.arrays.items():
            require(array.dtype.kind in "fiub", f"{kind}: array {name} is of {array.dtype}")
        for name in parts.texts:
            plain = PLAIN_FILE.fullmatch(name) and name not in RESERVED_FILES
            require(plain, f"{kind}: {name!r} is no name for a file of a bundle")


def parts_of_a_reloaded_model_are_equal(case: Case) -> None:
    """Saving, loading and saving again gives the same bytes."""
    for kind in case.kinds:
        parts = stored(case.fitted(kind).to_parts())
        again = stored(case.restored(parts).to_parts())
        require(_same(parts, again), f"{kind}: saved again, other parts")


def no_row_is_kept(case: Case) -> None:
    """A cell that stands in one row only is nowhere in the parts, nor is an array a row long."""
    import pyarrow as pa

    for kind in case.kinds:
        table = case.learnt(kind)
        frame = table.frame
        for feature in table.features:
            if feature.feature == Role.NUMERIC:
                continue
            cells = frame.column(feature.name).to_pylist()
            is_list = pa.types.is_large_list(frame.schema.field(feature.name).type)
            cells[11] = [CANARY, "read"] if is_list else CANARY
            place = frame.column_names.index(feature.name)
            kind_of = frame.schema.field(feature.name).type
            frame = frame.set_column(place, feature.name, pa.array(cells, kind_of))
        parts = case.fit(LabelledTable(frame, table.roles, table.y)).to_parts()
        everything = json.dumps(parts.document, ensure_ascii=False) + "".join(parts.texts.values())
        everything += "".join(a.tobytes().decode("latin-1") for a in parts.arrays.values())
        require("7f3a9" not in everything, f"{kind}: a cell of one row is stored")
        for name, array in parts.arrays.items():
            a_row_each = array.ndim and array.shape[0] == len(table)
            require(not a_row_each, f"{kind}: array {name} has an entry a row")


def _same(first: Parts, second: Parts) -> bool:
    return (
        first.document == second.document
        and first.texts == second.texts
        and {k: v.tobytes() for k, v in first.arrays.items()}
        == {k: v.tobytes() for k, v in second.arrays.items()}
    )


# --- chance ----------------------------------------------------------------------------------


def two_fits_are_equal(case: Case) -> None:
    """The same rows and generator give the same parts, byte for byte."""
    for kind in case.kinds:
        again = stored(case.fit(case.learnt(kind)).to_parts())
        require(_same(stored(case.fitted(kind).to_parts()), again), f"{kind}: fits differ")


def a_second_fit_forgets_the_first(case: Case) -> None:
    """A model that is fitted again is as one that is fitted for the first time."""
    for kind in case.kinds[:2]:
        model = case.build()
        half = case.learnt(kind).rows(np.arange(250))
        for rows in (half, case.learnt(kind)):
            model.fit(rows, rng=np.random.default_rng(FIT_SEED), progress=lambda *_: None)
        same = _same(stored(model.to_parts()), stored(case.fitted(kind).to_parts()))
        require(same, f"{kind}: something of an earlier fit stayed")


def chance_comes_from_rng_alone(case: Case) -> None:
    """Neither NumPy's nor Python's global generator decides anything, or is moved."""
    import random

    kind = case.richest
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the generator that must not matter
    before = repr((np.random.get_state(), random.getstate()))  # noqa: NPY002
    model = case.fit(case.learnt(kind))
    after = repr((np.random.get_state(), random.getstate()))  # noqa: NPY002
    require(before == after, "a global generator was moved")
    same = _same(stored(model.to_parts()), stored(case.fitted(kind).to_parts()))
    require(same, f"{kind}: a global generator decides")


def threads_do_not_matter(case: Case) -> None:
    """Fitted and scored with two threads, the parts and scores are those of one thread."""
    kind = case.richest
    model = case.fit(case.learnt(kind), threads=2)
    one = case.fitted(kind)
    require(_same(stored(model.to_parts()), stored(one.to_parts())), "threads change the fit")
    rows = case.rows(kind)
    require_equal(model.score(rows), one.score(rows), "threads change the scores")


# --- reasons ---------------------------------------------------------------------------------


def reasons_name_features(case: Case) -> None:
    """Each reason names a feature column, once a row, with a finite share."""
    for kind in case.kinds:
        rows = case.rows(kind)
        names = {f.name for f in rows.features}
        for row in case.fitted(kind).explain(rows, EVERY_COLUMN):
            told = [reason.column for reason in row]
            require(set(told) <= names, f"{kind}: a reason names {set(told) - names}")
            require(len(told) == len(set(told)), f"{kind}: a column is named twice")
            require(all(math.isfinite(r.contribution) for r in row), f"{kind}: a share is odd")


def reasons_come_weightiest_first(case: Case) -> None:
    """The first reasons are the weightiest, and fewer of them are the first of more."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind).slice(0, 30)
        every = model.explain(rows, EVERY_COLUMN)
        require(_falling(every), f"{kind}: a lighter reason comes first")
        few = model.explain(rows, 2)
        require(few == [row[:2] for row in every], f"{kind}: two reasons are not the first two")


def _falling(every: Iterable[list[Reason]]) -> bool:
    weights = [[abs(reason.contribution) for reason in row] for row in every]
    return all(row == sorted(row, reverse=True) for row in weights)


def reasons_sum_to_the_score(case: Case) -> None:
    """All reasons of a row sum to its score less one number, the mean of the learnt rows."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind)
        sums = np.array(
            [sum(r.contribution for r in row) for row in model.explain(rows, EVERY_COLUMN)]
        )
        means = model.score(rows) - sums
        require(np.ptp(means) < CLOSE, f"{kind}: reasons leave {np.ptp(means):.3g} unexplained")
        learnt = case.learnt(kind)
        if case.traits.learns_from_normals:
            learnt = learnt.rows(learnt.y == 0)
        scores = model.score(learnt)
        gap = abs(float(means.mean()) - float(scores.mean()))
        require(gap <= 0.5 * (1 + scores.std()), f"{kind}: reasons start {gap:.3g} off the mean")


def one_row_in_plain_python_scores_the_same(case: Case) -> None:
    """``row_scorer``, if there is one, agrees with ``score``; absent columns are missing."""
    for kind in case.kinds:
        model, rows = case.fitted(kind), case.rows(kind)
        score_row = model.row_scorer()
        if score_row is None:
            continue
        scores = model.score(rows)
        for i, row in enumerate(rows.frame.select([f.name for f in rows.features]).to_pylist()):
            gap = abs(score_row(row) - scores[i])
            require(gap <= ROW_CLOSE, f"{kind}: row {i} scores {gap:.3g} otherwise alone")
        gap = abs(score_row({}) - model.score(case.missing(kind))[0])
        require(gap <= ROW_CLOSE, f"{kind}: absent columns do not score as missing ones")


CHECKS: tuple[Check, ...] = (
    has_every_member_of_the_protocol,
    takes_some_kind_of_table,
    refuses_in_two_clear_lines,
    fit_returns_itself,
    tells_how_fitting_went,
    progress_never_exceeds_its_total,
    scores_are_finite_numbers,
    scores_tell_rows_apart,
    a_row_alone_scores_as_among_others,
    pieces_score_as_the_whole,
    the_order_of_rows_does_not_matter,
    columns_that_are_not_features_do_not_matter,
    scoring_changes_nothing,
    no_rows_have_no_scores,
    missing_values_are_scored,
    unseen_and_extreme_values_are_scored,
    labels_are_not_read_in_scoring,
    odd_columns_are_learnt_from_or_refused,
    one_class_is_learnt_from_or_refused,
    few_rows_are_learnt_from_or_refused,
    reloaded_scores_are_equal,
    parts_are_plain_values,
    parts_of_a_reloaded_model_are_equal,
    no_row_is_kept,
    two_fits_are_equal,
    a_second_fit_forgets_the_first,
    chance_comes_from_rng_alone,
    threads_do_not_matter,
    *parameter_checks.CHECKS,
    reasons_name_features,
    reasons_come_weightiest_first,
    reasons_sum_to_the_score,
    one_row_in_plain_python_scores_the_same,
)
