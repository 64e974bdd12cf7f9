"""Governance of ``nethical train``: record, search, judge; what ``--enable-phase89`` adds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical import facts
from nethical.cli.flags import DEFAULT_STORAGE, TECHNIQUES
from nethical.errors import UsageError

if TYPE_CHECKING:
    from nethical.cli.console import Console
    from nethical.governance.governing import Governance, Judged, Recorded, Searched
    from nethical.governance.promotion import Policy
    from nethical.pipeline import Outcome
    from nethical.plan import Plan
    from nethical.run import Run

__all__ = [
    "GOVERNANCE",
    "SEARCH",
    "TOLD_OF_A_CANDIDATE",
    "Governed",
    "check_governance",
    "check_store",
    "govern",
    "judge_candidate",
    "say_what_awaits",
]

TOLD_OF_A_CANDIDATE = (facts.Warned, facts.PromotionDecided, facts.ConfigurationMoved)
GOVERNANCE = {
    "phase89_storage": DEFAULT_STORAGE,
    "optimize_config": None,
    "waive_agreement": None,
    "await_approval": None,
}
SEARCH = {
    "optimization_technique": TECHNIQUES[0],
    "optimization_iterations": 20,
    "workers": 1,
}


@dataclass(frozen=True)
class Governed:
    """What governance led to.

    Args:
        outcome: The run.
        recorded: Its configuration.
        searched: The search, if there was one.
        judged: What the promotion gate said, if anything was judged.
    """

    outcome: Outcome
    recorded: Recorded
    searched: Searched | None = None
    judged: Judged | None = None

    @property
    def candidate(self) -> Plan | None:
        """The plan of the best configuration of the search, None if there is nothing to try."""
        if self.searched is None or self.searched.configuration is None:
            return None
        plan = self.searched.configuration.plan(self.outcome.plan)
        return replace(plan, as_candidate=True)

    def to_document(self) -> dict[str, Any]:
        """Return what ``--json`` prints of it."""
        best = self.searched.best if self.searched else None
        judged = self.judged
        return {
            "configuration_id": self.recorded.configuration_id,
            "fitness_score": self.recorded.fitness_score,
            "human_agreement": self.recorded.human_agreement,
            "trials": len(self.searched.trials) if self.searched else 0,
            "best": best
            and {
                "name": best.name,
                "parameters": dict(best.parameters),
                "fitness_score": best.fitness,
                **{k: best.outcome[k] for k in ("recall", "precision", "false_positive_rate")},
            },
            "candidate": judged and judged.configuration_id,
            "verdict": judged and judged.decision.verdict.value,
            "criteria": judged and [line.to_document() for line in judged.decision.lines],
            "slices": [one.to_document() for one in judged.decision.slices] if judged else [],
            "promoted": bool(judged and judged.promoted),
            "awaits_approval": bool(judged and judged.awaits),
        }


def check_governance(given: dict[str, Any]) -> None:
    """Refuse flags of governance without those that they belong to, and what cannot be searched.

    Raises:
        UsageError: A flag does not fit the others.
    """
    for owner, others in (("enable_phase89", GOVERNANCE), ("optimize_config", SEARCH)):
        if given.get(owner):
            continue
        for flag, default in others.items():
            if given.get(flag) != default:
                name, needed = (f"--{word.replace('_', '-')}" for word in (flag, owner))
                raise UsageError(
                    f"{name} is given, but {needed} is not",
                    mend=f"pass {needed} as well, or leave {name} out",
                )
    for flag in ("optimization_iterations", "workers"):
        if given[flag] < 1:
            raise UsageError(f"--{flag.replace('_', '-')} is {given[flag]}", mend="give 1 or more")
    if given.get("waive_agreement") is not None and not given["waive_agreement"].strip():
        raise UsageError("--waive-agreement has no reason", mend="say why, in a few words")


def _governance(given: dict[str, Any], plan: Plan, run: Run) -> Governance:
    from nethical.governance.governing import Governance
    from nethical.governance.store import GovernanceStore
    from nethical.keys import Keys, default_home
    from nethical.registry import Registry

    def now() -> datetime:
        return datetime.now(UTC)

    registry = Registry(Path(plan.models_dir), Keys(default_home()), now)
    return Governance(GovernanceStore(given["phase89_storage"], now), registry, run)


def check_store(given: dict[str, Any]) -> None:
    """Refuse a store that cannot be used, before anything is trained."""
    if given.get("enable_phase89"):
        from nethical.governance.store import GovernanceStore

        GovernanceStore(given["phase89_storage"], lambda: datetime.now(UTC)).check()


def govern(outcome: Outcome, given: dict[str, Any], run: Run, console: Console) -> Governed | None:
    """Record the configuration of a run, and search or judge as asked; None if it is off."""
    if not given.get("enable_phase89"):
        return None
    governance = _governance(given, outcome.plan, run)
    with run.stage("governance"):
        console.info("Recording configuration with Phase89 governance...")
        recorded = governance.record(outcome)
        _ask_people(governance, outcome, run)
        if given.get("optimize_config"):
            technique = given["optimization_technique"]
            _gap(console)
            console.info(f"Running configuration optimization using {technique}...")
            searched = governance.search(
                outcome,
                technique=technique,
                iterations=given["optimization_iterations"],
                workers=given["workers"],
            )
            return Governed(outcome, recorded, searched)
        judged = _judge_run(governance, outcome, given, console)
        return Governed(outcome, recorded, None, judged)


def _ask_people(governance: Governance, outcome: Outcome, run: Run) -> None:
    """Put gate rows of a run into the review queue."""
    from nethical.governance.asking import ask_people
    from nethical.governance.queue import ReviewQueue

    queue = ReviewQueue(governance.store, lambda: datetime.now(UTC))
    ask_people(queue, outcome, governance.registry.keys.row_key(), run)


def _judge_run(
    governance: Governance, outcome: Outcome, given: dict[str, Any], console: Console
) -> Judged | None:
    """Judge a run against what is in production, if that is another model that it can be."""
    bundle, _ = governance.baseline(outcome)
    if bundle.model_id == outcome.published.model_id:
        return None
    candidate = governance.registry.verify(outcome.published.model_id)
    if not governance.comparable(candidate, bundle):
        return None
    _gap(console)
    console.info(f"Checking promotion gate against {bundle.model_id}...")
    judged = governance.judge(
        candidate,
        bundle,
        outcome.prepared.parts["gate"],
        waiver=given.get("waive_agreement") or "",
        policy=_policy(given),
    )
    if judged.awaits:
        say_what_awaits(judged, console)
    return judged


def _policy(given: dict[str, Any]) -> Policy:
    from nethical.governance.promotion import Policy

    return Policy(await_approval=bool(given.get("await_approval")))


def say_what_awaits(judged: Judged, console: Console) -> None:
    """Say that a configuration passed, and what an approver does next."""
    console.line(
        f"[INFO] It waits for an approver: `nethical serve`, or `nethical govern promote "
        f"{judged.configuration_id} --as NAME`"
    )


def judge_candidate(
    governed: Governed, given: dict[str, Any], run: Run, console: Console
) -> Governed:
    """Train the best configuration of a search and judge it against the baseline."""
    from nethical.gate import Verdict
    from nethical.pipeline import train

    plan = governed.candidate
    if plan is None:
        return governed
    governance = _governance(given, plan, run)
    baseline, _ = governance.baseline(governed.outcome)
    _gap(console)
    console.info("Checking promotion gate for best configuration...")
    outcome = train(plan, run=run, data_digest=governed.outcome.prepared.loaded.digest)
    governance.record(outcome)
    candidate = governance.registry.verify(outcome.published.model_id)
    if not governance.comparable(candidate, baseline):
        console.info("The best configuration is the one in production: nothing to compare")
        return governed
    judged = governance.judge(
        candidate,
        baseline,
        outcome.prepared.parts["gate"],
        waiver=given.get("waive_agreement") or "",
        policy=_policy(given),
        is_chosen_elsewhere=True,
    )
    kept = f"it is kept as {candidate.model_id}"
    if judged.promoted:
        console.line("[INFO] Configuration promoted successfully")
    elif judged.awaits:
        say_what_awaits(judged, console)
    elif judged.decision.verdict == Verdict.PASS:
        console.line(
            f"[INFO] Configuration not promoted, as {plan.slot} is a model of other columns; "
            f"{kept}: pass --name for a slot of its own"
        )
    else:
        console.line(f"[INFO] Configuration not promoted; {kept}")
    return replace(governed, judged=judged)


def _gap(console: Console) -> None:
    """Print an empty line between two parts, where there is anything around it."""
    if not console.quiet:
        console.line()
