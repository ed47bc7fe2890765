"""Keep whose no it was with each change of an order: our code, and the exchange's own words."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ADDED = ("code", "venue_code", "venue_message")


def upgrade() -> None:
    for name in ADDED:
        op.add_column("order_history", sa.Column(name, sa.Text(), nullable=True))


def downgrade() -> None:
    for name in reversed(ADDED):
        op.drop_column("order_history", name)
