"""What pages load beside themselves: our style and scripts, and the browser libraries that the build fetched.

Read once and compressed once; what every page needs together is sent together, as each request holds up a first visit.
An address carries a part of the content's hash, so a browser may keep what is there for ever.
"""

import gzip
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

HERE = Path(__file__).parent
OURS = ("app.js", "keys.js")
PLAIN = {"style.css": ("style.css",), "page.js": OURS, "icon.svg": ("icon.svg",)}
LIVE = {
    "style.css": ("style.css", "uPlot.min.css"),
    "libraries.js": ("htmx.min.js", "idiomorph.min.js"),
    "page.js": ("regions.js", "live.js", "charts.js", *OURS),
    "plots.js": ("uPlot.iife.min.js",),  # fetched by charts.js for a page that has something to draw
}
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
FOR_EVER = "public, max-age=31536000, immutable"
NOT_LONG = "no-cache"  # of an address with another mark: a page of an older or newer daemon asks
MARK = 12  # hex digits of the hash


class Asset(NamedTuple):
    """One file, as it is and compressed."""

    plain: bytes
    packed: bytes
    media_type: str
    mark: str


@cache
def assets() -> dict[str, Asset]:
    """Return what can be asked for, by name. Without the libraries pages are plain."""
    made = {name: _join(name, files) for name, files in PLAIN.items()}
    with suppress(FileNotFoundError):
        made |= {name: _join(name, files) for name, files in LIVE.items()}
    return made


def has_libraries() -> bool:
    """Say whether the build fetched the browser libraries."""
    return LIVE.keys() <= assets().keys()


def address_of(name: str) -> str:
    """Return where a page finds what it loads."""
    return f"/assets/{name}?{assets()[name].mark}"


def _join(name: str, files: Sequence[str]) -> Asset:
    plain = b"\n".join(_place(file).read_bytes() for file in files)
    mark = hashlib.sha256(plain).hexdigest()[:MARK]
    return Asset(plain, gzip.compress(plain, mtime=0), TYPES[Path(name).suffix], mark)


def _place(file: str) -> Path:
    ours = HERE / "static" / file
    return ours if ours.is_file() else HERE / "vendor" / file


async def serve(request: Request) -> Response:
    """Send one file."""
    asset = assets().get(request.path_params["name"])
    if asset is None:
        return PlainTextResponse("nothing is at this address\n", 404)
    kept = FOR_EVER if request.url.query == asset.mark else NOT_LONG
    headers = {"Cache-Control": kept, "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.plain, media_type=asset.media_type, headers=headers)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.packed, media_type=asset.media_type, headers=headers)


routes = [Route("/assets/{name}", serve)]
