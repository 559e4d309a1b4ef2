"""One house for each module, as the API's tests have it; `signed_in` and `viewing` are browsers without scripts."""

import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from quotaflow.edges.http.app import create_app
from quotaflow.operators import Role
from tests.http.conftest import fresh, house
from tests.http.house import TOKEN, House, asking

__all__ = ["fresh", "house", "signed_in", "viewing"]


@contextlib.asynccontextmanager
async def browser(house: House, token: str) -> AsyncIterator[httpx.AsyncClient]:
    """Sign in with a token."""
    async with asking(create_app(house.qf, trusted=False)) as client:
        client.headers["sec-fetch-site"] = "same-origin"
        answer = await client.post("/login", data={"token": token})
        assert answer.status_code == 303, answer.text
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def signed_in(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Give a browser that may do everything."""
    async with browser(house, TOKEN) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def viewing(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Give a browser that may only look."""
    operator, secret = await house.qf.operators.create("looker", Role.VIEWER)
    async with browser(house, secret) as client:
        yield client
    await house.qf.operators.revoke(operator.id)
