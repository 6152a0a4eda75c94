"""What a reward in another Python says of itself: asked of its worker, and validated."""

import json
import shlex
import subprocess
import threading
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError, model_validator

from zoo.reward.outside.process import (
    WorkerError,
    command,
    no_python,
    require_protocol,
    why_not,
)

_TIMEOUT = 300.0
_END_TIMEOUT = 10.0
"""Seconds for what has ended to be read to its end."""
_MOST_SAID = 1 << 20
"""Bytes of a description, with what the reward's packages print on import."""


class _Said(BaseModel):
    # Newer workers may say more.
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class OptionSchema(_Said):
    """A JSON schema of an option, in one of the forms that `zoo_reward_worker.options` writes."""

    type: Literal["boolean", "integer", "number", "string", "null", "array", "object"] | None = None
    enum: list[str | int | float | bool | None] | None = None
    anyOf: "list[OptionSchema] | None" = None  # noqa: N815  (JSON schema's own name)
    items: "OptionSchema | None" = None
    title: str | None = None
    format: str | None = None
    properties: "dict[str, OptionSchema] | None" = None
    additionalProperties: "OptionSchema | None" = None  # noqa: N815
    minimum: int | float | None = None
    exclusiveMinimum: int | float | None = None  # noqa: N815
    maximum: int | float | None = None
    exclusiveMaximum: int | float | None = None  # noqa: N815
    default: JsonValue = None

    @property
    def has_default(self) -> bool:
        """Whether it says one; null is one."""
        return "default" in self.model_fields_set

    @model_validator(mode="after")
    def _has_one_form(self) -> "OptionSchema":
        is_record = self.properties is not None and self.title is not None
        lacking = {
            None: not (self.enum or self.anyOf),
            "array": self.items is None,
            "object": not is_record and self.additionalProperties is None,
        }
        if lacking.get(self.type, False):
            raise ValueError(f"a schema of type {self.type} does not say what it holds")
        return self


class Description(_Said):
    """A reward's name, its package with the version, and its constructor's options."""

    protocol: int
    name: str
    package: str
    groupwise: bool
    takes: Literal["images", "videos", "both"] = "images"
    doc: str
    options_doc: str
    options: dict[str, OptionSchema]


def description(python: str, name: str) -> Description:
    """What a reward in another Python says of itself, without an instance of it: its options.

    Raises:
        WorkerError: there is no such Python, no worker in it, or no such reward; or it says what is
            no description.
    """
    asked = [*command(python, name), "--describe"]
    code, said, complaints = _run(python, asked)
    if code:
        raise WorkerError(why_not(python, complaints))
    trial = f"make its environment anew: zoo env create PLUGIN; try: {shlex.join(asked)}"
    try:
        # What the reward's packages print on import comes first.
        described: Any = json.loads(said[-1])
        require_protocol(python, described["protocol"])
        return Description.model_validate_json(json.dumps(described))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise WorkerError(
            f"the Python '{python}' describes '{name}' wrongly: {place}: {first['msg']}; {trial}"
        ) from None
    except (ValueError, TypeError, LookupError, RecursionError):
        raise WorkerError(f"the Python '{python}' does not describe '{name}'; {trial}") from None


def _run(python: str, asked: list[str]) -> tuple[int, list[str], list[str]]:
    """The exit code, and the lines of stdout and of stderr."""
    try:
        process = subprocess.Popen(
            asked, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except (OSError, ValueError) as error:
        raise no_python(python, error) from None
    assert process.stdout is not None
    assert process.stderr is not None
    outputs = [_Output(process, pipe) for pipe in (process.stdout, process.stderr)]
    try:
        code = process.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise WorkerError(
            f"the Python '{python}' took over {_TIMEOUT:g} s to describe its reward; "
            f"try: {shlex.join(asked)}"
        ) from None
    finally:
        process.kill()
        process.wait()
    said, complaints = (output.lines() for output in outputs)
    if any(output.too_long for output in outputs):
        raise WorkerError(
            f"the Python '{python}' prints over {_MOST_SAID:,} bytes where it is to describe its "
            f"reward; try: {shlex.join(asked)}"
        )
    return code, said, complaints


class _Output:
    """What a process prints to a pipe; one that prints too much is killed."""

    def __init__(self, process: "subprocess.Popen[bytes]", pipe: IO[bytes]) -> None:
        self.too_long = False
        self._data = b""
        self._process, self._pipe = process, pipe
        # A daemon: a child of the process may hold the pipe open for ever.
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        """All of them, of a process that has ended."""
        self._thread.join(_END_TIMEOUT)
        return self._data.decode(errors="replace").strip().splitlines()

    def _read(self) -> None:
        with self._pipe:
            self._data = self._pipe.read(_MOST_SAID + 1)
            if len(self._data) > _MOST_SAID:
                self.too_long = True
                self._process.kill()
