"""Rewards behind `zoo serve`'s application, over real sockets, and what else may answer there."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import torch
import uvicorn
from torch import Tensor
from zoo_reward_worker.wire import Message, encode

from zoo.prompt import Prompt
from zoo.reward.base import Reward, Scores
from zoo.reward.outside.connections import config
from zoo.reward.outside.server import Served, application
from zoo.reward.remote import Remote

CPU = torch.device("cpu")
MB = 1 << 20


class Scored(Reward):
    """A reward that is one function."""

    def __init__(self, function: Callable[[Tensor, list[Prompt]], Tensor | Scores]) -> None:
        self.function = function

    def score(self, images, prompts):
        return self.function(images, prompts)


@contextmanager
def serving(
    reward: Reward, *, token: str | None = None, most: int = MB, port: int = 0
) -> Iterator[str]:
    """The address of a running server."""
    app = application(Served(reward, "mine", CPU, token, most))
    server, listening = uvicorn.Server(config(app)), socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
    assert not thread.is_alive()


@contextmanager
def answering(status: int, content: bytes) -> Iterator[str]:
    """The address of a server that always answers the same."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextmanager
def connected(url: str, **options) -> Iterator[Remote]:
    made = Remote(url=url, **options)
    try:
        yield made
    finally:
        made.close()


def images(num: int, size: int = 16) -> Tensor:
    """Of 8 bits, as they arrive."""
    some = torch.randint(0, 256, (num, 3, size, size), generator=torch.Generator().manual_seed(0))
    return some / 255


def prompts(num: int) -> list[Prompt]:
    return [Prompt(f"a cat {i} ü", {"digit": i}) for i in range(num)]


def question(num: int = 2) -> bytes:
    said = [{"text": "a", "metadata": {}}] * num
    pixels = np.zeros((num, 4, 4, 3), np.uint8)
    return encode(Message({"kind": "score", "prompts": said}, {"images": pixels}))
