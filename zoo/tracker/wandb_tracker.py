"""Weights & Biases: online with a key, offline without."""

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from zoo.tracker.base import ExperimentTracker, TrackedRun
from zoo.tracker.groups import grouped_record

_INIT_SECONDS = 8.0
_FINISH_SECONDS = 60.0


class Wandb(ExperimentTracker):
    """Weights & Biases: numbers, pictures and warnings by epoch, in groups.

    The groups are `train`, `reward`, `eval`, `monitor`, `progress`, `speed` and others, as the
    metrics are called; every chart is over epochs. A warning is an alert too. A run that goes on
    goes on under its id, and shows an epoch that it makes again twice.
    """

    late = "wandb sync can send the rest"

    def __init__(
        self,
        *,
        project: Annotated[str, MinLen(1)] = "zoo",
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
    ) -> None:
        """`mode` auto is what WANDB_MODE says, else online where there is a key, else offline."""
        self._project, self._mode = project, mode
        self._run: Any = None
        self._warnings: list[str] = []

    def open(self, run: TrackedRun) -> None:
        """Starts wandb, which may ask its server.

        Raises:
            RuntimeError: it is online without a key.
        """
        # Without a network, wandb's own error reports keep a process from ending for 10 s.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        wandb.setup(wandb.Settings(silent=True))  # silences what comes before init, too
        mode: Any = _resolve_mode(wandb, self._mode)
        self._run = wandb.init(
            project=self._project,
            name=run.name,
            id=run.run_id,
            dir=str(run.folder),
            config=dict(run.recipe),
            resume="allow",
            mode=mode,
            settings=wandb.Settings(
                init_timeout=_INIT_SECONDS,
                silent=True,
                console="off",
                finish_timeout=_FINISH_SECONDS,
            ),
        )
        # By epoch, not by wandb's own step, which would refuse the epochs that a resumed run makes
        # again.
        self._run.define_metric("epoch", hidden=True)
        self._run.define_metric("*", step_metric="epoch")
        # As axes they can be chosen, and as charts they are lines that rise.
        self._run.define_metric("progress/*", step_metric="epoch", hidden=True)

    def record(self, metrics: Mapping[str, float]) -> None:
        """A row of the run's history."""
        self._run.log({**grouped_record(metrics), "epoch": metrics["epoch"]})

    def picture(self, name: str, path: Path, epoch: int) -> None:
        """The file as it is, which a browser also shows where it moves."""
        import wandb

        image = wandb.Image(str(path), caption=f"epoch {epoch}")
        self._run.log({f"pictures/{name}": image, "epoch": epoch})

    def warn(self, text: str, epoch: int) -> None:
        """An alert, and all warnings so far as a panel."""
        import wandb

        self._warnings.append(f"<li>epoch {epoch}: {html.escape(text)}</li>")
        panel = wandb.Html(f"<ul>{''.join(self._warnings)}</ul>", data_is_not_path=True)
        self._run.log({"warnings": panel, "epoch": epoch})
        self._run.alert(title="zoo: warning", text=text, level="WARN")

    def close(self, *, failed: bool) -> None:
        """Sends what is left."""
        self._run.finish(exit_code=1 if failed else 0)


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
