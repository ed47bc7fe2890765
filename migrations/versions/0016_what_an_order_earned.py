"""Keep what an order earned beside the change that ended it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    document = sa.Text().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("order_history", sa.Column("pnl", document, nullable=True))


def downgrade() -> None:
    op.drop_column("order_history", "pnl")
