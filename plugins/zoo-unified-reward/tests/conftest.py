"""A server on this machine that speaks as much of the chat API as the reward uses, and misbehaves.

What it does with a question is a function of the test's; `closing` frees whatever still waits.
"""

import base64
import json
import math
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from zoo_unified_reward.reward import UnifiedReward
from zoo_unified_reward.server import Retries


@dataclass
class Question:
    """One request, with the ways to answer it."""

    handler: BaseHTTPRequestHandler
    body: dict[str, Any]
    tries: int
    """How many requests with the same text there were before."""

    @property
    def text(self) -> str:
        return self.body["messages"][0]["content"][-1]["text"]

    @property
    def images(self) -> list[Image.Image]:
        urls = [part["image_url"]["url"] for part in self.body["messages"][0]["content"][:-1]]
        return [Image.open(BytesIO(base64.b64decode(url.partition(",")[2]))) for url in urls]

    @property
    def image(self) -> Image.Image:
        """The one to judge."""
        return self.images[-1]

    @property
    def brightness(self) -> float:
        """Of the one to judge, in [0, 1]."""
        return float(np.array(self.image).mean() / 255)

    def say(self, text: str | None, finish: str = "stop", refusal: str | None = None) -> None:
        message = {"role": "assistant", "content": text, "refusal": refusal}
        self.json(200, {"choices": [{"message": message, "finish_reason": finish}]})

    def likely(self, *tokens: tuple[str, float]) -> None:
        """Answers with its first token's probabilities, of which the first is said."""
        listed = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in tokens]
        message = {"role": "assistant", "content": tokens[0][0]}
        content = [{**listed[0], "top_logprobs": listed}]
        choice = {"message": message, "finish_reason": "length", "logprobs": {"content": content}}
        self.json(200, {"choices": [choice]})

    def json(self, status: int, said: object, **headers: str) -> None:
        self.send(status, json.dumps(said).encode(), **headers)

    def send(self, status: int, content: bytes, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Content-Length", str(len(content)))
        self.handler.end_headers()
        self.handler.wfile.write(content)

    def promise(self, length: int, content: bytes) -> None:
        """Says that more comes than does."""
        self.handler.send_response(200)
        self.handler.send_header("Content-Length", str(length))
        self.handler.end_headers()
        self.handler.wfile.write(content)

    def hang_up(self) -> None:
        self.handler.close_connection = True


@dataclass
class VisionServer:
    """What it was asked, and how it answers."""

    url: str = ""
    models: list[str] = field(default_factory=lambda: ["judge"])
    answer: Callable[[Question], None] = lambda question: question.say("Final Score: 4")
    list_models: Callable[[Question], None] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def received(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        with self.lock:
            question = Question(handler, body, 0)
            question.tries = sum(Question(handler, b, 0).text == question.text for b in self.asked)
            self.asked.append(body)
            self.keys.append(handler.headers.get("Authorization"))
        self.answer(question)


def _handler(server: VisionServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.keys.append(self.headers.get("Authorization"))
            question = Question(self, {}, 0)
            if server.list_models:
                server.list_models(question)
            elif self.path == "/v1/models":
                question.json(200, {"data": [{"id": name} for name in server.models]})
            else:
                question.json(404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/chat/completions"
            server.received(self, body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that gives up closes its connection: that is what some tests are about.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@pytest.fixture
def server() -> Iterator[VisionServer]:
    """A running server; what it still does at the end is waited for."""
    made = VisionServer()
    http = _Server(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.closing.set()
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def made(server: VisionServer) -> Callable[..., UnifiedReward]:
    """Makes the reward that asks the server, with short waits."""

    def make(**options: Any) -> UnifiedReward:
        usual = {"model": "judge", "template": "{prompt}", "retries": Retries(wait=0.01)}
        return UnifiedReward(**{"url": server.url} | usual | options)

    return make
