"""Whether a request that changes something was made by a page of ours. Browsers send cookies with anybody's."""

from quotaflow.errors import Forbidden

Headers = list[tuple[bytes, bytes]]


def values_of(headers: Headers, wanted: bytes) -> list[bytes]:
    """Return the values of a header, as often as it was sent."""
    return [value for name, value in headers if name == wanted]


def check_origin(headers: Headers, *, needed: bool) -> None:
    """Return if a request comes from our own pages, as its browser says.

    Sec-Fetch-Site is not sent to a plain http address of another machine; there Origin must name our host.

    :param needed: refuse also who sends neither: no browser of the last years does.
    :raises Forbidden: it comes from another site.
    """
    sites, origins = values_of(headers, b"sec-fetch-site"), values_of(headers, b"origin")
    if sites:
        ours = sites == [b"same-origin"]
    elif origins:
        ours = [_host(origin) for origin in origins] == [host.lower() for host in values_of(headers, b"host")]
    else:
        ours = not needed
    if not ours:
        raise Forbidden("this request comes from another site")


def _host(origin: bytes) -> bytes:
    """Return the host and port in an origin; "null" has none."""
    return origin.partition(b"://")[2].lower()
