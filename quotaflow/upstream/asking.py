"""Services are asked about many keys at once; one key that fails harms no other."""

import asyncio
import functools
import json
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from urllib.request import getproxies

import httpx
import tenacity
from tenacity.wait import wait_base

from quotaflow.answers import delay_s
from quotaflow.balances import Asked, KeyStatus, Usage
from quotaflow.log import printable
from quotaflow.timing import Clock
from quotaflow.upstream.providers import BadAnswer, Provider
from quotaflow.upstream.verdicts import rest_of

MAX_ANSWER_BYTES = 1_048_576
# 0.5, 1, 2 ... seconds and up to 1 more by chance
WAIT = tenacity.wait_exponential(multiplier=0.5, max=10) + tenacity.wait_random(0, 1)

_LIMITS = httpx.Limits(
    max_connections=4, max_keepalive_connections=4
)  # one to each of the last four services
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OK, _REDIRECT, _CLIENT_ERROR, _SERVER_ERROR = 200, 300, 400, 500  # where the classes of statuses begin
_WORDS = {
    401: ": the service does not know this key",
    403: ": the service does not let this key ask",
    404: ": nothing is at the provider's url; correct it",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One key to ask about."""

    key_id: str
    provider: Provider
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Try:
    """What one try brought: a usage or an error. `again`: another try may bring more.

    `rest_s`: for how long the service asked to be left alone.
    """

    usage: Usage | None = None
    error: str | None = None
    status: KeyStatus | None = None
    again: bool = False
    rest_s: float = 0.0


class Asker:
    """Asks services over HTTP.

    :param concurrency: requests under way at the same time.
    :param timeout_s: seconds that one try may take as a whole.
    :param attempts: tries in all, where another may bring more: no answer in time, a broken connection, 429, 5xx.
    :param wait: any of tenacity's waits; a Retry-After that is later counts instead, up to `timeout_s`.
    :param budget_s: seconds after which no other key's turn comes; those under way finish by their own limits.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        concurrency: int,
        timeout_s: float,
        attempts: int,
        wait: wait_base = WAIT,
        budget_s: float = 1800.0,
    ) -> None:
        self._clock = clock
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._wait = wait
        self._budget_s = budget_s

    async def ask(self, asks: Sequence[Ask], told: Callable[[Asked], object]) -> list[Asked]:
        """Ask about all; the answers are in the order of `asks`.

        :param told: called with each answer as soon as it is there; what it raises ends all, in an ExceptionGroup.
        """
        answers: dict[int, Asked] = {}

        def say(number: int, answer: Asked) -> None:
            answers[number] = answer
            told(answer)

        numbered = enumerate(asks)
        workers = min(self._concurrency, len(asks))
        end_s = self._clock.mono_s() + self._budget_s
        through_proxy = bool(getproxies())  # each client would read the whole environment for it
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(numbered, say, end_s, through_proxy=through_proxy))
        return [answers[number] for number in range(len(asks))]

    async def _work(
        self,
        numbered: Iterator[tuple[int, Ask]],
        say: Callable[[int, Asked], object],
        end_s: float,
        *,
        through_proxy: bool,
    ) -> None:
        """Ask about one key after the other, with a client of the worker's own.

        Nobody waits in its pool, where a wait would count against the timeout. And a request looks at every connection
        of its pool several times: 1,000 of them cost 19 s of processor time in one pool of 50, 2.5 s so.
        """
        try:
            client = self._client(through_proxy=through_proxy)
        except Exception as error:  # noqa: BLE001  its text may hold the proxy's password
            name = type(error).__name__
            words = f"no client can be made ({name}); look at the proxy settings of the environment"
            for number, ask in numbered:
                say(number, Asked(ask.key_id, None, words))
            return
        late = f"not asked: the refresh took longer than {self._budget_s:,g} s"
        async with client:
            for number, ask in numbered:
                in_time = self._clock.mono_s() <= end_s
                say(number, await self._asked(client, ask) if in_time else Asked(ask.key_id, None, late))

    def _client(self, *, through_proxy: bool) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            verify=_trust(),
            limits=_LIMITS,
            timeout=self._timeout_s,
            follow_redirects=False,
            trust_env=through_proxy,
        )

    async def _asked(self, client: httpx.AsyncClient, ask: Ask) -> Asked:
        tries = tenacity.AsyncRetrying(
            sleep=self._clock.sleep,
            wait=self._rest_s,
            stop=tenacity.stop_after_attempt(self._attempts),
            retry=tenacity.retry_if_result(self._is_worth_another),
            retry_error_callback=_last,
        )
        last: Try = await tries(self._try, client, ask)
        return asked_of(ask.key_id, last, tries.statistics["attempt_number"])

    def _is_worth_another(self, last: Try) -> bool:
        return last.again and last.rest_s <= self._timeout_s

    def _rest_s(self, state: tenacity.RetryCallState) -> float:
        return max(self._wait(state), _last(state).rest_s)

    async def _try(self, client: httpx.AsyncClient, ask: Ask) -> Try:
        try:
            request = ask.provider.request(ask.secret)
            request.headers["Accept-Encoding"] = "identity"  # so that what is read is what was counted
        except Exception as error:  # noqa: BLE001  a plug-in's; its text may hold the secret
            return Try(error=f"the provider cannot make a request ({type(error).__name__})")
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await client.send(request, stream=True)
                try:
                    now = _EPOCH + timedelta(microseconds=self._clock.wall_us())
                    return refusal(response, now) or read(await _body(response), ask.provider)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            return Try(error=f"no answer within {self._timeout_s:g} s", again=True)
        except Exception as error:  # noqa: BLE001  one key's trouble; its text may hold a header
            return broken(error)


