"""Drift tracking of a run: its gate rows join a cohort, and a report says what changed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nethical.drift import intake, page, report
from nethical.drift.cohorts import Cohorts, Look, check_id
from nethical.drift.compare import analyse
from nethical.drift.effects import Settings
from nethical.drift.power import spent
from nethical.drift.windows import check_width
from nethical.errors import DataError, StorageError, UsageError
from nethical.facts import CohortAdded, DriftReported, RolesInferred

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from nethical.drift.cohorts import Cohort
    from nethical.drift.report import Written
    from nethical.facts import Fact
    from nethical.pipeline import Outcome
    from nethical.preparation import Prepared
    from nethical.run import Receipt, Run

__all__ = ["DriftTracking", "added", "reported", "watch"]


@dataclass
class DriftTracking:
    """Follows one run: refuses early what could not be tracked, and reports at the end.

    It is a sink as well, so that a cohort column that is not there stops a run before anything
    is trained.

    Args:
        folder: Where reports and cohorts lie.
        cohort_id: The cohort that the run joins.
        cohort_column: One cohort for each value of it, instead; or None.
        window: The width of the spans of time.
        clock: Returns the current UTC time.

    Raises:
        UsageError: The id or the width is none.
        StorageError: The folder cannot be written.
    """

    folder: Path
    cohort_id: str
    cohort_column: str | None
    window: str
    clock: Callable[[], datetime]

    def __post_init__(self) -> None:
        check_id(self.cohort_id)
        check_width(self.window)
        _check_writable(self.folder)
        self.cohorts = Cohorts(self.folder, self.clock)
        self.cohorts.ids()  # a store that cannot be read is told before anything is trained

    def record(self, fact: Fact, *, run_id: str, at: datetime) -> None:
        """Stop the run if its table lacks the cohort column."""
        del run_id, at
        if self.cohort_column is None or not isinstance(fact, RolesInferred):
            return
        names = [column["name"] for column in fact.roles["columns"]]
        if self.cohort_column not in names:
            raise DataError(
                f"cohort column {self.cohort_column!r} is missing; found: {', '.join(names[:30])}",
                mend="name one of these columns with --cohort-column",
            )

    def check(self, prepared: Prepared) -> None:
        """Stop the run if its gate rows could not be tracked, before anything is learnt."""
        intake.check(prepared.parts["gate"], cohort_column=self.cohort_column, window=self.window)

    def seal(self) -> Receipt | None:
        """Keep no log."""
        return None

    def finish(self, outcome: Outcome, run: Run) -> Written:
        """Add the gate rows of a run to their cohorts and report, all of it recorded."""
        with run.stage("drift"):
            additions = intake.from_run(
                outcome,
                cohort_id=self.cohort_id,
                cohort_column=self.cohort_column,
                window=self.window,
            )
            for joined in added(self.cohorts, additions):
                run.record(joined)
            everyone = self.cohorts.load()
            touched = [one.cohort_id for one in additions]
            base = _base(everyone, touched, self.cohorts.reference())
            wanted = dict.fromkeys([base.cohort_id, *touched])
            shown = [cohort for cohort in everyone if cohort.cohort_id in wanted]
            written, fact = reported(
                self.cohorts, shown, reference=base.cohort_id, settings=Settings(), at=self.clock()
            )
            run.record(fact)
        return written


def _check_writable(folder: Path) -> None:
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise StorageError(
            f"cannot write drift reports to {folder}: {nearest} cannot be written",
            mend="mend its permissions, or name another folder with --drift-report-dir",
        )


def _base(
    everyone: Sequence[Cohort], touched: Sequence[str], reference: tuple[str, int] | None
) -> Cohort:
    """Return what a run is compared with.

    The reference that was set; else the oldest cohort that says most: of the same model, of the
    same rows, of the same way of training, of anything.
    """
    by_id = {cohort.cohort_id: cohort for cohort in everyone}
    if reference is not None:
        return by_id[reference[0]]
    ours = [by_id[cohort_id] for cohort_id in touched]
    runs = [run for cohort in ours for run in cohort.runs]
    known = (
        {run.model_digest for run in runs},
        {run.rows_digest for run in runs},
        {run.process for run in runs},
    )

    def rank(cohort: Cohort) -> tuple[int, int, str]:
        theirs = (
            {run.model_digest for run in cohort.runs},
            {run.rows_digest for run in cohort.runs},
            {run.process for run in cohort.runs},
        )
        shared = [bool(a & b) for a, b in zip(known, theirs, strict=True)]
        closest = shared.index(True) if any(shared) else len(shared)
        return closest, -cohort.summary.whole.rows, cohort.cohort_id

    others = [cohort for cohort in everyone if cohort.cohort_id not in touched]
    if not others:
        return min(ours, key=rank)
    return min(others, key=lambda cohort: (rank(cohort)[0], everyone.index(cohort)))


def added(cohorts: Cohorts, additions: Sequence[intake.Addition]) -> list[CohortAdded]:
    """Add runs to the store and return what to record of each."""
    digests = intake.add(cohorts, additions)
    return [
        CohortAdded(
            one.cohort_id,
            one.label,
            one.run.model,
            one.run.summary.whole.rows,
            one.run.summary.whole.labelled,
            one.run.rows_digest,
            cells,
            [dict(violation) for violation in one.run.details["violations"]],
        )
        for one, cells in zip(additions, digests, strict=True)
    ]


def reported(
    cohorts: Cohorts,
    shown: Sequence[Cohort],
    *,
    reference: str | None,
    settings: Settings,
    at: datetime,
    look: tuple[int, int] | None = None,
) -> tuple[Written, DriftReported]:
    """Compare cohorts, write the report, and return it with what to record of it.

    Args:
        cohorts: The store.
        shown: What is compared.
        reference: With which of them; None to choose.
        settings: Margins and alpha.
        at: When, UTC.
        look: Which look at the reference this is, and of how many; None outside a watch.
    """
    analysis = analyse(shown, folder=cohorts.folder, settings=settings, reference=reference)
    number, horizon = look or (None, None)
    written = report.write(
        cohorts.folder, analysis, at=at, render=page.render, look=number, horizon=horizon
    )
    return written, DriftReported(
        written.report_id,
        str(written.path),
        written.digest,
        analysis.reference.cohort_id,
        [cohort.cohort_id for cohort in analysis.cohorts],
        written.verdict.value,
        analysis.message,
    )


def watch(
    cohorts: Cohorts, names: Sequence[str] | None, *, settings: Settings, at: datetime
) -> tuple[Written, DriftReported, int, int] | None:
    """Compare what is new with the reference, at this look's share of the error rate.

    Args:
        cohorts: The store.
        names: Which cohorts; None for all that have runs which no look has seen.
        settings: Margins, and the alpha of the whole horizon.
        at: When, UTC.

    Returns:
        The report, what to record of it, the number of the look and the horizon; None if there
        is nothing new, and no look is spent then.

    Raises:
        UsageError: No reference is set, or all looks are spent.
    """
    held = cohorts.reference()
    if held is None:
        raise UsageError("no reference is set", mend="run `nethical drift reference set COHORT`")
    base, horizon = held
    looks = cohorts.looks()
    seen = {cohort_id: runs for look in looks for cohort_id, runs in look.runs.items()}
    everyone = cohorts.load()
    wanted = [
        cohort
        for cohort in everyone
        if cohort.cohort_id != base
        and (names is None or cohort.cohort_id in names)
        and len(cohort.runs) > seen.get(cohort.cohort_id, 0)
    ]
    if names is not None:
        cohorts.load(names)  # a name that is none is told
    if not wanted:
        return None
    number = 1 + max((look.look for look in looks), default=0)
    alpha = spent(settings.alpha, horizon, number)
    if alpha == 0.0:
        raise UsageError(
            f"all {horizon} looks at the reference {base} are spent",
            mend="set it anew with `nethical drift reference set COHORT --horizon LOOKS`",
        )
    shown = [cohort for cohort in everyone if cohort.cohort_id == base or cohort in wanted]
    written, fact = reported(
        cohorts,
        shown,
        reference=base,
        settings=replace(settings, alpha=alpha),
        at=at,
        look=(number, horizon),
    )
    runs = {cohort.cohort_id: len(cohort.runs) for cohort in wanted}
    told = f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"
    cohorts.add_look(Look(runs, number, alpha, written.verdict.value, written.report_id, told))
    return written, fact, number, horizon
