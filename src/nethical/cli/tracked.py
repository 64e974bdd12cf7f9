"""Drift tracking of ``nethical train``: what ``--enable-drift-tracking`` adds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical.cli.flags import DEFAULT_DRIFT_DIR, DEFAULT_WINDOW
from nethical.cli.train_flags import flag_name
from nethical.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nethical.cli.console import Console
    from nethical.drift.tracking import DriftTracking
    from nethical.plan import Plan

__all__ = ["TRACKING", "check_tracking", "tracking_of"]

TRACKING = {
    "drift_report_dir": DEFAULT_DRIFT_DIR,
    "cohort_id": None,
    "cohort_column": None,
    "cohort_window": DEFAULT_WINDOW,
}


def check_tracking(given: dict[str, Any]) -> None:
    """Refuse flags of drift tracking without the one that enables it, or that exclude another."""
    if given.get("enable_drift_tracking"):
        if "cohort_id" in given and "cohort_column" in given:
            raise UsageError(
                "--cohort-id and --cohort-column are both given",
                mend="leave one out: a column names its cohorts by its values",
            )
        return
    for flag, default in TRACKING.items():
        if given.get(flag) != default:
            raise UsageError(
                f"{flag_name(flag)} is given, but --enable-drift-tracking is not",
                mend=f"pass --enable-drift-tracking as well, or leave {flag_name(flag)} out",
            )


def tracking_of(
    given: dict[str, Any], plan: Plan, console: Console, types: Sequence[str]
) -> DriftTracking | None:
    """Return what follows the run for drift, None when that was not asked for.

    Args:
        given: The parsed flags.
        plan: What the run does.
        console: Where to say so.
        types: All model types that are trained; each of several has a cohort of its own.
    """
    if not given.get("enable_drift_tracking"):
        return None
    from nethical.drift.tracking import DriftTracking

    cohort_id = given.get("cohort_id") or f"{plan.model_type}_{datetime.now(UTC):%Y%m%d_%H%M%S}"
    if "cohort_id" in given and len(types) > 1:
        cohort_id = f"{cohort_id}-{plan.model_type}"
    tracking = DriftTracking(
        Path(given["drift_report_dir"]),
        cohort_id,
        given.get("cohort_column"),
        given["cohort_window"],
        lambda: datetime.now(UTC),
    )
    console.info(f"Ethical drift tracking enabled: {tracking.folder}")
    if tracking.cohort_column is None:
        console.info(f"Training cohort ID: {tracking.cohort_id}")
    else:
        console.info(f"Training cohort ID: one for each value of {tracking.cohort_column}")
    return tracking
