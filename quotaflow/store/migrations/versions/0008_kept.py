"""What undoing a change needs and no page shows."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column."""
    op.add_column("admin_audit", sa.Column("kept", sa.Text))
