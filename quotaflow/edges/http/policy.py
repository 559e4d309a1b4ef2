"""Headers that answers carry by their address: what a page may load, and that nobody keeps what it says."""

from starlette.types import Message, Send

from quotaflow.edges.http.addresses import is_docs, is_file

# Nothing that a page shows comes from another host.
STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Swagger UI has an inline script and inline styles.
DOCS = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)

_STRICT = (b"content-security-policy", STRICT.encode())
_DOCS = (b"content-security-policy", DOCS.encode())
_NOT_KEPT = (b"cache-control", b"no-store")


def with_policy(send: Send, path: str) -> Send:
    """Return a `send` that adds the headers; a Cache-Control of the answer's own stays."""
    policy = _DOCS if is_docs(path) else _STRICT

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), policy]
            if not is_file(path) and all(name != _NOT_KEPT[0] for name, _ in headers):
                headers.append(_NOT_KEPT)
            message["headers"] = headers
        await send(message)

    return sending
