"""Keep which orders and fills met inside, with whom, and what that saved."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def money(decimals: int) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("orders", sa.Column("cross_id", key(), nullable=True))
    op.add_column("orders", sa.Column("fee_saved", money(36), nullable=True))
    op.add_column("fills", sa.Column("cross_id", key(), nullable=True))


def downgrade() -> None:
    op.drop_column("fills", "cross_id")
    op.drop_column("orders", "fee_saved")
    op.drop_column("orders", "cross_id")
