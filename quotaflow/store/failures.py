"""What went wrong in SQL, in the words of errors.py: later, never with this value, or a bug of ours."""

from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from quotaflow.errors import InvalidInput, QuotaflowError, Unavailable

# Whatever a driver lets through: SQLAlchemy wraps most, but not a broken connect or a text that is not UTF-8.
BROKEN = (SQLAlchemyError, OSError, UnicodeError, OverflowError)

# SQLSTATE classes: connection, login, no such database, deadlock, resources, not now, operator, system.
_AWAY = ("08", "28", "3D", "40", "53", "55", "57", "58")
_CONNECTION = "08000"  # of a driver's error without a state: it lost the connection
_READ_ONLY = "25006"  # a failover left us on a replica
_BAD_VALUE = ("22", "23")
_OURS = (IntegrityError, ProgrammingError, NotSupportedError)


def explain(error: BaseException, *, where: str, deadline_s: float) -> QuotaflowError | None:
    """Return the error to raise instead, or None when this is a bug that should be seen as it is."""
    if isinstance(error, TimeoutError | PoolTimeout):
        return Unavailable(f"{where} did not answer within {deadline_s:g} s")
    if isinstance(error, OSError):
        return Unavailable(f"cannot reach {where}: {_line(error)}")
    if isinstance(error, DBAPIError):
        return _explain_driver(error, where)
    if not isinstance(error, BROKEN):
        return _explain_state(getattr(error, "sqlstate", None) or _CONNECTION, _line(error), where)
    value = error.orig if isinstance(error, StatementError) else error
    if isinstance(value, UnicodeError | OverflowError | LookupError | TypeError):
        return InvalidInput(f"SQL cannot hold this value: {_line(error)}")
    return None


def _explain_driver(error: DBAPIError, where: str) -> QuotaflowError | None:
    state = getattr(error.orig, "sqlstate", None)
    cause = getattr(error.orig, "__cause__", None)
    if isinstance(error, IntegrityError) or isinstance(cause, ValueError | OverflowError | TypeError):
        return InvalidInput(f"SQL cannot hold this value: {_line(error)}")
    if state is not None:
        return _explain_state(state, _line(error), where)
    if error.connection_invalidated or (
        isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, _OURS)
    ):
        return Unavailable(f"{where} failed: {_line(error)}")
    return None


def _explain_state(state: str, line: str, where: str) -> QuotaflowError | None:
    if state.startswith(_BAD_VALUE):
        return InvalidInput(f"SQL cannot hold this value: {line}")
    if state.startswith(_AWAY) or state == _READ_ONLY:
        return Unavailable(f"{where} failed: {line}")
    return None


def _line(error: BaseException) -> str:
    """One line of the driver's own words; SQLAlchemy's add the statement."""
    origin = error.orig if isinstance(error, StatementError) and error.orig else error
    origin = origin.__cause__ or origin
    return next(iter(str(origin).splitlines()), "") or type(origin).__name__
