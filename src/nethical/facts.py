"""What a run can say happened: one frozen dataclass per kind of fact.

Facts carry plain values and digests only (JSON values, never models or tables), so that any
sink can store them and anybody can check them. ``event_type`` is the name under which a fact
is stored; six of them are the names that scripts around this project have long looked for:
training_start, data_loaded, data_split, training_completed, validation_metrics, model_saved.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

__all__ = [
    "Calibrated",
    "CohortAdded",
    "ConfigurationMoved",
    "ConfigurationRecorded",
    "DataLoaded",
    "DataSplit",
    "DriftReported",
    "Evaluated",
    "Fact",
    "GateDecided",
    "LeaksProbed",
    "ModelFitted",
    "ModelSaved",
    "PastDerived",
    "PromotionDecided",
    "ReferenceEvaluated",
    "ReviewsAsked",
    "RolesInferred",
    "RunAborted",
    "RunEnded",
    "RunStarted",
    "SearchCompleted",
    "SourceFellBack",
    "StageFailed",
    "Warned",
]


@dataclass(frozen=True)
class Fact:
    """Something that happened in a run."""

    event_type: ClassVar[str]

    def to_document(self) -> dict[str, Any]:
        """Return the fact as JSON values, its ``event_type`` first."""
        return {"event_type": self.event_type, **asdict(self)}


@dataclass(frozen=True)
class RunStarted(Fact):
    """A run began, with the plan that decides everything in it."""

    event_type = "training_start"
    run_id: str
    model_type: str
    name: str
    epochs: int
    batch_size: int
    num_samples: int | None
    seed: int
    plan: dict[str, Any]
    environment: dict[str, Any]


@dataclass(frozen=True)
class SourceFellBack(Fact):
    """No data was named or reachable, so synthetic data takes its place."""

    event_type = "source_fallback"
    source: str
    reason: str


@dataclass(frozen=True)
class DataLoaded(Fact):
    """A table was read: where from, how big, and its digest.

    ``num_samples`` counts the rows with a label, or all where there is no label at all.
    """

    event_type = "data_loaded"
    source: str
    num_samples: int
    columns: int
    unlabelled: int
    digest: str
    details: dict[str, Any]
    has_labels: bool = True


@dataclass(frozen=True)
class RolesInferred(Fact):
    """Each column got a role, with the reason."""

    event_type = "roles_inferred"
    roles: dict[str, Any]


@dataclass(frozen=True)
class PastDerived(Fact):
    """Each event of a log got columns that say what the log holds of its past."""

    event_type = "past_derived"
    rows: int
    columns: int
    event_log: dict[str, Any]


@dataclass(frozen=True)
class LeaksProbed(Fact):
    """The table was probed for what gives the label away."""

    event_type = "leaks_probed"
    suspects: list[dict[str, Any]]
    dropped: list[str]
    accepted: list[str]
    sorted_by_label: bool
    probed: bool


@dataclass(frozen=True)
class DataSplit(Fact):
    """The rows went into disjoint parts."""

    event_type = "data_split"
    strategy: str
    train_samples: int
    val_samples: int
    parts: dict[str, int]
    positives: dict[str, int]
    groups: dict[str, int]
    duplicate_rows: int
    gate_digest: str


@dataclass(frozen=True)
class ModelFitted(Fact):
    """A model learnt from the train part."""

    event_type = "training_completed"
    model_type: str
    epochs: int
    epochs_run: float | None
    training_duration_seconds: float
    notes: list[str]
    details: dict[str, Any]


@dataclass(frozen=True)
class Calibrated(Fact):
    """Scores became probabilities, and the decision thresholds were set."""

    event_type = "calibrated"
    method: str
    rows: int
    thresholds: dict[str, Any]


@dataclass(frozen=True)
class Evaluated(Fact):
    """Metrics of the gate part, with their 95 % intervals."""

    event_type = "validation_metrics"
    metrics: dict[str, float | None]
    intervals: dict[str, list[float | None]]
    rows: int


@dataclass(frozen=True)
class ReferenceEvaluated(Fact):
    """Metrics of a plainer model that learnt from the same rows, on the same gate part."""

    event_type = "reference_metrics"
    model_type: str
    metrics: dict[str, float | None]
    intervals: dict[str, list[float | None]]
    rows: int


@dataclass(frozen=True)
class GateDecided(Fact):
    """The gate judged the model, criterion by criterion; ``cleared`` to become current or not."""

    event_type = "gate_decided"
    verdict: str
    criteria: list[dict[str, Any]]
    comparison: dict[str, Any] | None
    cleared: bool
    reason: str
    gate_readings: int


@dataclass(frozen=True)
class ModelSaved(Fact):
    """A bundle was published; ``signature_digest`` is the digest of its model.sig."""

    event_type = "model_saved"
    model_id: str
    model_path: str
    metrics_path: str
    promoted: bool
    signature_digest: str


@dataclass(frozen=True)
class CohortAdded(Fact):
    """Scored rows joined a cohort; ``cells_digest`` is over the counts that comparisons read."""

    event_type = "cohort_added"
    cohort_id: str
    label: str
    model: str
    rows: int
    labelled: int
    rows_digest: str
    cells_digest: str
    violations: list[dict[str, Any]]


@dataclass(frozen=True)
class DriftReported(Fact):
    """Cohorts were compared with a reference; ``report_digest`` is over the JSON file."""

    event_type = "drift_reported"
    report_id: str
    report_path: str
    report_digest: str
    reference: str
    cohorts: list[str]
    verdict: str
    message: str


@dataclass(frozen=True)
class ConfigurationRecorded(Fact):
    """What decided a run was stored, with what was measured of it on the gate part."""

    event_type = "configuration_recorded"
    configuration_id: str
    configuration: dict[str, Any]
    name: str
    model_id: str
    metrics: dict[str, float | None]
    human_agreement: float | None
    fitness_score: float | None
    terms: int


@dataclass(frozen=True)
class SearchCompleted(Fact):
    """Other parameters were tried; ``top`` are the fittest, ``best`` has most recall in limits."""

    event_type = "search_completed"
    study_id: str
    technique: str
    iterations: int
    trials: int
    failed: int
    top: list[dict[str, Any]]
    best: dict[str, Any] | None
    configuration_id: str | None


@dataclass(frozen=True)
class PromotionDecided(Fact):
    """The promotion gate judged a configuration against the one in production."""

    event_type = "promotion_decided"
    candidate: str
    baseline: str
    candidate_model: str
    baseline_model: str
    name: str
    gate_digest: str
    k: int
    alpha: float
    policy: dict[str, Any]
    verdict: str
    criteria: list[dict[str, Any]]
    left_out: int
    waiver: str
    slices: list[dict[str, Any]]


@dataclass(frozen=True)
class ConfigurationMoved(Fact):
    """What a configuration is used for changed."""

    event_type = "configuration_moved"
    configuration_id: str
    name: str
    status: str
    model_id: str
    actor: str
    reason: str


@dataclass(frozen=True)
class ReviewsAsked(Fact):
    """Rows of the gate part went to people: of each kind how many there are, and were drawn.

    ``drawn`` holds, for ``gray`` and ``audit`` (and ``disagreement`` with a model in shadow, and
    ``critical``, where they were looked for), rows seen, cases taken, and the probability at
    which each row was taken; ``entered`` counts those that were not in the queue already.
    """

    event_type = "reviews_asked"
    name: str
    model_id: str
    entered: int
    drawn: dict[str, Any]
    most: int


@dataclass(frozen=True)
class Warned(Fact):
    """The user was warned of something."""

    event_type = "warning"
    message: str


@dataclass(frozen=True)
class StageFailed(Fact):
    """A stage raised; the run ends with this error."""

    event_type = "stage_failed"
    stage: str
    error: str
    message: str


@dataclass(frozen=True)
class RunEnded(Fact):
    """A run ended: ``outcome`` is completed, failed or interrupted.

    ``events_digest`` is over the leaf hashes of the ``event_count`` facts before it.
    """

    event_type = "run_ended"
    outcome: str
    error: str | None
    event_count: int
    events_digest: str


@dataclass(frozen=True)
class RunAborted(Fact):
    """A run was found dead: it began, did not end, and no process holds its lock."""

    event_type = "training_aborted"
    outcome: str
    noticed_by: str
    event_count: int
    events_digest: str
