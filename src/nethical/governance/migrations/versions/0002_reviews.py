"""Reviews: cases, slots, answers, adjudications, label releases; people and their sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of reviews and people; what is there stays as it is."""
    op.create_table(
        "failed_login",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_failed_login")),
    )
    op.create_index(op.f("ix_failed_login_at"), "failed_login", ["at"], unique=False)
    op.create_table(
        "label_release",
        sa.Column("release_id", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("release_id", name=op.f("pk_label_release")),
        sa.UniqueConstraint("digest", name=op.f("uq_label_release_digest")),
    )
    op.create_index(op.f("ix_label_release_name"), "label_release", ["name"], unique=False)
    op.create_table(
        "person",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "role IN ('viewer', 'reviewer', 'approver', 'admin')", name=op.f("ck_person_role_known")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_person")),
    )
    op.create_table(
        "review_case",
        sa.Column("case_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("stratum", sa.String(length=64), nullable=False),
        sa.Column("inclusion_probability", sa.Float(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("uncertainty", sa.Float(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("decision", sa.String(length=64), nullable=True),
        sa.Column("model_id", sa.String(length=100), nullable=True),
        sa.Column("row_digest", sa.String(length=71), nullable=False),
        sa.Column("features", sa.JSON(), nullable=True),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("due_at", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.Text(), nullable=True),
        sa.Column("label", sa.Boolean(), nullable=True),
        sa.Column("used_for_training", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1",
            name=op.f("ck_review_case_probability_in_range"),
        ),
        sa.CheckConstraint(
            "severity >= 1 AND severity <= 5", name=op.f("ck_review_case_severity_in_range")
        ),
        sa.CheckConstraint(
            "uncertainty >= 0 AND uncertainty <= 1",
            name=op.f("ck_review_case_uncertainty_in_range"),
        ),
        sa.PrimaryKeyConstraint("case_id", name=op.f("pk_review_case")),
    )
    op.create_index(op.f("ix_review_case_name"), "review_case", ["name"], unique=False)
    op.create_index(
        "ix_review_case_queue", "review_case", ["state", "rank", "due_at", "case_id"], unique=False
    )
    op.create_table(
        "adjudication",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("case_id", sa.String(length=128), nullable=False),
        sa.Column("adjudicator", sa.String(length=64), nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("rationale", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "decision IN ('allow', 'block', 'unsure')", name=op.f("ck_adjudication_decision_known")
        ),
        sa.ForeignKeyConstraint(
            ["case_id"], ["review_case.case_id"], name=op.f("fk_adjudication_case_id_review_case")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_adjudication")),
        sa.UniqueConstraint("case_id", name=op.f("uq_adjudication_case_id")),
    )
    op.create_table(
        "review_slot",
        sa.Column("slot_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("case_id", sa.String(length=128), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("reviewer", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.Text(), nullable=True),
        sa.Column("submitted_at", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'free' AND reviewer IS NULL AND lease_until IS NULL AND submitted_at IS NULL)"
            " OR (state = 'claimed' AND reviewer IS NOT NULL AND lease_until IS NOT NULL"
            " AND submitted_at IS NULL)"
            " OR (state = 'submitted' AND reviewer IS NOT NULL AND submitted_at IS NOT NULL)",
            name=op.f("ck_review_slot_state_is_whole"),
        ),
        sa.CheckConstraint("place >= 1 AND place <= 2", name=op.f("ck_review_slot_place_in_range")),
        sa.ForeignKeyConstraint(
            ["case_id"], ["review_case.case_id"], name=op.f("fk_review_slot_case_id_review_case")
        ),
        sa.PrimaryKeyConstraint("slot_id", name=op.f("pk_review_slot")),
        sa.UniqueConstraint("case_id", "place", name=op.f("uq_review_slot_case_id_place")),
        sa.UniqueConstraint("case_id", "reviewer", name=op.f("uq_review_slot_case_id_reviewer")),
    )
    op.create_index("ix_review_slot_reviewer", "review_slot", ["reviewer", "state"], unique=False)
    op.create_table(
        "web_session",
        sa.Column("token_digest", sa.String(length=71), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("last_seen_at", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["name"], ["person.name"], name=op.f("fk_web_session_name_person")),
        sa.PrimaryKeyConstraint("token_digest", name=op.f("pk_web_session")),
    )
    op.create_index(op.f("ix_web_session_name"), "web_session", ["name"], unique=False)
    op.create_table(
        "review_answer",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("slot_id", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(length=64), nullable=False),
        sa.Column("decision", sa.String(length=64), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("rationale", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("at", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "decision IN ('allow', 'block', 'unsure')", name=op.f("ck_review_answer_decision_known")
        ),
        sa.ForeignKeyConstraint(
            ["slot_id"], ["review_slot.slot_id"], name=op.f("fk_review_answer_slot_id_review_slot")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_review_answer")),
        sa.UniqueConstraint("slot_id", name=op.f("uq_review_answer_slot_id")),
    )
