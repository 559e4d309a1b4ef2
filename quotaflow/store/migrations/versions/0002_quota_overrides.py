"""Keys of a quota with a capacity and rate of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "quota_overrides",
        sa.Column("quota_id", sa.String(128), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("capacity", sa.Double, nullable=False),
        sa.Column("refill_rate", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("quota_id", "key", name="pk_quota_overrides"),
    )
