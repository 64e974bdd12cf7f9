"""The tables of the governance store; a change here needs a migration beside it."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "attempt",
    "configuration",
    "configuration_event",
    "evaluation",
    "gate_report",
    "metadata",
    "reviewed_case",
    "study",
    "trial",
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
    Column("case_id", String(128), primary_key=True),
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
