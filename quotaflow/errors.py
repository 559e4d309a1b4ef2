"""One tree of errors. Every leaf has a stable code; the edges map codes to HTTP status and exit code here, once."""

from datetime import datetime
from typing import ClassVar


class QuotaflowError(Exception):
    """The root: something is broken. A refused quota is an answer (a Decision), not an error, unless asked to raise.

    Class attributes: `code` is stable and public; `status` is the HTTP answer; `exit_code` is the CLI's.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1


class InvalidInput(QuotaflowError):
    """A value that a caller gave cannot be used; nothing was changed. `field` names it."""

    code = "invalid_input"
    status = 422
    exit_code = 2

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class InvalidCron(InvalidInput):
    """A cron expression that cannot be read, or that never comes due."""

    code = "invalid_cron"


class NotFound(QuotaflowError):
    """No quota, task or run has this id."""

    code = "not_found"
    status = 404
    exit_code = 2


class Conflict(QuotaflowError):
    """The id or the name is taken."""

    code = "conflict"
    status = 409
    exit_code = 2


class QuotaDisabled(QuotaflowError):
    """The quota exists and is switched off."""

    code = "quota_disabled"
    status = 409
    exit_code = 1


class QuotaExceeded(QuotaflowError):
    """The quota refused, and the caller's patience (`max_wait`) does not reach `retry_after`.

    `retry_after` is in seconds, or None when waiting never helps (cost above capacity, or no refill).
    """

    code = "quota_exceeded"
    status = 429
    exit_code = 1

    def __init__(self, message: str, *, quota_id: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.quota_id = quota_id
        self.retry_after = retry_after


class SecretUnavailable(QuotaflowError):
    """The secret of an upstream key cannot be had: its variable, its file or the key that decrypts it is missing."""

    code = "secret_unavailable"
    status = 409
    exit_code = 2


class NoUpstreamKey(QuotaflowError):
    """No key of a provider's pool has the units, or may be used now.

    `retry_after`: seconds until one may be again, None when nobody knows. `resets_at`: when the provider's plan begins
    again, None when it never does or nobody said.
    """

    code = "no_upstream_key"
    status = 503
    exit_code = 1

    def __init__(
        self, message: str, *, provider: str, retry_after: float | None, resets_at: datetime | None
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.retry_after = retry_after
        self.resets_at = resets_at


class IdempotencyConflict(QuotaflowError):
    """The request id was used before, with other arguments; nothing was charged."""

    code = "idempotency_conflict"
    status = 422
    exit_code = 2


class ConfigError(QuotaflowError):
    """Configuration or registration that cannot work; raised before anything starts."""

    code = "bad_config"
    exit_code = 2


class RegistrationError(ConfigError):
    """A decorated function that cannot be a task: a duplicate id, an unresolvable parameter, soft above hard."""

    code = "bad_task"


class NotOpen(QuotaflowError):
    """A decorated function was called where no Quotaflow is open."""

    code = "not_open"
    status = 503
    exit_code = 2


class CleanupDisabled(QuotaflowError):
    """`retention.enabled` is false, and nobody insisted."""

    code = "cleanup_disabled"
    status = 503


class StoreLocked(QuotaflowError):
    """Another process writes this SQLite store, or another daemon owns this data directory."""

    code = "store_locked"
    exit_code = 2


class StoreMismatch(QuotaflowError):
    """Redis and SQL belong to two different installations; draining one into the other would corrupt both."""

    code = "store_mismatch"
    exit_code = 2


class Unauthorized(QuotaflowError):
    """Nobody has this token, or there is none."""

    code = "unauthorized"
    status = 401
    exit_code = 2


class Forbidden(QuotaflowError):
    """Whoever asks may not do this: a viewer that would change something, or a page of another site."""

    code = "forbidden"
    status = 403
    exit_code = 2


class TokenRefused(Unauthorized):
    """No access token has this secret."""

    code = "unknown_token"


class Unavailable(QuotaflowError):
    """A server did not answer in time, or is recovering. Trying again later may work."""

    code = "unavailable"
    status = 503
    exit_code = 3

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Recovering(Unavailable):
    """Redis lost data or was restarted; state is being rebuilt from SQL."""

    code = "recovering"


class Backlog(Unavailable):
    """SQL is too far behind the journal for new work to begin."""

    code = "backlog"


class RequestRecordsFull(Unavailable):
    """`journal.request_records_max` request ids are remembered; a new one could not be kept from repeating."""

    code = "request_records_full"
