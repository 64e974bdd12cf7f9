"""Hand rows of a run to people: its gate part, which no model learns from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from nethical import decisions
from nethical.facts import ReviewsAsked
from nethical.governance.sampling import CaseSampler, Rates

if TYPE_CHECKING:
    from nethical.governance.queue import ReviewQueue
    from nethical.pipeline import Outcome
    from nethical.run import Run

__all__ = ["ask_people", "asked"]


def ask_people(
    queue: ReviewQueue, outcome: Outcome, key: bytes, run: Run, rates: Rates | None = None
) -> ReviewsAsked | None:
    """Put gate rows of a run into the queue, and record how many; None for an event log.

    A single event has no past that people could decide on, so rows of a log are not asked about.

    Args:
        queue: Where cases are kept.
        outcome: The run.
        key: Blinds the digests of rows.
        run: Who hears of it.
        rates: How many rows people get.
    """
    model, gate = outcome.model, outcome.prepared.parts["gate"]
    if model.event_log is not None:
        return None
    sampler = CaseSampler(model, outcome.published.model_id, key, rates)
    y_proba = model.probabilities(gate)
    sampler.look(gate.frame, gate, y_proba, decisions.decide(y_proba, model.thresholds))
    fact = asked(queue, sampler)
    run.record(fact)
    return fact


def asked(queue: ReviewQueue, sampler: CaseSampler) -> ReviewsAsked:
    """Put the cases that were drawn into the queue, and return how many, as a fact."""
    entered = queue.enter(sampler.cases())
    return ReviewsAsked(
        sampler.name,
        sampler.model_id,
        sum(entered.new.values()),
        {source.value: asdict(drawn) for source, drawn in sampler.drawn().items()},
        sampler.rates.most,
    )
