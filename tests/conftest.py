"""Servers that tests ask for by name; each is started once for a run, when the first test wants it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import certifi
import pytest
from hypothesis import HealthCheck, settings

from tests.servers import PostgresProcess, ValkeyProcess

# A busy machine is slow at making up its first example; that says nothing about the promise.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples in every run: what is green stays green until something changes. `search` looks for new ones.
settings.register_profile("same", settings.get_profile("search"), derandomize=True, database=None)
settings.load_profile("same")


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let HTTP clients trust one authority: nobody here speaks TLS, and to read them all takes each client 30 ms."""
    end = "-----END CERTIFICATE-----\n"
    file = tmp_path_factory.mktemp("tls") / "authority.pem"
    file.write_text(Path(certifi.where()).read_text(encoding="utf-8").split(end)[0] + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyProcess]:
    """One server for all tests; ask for `valkey` instead."""
    with ValkeyProcess() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyProcess) -> ValkeyProcess:
    """Give an empty server without scripts. A test that changes its configuration starts its own instead."""
    valkey_server.start()
    valkey_server.clear()
    return valkey_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresProcess]:
    """One PostgreSQL for all tests; ask for `postgres` instead."""
    with PostgresProcess() as server:
        yield server


@pytest.fixture
async def postgres(postgres_server: PostgresProcess) -> AsyncIterator[str]:
    """Give the URL of an empty database of the test's own."""
    async with postgres_server.database() as url:
        yield url
