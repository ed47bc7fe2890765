"""Keep the limit that a market order went out with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    money = sa.Text(collation="DECIMAL").with_variant(sa.Numeric(38, 18), "postgresql")
    op.add_column("orders", sa.Column("protection_price", money, nullable=True))


def downgrade() -> None:
    op.drop_column("orders", "protection_price")
