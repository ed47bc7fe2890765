"""Keep how every position stood when each day began."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "snapshot_days",
        sa.Column("day", key(), nullable=False),
        sa.Column("currency", key(), nullable=False),
        sa.Column("taken_at", utc_time(), nullable=False),
        sa.Column("booking", sa.BigInteger(), nullable=False),
        sa.Column("positions", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("day", "currency", name=op.f("pk_snapshot_days")),
    )
    keys = ("user_id", "currency", "day", "bot", "exchange", "account", "asset")
    op.create_table(
        "snapshots",
        *(sa.Column(name, key(), nullable=False) for name in keys),
        sa.Column("quantity", money(36), nullable=False),
        sa.Column("average_price", money(), nullable=True),
        sa.Column("cost", money(36), nullable=False),
        sa.Column("price", money(), nullable=True),
        sa.Column("value", money(36), nullable=True),
        *(
            sa.Column(name, money(36), nullable=False)
            for name in ("realised", "fees", "opened", "opened_value", "unvalued")
        ),
        sa.Column("updated_at", utc_time(), nullable=False),
        sa.PrimaryKeyConstraint(*keys, name=op.f("pk_snapshots")),
    )


def downgrade() -> None:
    op.drop_table("snapshots")
    op.drop_table("snapshot_days")
