"""A configuration: everything that decides, and what may become of it.

Its identity is the digest of its content, so the same choices are the same configuration
whoever makes them, and whenever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from nethical.canonical import canonical_json, digest
from nethical.decisions import Thresholds
from nethical.errors import UsageError
from nethical.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nethical.bundle import Bundle

__all__ = ["MOVES", "Configuration", "Status", "check_move", "configuration_of", "fitness"]

RECALL_WEIGHT = 0.4
FALSE_POSITIVE_WEIGHT = 0.25
LATENCY_WEIGHT = 0.15
AGREEMENT_WEIGHT = 0.2
SLOW_MS = 100.0
TERMS = 4


class Status(StrEnum):
    """What a configuration is used for."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    PRODUCTION = "production"
    DEPRECATED = "deprecated"
    REJECTED = "rejected"


MOVES: Mapping[Status, frozenset[Status]] = {
    Status.CANDIDATE: frozenset({Status.SHADOW, Status.PRODUCTION, Status.REJECTED}),
    Status.SHADOW: frozenset({Status.PRODUCTION, Status.REJECTED}),
    Status.PRODUCTION: frozenset({Status.DEPRECATED}),
    Status.DEPRECATED: frozenset({Status.PRODUCTION}),
    Status.REJECTED: frozenset(),
}


def check_move(old: Status, new: Status) -> None:
    """Refuse a move that is not in the table.

    Raises:
        UsageError: It is not.
    """
    if new not in MOVES[old]:
        allowed = ", ".join(sorted(MOVES[old])) or "nothing"
        raise UsageError(
            f"a configuration that is {old} cannot become {new}",
            mend=f"from {old} it may become: {allowed}",
        )


@dataclass(frozen=True)
class Configuration:
    """Choices that decide how a model is trained and how it decides.

    Args:
        model_type: What is trained.
        training: ``epochs``, ``batch_size``, and the parameters of the type.
        decision: ``classifier_threshold``, ``confidence_threshold``, ``gray_zone_lower`` and
            ``gray_zone_upper``.
    """

    model_type: str
    training: Mapping[str, Any]
    decision: Mapping[str, float]

    @property
    def digest(self) -> str:
        """``sha256:`` and hex, of the canonical JSON of all choices."""
        return digest(canonical_json(self.to_document()))

    @property
    def configuration_id(self) -> str:
        """``cfg_`` and twelve hex digits of the digest."""
        return f"cfg_{self.digest.removeprefix('sha256:')[:12]}"

    def to_document(self) -> dict[str, Any]:
        """Return the choices as JSON values."""
        return {
            "model_type": self.model_type,
            "training": dict(self.training),
            "decision": dict(self.decision),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Configuration:
        """Return the configuration that ``to_document`` wrote."""
        return cls(document["model_type"], document["training"], document["decision"])

    @classmethod
    def of(cls, plan: Plan, thresholds: Thresholds) -> Configuration:
        """Return the configuration of a run: its plan, and the thresholds that it came to."""
        from nethical.models import catalog

        training = {
            "epochs": plan.epochs,
            "batch_size": plan.batch_size,
            "parameters": catalog.parameters(plan.model_type, plan.parameters),
        }
        decision = {
            "classifier_threshold": thresholds.block,
            "confidence_threshold": thresholds.confidence,
            "gray_zone_lower": thresholds.gray_low,
            "gray_zone_upper": thresholds.gray_high,
        }
        return cls(plan.model_type, training, decision)

    def plan(self, plan: Plan) -> Plan:
        """Return a plan that does what the configuration says with the rows of another one."""
        return replace(
            plan,
            model_type=self.model_type,
            epochs=self.training["epochs"],
            batch_size=self.training["batch_size"],
            parameters=self.training["parameters"],
            threshold=None,
            thresholds={
                "block": self.decision["classifier_threshold"],
                "gray_low": self.decision["gray_zone_lower"],
                "gray_high": self.decision["gray_zone_upper"],
                "confidence": self.decision["confidence_threshold"],
            },
        )


def configuration_of(bundle: Bundle) -> Configuration:
    """Return the configuration of a published model."""
    thresholds = Thresholds.from_document(bundle.document("model.json")["thresholds"])
    return Configuration.of(Plan.from_document(bundle.document("run.json")["plan"]), thresholds)


def fitness(
    recall: float | None,
    false_positive_rate: float | None,
    latency_ms: float | None,
    agreement: float | None,
) -> tuple[float | None, int]:
    """Return the fitness score and how many of its four terms are known.

    .4 recall - .25 false positive rate - .15 min(latency / 100 ms, 1) + .2 agreement. Scores
    are comparable only where they have the same terms. It ranks configurations for the eye; it
    decides nothing.
    """
    terms = [
        None if recall is None else RECALL_WEIGHT * recall,
        None if false_positive_rate is None else -FALSE_POSITIVE_WEIGHT * false_positive_rate,
        None if latency_ms is None else -LATENCY_WEIGHT * min(latency_ms / SLOW_MS, 1.0),
        None if agreement is None else AGREEMENT_WEIGHT * agreement,
    ]
    known = [term for term in terms if term is not None]
    return (sum(known) if known else None), len(known)
