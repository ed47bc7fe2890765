"""Keep who wants to be told of what, and what they were told."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def utc_time() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def key() -> TypeEngine[Any]:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def document() -> TypeEngine[Any]:
    return sa.Text().with_variant(JSONB(), "postgresql")


def partial(name: str, table: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(op.f(name), table, [column], sqlite_where=where, postgresql_where=where)


def upgrade() -> None:
    op.add_column("notices", sa.Column("event", sa.Text(), nullable=True))
    op.create_table(
        "notification_news",
        sa.Column("kind", key(), nullable=False),
        sa.Column("subject", key(), nullable=False),
        sa.Column("status", key(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", "status", name=op.f("pk_notification_news")),
    )
    op.create_table(
        "notification_rules",
        sa.Column("user_id", key(), nullable=False),
        sa.Column("name", key(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("events", document(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=True),
        sa.Column("of_bot", sa.Text(), nullable=True),
        sa.Column("everyone", sa.Boolean(), nullable=False),
        sa.Column("digest_minutes", sa.Integer(), nullable=True),
        sa.Column("digest_at", sa.Text(), nullable=True),
        sa.Column("quiet_from", sa.Text(), nullable=True),
        sa.Column("quiet_until", sa.Text(), nullable=True),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("suppress_s", sa.Integer(), nullable=False),
        sa.Column("repeat_s", sa.Integer(), nullable=False),
        sa.Column("updated_at", utc_time(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "name", name=op.f("pk_notification_rules")),
    )
    op.create_table(
        "notifications",
        sa.Column("notification_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("rule", key(), nullable=False),
        sa.Column("due_at", utc_time(), nullable=False),
        sa.Column("message_id", key(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("event_key", key(), nullable=False),
        sa.Column("at", utc_time(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("bot", sa.Text(), nullable=True),
        sa.Column("exchange", sa.Text(), nullable=True),
        sa.Column("order_id", key(), nullable=True),
        sa.Column("query_id", key(), nullable=True),
        sa.Column("event_group", key(), nullable=False),
        sa.Column("facts", document(), nullable=False),
        sa.PrimaryKeyConstraint("notification_id", name=op.f("pk_notifications")),
    )
    op.create_index(op.f("ix_notifications_message_id"), "notifications", ["message_id"])
    op.create_index(op.f("ix_notifications_user_id_event_key"), "notifications", ["user_id", "event_key"])
    told = ["user_id", "rule", "event_group"]
    op.create_index(op.f("ix_notifications_user_id_rule_event_group"), "notifications", told)
    partial("ix_notifications_due", "notifications", "due_at", "message_id IS NULL")
    op.create_table(
        "notification_messages",
        sa.Column("message_id", key(), nullable=False),
        sa.Column("user_id", key(), nullable=False),
        sa.Column("rule", key(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("event_group", key(), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.Column("order_id", key(), nullable=True),
        sa.Column("query_id", key(), nullable=True),
        sa.Column("created_at", utc_time(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", utc_time(), nullable=True),
        sa.Column("sent_at", utc_time(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("repeat_at", utc_time(), nullable=True),
        sa.Column("acknowledged_at", utc_time(), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_notification_messages")),
    )
    op.create_index(
        op.f("ix_notification_messages_user_id_created_at"),
        "notification_messages",
        ["user_id", "created_at"],
    )
    partial(
        "ix_notification_messages_waiting", "notification_messages", "next_attempt_at", "state = 'waiting'"
    )
    partial("ix_notification_messages_repeat", "notification_messages", "repeat_at", "repeat_at IS NOT NULL")


def downgrade() -> None:
    op.drop_table("notification_messages")
    op.drop_table("notifications")
    op.drop_table("notification_rules")
    op.drop_table("notification_news")
    op.drop_column("notices", "event")
