"""Access tokens, prepaid quotas, and the ledger."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ID = sa.String(128)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables, and give quotas a kind."""
    op.add_column("quotas", sa.Column("kind", sa.String(16), nullable=False, server_default="bucket"))
    op.add_column("quotas", sa.Column("reset_cron", sa.Text))
    op.add_column("quotas", sa.Column("timezone", sa.String(64)))
    for column in _balance():
        op.add_column("quotas", column)
    op.create_table(
        "access_tokens",
        sa.Column("id", _ID, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("prefix", sa.String(16), nullable=False),
        sa.Column("ws_id", _ID, nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.Column("quota_type", sa.String(16), nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("rate_limit_per_minute", sa.Integer),
        sa.Column("rate_limit_burst", sa.Integer),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("deleted_at", _MOMENT),
        *_balance(),
        sa.PrimaryKeyConstraint("id", name="pk_access_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_access_tokens_token_hash"),
    )
    op.create_index("ix_access_tokens_ws_id", "access_tokens", ["ws_id"])
    op.create_index("ix_access_tokens_email", "access_tokens", ["email"])
    _ledger()


def _balance() -> list[sa.Column[Any]]:
    return [
        sa.Column("total_quota", sa.Double),
        sa.Column("remaining_quota", sa.Double),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("quota_synced_at", _MOMENT),
    ]


def _ledger() -> None:
    op.create_table(
        "token_quota_logs",
        sa.Column("event_id", sa.String(96), nullable=False),
        sa.Column("subject", _ID, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("quota_before", sa.Double, nullable=False),
        sa.Column("quota_change", sa.Double, nullable=False),
        sa.Column("quota_after", sa.Double, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("request_id", _ID),
        sa.Column("actor", sa.Text),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("checksum", sa.String(16), nullable=False),
        sa.Column("execution_success", sa.Boolean),
        sa.Column("execution_error_type", sa.Text),
        sa.Column("execution_error_message", sa.Text),
        sa.PrimaryKeyConstraint("event_id", name="pk_token_quota_logs"),
    )
    op.create_index("ix_token_quota_logs_subject_epoch_seq", "token_quota_logs", ["subject", "epoch", "seq"])
    op.create_index("ix_token_quota_logs_request_id", "token_quota_logs", ["request_id"])
