"""What is in production, and whoever moves it: the one door.

The registry's ``current`` is the only record of what is in production. A promotion moves it
first, in one crash-safe step that says which configuration moved it; the store's own chain of
moves is completed from there whenever the store is next used, so the two agree after a kill at
any point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical.errors import UsageError
from nethical.facts import ConfigurationMoved
from nethical.gate import Verdict
from nethical.governance.approval import check_approver, last_reports
from nethical.governance.configurations import Configuration, Status, configuration_of
from nethical.governance.store import Move, in_production
from nethical.registry import user

if TYPE_CHECKING:
    from nethical.bundle import Bundle
    from nethical.governance.store import GovernanceStore
    from nethical.registry import Registry
    from nethical.run import Run

__all__ = ["Production"]


class Production:
    """What is in production in one registry, with the history of it in one store.

    Args:
        store: Where moves are kept.
        registry: Where models are.
        run: Who hears what happens.
    """

    def __init__(self, store: GovernanceStore, registry: Registry, run: Run) -> None:
        self.store = store
        self.registry = registry
        self.run = run

    def move(self, configuration_id: str, status: str, *, reason: str, by: str = "") -> str:
        """Make a configuration shadow, or reject it, under the name of its last model."""
        by = by or user()
        configuration = self.store.find(configuration_id)
        found = configuration.configuration_id
        measured = self.store.evaluations(found)
        if not measured:
            raise UsageError(f"{found} has no model", mend="train it first")
        last = measured[-1]
        moved = Move(found, Status(status), last.model_id, by, reason)
        self.store.move(last.name, moved)
        self.run.record(ConfigurationMoved(found, last.name, status, last.model_id, by, reason))
        return found

    def promote(
        self, configuration_id: str, *, name: str = "", reason: str = "", by: str = ""
    ) -> str:
        """Put a configuration into production that passed against what is there now.

        Args:
            configuration_id: Its id.
            name: The model name; may be empty where it was judged under one alone.
            reason: Why, beside that it passed; kept in the history.
            by: Who approves, if it is not the user of this process: somebody else than who
                proposed it.

        Returns:
            The id of its model.

        Raises:
            UsageError: It never passed or failed last, it passed under several names, what it
                was judged against is not there any more, or who approves proposed it.
        """
        configuration = self.store.find(configuration_id)
        again = f"run `nethical govern gate {configuration.configuration_id} --data TABLE`"
        told = last_reports(self.store, configuration.configuration_id)
        told = [report for report in told if name in {"", report.name}]
        passed = [report for report in told if report.verdict == Verdict.PASS.value]
        if not passed:
            failed = (
                "failed the promotion gate last" if told else "has not passed the promotion gate"
            )
            raise UsageError(f"{configuration.configuration_id} {failed}", mend=again)
        if len(passed) > 1:
            names = ", ".join(report.name for report in passed)
            raise UsageError(
                f"{configuration.configuration_id} passed under several names: {names}",
                mend="choose one with --name NAME",
            )
        report = passed[0]
        if by:
            check_approver(self.store, configuration.configuration_id, report.actor, by)
        self.reconcile(report.name)
        current = self.registry.current(report.name)
        if current is not None and current.name != report.baseline_model:
            raise UsageError(
                f"it was judged against {report.baseline_model}, which is not in production "
                "any more",
                mend=again,
            )
        candidate = self.registry.verify(report.candidate_model)
        baseline = self.registry.verify(report.baseline_model)
        self.install(configuration, candidate, baseline, report.number, reason=reason, by=by)
        return candidate.model_id

    def install(
        self,
        configuration: Configuration,
        candidate: Bundle,
        baseline: Bundle,
        report: int,
        *,
        reason: str = "",
        by: str = "",
    ) -> None:
        """Move the registry, then the chain of moves; whoever comes next completes the second."""
        name = str(candidate.claims["name"])
        self.store.check_production(name, configuration.configuration_id)
        is_there = self.registry.current(name) is not None  # else it is the run's own model
        self.registry.promote(
            candidate.model_id,
            reason=reason or f"{configuration.configuration_id} passed the promotion gate",
            by=by or None,
            details={
                "override": False,
                "configuration_id": configuration.configuration_id,
                "gate_report": report,
            },
            baseline=baseline.model_id if is_there else None,
        )
        self.reconcile(name)

    def rollback(self, name: str, *, reason: str, by: str = "") -> str:
        """Put back what was in production before, and return the id of its model."""
        self.reconcile(name)
        model_id = self.registry.rollback(name, reason=reason, by=by or None)
        self.reconcile(name, reason=reason)
        return model_id

    def reconcile(self, name: str, *, reason: str = "") -> None:
        """Complete the chain of moves of a name from the registry.

        Args:
            name: The model name.
            reason: Why the registry was moved; "" for what its history says.
        """
        current = self.registry.current(name)
        told = in_production(self.store.events(name))
        if (told and told.model_id) == (current and current.name):
            return
        known: dict[str, str] = {}

        def look() -> Move | None:
            current = self.registry.current(name)
            if current is None:
                return None
            if current.name not in known:
                raise _MovedOnError
            installed = self.registry.installed(name)
            return Move(
                known[current.name],
                Status.PRODUCTION,
                current.name,
                installed.get("by") or user(),
                reason or installed.get("reason") or "the registry was moved",
                installed.get("gate_report"),
            )

        while True:
            if current is not None:
                configuration = configuration_of(self.registry.verify(current.name))
                known[current.name] = self.store.add(configuration, by=user())
            try:
                moves = self.store.reconcile(name, look)
                break
            except _MovedOnError:  # somebody moved the registry in between
                current = self.registry.current(name)
        for moved in moves:
            self.run.record(
                ConfigurationMoved(
                    moved.configuration_id,
                    name,
                    moved.new.value,
                    moved.model_id,
                    moved.actor,
                    moved.reason,
                )
            )


class _MovedOnError(Exception):
    """The registry was moved while the store was about to follow it."""
