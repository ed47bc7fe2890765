"""Keep what an order was asked to become, until it is known that it has."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def json_doc() -> TypeEngine[Any]:
    return sa.Text().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("orders", sa.Column("edit", json_doc(), nullable=True))


def downgrade() -> None:
    op.drop_column("orders", "edit")
