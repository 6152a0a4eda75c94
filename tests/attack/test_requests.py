"""Requests to `zoo serve` that are malformed at random: refused, and the next is answered."""

import json
import socket
import struct

import httpx
import numpy as np
import pytest
from zoo_reward_worker.wire import Message, decode, encode

from tests.attack.cases import ODD, cases, draw_of, mutated, mutated_bytes, require_none
from tests.reward.serving import question, serving
from zoo.reward.jpeg import JpegCompressibility


def odd_body(draw):
    """A question with its bytes changed, or what its header says."""
    data = question(draw.choice([1, 2]))
    if draw.random() < 0.4:
        return mutated_bytes(data, draw)
    size = struct.unpack("<I", data[4:8])[0]
    header = json.dumps(mutated(json.loads(data[8 : 8 + size]), draw)).encode()
    return data[:4] + struct.pack("<I", len(header)) + header + data[8 + size :]


def odd_request(draw, port):
    """Bytes on a socket that are no HTTP, or nearly."""
    head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n" + b"x" * 40
    with socket.create_connection(("127.0.0.1", port), timeout=20) as open_:
        open_.sendall(mutated_bytes(head, draw))
        open_.shutdown(socket.SHUT_WR)
        while open_.recv(1 << 16):
            pass


@pytest.mark.slow
def test_a_malformed_request_is_refused_and_the_next_answered():
    faults = {}
    with (
        serving(JpegCompressibility(), most=1 << 20) as url,
        httpx.Client(timeout=20, follow_redirects=False) as client,
    ):
        for number in cases(200):
            draw = draw_of("request", number)
            try:
                if number % 4 == 0:
                    odd_request(draw, int(url.rpartition(":")[2]))
                else:
                    path = draw.choice(["/score"] * 8 + ["/", "/describe", "/score/..", "/%00"])
                    headers = {"x-odd": "a"} if number % 5 else {"content-type": b"\xff" * 99}
                    reply = client.post(url + path, content=odd_body(draw), headers=headers)
                    if reply.status_code == 200:
                        assert "value" in decode(reply.content).arrays
                    elif reply.status_code >= 500 or (
                        reply.status_code not in (404, 405) and "error" not in reply.json()
                    ):
                        faults[number] = f"{path}: {reply.status_code} {reply.content[:200]!r}"
                good = client.post(url + "/score", content=question(1))
                assert decode(good.content).arrays["value"].shape == (1,)
            except Exception as error:
                faults[number] = repr(error)[:300]
    require_none(faults)


@pytest.mark.slow
def test_odd_values_of_prompts_are_scored_or_refused():
    pixels = np.zeros((1, 4, 4, 3), np.uint8)
    with serving(JpegCompressibility()) as url, httpx.Client() as client:
        for odd in ODD:
            for said in ({"text": odd, "metadata": {}}, {"text": "a", "metadata": odd}, odd):
                body = encode(Message({"kind": "score", "prompts": [said]}, {"images": pixels}))
                reply = client.post(url + "/score", content=body)
                assert reply.status_code in (200, 400), reply.content
