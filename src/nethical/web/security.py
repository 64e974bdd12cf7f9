"""Who is let in: before a request is looked at its host, its origin and its size are.

This is the outermost layer. What it lets through has a known host; what changes something comes
from a page of ours and is small; and every answer, also to what is refused, says to browsers
that nothing may be run, framed, guessed or kept.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["LARGEST_BODY", "POLICY", "SAFE", "Door", "Guard"]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LARGEST_BODY = 64 * 1024
BODY_SECONDS = 10.0
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
# Not `no-referrer`: with it browsers say `Origin: null` to our own forms, and nothing tells
# them from those of others. Under `same-origin` others learn as little.
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
YEAR = 31_536_000
PORTS = {"http": 80, "https": 443}
# What else stands in a Host header would become part of the path where a URL is made of both.
HOST = re.compile(
    r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True)
class Door:
    """By which names the pages are reached.

    Args:
        hosts: Names beside those of the loopback, without ports.
        is_https: Whether they are reached by TLS, so that cookies are for TLS alone.
    """

    hosts: frozenset[str] = frozenset()
    is_https: bool = False

    def knows(self, host: str) -> bool:
        """Return whether a ``Host`` header names us.

        Example:
            >>> [Door().knows(host) for host in ("localhost:8321", "[::1]", "example.org")]
            [True, True, False]
        """
        found = HOST.fullmatch(host)
        return found is not None and found["name"].lower() in {*LOOPBACK, *self.hosts}

    def is_ours(self, origin: str, host: str) -> bool:
        """Return whether an ``Origin`` header is that of a page of ours.

        Example:
            >>> Door().is_ours("http://localhost:8321", "localhost:8321")
            True
            >>> Door().is_ours("http://localhost:9000", "localhost:8321")
            False
        """
        scheme = "https" if self.is_https else "http"
        said, _, named = origin.partition("://")
        ours, theirs = HOST.fullmatch(host), HOST.fullmatch(named)
        if said.lower() != scheme or ours is None or theirs is None:
            return False
        return _with_port(ours, scheme) == _with_port(theirs, scheme)


def _with_port(host: re.Match[str], scheme: str) -> tuple[str, int]:
    return host["name"].lower(), int(host["port"] or PORTS[scheme])


class Guard:
    """The outermost layer of the pages.

    Args:
        app: What is guarded.
        door: By which names it is reached.
    """

    def __init__(self, app: App, door: Door) -> None:
        self.app = app
        self.door = door
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        if door.is_https:
            age = f"max-age={YEAR}".encode()
            self._headers.append((b"strict-transport-security", age))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        answer = self._answering(send)
        refusal = self._refusal(scope)
        body = b""
        if refusal is None and scope["method"] not in SAFE:
            body, refusal = await _body(receive)
        if refusal is not None:
            await _refuse(scope, answer, *refusal)
            return
        scope.setdefault("state", {})["body"] = body
        scope["scheme"] = "https" if self.door.is_https else "http"
        await self.app(scope, _once(body, receive), answer)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return why a request is refused by its headers, None if it is not."""
        found = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(found) != 1 or not self.door.knows(found[0]):
            return 400, "This host is not known here."
        given = {name for name, _ in scope["headers"]}
        if {b"content-length", b"transfer-encoding"} <= given:  # a proxy may go by the other one
            return 400, "This tells its length in two ways."
        if scope["method"] in SAFE:
            return None
        origins = [v.decode("latin-1") for name, v in scope["headers"] if name == b"origin"]
        if len(origins) != 1 or not self.door.is_ours(origins[0], found[0]):
            return 403, "This was not sent from a page of this server."
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if lengths and (not lengths[0].isdigit() or int(lengths[0][:12]) > LARGEST_BODY):
            return 413, "This is larger than what is taken here."
        return None

    def _answering(self, send: Send) -> Send:
        """Return a ``send`` that adds our headers to every answer."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", [])}
                added = [pair for pair in self._headers if pair[0] not in given]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        return answer


async def _body(receive: Receive) -> tuple[bytes, tuple[int, str] | None]:
    """Return the whole body of a request, or why it is refused."""
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return b"", (400, "The request broke off.")
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY:
                    return b"", (413, "This is larger than what is taken here.")
                if not message.get("more_body", False):
                    return body, None
    except TimeoutError:
        return b"", (408, "The request took too long.")


def _once(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body again."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _refuse(scope: Scope, send: Send, status: int, why: str) -> None:
    """Answer with a page, or with JSON where that is spoken."""
    if scope["path"].startswith("/api/"):
        kind, content = b"application/json", json.dumps({"detail": why}).encode()
    else:
        kind = b"text/html; charset=utf-8"
        content = (
            f'<!DOCTYPE html><html lang="en"><title>Refused</title><h1>Refused</h1>'
            f"<p>{escape(why)}</p></html>"
        ).encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    if status in {400, 408, 413}:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
