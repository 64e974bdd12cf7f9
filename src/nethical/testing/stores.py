"""What every governance store owes, on whatever database: one function a promise.

A check takes a :class:`StoreCase` and raises :class:`BrokenPromiseError` where the promise does
not hold. Checks use names of their own, so that all of them run on one database, and twice.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from nethical.errors import DataError, NethicalError, UsageError
from nethical.governance import database
from nethical.governance.configurations import Configuration, Status
from nethical.governance.store import GovernanceStore, Move, in_production
from nethical.governance.tables import metadata
from nethical.testing.promises import BrokenPromiseError, require

if TYPE_CHECKING:
    from collections.abc import Callable

    OpenStore = Callable[[], GovernanceStore]

__all__ = ["StoreCase", "StoreCheck", "check_store", "store_checks"]

AT_ONCE = 8
ROUNDS = 4
LOOK_S = 0.1  # in which somebody who is not kept waiting would have written


class StoreCase:
    """A database under one check.

    Args:
        open_store: Opens the store, each time with connections of its own.
    """

    def __init__(self, open_store: OpenStore) -> None:
        self._open_store = open_store
        self._opened: list[GovernanceStore] = []
        self.store = self.open()
        self.name = f"check-{uuid4().hex[:12]}"

    def open(self) -> GovernanceStore:
        """Return the store, opened once more."""
        store = self._open_store()
        self._opened.append(store)
        return store

    def close(self) -> None:
        """Close every store that was opened: a server has few places."""
        for store in self._opened:
            store.close()

    def configuration(self, number: int = 0, **decision: float) -> Configuration:
        """Return a configuration that no other check has, and no other number."""
        training = {"epochs": number, "batch_size": 32, "parameters": {"of": self.name}}
        thresholds = {
            "classifier_threshold": 0.5,
            "confidence_threshold": 0.7,
            "gray_zone_lower": 0.4,
            "gray_zone_upper": 0.6,
        }
        return Configuration("heuristic", training, {**thresholds, **decision})

    def added(self, number: int = 0) -> str:
        """Return the id of a configuration that is in the store."""
        return self.store.add(self.configuration(number), by="check")

    def moved(self, configuration_id: str, new: Status, model_id: str = "m1") -> Move:
        """Return a move of a configuration."""
        return Move(configuration_id, new, model_id, "check", "because")

    def reviewed(self, number: int, **changes: object) -> dict[str, Any]:
        """Return a reviewed case."""
        case: dict[str, Any] = {
            "case_id": f"{self.name}-{number}",
            "name": self.name,
            "features": {"amount": 1.5, "word": "\u00e9", "nothing": None},
            "is_positive": number % 2 == 1,
            "stratum": "audit",
            "inclusion_probability": 0.25,
            "reviewers": 2,
            "used_for_training": False,
            "reviewed_at": "2026-01-01T00:00:00Z",
        }
        return {**case, **changes}

    def at_once(self, act: Callable[[GovernanceStore, int], Any]) -> list[Any]:
        """Return what eight get who act at the same time, each by an own store; or its error."""
        gate = threading.Barrier(AT_ONCE)

        def one(number: int) -> object:
            store = self.open()
            store.check()
            gate.wait()
            try:
                return act(store, number)
            except NethicalError as error:
                return error

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(one, range(AT_ONCE)))


def _refused(kind: type[NethicalError], act: Callable[[], object], said: str) -> None:
    try:
        act()
    except kind as error:
        require(error.what and error.mend, f"{said}: the refusal lacks a line")
        require("\n" not in error.what + error.mend, f"{said}: a line is broken in two")
        return
    raise BrokenPromiseError(f"{said} is not refused")


# --- the schema ------------------------------------------------------------------------------


def has_the_schema_of_this_release(case: StoreCase) -> None:
    """A store that is opened has this release's schema, and keeps it when it is upgraded."""
    case.store.check()
    require(case.store.version() == database.HEAD, f"the schema is {case.store.version()}")
    require(case.store.upgrade() == database.HEAD, "an upgrade changed what it had")