def refusal(response: httpx.Response, now: datetime) -> Try | None:
    """Judge an answer by its status and headers; None for one to be read."""
    code = response.status_code
    if _OK <= code < _REDIRECT:
        return None
    try:
        line = f"{code} {HTTPStatus(code).phrase}"
    except ValueError:  # one of the service's own
        line = str(code)
    if _REDIRECT <= code < _CLIENT_ERROR:
        return Try(error=f"{line}: it would carry the secret elsewhere; correct the provider's url")
    line += _WORDS.get(code, "")
    if code == HTTPStatus.UNAUTHORIZED:
        return Try(error=line, status=KeyStatus.INVALID)
    if code != HTTPStatus.TOO_MANY_REQUESTS and code < _SERVER_ERROR:
        return Try(error=line)
    rest_s = delay_s(response.headers.get("Retry-After"), now)
    wants_rest = code == HTTPStatus.TOO_MANY_REQUESTS and rest_s > 0
    return Try(error=line, status=KeyStatus.COOLDOWN if wants_rest else None, again=True, rest_s=rest_s)


def read(body: bytes | None, provider: Provider) -> Try:
    """Read the figures of an answer; None is one that was too long."""
    if body is None:
        return Try(error=f"the answer is compressed or longer than {MAX_ANSWER_BYTES:,} bytes")
    try:
        answer = json.loads(body, parse_float=Decimal)
    except (ValueError, ArithmeticError, RecursionError):  # the second for exponents beyond Decimal's
        return Try(error="the answer is not JSON")
    try:
        usage: object = provider.usage(answer)
    except BadAnswer as error:
        return Try(error=printable(str(error)))
    except Exception as error:  # noqa: BLE001  a plug-in's bug is this key's trouble alone
        return Try(error=f"the provider cannot read the answer ({type(error).__name__})")
    if not isinstance(usage, Usage):
        return Try(error=f"the provider made no usage of the answer ({type(usage).__name__})")
    return Try(usage=usage)


def broken(error: Exception) -> Try:
    """Judge a connection that failed."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):  # all that httpx leaves of ssl's error
        return Try(error="the service's certificate is not trusted")
    if isinstance(error, httpx.ConnectError):
        return Try(error="no connection to the service", again=True)
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError | httpx.ProxyError):
        return Try(error="the connection broke before the answer was there", again=True)
    return Try(error=f"the request cannot be sent ({type(error).__name__})")


def asked_of(key_id: str, last: Try, tries: int) -> Asked:
    """Say what came of a key's last try."""
    if last.usage is not None:
        return Asked(key_id, last.usage)
    error = f"{last.error} ({tries} tries)" if tries > 1 else last.error
    rest_s = rest_of(last.rest_s) if last.status is KeyStatus.COOLDOWN else 0.0
    return Asked(key_id, None, error, last.status, rest_s)


async def _body(response: httpx.Response) -> bytes | None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return None
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return None
    return bytes(body)


def _last(state: tenacity.RetryCallState) -> Try:
    if state.outcome is None:
        raise RuntimeError("no try has ended")
    return state.outcome.result()  # type: ignore[no-any-return]


@functools.cache
def _trust() -> ssl.SSLContext:
    """Read the certificates of authorities once: they cost 50 ms each time."""
    return httpx.create_ssl_context()
