"""Governance of runs: record their configurations, search better ones, judge, promote."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nethical.data import files
from nethical.data.table import LabelledTable
from nethical.decisions import Thresholds
from nethical.errors import UsageError
from nethical.facts import (
    ConfigurationRecorded,
    PromotionDecided,
    SearchCompleted,
)
from nethical.gate import Verdict
from nethical.governance.answered import agreement_with_people
from nethical.governance.configurations import (
    Configuration,
    configuration_of,
    fitness,
)
from nethical.governance.evidence import gather
from nethical.governance.ledger import Ledger, rows_digest
from nethical.governance.production import Production
from nethical.governance.promotion import GateDecision, Policy, decide
from nethical.governance.search import (
    Limits,
    Trial,
    affordable_increase,
    latency_ms,
    search,
)
from nethical.judgement import reads
from nethical.registry import user
from nethical.trained import TrainedModel

if TYPE_CHECKING:
    from pathlib import Path

    from nethical.bundle import Bundle
    from nethical.governance.agreement import Agreement
    from nethical.governance.store import GovernanceStore
    from nethical.pipeline import Outcome
    from nethical.plan import Plan
    from nethical.registry import Registry
    from nethical.run import Run

__all__ = ["Governance", "Judged", "Recorded", "Searched", "configuration_of"]

TOP = 3
GATE_METRICS = ("recall", "precision", "false_positive_rate", "accuracy", "ece_debiased")


@dataclass(frozen=True)
class Recorded:
    """A configuration with what was measured of it.

    Args:
        configuration_id: Its id.
        fitness_score: Of the terms that are known; None if none is.
        terms: How many of the four are known.
        human_agreement: None where nobody reviewed.
    """

    configuration_id: str
    fitness_score: float | None
    terms: int
    human_agreement: float | None


@dataclass(frozen=True)
class Searched:
    """What a search led to.

    Args:
        technique: How it was searched.
        trials: All of them, in order.
        best: The trial of most recall within the limit, None if none could be trained.
        configuration: Of the best.
    """

    technique: str
    trials: tuple[Trial, ...]
    best: Trial | None
    configuration: Configuration | None


@dataclass(frozen=True)
class Judged:
    """What the promotion gate said of a configuration, and what became of it.

    Args:
        configuration_id: Its id.
        decision: What was said.
        baseline: The model that it was judged against.
        promoted: Whether it is in production now.
        awaits: Whether it passed, and waits for the approval of a person.
    """

    configuration_id: str
    decision: GateDecision
    baseline: str
    promoted: bool = False
    awaits: bool = False


class Governance:
    """Governs the models of one registry by one store.

    Args:
        store: Where configurations are kept.
        registry: Where models are.
        run: Who hears what happens.
    """

    def __init__(self, store: GovernanceStore, registry: Registry, run: Run) -> None:
        self.store = store
        self.registry = registry
        self.run = run
        self.production = Production(store, registry, run)

    def record(self, outcome: Outcome) -> Recorded:
        """Keep the configuration of a run and what was measured of it on its gate part."""
        configuration = Configuration.of(outcome.plan, outcome.model.thresholds)
        configuration_id = self.store.add(configuration, by=user())
        self.production.reconcile(outcome.plan.slot)
        measured = outcome.judged.evaluation.metrics_document()
        table = outcome.prepared.parts["gate"]
        metrics = {name: measured[name] for name in GATE_METRICS}
        metrics["latency_ms"] = latency_ms(outcome.model, table)
        found = self._agreement(self.registry.verify(outcome.published.model_id))
        agreed = None if found is None else found.estimate
        score, terms = fitness(
            metrics["recall"], metrics["false_positive_rate"], metrics["latency_ms"], agreed
        )
        values = {
            "configuration_id": configuration_id,
            "name": outcome.plan.slot,
            "model_id": outcome.published.model_id,
            "metrics": metrics,
            "human_agreement": agreed,
            "fitness_score": score,
            "terms": terms,
        }
        self.store.record_evaluation({**values, "gate_digest": outcome.prepared.split.gate_digest})
        self.run.record(
            ConfigurationRecorded(
                configuration_id,
                configuration.to_document(),
                outcome.plan.slot,
                outcome.published.model_id,
                metrics,
                agreed,
                score,
                terms,
            )
        )
        return Recorded(configuration_id, score, terms, agreed)

    def search(
        self, outcome: Outcome, *, technique: str, iterations: int, workers: int
    ) -> Searched:
        """Try other parameters on the rows of a run, and keep every trial.

        Args:
            outcome: The run, whose plan had a search in it.
            technique: See ``search.TECHNIQUES``.
            iterations: How many trials.
            workers: Processes.
        """
        tune, gate = outcome.prepared.parts["tune"], outcome.prepared.parts["gate"]
        baseline = self.baseline(outcome)[1]
        called = baseline.probabilities(tune) >= baseline.thresholds.block
        rate = float(np.mean(called[tune.y == 0])) if (tune.y == 0).any() else 0.0
        negatives = (int((gate.y == 0).sum()), int((tune.y == 0).sum()))
        room = affordable_increase(Policy().max_false_positive_increase, *negatives)
        study_id, trials = search(
            outcome.plan,
            outcome.prepared,
            self.store,
            technique=technique,
            iterations=iterations,
            limits=Limits(rate + room, rate),
            workers=workers,
            progress=self.run.progress,
        )
        complete = [trial for trial in trials if trial.is_complete]
        best = max(complete, key=_rank) if complete else None
        configuration = None if best is None else _configuration(outcome.plan, best)
        if configuration is not None:
            self.store.add(configuration, by=user())
        top = sorted(complete, key=lambda trial: (-trial.fitness, trial.number))[:TOP]
        self.run.record(
            SearchCompleted(
                study_id,
                technique,
                iterations,
                len(trials),
                len(trials) - len(complete),
                [_told(trial) for trial in top],
                None if best is None else _told(best),
                None if configuration is None else configuration.configuration_id,
            )
        )
        return Searched(technique, tuple(trials), best, configuration)

    def baseline(self, outcome: Outcome) -> tuple[Bundle, TrainedModel]:
        """Return what is in production under a run's name, if it reads the same columns.

        Else what the run made: nothing that is judged against that can take the place of a
        model of other columns.
        """
        for current in (self.registry.current(outcome.plan.slot), outcome.published.path):
            if current is not None:
                bundle = self.registry.verify(current.name)
                model = TrainedModel.from_files(bundle.files)
                if reads(model) == reads(outcome.model):
                    break
        return bundle, model

    def comparable(self, candidate: Bundle, baseline: Bundle) -> bool:
        """Return whether two models are of two configurations, and read the same table."""
        models = [TrainedModel.from_files(bundle.files) for bundle in (candidate, baseline)]
        same = configuration_of(candidate).digest == configuration_of(baseline).digest
        return not same and reads(models[0]) == reads(models[1])

    def judge(
        self,
        candidate: Bundle,
        baseline: Bundle,
        table: LabelledTable,
        *,
        waiver: str = "",
        policy: Policy | None = None,
        is_chosen_elsewhere: bool = False,
    ) -> Judged:
        """Judge a model against another on labelled rows; promote it if it passes and may be.

        Args:
            candidate: What may take the place of the other.
            baseline: What it is compared with.
            table: Rows; those that a side learnt from are left out and counted.
            waiver: Why agreement of people is not asked for; empty if it is.
            policy: What is asked; None for the default.
            is_chosen_elsewhere: See ``Ledger.attempt``.

        Raises:
            UsageError: Both are the same configuration.
        """
        policy = policy or Policy()
        ours, theirs = configuration_of(candidate), configuration_of(baseline)
        if candidate.model_id == baseline.model_id or ours.digest == theirs.digest:
            raise UsageError(
                f"{ours.configuration_id} is in production already: nothing to compare",
                mend="judge another configuration",
            )
        name = str(candidate.claims["name"])
        for configuration in (ours, theirs):
            self.store.add(configuration, by=user())
        self.production.reconcile(name)
        self.store.check_production(name, ours.configuration_id)
        evidence, rows = gather(
            candidate,
            baseline,
            table,
            agreement=self._agreement(candidate),
            row_keys=self.registry.keys.row_keys(),
            waiver=waiver,
        )
        k = Ledger(self.store, self.registry).attempt(
            candidate, baseline, rows, evidence, is_chosen_elsewhere=is_chosen_elsewhere
        )
        decision = decide(evidence, policy, attempt=k)
        lines = [line.to_document() for line in decision.lines]
        values: dict[str, Any] = {
            "candidate": ours.configuration_id,
            "baseline": theirs.configuration_id,
            "candidate_model": candidate.model_id,
            "baseline_model": baseline.model_id,
            "name": name,
            "gate_digest": rows_digest(rows),
            "k": k,
            "alpha": decision.alpha,
            "policy": policy.to_document(),
            "verdict": decision.verdict.value,
        }
        number = self.store.record_report(
            {**values, "criteria": lines, "waiver": waiver or None, "actor": user()}
        )
        self.run.record(
            PromotionDecided(
                **values,
                criteria=lines,
                left_out=evidence.left_out,
                waiver=waiver,
                slices=[one.to_document() for one in decision.slices],
            )
        )
        current = self.registry.current(name)
        is_other = current is not None and current.name != baseline.model_id
        judged = Judged(ours.configuration_id, decision, baseline.model_id)
        if decision.verdict != Verdict.PASS or is_other:
            return judged
        if policy.await_approval:
            return replace(judged, awaits=True)
        self.production.install(ours, candidate, baseline, number)
        return replace(judged, promoted=True)

    def judge_on(self, configuration_id: str, data: Path, *, waiver: str, policy: Policy) -> Judged:
        """Judge a configuration on the labelled rows of a table.

        Args:
            configuration_id: What may take the place of what is in production.
            data: The table.
            waiver: See ``judge``.
            policy: See ``judge``.

        Raises:
            UsageError: Nobody trained it, or nothing is in production under its name.
        """
        configuration = self.store.find(configuration_id)
        measured = self.store.evaluations(configuration.configuration_id)
        if not measured:
            raise UsageError(
                f"{configuration.configuration_id} has no model",
                mend="train it: the search that found it tells its parameters",
            )
        kept = {version.model_id for version in self.registry.versions()}
        here = [one.model_id for one in measured if one.model_id in kept] or [measured[-1].model_id]
        candidate = self.registry.verify(here[-1])
        name = str(candidate.claims["name"])
        current = self.registry.current(name)
        if current is None:
            raise UsageError(
                f"{name} has nothing in production to compare with",
                mend="put a version into production with `nethical models promote`",
            )
        model = TrainedModel.from_files(candidate.files)
        frame = files.load(data)
        table, _ = LabelledTable.read(model.table(frame).frame, model.roles)
        return self.judge(
            candidate,
            self.registry.verify(current.name),
            table,
            waiver=waiver,
            policy=policy,
        )

    def _agreement(self, bundle: Bundle) -> Agreement | None:
        return agreement_with_people(self.store, bundle, self.registry.keys.row_keys())


def _rank(trial: Trial) -> tuple[float, float, int]:
    """Return what orders trials: recall, then fewer false positives, then who came first."""
    outcome = trial.outcome
    return (outcome["recall"], -outcome["false_positive_rate"], -trial.number)


def _configuration(plan: Plan, trial: Trial) -> Configuration:
    thresholds = Thresholds(**trial.outcome["thresholds"], rule="")
    return Configuration.of(replace(plan, parameters=trial.parameters), thresholds)


def _told(trial: Trial) -> dict[str, Any]:
    """Return what is told of a trial."""
    outcome = trial.outcome
    return {
        "name": trial.name,
        "parameters": dict(trial.parameters),
        "fitness": trial.fitness,
        **{key: outcome[key] for key in ("recall", "precision", "false_positive_rate")},
        "review_share": outcome["review_share"],
    }
