"""Keep the book each fill met, and what each finished parent cost."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def json_doc() -> TypeEngine[Any]:
    return sa.Text().with_variant(JSONB(), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("fills", sa.Column("mid", money(36), nullable=True))
    op.add_column("fills", sa.Column("touch", money(36), nullable=True))
    op.create_table(
        "costs",
        sa.Column("parent_id", key(), nullable=False),
        sa.Column("query_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("bot", key(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("algo", sa.Text(), nullable=False),
        sa.Column("pair", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("started_at", utc_time(), nullable=False),
        sa.Column("ended_at", utc_time(), nullable=False),
        sa.Column("body", json_doc(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("parent_id", name=op.f("pk_costs")),
    )
    op.create_index(op.f("ix_costs_query_id"), "costs", ["query_id"])
    op.create_index(
        op.f("ix_costs_user_id_ended_at_parent_id"), "costs", ["user_id", "ended_at", "parent_id"]
    )


def downgrade() -> None:
    op.drop_table("costs")
    op.drop_column("fills", "touch")
    op.drop_column("fills", "mid")