def has_the_tables_that_are_described(case: StoreCase) -> None:
    """What the migrations made is what ``tables`` describes."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    options = {"version_table": database.VERSION_TABLE, "compare_type": True}
    with case.store.reading() as db:
        differs = compare_metadata(MigrationContext.configure(db, opts=options), metadata)
    require(not differs, f"tables and migrations differ: {differs}")


def exports_every_table_as_json(case: StoreCase) -> None:
    """``export`` holds all tables and lines as JSON values."""
    configuration_id = case.added()
    found = json.loads(json.dumps(case.store.export(), allow_nan=False))
    require(set(found) == {table.name for table in metadata.sorted_tables}, "a table is missing")
    ids = {row["configuration_id"] for row in found["configuration"]}
    require(configuration_id in ids, "a configuration is missing")


# --- configurations --------------------------------------------------------------------------


def a_configuration_comes_back_as_it_was(case: StoreCase) -> None:
    """What is found by an id, or its beginning, is what was added."""
    configuration = case.configuration(1)
    configuration_id = case.store.add(configuration, by="check")
    require(case.open().find(configuration_id) == configuration, "another one came back")
    require(case.store.find(configuration_id[:-1]) == configuration, "its beginning is not found")
    _refused(UsageError, lambda: case.store.find("cfg_none"), "an id that is not there")


def the_same_configuration_is_kept_once(case: StoreCase) -> None:
    """However many add it at once, it is there once."""
    ids = case.at_once(lambda store, _: store.add(case.configuration(2), by="check"))
    require(len(set(map(str, ids))) == 1, f"eight got {ids}")
    rows = [row for row in case.store.configurations() if row.configuration_id == ids[0]]
    require(len(rows) == 1, f"it is there {len(rows)} times")


def thresholds_out_of_order_are_refused(case: StoreCase) -> None:
    """A block threshold outside its own gray zone is not kept."""
    before = len(case.store.configurations())
    for wrong in ({"gray_zone_lower": 0.55}, {"gray_zone_upper": 0.45}):
        configuration = case.configuration(3, **wrong)
        add = lambda: case.store.add(configuration, by="check")  # noqa: B023, E731 - called at once
        _refused(DataError, add, f"a gray zone with {wrong}")
    require(len(case.store.configurations()) == before, "a refused configuration is there")


def measurements_and_reports_come_back_in_order(case: StoreCase) -> None:
    """Evaluations and gate reports are kept as they were told, the oldest first."""
    configuration_id = case.added(4)
    for recall in (0.25, 0.5):
        case.store.record_evaluation(
            {
                "configuration_id": configuration_id,
                "name": case.name,
                "model_id": "m1",
                "gate_digest": "sha256:0",
                "metrics": {"recall": recall},
                "human_agreement": None,
                "fitness_score": None,
                "terms": 0,
            }
        )
    found = case.store.evaluations(configuration_id)
    require([row.metrics["recall"] for row in found] == [0.25, 0.5], "not what was measured")
    require(found[0].human_agreement is None, "an unknown agreement became a number")
    numbers = [case.store.record_report(_report(case, configuration_id, k)) for k in (1, 2)]
    reports = case.store.reports(configuration_id)
    require([row.number for row in reports] == numbers, "reports came back otherwise")
    require(reports[1].criteria == [{"k": 2}], "a report changed")


def _report(case: StoreCase, configuration_id: str, k: int) -> dict[str, Any]:
    return {
        "candidate": configuration_id,
        "baseline": None,
        "candidate_model": "m2",
        "baseline_model": "m1",
        "name": case.name,
        "gate_digest": f"sha256:{case.name}",
        "k": k,
        "alpha": 0.03,
        "policy": {},
        "criteria": [{"k": k}],
        "verdict": "PASS",
        "waiver": None,
        "actor": "check",
    }


# --- moves -----------------------------------------------------------------------------------


def _require_chain(case: StoreCase) -> list[Any]:
    """Return the moves of the name, each of which follows the one before it."""
    events = case.store.events(case.name)
    previous = [event.previous for event in events]
    require(previous == [0, *(e.number for e in events)][: len(events)], "the chain is broken")
    last: dict[str, str] = {}
    for event in events:
        before = last.get(event.configuration_id, Status.CANDIDATE.value)
        require(event.from_status == before, f"move {event.number} starts elsewhere")
        last[event.configuration_id] = event.to_status
    return events


def moves_form_an_unbroken_chain(case: StoreCase) -> None:
    """Each move of a name follows the one before it, whatever other names do."""
    first, second = case.added(1), case.added(2)
    case.store.move(case.name, case.moved(first, Status.SHADOW))
    case.store.move(f"{case.name}-other", case.moved(first, Status.REJECTED))
    case.store.move(case.name, case.moved(second, Status.SHADOW))
    case.store.move(case.name, case.moved(first, Status.REJECTED))
    require(len(_require_chain(case)) == 3, "a move is missing, or is another name's")  # noqa: PLR2004 - as moved


def moves_that_are_not_in_the_table_are_refused(case: StoreCase) -> None:
    """What was rejected, what the registry moves, and what is there already stay as they are."""
    configuration_id = case.added(1)
    for new in (Status.PRODUCTION, Status.DEPRECATED, Status.CANDIDATE):
        move = case.moved(configuration_id, new)
        _refused(UsageError, lambda: case.store.move(case.name, move), f"candidate to {new}")  # noqa: B023 - called at once
    case.store.move(case.name, case.moved(configuration_id, Status.REJECTED))
    for new in (Status.SHADOW, Status.REJECTED):
        move = case.moved(configuration_id, new)
        _refused(UsageError, lambda: case.store.move(case.name, move), f"rejected to {new}")  # noqa: B023 - called at once
    unknown = case.moved("cfg_unknown", Status.SHADOW)
    _refused(DataError, lambda: case.store.move(case.name, unknown), "an unknown configuration")
    require(len(_require_chain(case)) == 1, "a refused move is in the chain")


def of_many_who_move_at_once_one_wins(case: StoreCase) -> None:
    """Eight make the same move: one does, and seven are told that it is made."""
    for number in range(ROUNDS):
        configuration_id = case.added(number)
        for new in (Status.SHADOW, Status.REJECTED):
            move = case.moved(configuration_id, new)
            found = case.at_once(lambda store, _: store.move(case.name, move))  # noqa: B023 - called at once
            won = [one for one in found if isinstance(one, int)]
            stale = [one for one in found if isinstance(one, UsageError)]
            require((len(won), len(stale)) == (1, AT_ONCE - 1), f"eight got {found}")
    require(len(_require_chain(case)) == 2 * ROUNDS, "a move is missing or told twice")


def moves_of_many_configurations_at_once_are_one_chain(case: StoreCase) -> None:
    """Eight move a configuration each: all do, one after the other."""
    ids = [case.added(number) for number in range(AT_ONCE)]
    found = case.at_once(lambda s, k: s.move(case.name, case.moved(ids[k], Status.SHADOW)))
    require(all(isinstance(one, int) for one in found), f"eight got {found}")
    require(len(_require_chain(case)) == AT_ONCE, "a move is missing")


def what_is_in_production_is_told_once(case: StoreCase) -> None:
    """Eight complete the chain from the registry: what follows is told once, and only once."""
    first, second = case.added(1), case.added(2)
    for configuration_id, model_id in ((first, "m1"), (second, "m2"), (first, "m3")):
        now = case.moved(configuration_id, Status.PRODUCTION, model_id)
        case.at_once(lambda store, _: store.reconcile(case.name, lambda: now))  # noqa: B023 - called at once
        told = in_production(case.store.events(case.name))
        require(told is not None and told.model_id == model_id, "something else is in production")
    expected = ["production", "deprecated", "production", "deprecated", "production"]
    told_moves = [event.to_status for event in _require_chain(case)]
    require(told_moves == expected, f"told were {told_moves}")
    case.store.reconcile(case.name, lambda: None)
    require(in_production(case.store.events(case.name)) is None, "it is still in production")


# --- attempts, trials, cases -----------------------------------------------------------------


def an_attempt_counts_a_configuration_once(case: StoreCase) -> None:
    """The same configuration on the same rows is the same attempt, and other rows count anew."""
    first, second = case.added(1), case.added(2)
    rows, others = f"sha256:{case.name}", f"sha256:{case.name}-b"
    tried = [case.store.attempt(rows, one) for one in (first, second, first, second)]
    require(tried == [1, 2, 1, 2], f"attempts are counted {tried}")
    require(case.store.attempt(others, second) == 1, "another gate part does not start at 1")


def attempts_at_once_are_counted_each(case: StoreCase) -> None:
    """Eight configurations that are tried at once are the first to the eighth attempt."""
    ids = [case.added(number) for number in range(AT_ONCE)]
    rows = f"sha256:{case.name}"
    found = case.at_once(lambda store, k: store.attempt(rows, ids[k]))
    require(sorted(map(str, found)) == [str(k + 1) for k in range(AT_ONCE)], f"eight got {found}")
    again = case.at_once(lambda store, _: store.attempt(rows, ids[0]))
    require(set(again) == {found[0]}, f"one configuration was attempts {again}")


def a_trial_is_kept_once(case: StoreCase) -> None:
    """The same search is the same study, and a trial that is there stays as it is."""
    identity = {"of": case.name}
    ids = case.at_once(lambda store, _: store.open_study("n", "random_search", 4, identity))
    require(len(set(map(str, ids))) == 1, f"one search got studies {ids}")
    other = case.store.open_study("n", "random_search", 5, identity)
    require(other != ids[0], "a longer search is the same study")
    case.at_once(
        lambda store, k: store.record_trials(ids[0], [(n, {"x": n}, {"by": k}) for n in range(4)])
    )
    found = case.store.trials(ids[0])
    require(list(found) == [0, 1, 2, 3], f"trials are {list(found)}")
    require(len({outcome["by"] for _, outcome in found.values()}) == 1, "two wrote one search")
    case.store.record_trials(ids[0], [(3, {"x": 9}, {"by": 99}), (4, {"x": 4}, {"by": 99})])
    again = case.store.trials(ids[0])
    require(again[3] == found[3] and again[4] == ({"x": 4}, {"by": 99}), "a trial was replaced")


def reviewed_cases_are_kept_all_or_none(case: StoreCase) -> None:
    """One case that is there, given twice or out of range keeps out all that came with it."""
    given = [case.reviewed(number) for number in range(3)]
    require(case.store.import_cases(given) == len(given), "not all were kept")
    fresh = [case.reviewed(number) for number in range(10, 13)]
    wrong = {
        "a case that is there": [*fresh, case.reviewed(1)],
        "a case that is given twice": [*fresh, case.reviewed(11)],
        "a probability of 0": [*fresh, case.reviewed(20, inclusion_probability=0.0)],
        "a probability above 1": [*fresh, case.reviewed(20, inclusion_probability=1.5)],
    }
    for said, cases in wrong.items():
        _refused(DataError, lambda: case.store.import_cases(cases), said)  # noqa: B023 - called at once
    kept = [
        {k: v for k, v in row._mapping.items() if k != "imported_at"}  # noqa: SLF001 - SQLAlchemy's public name
        for row in case.store.cases(case.name)
    ]
    require(kept == given, f"kept are {kept}")


# --- transactions ----------------------------------------------------------------------------


def what_fails_writes_nothing(case: StoreCase) -> None:
    """A block that raises leaves the store as it was."""
    from nethical.governance.tables import reviewed_case

    row = {**case.reviewed(1), "imported_at": "now"}

    def fail() -> None:
        with case.store.writing() as db:
            db.execute(reviewed_case.insert().values(row))
            raise DataError("on purpose", mend="none")

    _refused(DataError, fail, "a block that raises")
    require(not case.open().cases(case.name), "half of it is written")


def who_reads_sees_one_state(case: StoreCase) -> None:
    """What somebody writes meanwhile is seen by the next reading, not by this one."""
    import sqlalchemy as sa

    from nethical.governance.tables import reviewed_case

    query = sa.select(sa.func.count()).where(reviewed_case.c.name == case.name)
    case.store.import_cases([case.reviewed(1)])
    writer = threading.Thread(target=lambda: case.open().import_cases([case.reviewed(2)]))
    with case.store.reading() as db:
        before = db.execute(query).scalar()
        writer.start()
        time.sleep(LOOK_S)
        after = db.execute(query).scalar()
    writer.join()
    require((before, after) == (1, 1), f"one reading saw {before} and {after}")
    require(len(case.store.cases(case.name)) == 2, "what was written meanwhile is lost")  # noqa: PLR2004 - as written


CHECKS: tuple[Callable[[StoreCase], None], ...] = (
    has_the_schema_of_this_release,
    has_the_tables_that_are_described,
    exports_every_table_as_json,
    a_configuration_comes_back_as_it_was,
    the_same_configuration_is_kept_once,
    thresholds_out_of_order_are_refused,
    measurements_and_reports_come_back_in_order,
    moves_form_an_unbroken_chain,
    moves_that_are_not_in_the_table_are_refused,
    of_many_who_move_at_once_one_wins,
    moves_of_many_configurations_at_once_are_one_chain,
    what_is_in_production_is_told_once,
    an_attempt_counts_a_configuration_once,
    attempts_at_once_are_counted_each,
    a_trial_is_kept_once,
    reviewed_cases_are_kept_all_or_none,
    what_fails_writes_nothing,
    who_reads_sees_one_state,
)


@dataclass(frozen=True)
class StoreCheck:
    """One promise, to be checked of one database by calling it.

    Args:
        name: The promise, as words joined by underscores.
        open_store: Opens the store.
        check: What looks.
    """

    name: str
    open_store: OpenStore
    check: Callable[[StoreCase], None]

    def __call__(self) -> None:
        """Check.

        Raises:
            BrokenPromiseError: The store does not keep it.
        """
        case = StoreCase(self.open_store)
        try:
            self.check(case)
        except BrokenPromiseError as error:
            raise BrokenPromiseError(f"{self.name}: {error}") from error
        finally:
            case.close()


def store_checks(open_store: OpenStore) -> tuple[StoreCheck, ...]:
    """Return every check of a governance store.

    Args:
        open_store: Returns a new ``GovernanceStore`` on the same database each time; called by
            several threads at once. Lines are written to that database and stay.
    """
    return tuple(StoreCheck(check.__name__, open_store, check) for check in CHECKS)


def check_store(open_store: OpenStore) -> None:
    """Check everything that a governance store owes.

    Args:
        open_store: As of :func:`store_checks`.

    Raises:
        BrokenPromiseError: It does not keep a promise.
    """
    for check in store_checks(open_store):
        check()
