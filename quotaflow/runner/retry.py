"""Whether a failed attempt is tried again, and when. The words are tenacity's, and so are the waits."""

from dataclasses import dataclass
from datetime import datetime

import tenacity
from tenacity.wait import wait_base

from quotaflow.answers import asked_delay_s
from quotaflow.errors import RegistrationError

MAX_ATTEMPTS = 100  # each one and its error stand in the trace
LONGEST_WAIT_S = 30 * 86_400.0

WAIT = tenacity.wait_exponential_jitter(initial=1, max=60)  # 1, 2, 4 ... seconds and up to 1 more by chance
_NOBODY = tenacity.Retrying()  # waits ask a state for its attempt number, and a state wants an owner


@dataclass(frozen=True, slots=True)
class Retry:
    """How often something that fails is tried, and how long it rests in between.

    `attempts`: tries in all, 1 to 100. `wait`: any of tenacity's waits. `on`: the exceptions worth another try.
    `charge_each`: every try takes its units again; otherwise only the first does.
    """

    attempts: int = 3
    wait: wait_base = WAIT
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception
    charge_each: bool = True

    def __post_init__(self) -> None:
        """Check the fields.

        :raises RegistrationError: naming the one that is none.
        """
        is_number = isinstance(self.attempts, int) and not isinstance(self.attempts, bool)
        if not is_number or not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise RegistrationError(f"Retry: attempts must be a whole number from 1 to {MAX_ATTEMPTS}")
        if not callable(self.wait):
            raise RegistrationError("Retry: wait must be one of tenacity's, like wait_exponential(max=60)")
        kinds = self.on if isinstance(self.on, tuple) else (self.on,)
        if not kinds or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            raise RegistrationError("Retry: on must be an exception class, or a tuple of them")

    def delay_s(self, attempt: int, error: BaseException | None, now: datetime) -> float | None:
        """Return the seconds to rest after this attempt, counted from 1; None when it was the last.

        An error that says when to come again (`retry_after` in seconds, or the Retry-After header of its response)
        is believed where that is later.
        """
        if error is None or attempt >= self.attempts or not isinstance(error, self.on):
            return None
        state = tenacity.RetryCallState(_NOBODY, fn=None, args=(), kwargs={})
        state.attempt_number = attempt
        state.set_exception((type(error), error, error.__traceback__))  # wait_exception asks for it
        return min(max(self.wait(state), asked_delay_s(error, now)), LONGEST_WAIT_S)
