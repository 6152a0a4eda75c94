"""The live pages behind HTTP: read by a browser, and written by nobody but where it is allowed."""

import asyncio
import hmac
import os
import secrets
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from zoo.report import html
from zoo.report.page import Page, Section
from zoo.storage import lock
from zoo.watch import pages
from zoo.watch.runs import Runs, Watched

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Watching:
    """What is watched; `control` allows to stop a run, `hosts` are the names of the server."""

    runs: Runs
    control: bool = False
    hosts: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))


def application(watching: Watching) -> "Starlette":
    """The ASGI application: `/`, `/run/NAME`, what changed of them, and where allowed a stop."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    service = _Service(watching)
    routes = [
        Route("/", service.overview),
        Route("/state", service.state),
        Route("/watch.js", service.script),
        Route("/run/{name:path}/section/{anchor}", service.section),
        Route("/run/{name:path}", service.run),
    ]
    if watching.control:
        routes.append(Route("/stop", service.stop, methods=["POST"]))
    # A page of elsewhere that has a name for this address is not let in.
    hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[*_HOSTS, *watching.hosts])
    return Starlette(routes=routes, middleware=[hosts])


class _Service:
    def __init__(self, watching: Watching) -> None:
        self._watching = watching
        # Files are read and figures drawn by one thread at a time: matplotlib has global settings.
        self._lock = threading.Lock()

    async def overview(self, request: "Request") -> "Response":
        """All runs."""
        asked = request.query_params
        return await self._answer(self._overview, asked.getlist("run"), asked.get("by", "reward"))

    async def run(self, request: "Request") -> "Response":
        """One run's first sections."""
        return await self._answer(self._run, request.path_params["name"])

    async def section(self, request: "Request") -> "Response":
        """One of its later sections."""
        name, anchor = request.path_params["name"], request.path_params["anchor"]
        return await self._answer(self._section, name, anchor)

    async def state(self, request: "Request") -> "Response":
        """A text that changes with what is shown."""
        return await self._answer(self._watching.runs.state, request.query_params.get("run"))

    async def script(self, request: "Request") -> "Response":
        """What asks for the state again and again."""
        from starlette.responses import Response

        return Response(html.asset("watch.js"), media_type="text/javascript", headers=_HEADERS)

    async def stop(self, request: "Request") -> "Response":
        """Asks a run to save and end, as Ctrl-C would."""
        from starlette.responses import RedirectResponse

        sent = (await request.body())[:4096].decode(errors="replace")
        values = dict(pair.partition("=")[::2] for pair in sent.split("&"))
        if not hmac.compare_digest(values.get("token", "").encode(), self._watching.token.encode()):
            return _text("the page is of an earlier start: load it again", 403)
        found = self._watching.runs.named(_unquoted(values.get("run", "")))
        try:
            if found is None or not _interrupt(found):
                return _text("no such run is going on", 404)
        except PermissionError:
            return _text("the run is another user's, who alone can stop it", 403)
        return RedirectResponse(f"/run/{quote(found.name)}", status_code=303)

    async def _answer(self, make: Any, *arguments: object) -> "Response":
        def work() -> str | None:
            with self._lock:
                return make(*arguments)  # type: ignore[no-any-return]

        text = await asyncio.to_thread(work)
        if text is None:
            return _text("there is no such run or section", 404)
        from starlette.responses import HTMLResponse

        return HTMLResponse(text, headers=_HEADERS)

    def _overview(self, chosen: list[str], metric: str) -> str:
        runs = self._watching.runs
        found, state = runs.all(), runs.state()
        page = pages.overview(found, chosen, metric, f"zoo watch {runs.root}", runs.unread())
        return self._page(
            page, state, "/state",
            names=[run.name for run in found], chosen=chosen,
            metrics=pages.metrics_of(found), metric=metric,
        )  # fmt: skip

    def _run(self, name: str) -> str | None:
        found = self._watching.runs.named(name)
        if found is None:
            return None
        page = pages.run_page(found, f"zoo report {found.record.folder}")
        at = f"/state?run={quote(name)}"
        may_stop = self._watching.control and found.status == "going on"
        return self._page(
            page, self._watching.runs.state(name), at,
            base=f"/run/{quote(name)}", later=list(pages.LATER),
            stop={"run": name, "token": self._watching.token} if may_stop else None,
        )  # fmt: skip

    def _section(self, name: str, anchor: str) -> str | None:
        found = self._watching.runs.named(name)
        if found is None or anchor not in pages.LATER:
            return None
        made: Section = pages.LATER[anchor](found.record)
        page = Page("", "", f"zoo report {found.record.folder}", (made,))
        return html.html(page, "section.html", section=made)

    def _page(self, page: Page, state: str, at: str, **more: Any) -> str:
        defaults: dict[str, Any] = {
            "names": [], "chosen": [], "metrics": [], "metric": "", "base": "", "later": [],
            "stop": None,
        }  # fmt: skip
        return html.html(page, "watch.html", state=state, at=at, **(defaults | more))


def _interrupt(run: Watched) -> bool:
    """Whether a process writes the run, which is asked to leave; a number alone may be another's.

    Raises:
        PermissionError: it is another user's.
    """
    process = lock.holder(run.record.folder)
    # A run in another container may have this process's number.
    if process in (None, os.getpid()):
        return False
    try:
        os.kill(process, signal.SIGTERM)
    except ProcessLookupError:
        return False
    return True


def _unquoted(text: str) -> str:
    from urllib.parse import unquote_plus

    return unquote_plus(text)


def _text(line: str, status: int) -> "Response":
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(f"{line}\n", status, headers=_HEADERS)
