"""TensorBoard: event files in the run's folder, written by tensorboardX.

It brings NumPy and protobuf alone: what shows the files, the package `tensorboard`, may be on
another machine. Its writer of events is used without its `SummaryWriter`, whose thread of its own
would take what a full disk raises.
"""

import io
import json
import os
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from zoo.tracker.base import ExperimentTracker, TrackedRun
from zoo.tracker.groups import grouped_record

FOLDER = "tensorboard"
"""In the run's folder."""


class TensorBoard(ExperimentTracker):
    """TensorBoard's event files in RUN_DIR/tensorboard: numbers, pictures, warnings, the recipe.

    `tensorboard --logdir runs` shows them, over epochs. A run that goes on takes back what it had
    written of later epochs. Needs tensorboardX.
    """

    @classmethod
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Needs the package, and does not import it.

        Raises:
            ValueError: it is not installed.
        """
        if find_spec("tensorboardX") is None:
            raise ValueError(
                "it needs tensorboardX; pip install 'diffusion-rl-zoo[tensorboard]', or remove it "
                "from trackers"
            )

    def open(self, run: TrackedRun) -> None:
        """Begins a file, which has viewers forget the epochs that are made again."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        folder = run.folder / FOLDER
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        # The writer's own name has the second alone, and would overwrite a file of the same one.
        suffix = f".{run.epoch}.{os.getpid()}"
        self._writer = EventsWriter(str(folder / "events"), filename_suffix=suffix)
        self._write(run.first_epoch, session_log=SessionLog(status=SessionLog.START))
        if is_new or not run.epoch:
            text = json.dumps(dict(run.recipe), indent=2)
            # As code, which Markdown has behind four spaces.
            code = "\n".join(f"    {line}" for line in text.splitlines())
            self._write(run.first_epoch, summary=_text("recipe", code))
        self._writer.flush()

    def record(self, metrics: Mapping[str, float]) -> None:
        """A scalar each."""
        from tensorboardX.proto.summary_pb2 import Summary

        numbers = grouped_record(metrics)
        values = [Summary.Value(tag=name, simple_value=numbers[name]) for name in numbers]
        self._write(int(metrics["epoch"]), summary=Summary(value=values))
        self._writer.flush()

    def picture(self, name: str, path: Path, epoch: int) -> None:
        """The file as it is; one that moves as a GIF, which TensorBoard plays."""
        from tensorboardX.proto.summary_pb2 import Summary

        with Image.open(path) as opened:
            width, height = opened.size
            content = path.read_bytes() if opened.format == "PNG" else _as_gif(opened)
        image = Summary.Image(
            height=height, width=width, colorspace=3, encoded_image_string=content
        )
        value = Summary.Value(tag=f"pictures/{name}", image=image)
        self._write(epoch, summary=Summary(value=[value]))
        self._writer.flush()

    def warn(self, text: str, epoch: int) -> None:
        """A text."""
        self._write(epoch, summary=_text("warnings", text))
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        """The file is whole."""
        self._writer.close()

    def _write(self, epoch: int, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=epoch, **content))


def _text(tag: str, text: str) -> Any:
    from tensorboardX.summary import text as text_summary

    return text_summary(tag, text)


def _as_gif(moving: Image.Image) -> bytes:
    content = io.BytesIO()
    moving.save(content, "GIF", save_all=True, loop=0)
    return content.getvalue()
