"""Keys of other services, and what they have left there."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = sa.String(128)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table, and let a quota mirror what its keys have."""
    op.add_column("quotas", sa.Column("mirrors", _ID))
    op.create_table(
        "upstream_keys",
        sa.Column("id", _ID, nullable=False),
        sa.Column("provider", _ID, nullable=False),
        sa.Column("name", _ID, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("prefix", sa.String(64), nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("plan_limit", sa.Double),
        sa.Column("used", sa.Double),
        sa.Column("remaining", sa.Double),
        sa.Column("status", sa.String(16), nullable=False, server_default="active"),
        sa.Column("cooldown_until", _MOMENT),
        sa.Column("last_checked_at", _MOMENT),
        sa.Column("last_error", sa.Text),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_upstream_keys"),
        sa.UniqueConstraint("fingerprint", name="uq_upstream_keys_fingerprint"),
        sa.UniqueConstraint("provider", "name", name="uq_upstream_keys_provider_name"),
    )
    op.create_index("ix_upstream_keys_created_at", "upstream_keys", ["created_at"])
