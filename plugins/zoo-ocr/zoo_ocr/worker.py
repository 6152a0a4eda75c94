"""A process that reads images: `python -m zoo_ocr.worker FILE_DESCRIPTOR OPTIONS`.

It is started anew rather than forked, so it has neither the parent's CUDA context nor its threads,
and imports no torch. It ends when the parent's end of the connection is closed, however the parent
ends. Images come as two sizes and raw pixels, answers go as JSON: nothing is unpickled.
"""

import json
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection

import numpy as np

from zoo_ocr.engine import Engine, EngineOptions, Line, Pixels

HEADER = struct.Struct("<II")
"""An image's height and width, in front of its pixels."""


def pack(image: Pixels) -> bytes:
    """An image as it is sent to a worker."""
    return HEADER.pack(*image.shape[:2]) + image.tobytes()


def unpack(message: bytes) -> Pixels:
    """The image of a message."""
    height, width = HEADER.unpack_from(message)
    return np.frombuffer(message, np.uint8, offset=HEADER.size).reshape(height, width, 3)


def main() -> None:
    """Serves one connection, whose file descriptor and options the arguments give."""
    # The parent decides what an interrupt ends; it closes the connection when it leaves.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    descriptor, options = sys.argv[1:]
    with Connection(int(descriptor)) as connection, suppress(EOFError, ConnectionError):
        _serve(connection, EngineOptions(**json.loads(options)))


def _serve(connection: Connection, options: EngineOptions) -> None:
    """Reads images until the connection is closed; the first answer says whether it can."""
    try:
        engine = _engine(options)
    except Exception as error:
        connection.send_bytes(_failure(error))
        return
    connection.send_bytes(_success([]))
    while True:
        image = unpack(connection.recv_bytes())
        try:
            answer = _success(engine.read(image))
        except Exception as error:
            answer = _failure(error)
        connection.send_bytes(answer)


def _engine(options: EngineOptions) -> Engine:
    import cv2

    cv2.setNumThreads(1)
    return Engine(options)


def _success(lines: list[Line]) -> bytes:
    return json.dumps({"lines": [asdict(line) for line in lines]}).encode()


def _failure(error: Exception) -> bytes:
    reason = " ".join(str(error).split()) or "no message"
    return json.dumps({"error": f"{type(error).__name__}: {reason}"}).encode()


if __name__ == "__main__":
    main()
