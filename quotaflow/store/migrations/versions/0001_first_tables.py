"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.String(128)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make all tables."""
    _quotas()
    _tasks()
    _traces()
    op.create_table(
        "dead_letters",
        sa.Column("event_id", sa.String(128), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_dead_letters"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )


def _quotas() -> None:
    op.create_table(
        "quotas",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _ID, nullable=False),
        sa.Column("capacity", sa.Double, nullable=False),
        sa.Column("refill_rate", sa.Double, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("applied_text", sa.Text),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quotas"),
        sa.UniqueConstraint("name", name="uq_quotas_name"),
    )
    op.create_table(
        "quota_snapshots",
        sa.Column("quota_id", _ID, nullable=False),
        sa.Column("remaining", sa.Double, nullable=False),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.Column("limited", sa.BigInteger, nullable=False),
        sa.Column("clock_jumps", sa.BigInteger, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("synced_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("quota_id", name="pk_quota_snapshots"),
    )
    op.create_table(
        "quota_metrics",
        sa.Column("quota_id", _ID, nullable=False),
        sa.Column("minute", _MOMENT, nullable=False),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.Column("r429", sa.BigInteger, nullable=False),
        sa.Column("ok", sa.BigInteger, nullable=False),
        sa.Column("err", sa.BigInteger, nullable=False),
        sa.Column("latency", sa.Text, nullable=False),
        sa.Column("remaining", sa.Double),
        sa.PrimaryKeyConstraint("quota_id", "minute", name="pk_quota_metrics"),
    )


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("func", sa.Text, nullable=False),
        sa.Column("cron", sa.Text),
        sa.Column("timezone", sa.String(64)),
        sa.Column("quota_name", _ID),
        sa.Column("description", sa.Text),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("cron_override", sa.Text),
        sa.Column("registered_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
    )


def _traces() -> None:
    op.create_table(
        "traces",
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("task_id", _ID, nullable=False),
        sa.Column("trigger", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("claimed_at", _MOMENT, nullable=False),
        sa.Column("quota_id", _ID),
        sa.Column("scheduled_for", _MOMENT),
        sa.Column("started_at", _MOMENT),
        sa.Column("finished_at", _MOMENT),
        sa.Column("reason", sa.String(16)),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("latency_ms", sa.Double),
        sa.Column("wait_ms", sa.Double),
        sa.Column("cost", sa.Double, nullable=False),
        sa.Column("error_type", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("instance_id", _ID),
        sa.PrimaryKeyConstraint("run_id", name="pk_traces"),
        sa.UniqueConstraint("task_id", "scheduled_for", name="uq_traces_task_id_scheduled_for"),
    )
    for filtered in ([], ["task_id"], ["quota_id"], ["status"]):
        columns = [*filtered, "claimed_at"]
        op.create_index("_".join(["ix_traces", *columns]), "traces", columns)
