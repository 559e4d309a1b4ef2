"""Where the socket goes when the data directory's path is too long, and who may have been there before."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from quotaflow.errors import ConfigError
from quotaflow.redis_server.embedded import open_embedded
from quotaflow.redis_server.locks import FileLock
from quotaflow.redis_server.place import SOCKET_PATH_MAX, Place, short_socket
from tests.redis_server.conftest import Opener
from tests.redis_server.opener import look


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a short directory for sockets, as a login session has it."""
    directory = Path(tempfile.mkdtemp(prefix="qf-run-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def deep(home: Path) -> Path:
    """Name a data directory whose socket would have a path of 120 bytes."""
    fill = 120 - len(str(home)) - len("//redis.sock")
    return home / ("d" * fill)


async def test_a_socket_path_of_120_bytes_works_from_two_processes(
    deep: Path, runtime: Path, opener: Callable[..., Opener]
) -> None:
    assert len(str(Place.at(deep).link)) == 120
    ours = await open_embedded(deep)
    theirs = opener().open(deep)
    assert ours.socket.parent.parent == runtime
    assert stat.S_IMODE(ours.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(ours.socket.stat().st_mode) == 0o700
    assert theirs.url == ours.url
    assert theirs.run_id == look(ours.url)[0]


async def test_a_process_without_the_environment_of_the_first_finds_the_same_server(
    deep: Path, runtime: Path, opener: Callable[..., Opener]
) -> None:
    ours = await open_embedded(deep)
    theirs = opener(XDG_RUNTIME_DIR="").open(deep)
    assert runtime in ours.socket.parents
    assert not theirs.started
    assert theirs.url == ours.url


async def test_a_name_for_the_same_directory_leads_to_the_same_server(
    deep: Path, runtime: Path, tmp_path: Path
) -> None:
    ours = await open_embedded(deep)
    (tmp_path / "other").symlink_to(deep)
    assert (await open_embedded(tmp_path / "other")).url == ours.url
    assert runtime in ours.socket.parents


async def test_the_server_starts_again_after_a_reboot_emptied_the_runtime_directory(
    deep: Path, runtime: Path
) -> None:
    first = await open_embedded(deep)
    assert runtime in first.socket.parents
    await first.shutdown()
    shutil.rmtree(first.socket.parent)
    assert Place.at(deep).socket() == first.socket  # the link leads nowhere, which is no reason to refuse
    assert (await open_embedded(deep)).socket == first.socket


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o701])
async def test_a_directory_that_others_can_enter_is_refused(deep: Path, runtime: Path, mode: int) -> None:
    hostile = short_socket(Place.at(deep).home, os.environ).parent
    assert hostile.parent == runtime
    hostile.mkdir()
    hostile.chmod(mode)
    with pytest.raises(ConfigError, match=rf"{hostile} must be a directory of user \d+ with mode 0700"):
        await open_embedded(deep)
    with FileLock(Place.at(deep).lock):
        assert not os.listdir(hostile)  # noqa: PTH208


async def test_a_link_in_the_place_of_the_directory_is_refused(
    deep: Path, runtime: Path, tmp_path: Path
) -> None:
    hostile = short_socket(Place.at(deep).home, os.environ).parent
    hostile.symlink_to(tmp_path)  # which is ours and private
    with pytest.raises(ConfigError, match="must be a directory"):
        await open_embedded(deep)
    assert hostile.parent == runtime


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
async def test_a_directory_of_another_user_is_refused(deep: Path, runtime: Path) -> None:
    hostile = short_socket(Place.at(deep).home, os.environ).parent
    hostile.mkdir(mode=0o700)
    os.chown(hostile, 12345, 12345)
    with pytest.raises(ConfigError, match="of user 12345"):
        await open_embedded(deep)
    assert hostile.parent == runtime


async def test_a_joiner_does_not_follow_a_link_to_a_directory_that_others_can_enter(
    deep: Path, runtime: Path
) -> None:
    server = await open_embedded(deep)
    server.socket.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="with mode 0700; it is drwxrwxrwx"):
        await open_embedded(deep)
    assert runtime in server.socket.parents


def test_the_short_place_is_the_same_every_time_and_differs_by_directory(runtime: Path) -> None:
    environ = {"XDG_RUNTIME_DIR": str(runtime)}
    assert short_socket(Path("/a"), environ) == short_socket(Path("/a"), environ)
    assert short_socket(Path("/a"), environ) != short_socket(Path("/b"), environ)


def test_without_a_runtime_directory_the_temporary_one_serves() -> None:
    wanted = Path(tempfile.gettempdir())
    assert short_socket(Path("/a"), {}).parent.parent == wanted
    assert short_socket(Path("/a"), {"XDG_RUNTIME_DIR": "/nowhere"}).parent.parent == wanted


def test_a_machine_with_long_paths_only_is_told_to_choose_a_shorter_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * SOCKET_PATH_MAX)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with pytest.raises(ConfigError, match="too long for a socket; choose a shorter data_dir"):
        short_socket(Path("/a"), {})
