"""Kaggle's HTTP interface, as far as kagglehub uses it for data sets, on 127.0.0.1."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
import zipfile
from collections import defaultdict, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GET, DOWNLOAD, ARCHIVE = "GetDataset", "DownloadDataset", "archive"


@dataclass
class Answer:
    """What the server sends once instead of its usual answer.

    Args:
        status: HTTP status.
        body: Sent whole.
        headers: Added to the usual ones.
        cut_at: For the archive: the connection is closed after this many bytes.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None


def refusal(status: int, **headers: str) -> Answer:
    """Return an error as Kaggle words it."""
    body = json.dumps({"code": status, "message": "server says no"}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"Content-Type": "application/json"} | named)


def web_page() -> Answer:
    """Return a login page that a proxy may send with status 200."""
    return Answer(200, b"<!DOCTYPE html><html>Sign in</html>", {"Content-Type": "text/html"})


def zipped(**files: bytes) -> bytes:
    """Return a zip archive of files; ``__`` in a name is a dot, and ``___`` a slash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("___", "/").replace("__", "."), content)
    return buffer.getvalue()


class FakeKaggle:
    """A server with one data set, of one version.

    ``answers[route]`` are sent first, in order; then the usual ones. ``calls`` lists what was
    asked for, ``seen_authorization`` every Authorization header, ``ranges`` every Range header.
    """

    def __init__(self, archive: bytes, version: int = 3) -> None:
        self.archive, self.version = archive, version
        self.md5: bytes | None = None
        self.send_md5 = True
        self.answers: dict[str, deque[Answer]] = defaultdict(deque)
        self.calls: list[str] = []
        self.ranges: list[str] = []
        self.seen_authorization: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fake.seen_authorization.append(self.headers.get("Authorization", ""))
                fake.serve(self, self.path.rsplit("/", 1)[-1])

            def do_GET(self):
                fake.serve(self, ARCHIVE)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler, route):
        self.calls.append(route)
        if self.answers[route]:
            answer = self.answers[route].popleft()
        elif route == GET:
            body = json.dumps({"currentVersionNumber": self.version}).encode()
            answer = Answer(200, body, {"Content-Type": "application/json"})
        elif route == DOWNLOAD:
            answer = Answer(302, b"", {"Location": f"{self.url}/archive.zip"})
        else:
            answer = Answer()
        if route == ARCHIVE and answer.status == 200 and answer.body == b"{}":
            self._send_archive(handler, answer.cut_at)
        else:
            self._send(handler, answer.status, answer.headers, answer.body, len(answer.body))

    def _send_archive(self, handler, cut_at):
        first = 0
        asked = handler.headers.get("Range")
        if asked:
            self.ranges.append(asked)
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
        headers = {"Accept-Ranges": "bytes"}
        if self.send_md5:
            md5 = self.md5 or hashlib.md5(self.archive, usedforsecurity=False).digest()
            headers["x-goog-hash"] = f"crc32c=AAAAAA==,md5={base64.b64encode(md5).decode()}"
        body = self.archive[first:]
        self._send(handler, 206 if asked else 200, headers, body[:cut_at], len(body))

    @staticmethod
    def _send(handler, status, headers, body, length):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(body)
