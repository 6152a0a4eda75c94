"""Weights & Biases in a thread of its own, so that it can neither block nor end a run."""

import os
import queue
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.run.moving import Picture
from zoo.run.sink import Sink, finite

_CLOSE_SECONDS = 60.0
_INIT_SECONDS = 8.0

Send = Callable[[Any], None]


class WandbRun(Sink):
    """Logs to wandb: online with a key, offline without; a failure is one warning."""

    def __init__(
        self,
        run_dir: Path,
        *,
        project: str,
        name: str,
        mode: str,
        run_id: str | None,
        config: Mapping[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        """`mode` auto, online, offline or disabled; `run_id` of a run to go on with."""
        self.run_id: str | None = run_id or uuid.uuid4().hex[:8]
        self._mode = mode
        self._warn = warn
        self._todo: queue.Queue[Send | None] = queue.Queue()
        self._options: dict[str, Any] = {
            "project": project,
            "name": name,
            "id": self.run_id,
            "dir": str(run_dir),
            "config": dict(config),
            "resume": "allow",
        }
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def record(self, metrics: Mapping[str, float]) -> None:
        """An epoch's finite numbers; returns at once."""
        known = {key: value for key, value in finite(metrics).items() if value is not None}
        self._todo.put(lambda run: run.log(known))

    def picture(self, name: str, picture: Picture, path: Path, epoch: int) -> None:
        """The file, read later, which a browser also shows where it moves; returns at once."""

        def send(run: Any) -> None:
            import wandb

            run.log({name: wandb.Image(str(path)), "epoch": epoch})

        self._todo.put(send)

    def close(self, error: BaseException | None = None) -> None:
        """Waits for what is left to send, for a minute at most."""
        self._todo.put(None)
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            self._warn(
                f"wandb did not finish within {_CLOSE_SECONDS:g} s; wandb sync can send the rest"
            )

    def _work(self) -> None:
        # Without a network, wandb's own error reports keep a process from ending for 10 s.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            import wandb

            wandb.setup(wandb.Settings(silent=True))  # silences what comes before init, too
            settings = wandb.Settings(
                init_timeout=_INIT_SECONDS,
                silent=True,
                console="off",
                finish_timeout=_CLOSE_SECONDS,
            )
            mode: Any = _resolve_mode(wandb, self._mode)
            with wandb.init(**self._options, mode=mode, settings=settings) as run:
                # By epoch, not by wandb's own step, which would refuse the epochs that a resumed
                # run makes again.
                run.define_metric("*", step_metric="epoch")
                while (send := self._todo.get()) is not None:
                    send(run)
        except Exception as error:
            lines = str(error).splitlines() or [""]
            self._warn(f"wandb is off for the rest of this run: {type(error).__name__}: {lines[0]}")


def _resolve_mode(wandb: Any, mode: str) -> str:
    """Auto is what WANDB_MODE says, else online with a key and offline without.

    Raises:
        RuntimeError: it is online without a key, where wandb would ask on the terminal.
    """
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or mode
    if mode not in ("auto", "online"):
        return mode
    if wandb.login(prompt=False, verify=False):
        return "online"
    if mode == "online":
        raise RuntimeError("no API key; run `wandb login`, set WANDB_API_KEY or use mode offline")
    return "offline"
