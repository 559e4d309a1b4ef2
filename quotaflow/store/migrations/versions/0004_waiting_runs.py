"""Runs that wait, and the attempts they are made of; moments left out, rates set by people, slots of quotas."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns."""
    op.add_column("traces", sa.Column("due_at", _MOMENT))
    op.add_column("traces", sa.Column("tries", sa.Text))
    op.add_column("traces", sa.Column("plan", sa.Text))
    op.add_column("tasks", sa.Column("rate_limit", sa.String(32)))
    op.add_column("tasks", sa.Column("rate_override", sa.String(32)))
    op.add_column("tasks", sa.Column("skip_at", _MOMENT))
    op.add_column("quotas", sa.Column("max_concurrent", sa.Integer))
