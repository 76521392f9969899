"""Serves the built site on this machine alone."""

from __future__ import annotations

import functools
import http.server
import sys
from pathlib import Path
from typing import Any

ADDRESS = "127.0.0.1"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Plain files, never cached (a rebuilt page must show), and no line a request."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silence."""


class Server(http.server.ThreadingHTTPServer):
    """A browser that leaves a page in the middle of a file is no error."""

    request_queue_size = 128  # a browser asks for a page's files all at once; the usual 5 is soon full

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def make_server(folder: Path, port: int) -> Server:
    """A server of `folder` on 127.0.0.1; port 0 takes any free one.

    FileNotFoundError when there is no site, OSError in one sentence when the port is taken.
    """
    if not (folder / "index.html").is_file():
        raise FileNotFoundError(f"There is no site in {folder}: build it first with `make site`.")
    try:
        return Server((ADDRESS, port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        raise OSError(f"Port {port} cannot be used ({error.strerror}): choose another with --port.") from None
