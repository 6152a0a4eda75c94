"""Connections of strangers to a server: bounded in number, and in the time to say what they want.

uvicorn by itself waits for ever for the head of a request, and takes as many connections as come.
"""

import asyncio
import resource
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT = 10.0
"""Seconds for the head of a request, and for what is sent on after an answer."""
_MOST_CONNECTIONS = 512
_LARGEST_HEAD = 1 << 14
"""Bytes; a client of zoo's sends 300."""
_GRACE = 30
"""Seconds for requests in flight after Ctrl-C."""


def config(application: Any) -> uvicorn.Config:
    """How an ASGI application is served; what strangers send is not logged."""
    return uvicorn.Config(
        application,
        http=BoundedProtocol,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
        access_log=False,
        lifespan="on",
        log_level="error",
        timeout_graceful_shutdown=_GRACE,
        ws="none",
    )


class BoundedProtocol(H11Protocol):
    """A connection that is ended where it is one too many, or asks for nothing."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ends it at once where there are too many: half of the process's files stay free."""
        super().connection_made(transport)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(self.connections) > min(_MOST_CONNECTIONS, files // 2):
            transport.abort()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(HEAD_TIMEOUT, self._require_request, self.cycle)

    def _require_request(self, last: object) -> None:
        """Ends it where no request has begun since the last one, which has been answered."""
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if self.cycle is last and not is_busy:
            self.transport.abort()
        else:
            self._wait()
