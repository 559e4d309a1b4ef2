"""The tables as they are now. How a database gets here is in `migrations/`; a test holds the two together.

A column's `key` is the field it fills in Python, where times are microseconds and amounts micro-units.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from quotaflow.balances import KeyStatus
from quotaflow.ledger import MESSAGE_CHARS, Action, QuotaType
from quotaflow.model import QuotaKind, Reason, Status, TaskKind, Trigger
from quotaflow.operators import Act, Role, Subject
from quotaflow.store.columns import Clean, Moment, Units, Word

ID = 128  # model.MAX_ID_BYTES; characters, so never too short

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _balance() -> tuple[Column[Any], ...]:
    """Return what a prepaid allowance has, as of the ledger row (epoch, seq); only the flush and recovery write it."""
    return (
        Column("total_quota", Units, key="total_micro"),
        Column("remaining_quota", Units, key="remaining_micro"),
        Column("epoch", BigInteger, nullable=False, server_default="0"),
        Column("seq", BigInteger, nullable=False, server_default="0"),
        Column("quota_synced_at", Moment, key="synced_us"),
    )


quotas = Table(
    "quotas",
    metadata,
    Column("id", String(ID), primary_key=True),
    Column("name", String(ID), nullable=False, unique=True),
    Column("capacity", Units, key="capacity_micro", nullable=False),
    Column("refill_rate", Units, key="refill_micro_s", nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column(
        "applied_text", Text
    ),  # the declaration last applied; None when no code or config ever declared it
    Column("created_at", Moment, key="created_us", nullable=False),
    Column("updated_at", Moment, key="updated_us", nullable=False),
    Column("kind", Word(QuotaKind), nullable=False, server_default=QuotaKind.BUCKET),
    Column("reset_cron", Text),
    Column("timezone", String(64)),
    *_balance(),
    Column("max_concurrent", Integer),
    Column("mirrors", String(ID)),  # a provider of upstream keys
)

quota_overrides = Table(
    "quota_overrides",
    metadata,
    Column("quota_id", String(ID), primary_key=True),
    Column("key", String(ID), primary_key=True),
    Column("capacity", Units, key="capacity_micro", nullable=False),
    Column("refill_rate", Units, key="refill_micro_s", nullable=False),
)

quota_snapshots = Table(
    "quota_snapshots",
    metadata,
    Column("quota_id", String(ID), primary_key=True),
    Column("remaining", Double, nullable=False),
    Column("allowed", BigInteger, nullable=False),
    Column("limited", BigInteger, nullable=False),
    Column("clock_jumps", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("synced_at", Moment, key="synced_us", nullable=False),
)

quota_metrics = Table(
    "quota_metrics",
    metadata,
    Column("quota_id", String(ID), primary_key=True),
    Column("minute", Moment, key="minute_us", primary_key=True),
    Column("allowed", BigInteger, nullable=False),
    Column("r429", BigInteger, nullable=False),
    Column("ok", BigInteger, nullable=False),
    Column("err", BigInteger, nullable=False),
    Column("latency", Text, nullable=False),  # JSON: runs per bucket of metrics.BOUNDS_MS
    Column("remaining", Double),
)

minute_totals = Table(  # sums of all quotas: to add up 1,000 quotas over a day takes SQLite half a second
    "minute_totals",
    metadata,
    Column("minute", Moment, key="minute_us", primary_key=True),
    Column("allowed", BigInteger, nullable=False),
    Column("r429", BigInteger, nullable=False),
    Column("ok", BigInteger, nullable=False),  # these two count runs without a quota too
    Column("err", BigInteger, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(ID), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Word(TaskKind), nullable=False),
    Column("func", Text, nullable=False),
    Column("cron", Text),
    Column("timezone", String(64)),
    Column("quota_name", String(ID)),
    Column("description", Text),
    Column("enabled", Boolean, nullable=False),  # the code still declares it
    Column("paused", Boolean, nullable=False),  # a person's choice; survives new code
    Column("cron_override", Text),  # the same: another expression than the code's
    Column("registered_at", Moment, key="registered_us", nullable=False),
    Column("updated_at", Moment, key="updated_us", nullable=False),
    Column("rate_limit", String(32)),  # the code's
    Column("rate_override", String(32)),  # a person's; "0/s" is none
    Column("skip_at", Moment, key="skip_us"),  # a tick that a person wants left out
)

traces = Table(
    "traces",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("task_id", String(ID), nullable=False),
    Column("trigger", Word(Trigger), nullable=False),
    Column("status", Word(Status), nullable=False),
    Column("claimed_at", Moment, key="claimed_us", nullable=False),
    Column("quota_id", String(ID)),
    Column("scheduled_for", Moment, key="scheduled_for_us"),
    Column("started_at", Moment, key="started_us"),
    Column("finished_at", Moment, key="finished_us"),
    Column("reason", Word(Reason)),
    Column("attempt", Integer, nullable=False),
    Column("latency_ms", Double),
    Column("wait_ms", Double),
    Column("cost", Units, key="cost_micro", nullable=False),
    Column("error_type", Clean(200)),
    Column("error", Clean(2_000)),
    Column("instance_id", String(ID)),
    Column("due_at", Moment, key="due_us"),  # of a run that waits: when it is looked at again
    Column(
        "tries", Clean
    ),  # JSON: [started, finished, status, error type, error] of each attempt but the first alone
    Column("plan", Clean),  # JSON of runs.Plan while it is open: what Redis needs to go on
    UniqueConstraint("task_id", "scheduled_for_us"),  # a tick fires once; also finds a task's latest tick
    # Each list of the edges is newest first, with or without one of these filters.
    Index(None, "claimed_us"),
    Index(None, "task_id", "claimed_us"),
    Index(None, "quota_id", "claimed_us"),
    Index(None, "status", "claimed_us"),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("id", String(ID), primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("prefix", String(16), nullable=False),
    Column("ws_id", String(ID), nullable=False),
    Column("email", String(320), nullable=False),
    Column("quota_type", Word(QuotaType), nullable=False),
    Column("expires_at", Moment, key="expires_us"),
    Column("rate_limit_per_minute", Integer),
    Column("rate_limit_burst", Integer),
    Column("active", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", Moment, key="created_us", nullable=False),
    Column("updated_at", Moment, key="updated_us", nullable=False),
    Column("deleted_at", Moment, key="deleted_us"),  # deleted softly: the ledger names it for ever
    *_balance(),
    Index(None, "ws_id"),
    Index(None, "email"),
)

token_quota_logs = Table(
    "token_quota_logs",
    metadata,
    Column(
        "event_id", String(96), primary_key=True
    ),  # begins with its moment, so that the index grows at its end
    Column("subject", String(ID), nullable=False),
    Column("action", Word(Action), nullable=False),
    Column("quota_before", Units, key="before_micro", nullable=False),
    Column("quota_change", Units, key="change_micro", nullable=False),
    Column("quota_after", Units, key="after_micro", nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("request_id", String(ID)),
    Column("actor", Clean(ID)),
    Column("created_at", Moment, key="created_us", nullable=False),
    Column("checksum", String(16), nullable=False),  # of all the columns before it
    Column("execution_success", Boolean),
    Column("execution_error_type", Clean(200)),
    Column("execution_error_message", Clean(MESSAGE_CHARS)),
    Index(
        None, "subject", "epoch", "seq"
    ),  # the chain; not unique, so that a fork is recorded and not refused
    Index(None, "request_id"),
)

upstream_keys = Table(
    "upstream_keys",
    metadata,
    Column("id", String(ID), primary_key=True),
    Column("provider", String(ID), nullable=False),
    Column("name", String(ID), nullable=False),
    Column("secret", Text, key="sealed", nullable=False),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("prefix", String(64), key="shown", nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", Moment, key="created_us", nullable=False),
    Column("updated_at", Moment, key="updated_us", nullable=False),  # by a person; a check has a moment below
    Column("plan_limit", Units, key="plan_limit_micro"),
    Column("used", Units, key="used_micro"),
    Column("remaining", Units, key="remaining_micro"),
    Column("status", Word(KeyStatus), nullable=False, server_default=KeyStatus.ACTIVE),
    Column("cooldown_until", Moment, key="cooldown_until_us"),
    Column("last_checked_at", Moment, key="checked_us"),
    Column("last_error", Clean(500), key="error"),
    Column("failures", Integer, nullable=False, server_default="0"),
    UniqueConstraint("provider", "name"),  # also finds the keys of a provider
    Index(None, "created_us"),
)

operators = Table(
    "operators",
    metadata,
    Column("id", String(ID), primary_key=True),
    Column("name", String(ID), nullable=False),
    Column("role", Word(Role), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("prefix", String(32), nullable=False),
    Column("created_at", Moment, key="created_us", nullable=False),
    Column("revoked_at", Moment, key="revoked_us"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("secret_hash", String(64), primary_key=True),
    Column("token_hash", String(64), nullable=False),  # of the token it was opened with
    Column("created_at", Moment, key="created_us", nullable=False),
    Column("expires_at", Moment, key="expires_us", nullable=False),
)

admin_audit = Table(
    "admin_audit",
    metadata,
    Column("id", String(64), primary_key=True),  # begins with its moment
    Column("at", Moment, key="at_us", nullable=False),
    Column("actor", String(ID), nullable=False),
    Column("act", Word(Act), nullable=False),
    Column("kind", Word(Subject), nullable=False),
    Column("subject_id", String(2 * ID + 1), nullable=False),
    Column("before", Clean),
    Column("after", Clean),
    Column("undoes", String(64), unique=True),  # nothing is undone twice
    Column("kept", Text),  # what undoing needs and no page shows: applied_text of a removed quota
    Index(None, "kind", "subject_id", "id"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("event_id", String(128), primary_key=True),
    Column("payload", Clean, nullable=False),
    Column("error", Clean(2_000), nullable=False),
    Column("created_at", Moment, key="created_us", nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
