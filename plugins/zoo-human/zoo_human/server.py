"""The page behind HTTP: whoever has the token in its address sees images and votes, nobody else.

Everything is below `/TOKEN/`. On loopback other names of this machine are not answered: a page of
elsewhere that has a name for this address would be one.
"""

import hmac
import json
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from zoo.errors import UserError
from zoo.storage.files import WriteError
from zoo.storage.json_data import explain
from zoo_human.poll import Ballot, BallotError, GoneError, Poll

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that only this machine reaches."""
_NAMES = ("127.0.0.1", "[::1]", "localhost")
_PAGE = Path(__file__).parent / "page"
_FILES = {
    "": ("vote.html", "text/html; charset=utf-8"),
    "vote.js": ("vote.js", "text/javascript; charset=utf-8"),
    "vote.css": ("vote.css", "text/css; charset=utf-8"),
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_LARGEST = 1 << 16
"""Bytes of a ballot; one of a hundred images is some hundred."""
_MOST_CONNECTIONS = 64
_TIMEOUT = 10.0
"""Seconds to say what is wanted."""


class AddressError(UserError, ValueError):
    """An address that cannot be listened at."""


class Server(ThreadingHTTPServer):
    """Answers from a thread of its own, at a new token each time."""

    daemon_threads = True

    def __init__(self, host: str, port: int) -> None:
        """Listens; `open_to` starts to answer. Port 0 is any that is free.

        Raises:
            AddressError: there can be no server at that address.
        """
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.token = secrets.token_urlsafe(12)
        self._host = host
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._poll: Poll | None = None
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            raise AddressError(
                f"host {host}, port {port}: cannot listen there: {why or error}; choose another "
                "port (0: any that is free), or an address of this machine"
            ) from error

    @property
    def address(self) -> str:
        """Where people vote, with the token."""
        shown = socket.gethostname() if self._host in ("0.0.0.0", "::") else self._host
        shown = f"[{shown}]" if ":" in shown else shown
        return f"http://{shown}:{self.server_address[1]}/{self.token}/"

    @property
    def poll(self) -> Poll:
        """What it answers about."""
        assert self._poll is not None
        return self._poll

    @contextmanager
    def open_to(self, poll: Poll) -> Iterator[None]:
        """Inside, people can vote."""
        self._poll = poll
        thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="votes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def knows(self, host: str) -> bool:
        """Whether a request to that name is meant for this server."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        return self._host not in LOOPBACK or name in _NAMES

    def server_bind(self) -> None:
        """Without asking for this machine's name, which may take seconds."""
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread, unless there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """All that comes over one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves while it is answered is nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT
    server_version, sys_version = "zoo", ""

    @property
    def _poll(self) -> Poll:
        return cast(Server, self.server).poll

    def do_GET(self) -> None:
        """The page, its files, what it shows, and images."""
        wanted = self._path()
        if wanted is None:
            return
        if wanted in _FILES:
            name, kind = _FILES[wanted]
            self._send(200, (_PAGE / name).read_bytes(), kind)
        elif wanted == "state":
            asked = parse_qs(urlsplit(self.path).query)
            voter, at = (asked.get(key, [""])[0] for key in ("voter", "at"))
            self._json(200, self._poll.view(voter, at))
        elif (picture := self._picture(wanted)) is not None:
            self._send(200, picture, "image/png")
        else:
            self._line(404, "there is nothing here")

    def do_POST(self) -> None:
        """A vote."""
        wanted = self._path()
        if wanted is None:
            return
        length = self.headers.get("Content-Length", "")
        if wanted != "vote" or not length.isdecimal() or int(length) > _LARGEST:
            self._line(404, "votes go to vote, and are small")
            return
        try:
            ballot = Ballot.model_validate_json(self.rfile.read(int(length)), strict=True)
            self._json(200, {"in_time": self._poll.vote(ballot)})
        except ValidationError as error:
            self._line(400, explain(error))
        except GoneError as error:
            self._line(410, str(error))
        except BallotError as error:
            self._line(400, str(error))
        except WriteError as error:
            self._line(507, str(error))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a run's terminal is not for visits."""

    def _path(self) -> str | None:
        """What is wanted below the token; whoever has another is answered here."""
        server = cast(Server, self.server)
        if not server.knows(self.headers.get("Host", "")):
            self._line(400, "this server has another name")
            return None
        token, slash, wanted = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), server.token.encode()):
            self._line(403, "the address needs the token that the run has printed at its start")
            return None
        if not slash:
            self.send_response(301)
            self.send_header("Location", f"/{token}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        return wanted

    def _picture(self, wanted: str) -> bytes | None:
        """`image/GROUP/0.png` or `input/GROUP/0.png`, if there is such."""
        found = re.fullmatch(r"(image|input)/(\w+)/([0-9]{1,6})\.png", wanted)
        group = self._poll.group(found[2]) if found else None
        if found is None or group is None:
            return None
        place, is_input = int(found[3]), found[1] == "input"
        if place >= len(group.inputs if is_input else group.names):
            return None
        return group.inputs[place] if is_input else group.png(place)

    def _json(self, status: int, data: object) -> None:
        self._send(status, json.dumps(data).encode(), "application/json")

    def _line(self, status: int, text: str) -> None:
        self._send(status, f"{text}\n".encode(), "text/plain; charset=utf-8")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
