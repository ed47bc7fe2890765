"""Keep what an order waits for, when its time is over, and whose rest it is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def money() -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(38, 18), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("orders", sa.Column("stop_price", money(), nullable=True))
    op.add_column("orders", sa.Column("expires_at", utc_time(), nullable=True))
    op.add_column("orders", sa.Column("reduce_only", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("orders", sa.Column("emulated", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("orders", sa.Column("replaces", key(), nullable=True))


def downgrade() -> None:
    for name in ("replaces", "emulated", "reduce_only", "expires_at", "stop_price"):
        op.drop_column("orders", name)
