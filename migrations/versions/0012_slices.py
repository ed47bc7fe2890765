"""Keep which part of an account is one bot's own, and who said so."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def json_doc() -> TypeEngine[Any]:
    return sa.Text().with_variant(JSONB(), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "slices",
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("amounts", json_doc(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", utc_time(), nullable=False),
        sa.Column("updated_at", utc_time(), nullable=False),
        sa.Column("ended_at", utc_time(), nullable=True),
        sa.PrimaryKeyConstraint("user_id", "bot", "exchange", "account", name=op.f("pk_slices")),
    )
    op.create_table(
        "slice_changes",
        sa.Column("change_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("exchange", key(), nullable=False),
        sa.Column("account", key(), nullable=False),
        sa.Column("amounts", json_doc(), nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", utc_time(), nullable=False),
        sa.Column("booking", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_slice_changes")),
    )


def downgrade() -> None:
    op.drop_table("slice_changes")
    op.drop_table("slices")
