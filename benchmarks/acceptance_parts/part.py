"""A part of the acceptance: what it is given, and what it writes down as it goes."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter

from zoo import devices
from zoo.storage import files, json_data


@dataclass(frozen=True)
class Setting:
    """Where results and the random model are; small shapes and the CPU, to try it anywhere."""

    folder: Path
    small: bool
    device: Literal["auto", "cpu"]

    @property
    def torch_device(self) -> torch.device:
        """The one that is measured."""
        return devices.CPU if self.device == "cpu" else devices.default_device()

    @property
    def on_accelerator(self) -> bool:
        """Whether that is one."""
        return devices.is_accelerator(self.torch_device)

    @property
    def where(self) -> str:
        """The device, and torch's version."""
        names = devices.accelerator_names() if self.on_accelerator else ()
        return f"{names[0] if names else platform.processor() or 'CPU'}, torch {torch.__version__}"

    @property
    def model(self) -> Path:
        """The folder of the random model."""
        return self.folder / "model"


class Strict(BaseModel):
    """What is read from a file is what was written."""

    model_config = ConfigDict(extra="forbid")


class Verdict(Strict):
    """Whether something is `good`, null where it cannot be said here; the bound with its reason."""

    about: str
    good: bool | None
    found: str
    bound: str


class Result(Strict):
    """What a part came to: `failed` with its `message`, or what it had when its time was over."""

    part: str
    small: bool
    where: str
    """The device, and torch's version."""
    state: Literal["running", "done", "failed"] = "running"
    seconds: float = 0.0
    message: str = ""
    numbers: dict[str, JsonValue] = {}
    verdicts: list[Verdict] = []


def read(path: Path) -> Result:
    """A part's file.

    Raises:
        DamagedFileError: it is none.
    """
    return json_data.read(path, TypeAdapter(Result).validate_json)


def file_of(folder: Path, part: str) -> Path:
    """A part's own, while it runs."""
    return folder / f"{part}.json"


class Report:
    """Writes a part's result down, anew with every number: what is there is not lost."""

    def __init__(self, part: str, setting: Setting) -> None:
        """Begins."""
        self.result = Result(part=part, small=setting.small, where=setting.where)
        self._file, self._started = file_of(setting.folder, part), time.perf_counter()
        self._write()

    def number(self, name: str, value: JsonValue) -> None:
        """Text, a number (null where it is not finite), or lists and mappings of these."""
        self.result.numbers[name] = value
        self._write()

    def judge(self, about: str, good: bool | None, found: str, bound: str) -> None:
        """A verdict."""
        self.result.verdicts.append(Verdict(about=about, good=good, found=found, bound=bound))
        self._write()

    def end(self) -> None:
        """All is done."""
        self.result.state = "done"
        self._write()

    def _write(self) -> None:
        self.result.seconds = time.perf_counter() - self._started
        files.write(self._file, self.result.model_dump())


@dataclass(frozen=True)
class Part:
    """A part by what it shows; `seconds` are its limit on a card, and `needs` come before it."""

    name: str
    shows: str
    run: Callable[[Setting, Report], None]
    seconds: float
    needs: tuple[str, ...] = ()
