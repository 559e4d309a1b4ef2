"""What happened in one minute under all quotas together."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table, and sum up the minutes that there are."""
    op.create_table(
        "minute_totals",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.Column("r429", sa.BigInteger, nullable=False),
        sa.Column("ok", sa.BigInteger, nullable=False),
        sa.Column("err", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("minute", name="pk_minute_totals"),
    )
    op.execute(
        "INSERT INTO minute_totals (minute, allowed, r429, ok, err)"
        " SELECT minute, SUM(allowed), SUM(r429), SUM(ok), SUM(err) FROM quota_metrics GROUP BY minute"
    )
