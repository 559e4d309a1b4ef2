"""What pages load beside themselves: our style and scripts, and the browser libraries that the build fetched.

Read once and compressed once. An address carries a part of the content's hash, so a browser may keep what
is there for ever.
"""

import gzip
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

HERE = Path(__file__).parent
OURS = ("style.css", "app.js", "regions.js", "live.js", "charts.js", "keys.js", "icon.svg")
LIBRARIES = ("htmx.min.js", "idiomorph.min.js", "uPlot.iife.min.js", "uPlot.min.css")
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
    """Return every file that is there, by name. Without the libraries pages are plain."""
    places = [HERE / "static" / name for name in OURS] + [HERE / "vendor" / name for name in LIBRARIES]
    return {place.name: _read(place) for place in places if place.is_file()}


def has_libraries() -> bool:
    """Say whether the build fetched the browser libraries."""
    return all(name in assets() for name in LIBRARIES)


def address_of(name: str) -> str:
    """Return where a page finds one of ours or a library."""
    return f"/assets/{name}?{assets()[name].mark}"


def _read(place: Path) -> Asset:
    plain = place.read_bytes()
    mark = hashlib.sha256(plain).hexdigest()[:MARK]
    return Asset(plain, gzip.compress(plain, mtime=0), TYPES[place.suffix], mark)


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
