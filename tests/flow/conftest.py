"""What tests of the whole stand on: settings on real servers, and a registry of the test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quotaflow.model import make_quota
from quotaflow.runner.registry import REGISTRY, Registry
from quotaflow.settings import Settings, load
from tests.servers import PATIENCE_S
from tests.stores import furnish

MakeSettings = Callable[..., Settings]


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Give the registry that decorators fill, empty."""
    before = list(REGISTRY)
    REGISTRY.clear()
    yield REGISTRY
    REGISTRY.clear()
    for task in before:
        REGISTRY.add(task)


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Give a function that makes settings: quotas as name=(capacity, refill), anything else as flags."""

    def make(
        url: str = "embedded", quotas: dict[str, tuple[float, float]] | None = None, **flags: Any
    ) -> Settings:
        (tmp_path / "config.toml").write_text("")
        patient = {"redis__deadline_s": PATIENCE_S, "store__deadline_s": PATIENCE_S}
        flags = {"data_dir": str(tmp_path / "data"), **patient, **flags}
        if "store__url" not in flags:
            furnish(Path(flags["data_dir"]))
        settings = load(tmp_path / "config.toml", environ={}, redis__url=url, **flags)
        defined = [
            make_quota(id=name, capacity=capacity, refill_rate=rate)
            for name, (capacity, rate) in (quotas or {}).items()
        ]
        return settings.model_copy(update={"quotas": tuple(defined)})

    return make
