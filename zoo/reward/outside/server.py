"""A reward behind HTTP, for `{name: remote}` on other machines.

Messages are those of `zoo_reward_worker.wire`: JSON and the arrays' bytes, nothing unpickled.
Errors are JSON, `{"error": "one line"}`. Rewards are not safe to call from several threads, so one
request is scored at a time, in a thread of its own; others wait in order.
"""

import asyncio
import hmac
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch
from zoo_reward_worker import PROTOCOL
from zoo_reward_worker.native import Native
from zoo_reward_worker.serve import answer
from zoo_reward_worker.wire import Message, WireError, decode, encode

from zoo.reward.base import Reward

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


_BODY_TIMEOUT = 300.0
"""Seconds for a request's body: its client may have gone without a word."""


@dataclass(frozen=True)
class Served:
    """A reward and what clients may do with it; `max_request` is in bytes."""

    reward: Reward
    name: str
    device: torch.device
    token: str | None
    max_request: int


class _Refused(Exception):
    """A request that is answered with a status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


def application(served: Served) -> "Starlette":
    """The ASGI application: GET /describe, GET /known_answers, POST /score."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    service = _Service(served)
    return Starlette(
        routes=[
            Route("/describe", service.guard(service.describe), methods=["GET"]),
            Route("/known_answers", service.guard(service.known_answers), methods=["GET"]),
            Route("/score", service.guard(service.score), methods=["POST"]),
        ],
        lifespan=service.running,
    )


class _Service:
    def __init__(self, served: Served) -> None:
        self._served = served
        # It brings zoo's images and scores into the worker's form: as for an isolated reward.
        self._reward = Native(served.reward, served.device)
        self._todo: SimpleQueue[tuple[bytes, Future[bytes]] | None] = SimpleQueue()

    @asynccontextmanager
    async def running(self, app: "Starlette") -> AsyncIterator[None]:
        """Has the reward's thread as long as the server runs."""
        # A daemon: a reward that hangs for ever must not keep the process from ending.
        threading.Thread(target=self._work, name=f"reward {self._served.name}", daemon=True).start()
        yield
        self._todo.put(None)

    def _work(self) -> None:
        while (work := self._todo.get()) is not None:
            asked, reply = work
            # Nobody waits any more for one that is cancelled.
            if not reply.set_running_or_notify_cancel():
                continue
            reply.set_result(answer(self._reward, asked))

    async def describe(self, request: "Request") -> "Response":
        """What a client must know before it asks."""
        from starlette.responses import JSONResponse

        return JSONResponse(
            {
                "protocol": PROTOCOL,
                "name": self._served.name,
                "groupwise": self._served.reward.groupwise,
                "takes": self._served.reward.takes,
                "max_request": self._served.max_request,
            }
        )

    async def known_answers(self, request: "Request") -> "Response":
        """The reward's known answers."""
        return await self._answer(encode(Message({"kind": "known_answers"})))

    async def score(self, request: "Request") -> "Response":
        """Scores of the images in the body."""
        body = await self._body(request)
        _require_question(body)
        return await self._answer(body)

    def guard(
        self, handle: "Callable[[Request], Awaitable[Response]]"
    ) -> "Callable[[Request], Awaitable[Response]]":
        """The same for who has the token; a refusal becomes JSON."""
        from starlette.responses import JSONResponse

        async def guard(request: "Request") -> "Response":
            try:
                self._require_token(request.headers.get("authorization", ""))
                return await handle(request)
            except _Refused as refused:
                return JSONResponse({"error": str(refused)}, refused.status)

        return guard

    def _require_token(self, given: str) -> None:
        wanted = self._served.token
        # In constant time: how long a comparison takes would tell the token letter by letter.
        if wanted is not None and not hmac.compare_digest(
            given.encode("utf-8", "replace"), f"Bearer {wanted}".encode()
        ):
            raise _Refused(401, "the token is missing or wrong")

    async def _body(self, request: "Request") -> bytes:
        most = self._served.max_request
        line = f"a request may have {most} bytes here; zoo serve --max-request sets it, in MB"
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            raise _Refused(413, line)
        body = bytearray()
        try:
            async with asyncio.timeout(_BODY_TIMEOUT):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > most:
                        raise _Refused(413, line)
        except TimeoutError:
            raise _Refused(408, f"the body took over {_BODY_TIMEOUT:g} s") from None
        return bytes(body)

    async def _answer(self, asked: bytes) -> "Response":
        from starlette.responses import Response

        scored: Future[bytes] = Future()
        self._todo.put((asked, scored))
        reply = await asyncio.wrap_future(scored)
        header = decode(reply).header
        if header["kind"] == "error":
            raise _Refused(500, f"{header['type']}: {header['message']}")
        return Response(reply, media_type="application/octet-stream")


def _require_question(body: bytes) -> None:
    """Refuses a body that does not ask for scores of as many images as prompts."""
    try:
        message = decode(body)
    except WireError as error:
        raise _Refused(400, f"the body is no message: {error}") from None
    images, prompts = message.arrays.get("images"), message.header.get("prompts")
    if message.header.get("kind") != "score" or images is None or set(message.arrays) != {"images"}:
        raise _Refused(400, "the message must be of kind 'score' with one array, 'images'")
    if str(images.dtype) != "uint8" or images.ndim < 4 or images.shape[-1] != 3 or not images.size:
        raise _Refused(
            400,
            f"'images' must be uint8 [batch, height, width, 3], not {images.dtype} "
            f"{list(images.shape)}",
        )
    if not isinstance(prompts, list) or not all(map(_is_prompt, prompts)):
        raise _Refused(400, "'prompts' must be a list of {text: ..., metadata: {...}}")
    if len(prompts) != len(images):
        raise _Refused(400, f"there are {len(images)} images and {len(prompts)} prompts")


def _is_prompt(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("text"), str)
        and isinstance(value.get("metadata"), dict)
    )
