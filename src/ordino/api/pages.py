"""What browsers are told of every page and file: nothing is loaded from elsewhere, and nobody else shows the page as their own."""

from __future__ import annotations

from typing import Any

from litestar.types import ASGIApp, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # the viewer sets styles of single elements
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
ALWAYS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
OF_PAGES = [(b"content-security-policy", POLICY.encode()), (b"x-frame-options", b"DENY")]


def guarded(app: ASGIApp) -> ASGIApp:
    """Middleware that adds the headers to what the framework answers."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *ALWAYS]
                if any(name.lower() == b"content-type" and b"html" in value for name, value in headers):
                    headers += OF_PAGES
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, sent)

    return answered
