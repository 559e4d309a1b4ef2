"""Who decides: ours, the peers, and a bare EVALSHA, all behind one call."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi_limiter import FastAPILimiter
from fastapi_limiter.depends import RateLimiter
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import BlockingConnectionPool, Redis
from throttled.asyncio import RateLimiterType, Throttled, rate_limiter, store

from quotaflow import Quotaflow
from quotaflow.model import make_quota
from quotaflow.settings import load

POOL = 300  # connections that each peer may open: limits and throttled fail when they run out; ours uses eight lanes
CAPACITY, RATE = 1_000_000, 1_000

Decide = Callable[[str], Awaitable[Any]]  # on one of many keys


@asynccontextmanager
async def ours(url: str, folder: Path) -> AsyncIterator[Decide]:
    """`Quotaflow.acquire` itself, with its store, journal and flusher running."""
    quota = make_quota(id="api", capacity=CAPACITY, refill_rate=RATE)
    settings = load(None, environ={}, redis__url=url, data_dir=str(folder)).model_copy(
        update={"quotas": (quota,)}
    )
    async with Quotaflow.open(settings) as qf:
        yield lambda key: qf.acquire("api", key=key)


@asynccontextmanager
async def limits(url: str, _folder: Path) -> AsyncIterator[Decide]:
    """`limits`, fixed window, its fastest."""
    storage = RedisStorage(f"async+{url}", implementation="redispy", max_connections=POOL)
    limiter, item = FixedWindowRateLimiter(storage), RateLimitItemPerSecond(CAPACITY)
    yield lambda key: limiter.hit(item, key)


@asynccontextmanager
async def throttled(url: str, _folder: Path) -> AsyncIterator[Decide]:
    """`throttled-py`, token bucket."""
    options = {"CONNECTION_POOL_KWARGS": {"max_connections": POOL}}
    limiter = Throttled(
        using=RateLimiterType.TOKEN_BUCKET.value,
        quota=rate_limiter.per_sec(RATE, burst=CAPACITY),
        store=store.RedisStore(server=url, options=options),
    )
    yield limiter.limit


@asynccontextmanager
async def fastapi(url: str, _folder: Path) -> AsyncIterator[Decide]:
    """`fastapi-limiter`, the check that it makes for a request."""
    redis = Redis.from_pool(BlockingConnectionPool.from_url(url, max_connections=POOL))
    await FastAPILimiter.init(redis)
    limiter: Any = RateLimiter(times=CAPACITY, seconds=1)
    yield lambda key: limiter._check(f"bench:{key}")
    await redis.aclose()


@asynccontextmanager
async def bare(url: str, _folder: Path) -> AsyncIterator[Decide]:
    """One EVALSHA that counts, by redis-py: what a decision costs at least when each is its own call."""
    redis = Redis.from_pool(BlockingConnectionPool.from_url(url, max_connections=POOL))
    sha = await redis.script_load("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    yield lambda key: redis.evalsha(sha, 1, f"bare:{key}", 1)
    await redis.aclose()


OURS = "quotaflow"
DECIDERS = {
    OURS: ours,
    "limits": limits,
    "throttled-py": throttled,
    "fastapi-limiter": fastapi,
    "bare EVALSHA": bare,
}
PEERS = ("limits", "throttled-py", "fastapi-limiter")
