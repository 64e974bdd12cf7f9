"""The first released schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "configuration",
        sa.Column("configuration_id", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("model_type", sa.String(length=64), nullable=False),
        sa.Column("training", sa.JSON(), nullable=False),
        sa.Column("decision", sa.JSON(), nullable=False),
        sa.Column("classifier_threshold", sa.Float(), nullable=False),
        sa.Column("gray_zone_lower", sa.Float(), nullable=False),
        sa.Column("gray_zone_upper", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "gray_zone_lower <= classifier_threshold AND classifier_threshold <= gray_zone_upper",
            name=op.f("ck_configuration_thresholds_in_order"),
        ),
        sa.PrimaryKeyConstraint("configuration_id", name=op.f("pk_configuration")),
        sa.UniqueConstraint("digest", name=op.f("uq_configuration_digest")),
    )
    op.create_table(
        "reviewed_case",
        sa.Column("case_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("features", sa.JSON(), nullable=False),
        sa.Column("is_positive", sa.Boolean(), nullable=False),
        sa.Column("stratum", sa.String(length=64), nullable=False),
        sa.Column("inclusion_probability", sa.Float(), nullable=False),
        sa.Column("reviewers", sa.Integer(), nullable=False),
        sa.Column("used_for_training", sa.Boolean(), nullable=False),
        sa.Column("reviewed_at", sa.Text(), nullable=False),
        sa.Column("imported_at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1",
            name=op.f("ck_reviewed_case_probability_in_range"),
        ),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_reviewed_case")),
    )
    op.create_index(op.f("ix_reviewed_case_name"), "reviewed_case", ["name"], unique=False)
    op.create_table(
        "study",
        sa.Column("study_id", sa.String(length=71), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("technique", sa.String(length=64), nullable=False),
        sa.Column("iterations", sa.Integer(), nullable=False),
        sa.Column("identity", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint("iterations >= 1", name=op.f("ck_study_iterations_positive")),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study")),
    )
    op.create_table(
        "attempt",
        sa.Column("gate_digest", sa.String(length=71), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("configuration_id", sa.String(length=16), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.CheckConstraint("k >= 1", name=op.f("ck_attempt_k_positive")),
        sa.ForeignKeyConstraint(
            ["configuration_id"],
            ["configuration.configuration_id"],
            name=op.f("fk_attempt_configuration_id_configuration"),
        ),
        sa.PrimaryKeyConstraint("gate_digest", "k", name=op.f("pk_attempt")),
        sa.UniqueConstraint(
            "gate_digest", "configuration_id", name=op.f("uq_attempt_gate_digest_configuration_id")
        ),
    )
    op.create_table(
        "evaluation",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("configuration_id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=100), nullable=False),
        sa.Column("gate_digest", sa.String(length=71), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("human_agreement", sa.Float(), nullable=True),
        sa.Column("fitness_score", sa.Float(), nullable=True),
        sa.Column("terms", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["configuration_id"],
            ["configuration.configuration_id"],
            name=op.f("fk_evaluation_configuration_id_configuration"),
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_evaluation")),
    )
    op.create_table(
        "gate_report",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("candidate", sa.String(length=16), nullable=False),
        sa.Column("baseline", sa.String(length=16), nullable=True),
        sa.Column("candidate_model", sa.String(length=100), nullable=False),
        sa.Column("baseline_model", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("gate_digest", sa.String(length=71), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("criteria", sa.JSON(), nullable=False),
        sa.Column("verdict", sa.String(length=64), nullable=False),
        sa.Column("waiver", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["candidate"],
            ["configuration.configuration_id"],
            name=op.f("fk_gate_report_candidate_configuration"),
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_gate_report")),
    )
    op.create_table(
        "trial",
        sa.Column("study_id", sa.String(length=71), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.study_id"], name=op.f("fk_trial_study_id_study")
        ),
        sa.PrimaryKeyConstraint("study_id", "number", name=op.f("pk_trial")),
    )
    op.create_table(
        "configuration_event",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("configuration_id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("from_status", sa.String(length=64), nullable=False),
        sa.Column("to_status", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=100), nullable=False),
        sa.Column("previous", sa.Integer(), nullable=False),
        sa.Column("gate_report", sa.Integer(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["configuration_id"],
            ["configuration.configuration_id"],
            name=op.f("fk_configuration_event_configuration_id_configuration"),
        ),
        sa.ForeignKeyConstraint(
            ["gate_report"],
            ["gate_report.number"],
            name=op.f("fk_configuration_event_gate_report_gate_report"),
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_configuration_event")),
        sa.UniqueConstraint("name", "previous", name=op.f("uq_configuration_event_name_previous")),
    )
    op.create_index(
        op.f("ix_configuration_event_name"), "configuration_event", ["name"], unique=False
    )
