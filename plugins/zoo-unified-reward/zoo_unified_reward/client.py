"""Requests to a chat-completions server: many at a time, tried again, never beyond their time."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from zoo_unified_reward.answer import (
    Failure,
    Passing,
    Reply,
    ServerError,
    may_pass,
    message,
    reply,
    retry_after,
    start,
)
from zoo_unified_reward.server import Server

if TYPE_CHECKING:
    import httpx

_MOST_BYTES = 1 << 20
_LONGEST_WAIT = 30.0


class ChatClient:
    """Asks one server; safe to call from any thread, one event loop a call."""

    def __init__(self, server: Server, key: str | None) -> None:
        """`key` is sent as a bearer token and never shown."""
        import httpx

        self._server = server
        self._key = key
        # Loading the certificates takes longer than many a request.
        self._tls: Any = httpx.create_ssl_context() if server.url.startswith("https") else True
        # Waits alone are random, so that processes do not come back all at once; the global
        # generators stay untouched.
        self._scatter = random.Random()
        self._running: set[asyncio.Task[Any]] = set()

    def ask(self, bodies: Sequence[Callable[[], bytes]]) -> list[Reply | Failure]:
        """A reply to each request, in order; bodies are made in threads, as late as possible.

        Raises:
            ServerError: `interrupt` was called.
        """
        try:
            return asyncio.run(self._ask_all(bodies))
        except asyncio.CancelledError:
            raise ServerError("it was interrupted") from None

    def interrupt(self) -> None:
        """Makes every `ask` in other threads raise; the next one is not concerned."""
        for task in tuple(self._running):
            # A loop that has just ended has nothing to interrupt.
            with suppress(RuntimeError):
                task.get_loop().call_soon_threadsafe(task.cancel)

    def models(self) -> list[str]:
        """The names of the models that the server has.

        Raises:
            ServerError: it cannot be reached, refuses, or does not say.
        """
        try:
            return asyncio.run(self._models())
        except Passing as error:
            raise ServerError(error.reason) from error

    async def _models(self) -> list[str]:
        async with self._client() as client:
            reply = await self._answer(client, "GET", "/models", None)
        try:
            return [str(model["id"]) for model in reply["data"]]
        except (KeyError, TypeError) as error:
            raise ServerError("GET /models answered no list of models") from error

    async def _ask_all(self, bodies: Sequence[Callable[[], bytes]]) -> list[Reply | Failure]:
        if not bodies:
            return []
        total = self._server.timeouts.total
        deadline = asyncio.get_running_loop().time() + total
        slots = asyncio.Semaphore(self._server.max_in_flight)
        async with self._interruptible(), self._client() as client:
            tasks = [
                asyncio.create_task(self._one(client, slots, body, deadline)) for body in bodies
            ]
            try:
                done, _ = await asyncio.wait(tasks, timeout=total)
            finally:
                # Also where this batch is itself cancelled: nothing may outlive its client.
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        unanswered = Failure(f"no answer within timeouts.total = {total:g} s")
        return [task.result() if task in done else unanswered for task in tasks]

    @asynccontextmanager
    async def _interruptible(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            yield
        finally:
            self._running.discard(task)

    async def _one(
        self,
        client: "httpx.AsyncClient",
        slots: asyncio.Semaphore,
        make: Callable[[], bytes],
        deadline: float,
    ) -> Reply | Failure:
        """One image's reply; it keeps its slot while it waits, so a busy server gets fewer."""
        retries = self._server.retries
        async with slots:
            body = await asyncio.to_thread(make)
            for attempt in range(retries.count + 1):
                try:
                    return reply(await self._answer(client, "POST", "/chat/completions", body))
                except ServerError as error:
                    return Failure(str(error))
                except Passing as error:
                    reason, asked = error.reason, error.wait
                if attempt == retries.count:
                    break
                grown = min(retries.wait * 2.0**attempt, _LONGEST_WAIT)
                wait = max(grown * self._scatter.uniform(0.5, 1.5), asked)
                left = deadline - asyncio.get_running_loop().time()
                if wait >= left:
                    return Failure(f"{reason}; waiting {wait:.3g} s more would exceed the total")
                await asyncio.sleep(wait)
        return Failure(f"{reason} ({retries.count + 1} tries)")

    async def _answer(
        self, client: "httpx.AsyncClient", method: str, path: str, body: bytes | None
    ) -> Any:
        """The JSON that the server answers.

        Raises:
            ServerError: the server refuses the request.
            Passing: what may go better another time.
        """
        import httpx

        limit = self._server.timeouts.request
        try:
            # httpx limits the time between bytes; a drip of them would go on for ever.
            async with (
                asyncio.timeout(limit),
                client.stream(method, path, content=body) as response,
            ):
                content = self._redact(await _content(response))
        except TimeoutError:
            raise Passing(f"no answer within timeouts.request = {limit:g} s") from None
        except httpx.RequestError as error:
            raise Passing(f"{type(error).__name__}: {error}") from None
        if response.is_success:
            try:
                return json.loads(content)
            except ValueError:
                raise Passing(f"the answer is not JSON: {start(content)}") from None
        line = f"HTTP {response.status_code}: {message(content)}"
        if may_pass(response.status_code):
            raise Passing(line, retry_after(response.headers.get("retry-after")))
        raise ServerError(line)

    def _client(self) -> "httpx.AsyncClient":
        import httpx

        times, most = self._server.timeouts, self._server.max_in_flight
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        return httpx.AsyncClient(
            base_url=self._server.url,
            headers=headers,
            timeout=httpx.Timeout(times.request, connect=times.connect, pool=None),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            verify=self._tls,
            trust_env=not self._server.is_local,
        )

    def _redact(self, content: bytes) -> bytes:
        """An answer with the key taken out: servers like to quote it."""
        return content if self._key is None else content.replace(self._key.encode(), b"***")


async def _content(response: "httpx.Response") -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MOST_BYTES:
            raise ServerError(
                f"the answer is longer than {_MOST_BYTES >> 20} MiB; is the url right?"
            )
    return bytes(content)
