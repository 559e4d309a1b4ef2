"""What happened in one minute under all quotas together."""

from datetime import timedelta

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

# Pages look back 24 hours at most, and this is twice that. All of 180 days may be 259,000,000 rows, more than can be
# read before the store's deadline; two days of 1,000 quotas are 2,880,000.
SUMMED = timedelta(days=2)

_NEXT = sa.text("SELECT MIN(quota_id) FROM quota_metrics WHERE quota_id > :after")
_ADD = sa.text(
    "INSERT INTO minute_totals (minute, allowed, r429, ok, err)"
    " SELECT minute, allowed, r429, ok, err FROM quota_metrics WHERE quota_id = :quota_id AND minute >= :since"
    " ON CONFLICT (minute) DO UPDATE SET allowed = minute_totals.allowed + excluded.allowed,"
    " r429 = minute_totals.r429 + excluded.r429, ok = minute_totals.ok + excluded.ok,"
    " err = minute_totals.err + excluded.err"
)


def upgrade() -> None:
    """Make the table, and sum up the last minutes."""
    op.create_table(
        "minute_totals",
        sa.Column("minute", sa.DateTime(timezone=True), nullable=False),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.Column("r429", sa.BigInteger, nullable=False),
        sa.Column("ok", sa.BigInteger, nullable=False),
        sa.Column("err", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("minute", name="pk_minute_totals"),
    )
    _sum_up(op.get_bind())


def _sum_up(connection: sa.Connection) -> None:
    """Add quota after quota: the primary key (quota_id, minute) leads to the last minutes of one, not of all."""
    moment = sa.DateTime(timezone=True)
    now = connection.execute(sa.select(sa.func.current_timestamp(type_=moment))).scalar_one()
    add, quota_id = _ADD.bindparams(sa.bindparam("since", now - SUMMED, moment)), ""
    while (quota_id := connection.scalar(_NEXT, {"after": quota_id})) is not None:
        connection.execute(add, {"quota_id": quota_id})
