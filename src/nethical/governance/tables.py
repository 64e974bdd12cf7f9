"""The tables of the governance store; a change here needs a migration beside it."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "HIDDEN",
    "adjudication",
    "attempt",
    "configuration",
    "configuration_event",
    "evaluation",
    "failed_login",
    "gate_report",
    "label_release",
    "metadata",
    "person",
    "review_answer",
    "review_case",
    "review_slot",
    "reviewed_case",
    "study",
    "trial",
    "web_session",
]

NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMES)
ID = String(16)
DIGEST = String(71)
NAME = String(64)
MODEL = String(100)
CASE = String(128)
HIDDEN = "hidden"  # marks columns that no export holds

configuration = Table(
    "configuration",
    metadata,
    Column("configuration_id", ID, primary_key=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("model_type", NAME, nullable=False),
    Column("training", JSON, nullable=False),
    Column("decision", JSON, nullable=False),
    Column("classifier_threshold", Float, nullable=False),
    Column("gray_zone_lower", Float, nullable=False),
    Column("gray_zone_upper", Float, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    CheckConstraint(
        "gray_zone_lower <= classifier_threshold AND classifier_threshold <= gray_zone_upper",
        name="thresholds_in_order",
    ),
)
# What became of a configuration under a model name, one line a move, never changed.
configuration_event = Table(
    "configuration_event",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("configuration_id", ID, ForeignKey("configuration.configuration_id"), nullable=False),
    Column("name", NAME, nullable=False, index=True),
    Column("from_status", NAME, nullable=False),
    Column("to_status", NAME, nullable=False),
    Column("model_id", MODEL, nullable=False),
    Column("previous", Integer, nullable=False),
    Column("gate_report", Integer, ForeignKey("gate_report.number"), nullable=True),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Text, nullable=False),
    UniqueConstraint("name", "previous"),
)
# What was measured of a configuration: on which rows, by which model.
evaluation = Table(
    "evaluation",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("configuration_id", ID, ForeignKey("configuration.configuration_id"), nullable=False),
    Column("name", NAME, nullable=False),
    Column("model_id", MODEL, nullable=False),
    Column("gate_digest", DIGEST, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("human_agreement", Float, nullable=True),
    Column("fitness_score", Float, nullable=True),
    Column("terms", Integer, nullable=False),
    Column("at", Text, nullable=False),
)
study = Table(
    "study",
    metadata,
    Column("study_id", DIGEST, primary_key=True),
    Column("name", NAME, nullable=False),
    Column("technique", NAME, nullable=False),
    Column("iterations", Integer, nullable=False),
    Column("identity", JSON, nullable=False),
    Column("created_at", Text, nullable=False),
    CheckConstraint("iterations >= 1", name="iterations_positive"),
)
trial = Table(
    "trial",
    metadata,
    Column("study_id", DIGEST, ForeignKey("study.study_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("parameters", JSON, nullable=False),
    Column("outcome", JSON, nullable=False),
    Column("at", Text, nullable=False),
)
# The k-th configuration that was judged on one gate part, whose error rate shrinks with k.
attempt = Table(
    "attempt",
    metadata,
    Column("gate_digest", DIGEST, primary_key=True),
    Column("k", Integer, primary_key=True),
    Column("configuration_id", ID, ForeignKey("configuration.configuration_id"), nullable=False),
    Column("at", Text, nullable=False),
    UniqueConstraint("gate_digest", "configuration_id"),
    CheckConstraint("k >= 1", name="k_positive"),
)
gate_report = Table(
    "gate_report",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("candidate", ID, ForeignKey("configuration.configuration_id"), nullable=False),
    Column("baseline", ID, nullable=True),
    Column("candidate_model", MODEL, nullable=False),
    Column("baseline_model", MODEL, nullable=False),
    Column("name", NAME, nullable=False),
    Column("gate_digest", DIGEST, nullable=False),
    Column("k", Integer, nullable=False),
    Column("alpha", Float, nullable=False),
    Column("policy", JSON, nullable=False),
    Column("criteria", JSON, nullable=False),
    Column("verdict", NAME, nullable=False),
    Column("waiver", Text, nullable=True),
    Column("actor", Text, nullable=False),
    Column("at", Text, nullable=False),
)
# What people decided, with the features that any configuration can be asked about again.
reviewed_case = Table(
    "reviewed_case",
    metadata,
    Column("case_id", CASE, primary_key=True),
    Column("name", NAME, nullable=False, index=True),
    Column("features", JSON, nullable=False),
    Column("is_positive", Boolean, nullable=False),
    Column("stratum", NAME, nullable=False),
    Column("inclusion_probability", Float, nullable=False),
    Column("reviewers", Integer, nullable=False),
    Column("used_for_training", Boolean, nullable=False),
    Column("reviewed_at", Text, nullable=False),
    Column("imported_at", Text, nullable=False),
    CheckConstraint(
        "inclusion_probability > 0 AND inclusion_probability <= 1", name="probability_in_range"
    ),
)
# What people are asked about: one line a case, with what the model said, which they do not see.
review_case = Table(
    "review_case",
    metadata,
    Column("case_id", CASE, primary_key=True),
    Column("name", NAME, nullable=False, index=True),
    Column("source", NAME, nullable=False),
    Column("stratum", NAME, nullable=False),
    Column("inclusion_probability", Float, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("uncertainty", Float, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("probability", Float, nullable=True),
    Column("decision", NAME, nullable=True),
    Column("model_id", MODEL, nullable=True),
    Column("row_digest", DIGEST, nullable=False),
    Column("features", JSON(none_as_null=True), nullable=True),
    Column("state", NAME, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("due_at", Text, nullable=False),
    Column("closed_at", Text, nullable=True),
    Column("label", Boolean, nullable=True),
    Column("used_for_training", Boolean, nullable=False),
    CheckConstraint(
        "inclusion_probability > 0 AND inclusion_probability <= 1", name="probability_in_range"
    ),
    CheckConstraint("severity >= 1 AND severity <= 5", name="severity_in_range"),
    CheckConstraint("uncertainty >= 0 AND uncertainty <= 1", name="uncertainty_in_range"),
    Index("ix_review_case_queue", "state", "rank", "due_at", "case_id"),  # as claims read it
)
# One line a review that is asked for: two a case, each answered once, by two people.
review_slot = Table(
    "review_slot",
    metadata,
    Column("slot_id", Integer, primary_key=True, autoincrement=True),
    Column("case_id", CASE, ForeignKey("review_case.case_id"), nullable=False),
    Column("place", Integer, nullable=False),
    Column("state", NAME, nullable=False),
    Column("reviewer", NAME, nullable=True),
    Column("lease_until", Text, nullable=True),
    Column("submitted_at", Text, nullable=True),
    UniqueConstraint("case_id", "place"),
    UniqueConstraint("case_id", "reviewer"),
    CheckConstraint("place >= 1 AND place <= 2", name="place_in_range"),
    CheckConstraint(
        "(state = 'free' AND reviewer IS NULL AND lease_until IS NULL AND submitted_at IS NULL)"
        " OR (state = 'claimed' AND reviewer IS NOT NULL AND lease_until IS NOT NULL"
        " AND submitted_at IS NULL)"
        " OR (state = 'submitted' AND reviewer IS NOT NULL AND submitted_at IS NOT NULL)",
        name="state_is_whole",
    ),
    Index("ix_review_slot_reviewer", "reviewer", "state"),
)
# What a reviewer answered; never changed.
review_answer = Table(
    "review_answer",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("slot_id", Integer, ForeignKey("review_slot.slot_id"), nullable=False, unique=True),
    Column("reviewer", NAME, nullable=False),
    Column("decision", NAME, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("rationale", Text, nullable=False),
    Column("confidence", Float, nullable=True),
    Column("at", Text, nullable=False),
    CheckConstraint("decision IN ('allow', 'block', 'unsure')", name="decision_known"),
)
# What a third person decided where two did not agree; never changed.
adjudication = Table(
    "adjudication",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("case_id", CASE, ForeignKey("review_case.case_id"), nullable=False, unique=True),
    Column("adjudicator", NAME, nullable=False),
    Column("decision", NAME, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("rationale", Text, nullable=False),
    Column("confidence", Float, nullable=True),
    Column("at", Text, nullable=False),
    CheckConstraint("decision IN ('allow', 'block', 'unsure')", name="decision_known"),
)
# Labels that training may read; never changed. The rows are ids, digests, labels and weights.
label_release = Table(
    "label_release",
    metadata,
    Column("release_id", ID, primary_key=True),
    Column("digest", DIGEST, nullable=False, unique=True),
    Column("name", NAME, nullable=False, index=True),
    Column("rows", JSON, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("created_by", Text, nullable=False),
)
person = Table(
    "person",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("role", NAME, nullable=False),
    Column("password_hash", Text, nullable=False, info={HIDDEN: True}),
    Column("created_at", Text, nullable=False),
    Column("disabled_at", Text, nullable=True),
    CheckConstraint("role IN ('viewer', 'reviewer', 'approver', 'admin')", name="role_known"),
)
# Who is signed in; a session is known by the digest of its token, which only the browser has.
web_session = Table(
    "web_session",
    metadata,
    Column("token_digest", DIGEST, primary_key=True),
    Column("name", NAME, ForeignKey("person.name"), nullable=False, index=True),
    Column("csrf", Text, nullable=False, info={HIDDEN: True}),
    Column("created_at", Text, nullable=False),
    Column("last_seen_at", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
)
failed_login = Table(
    "failed_login",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("at", Text, nullable=False, index=True),
)
