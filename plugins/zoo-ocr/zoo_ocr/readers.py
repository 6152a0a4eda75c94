"""Several images at a time: one engine in this process, or worker processes that have one each."""

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue

from zoo_ocr.engine import Engine, EngineOptions, Line, Pixels, Reader
from zoo_ocr.worker import pack


class WorkerError(RuntimeError):
    """A worker process ended or could not read an image."""


class WorkerProcess:
    """One process that reads images; one that ended is started again by the next call."""

    def __init__(self, options: EngineOptions) -> None:
        """Starts the process; `wait_until_ready` must follow."""
        self._options = options
        self._running = _Running(options)

    def wait_until_ready(self) -> None:
        """Waits for the engine to be loaded, 1 to 2 s on an idle core.

        Raises:
            WorkerError: it cannot be.
        """
        self._answer("while it started")

    def read(self, image: Pixels) -> list[Line]:
        """The image's lines in the order of reading; not to be called by two threads at once.

        Raises:
            WorkerError: the process ended or could not read it.
        """
        # Nothing is lost where it ended between two images.
        if not self._running.end.alive or self._running.process.poll() is not None:
            self._running = _Running(self._options)
            self.wait_until_ready()
        # How it ended is found by asking for the answer.
        with suppress(ConnectionError):
            self._running.connection.send_bytes(pack(image))
        return self._answer("while it read an image")

    def interrupt(self) -> None:
        """Makes a `read` that another thread is in raise."""
        self._running.process.kill()
        self._running.process.wait()

    def close(self) -> None:
        """Ends the process."""
        self._running.end()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._running.process.pid

    def _answer(self, when: str) -> list[Line]:
        try:
            answer = json.loads(self._running.connection.recv_bytes())
        except (EOFError, ConnectionError):
            # It may be a moment before it has an exit code of its own.
            with suppress(subprocess.TimeoutExpired):
                self._running.process.wait(timeout=5.0)
            self.close()
            raise WorkerError(
                f"an OCR worker process ended {when}, with exit code "
                f"{self._running.process.returncode}; the next call starts another"
            ) from None
        if "error" in answer:
            raise WorkerError(f"an OCR worker process failed {when}: {answer['error']}")
        return [Line(**line) for line in answer["lines"]]


class Readers:
    """Reads batches of images with every reader at once."""

    def __init__(self, options: EngineOptions, *, workers: int) -> None:
        """`workers` processes, or with 0 an engine in this process.

        Raises:
            WorkerError: a worker cannot start.
        """
        self._workers = [WorkerProcess(options) for _ in range(workers)]
        for worker in self._workers:
            worker.wait_until_ready()
        readers: list[Reader] = [*self._workers] or [Engine(options)]
        self._num = len(readers)
        # Calls that run at the same time share the readers and never use one together.
        self._free: SimpleQueue[Reader] = SimpleQueue()
        for reader in readers:
            self._free.put(reader)

    @property
    def pids(self) -> list[int]:
        """The worker processes' ids."""
        return [worker.pid for worker in self._workers]

    def read(self, images: Sequence[Pixels]) -> list[list[Line]]:
        """Each image's lines.

        Raises:
            WorkerError: a worker process ended or could not read an image.
        """
        with ThreadPoolExecutor(self._num, "ocr") as threads:
            return list(threads.map(self._read, images))

    def interrupt(self) -> bool:
        """Makes a `read` that another thread is in raise; whether that can be done."""
        for worker in self._workers:
            worker.interrupt()
        return bool(self._workers)

    def close(self) -> None:
        """Ends the worker processes; nothing can be read after."""
        for worker in self._workers:
            worker.close()

    def _read(self, image: Pixels) -> list[Line]:
        reader = self._free.get()
        try:
            return reader.read(image)
        finally:
            self._free.put(reader)


class _Running:
    """A started process and this end of its connection; ended with the object, at the latest."""

    def __init__(self, options: EngineOptions) -> None:
        self.connection, theirs = Pipe()
        settings = json.dumps(asdict(options))
        with theirs:
            # A session of its own keeps a terminal's Ctrl-C away, -P the working directory's files.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "zoo_ocr.worker", str(theirs.fileno()), settings],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
            )
        self.end = weakref.finalize(self, _end, self.process, self.connection)


def _end(process: subprocess.Popen[bytes], connection: Connection) -> None:
    connection.close()
    # A worker has nothing to save.
    process.kill()
    process.wait()
