"""${message}"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def money(decimals: int = 18) -> TypeEngine[Any]:
    return sa.Text(collation="DECIMAL").with_variant(sa.Numeric(20 + decimals, decimals), "postgresql")


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def json_doc() -> TypeEngine[Any]:
    return sa.Text().with_variant(postgresql.JSONB(), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
