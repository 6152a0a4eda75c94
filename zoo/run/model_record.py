"""What was found of a model when a run began: a training never goes on with another finding."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from zoo.errors import UserError
from zoo.storage import files, json_data

MODEL = "model.json"

_KIND = TypeAdapter(dict[str, Any]).validate_json
OTHERS = "at other sizes"
"""What was found where a run makes images of several sizes, by the others."""

_MAY_CHANGE = ("diffusers", "differs from its own loop", OTHERS)
"""With what it was found, and how well it agreed: another version may do the same."""


def keep(folder: Path, findings: Mapping[str, Any]) -> None:
    """Writes them into a run's folder, where there are any."""
    if findings:
        files.write(folder / MODEL, dict(findings))


def trained(folder: Path) -> tuple[str, ...]:
    """The parts of the pipeline that a run trained; of a run without a record the usual one."""
    path = folder / MODEL
    return tuple(json_data.read(path, _KIND)["trained"]) if path.is_file() else ("transformer",)


def pipeline(folder: Path) -> str | None:
    """The class of the pipeline that a run trained, where it is a pipeline's."""
    path = folder / MODEL
    return json_data.read(path, _KIND).get("pipeline") if path.is_file() else None


def require_same(folder: Path, findings: Mapping[str, Any]) -> None:
    """Sees that a run goes on with a model that does what it did.

    Raises:
        UserError: it does something else; with what.
    """
    path = folder / MODEL
    if not path.is_file() or not findings:
        return
    before = json_data.read(path, _KIND)
    now = json.loads(json.dumps(dict(findings)))
    pairs = [("", before, now)]
    others, found = before.get(OTHERS, {}), now.get(OTHERS, {})
    # Evaluations of a run that goes on may be of a size of their own.
    pairs += [(f" at {size}", others[size], found[size]) for size in others if size in found]
    for at, was, is_now in pairs:
        changed = [k for k in was if k not in _MAY_CHANGE and was[k] != is_now.get(k)]
        if changed:
            key = changed[0]
            raise UserError(
                f"{path}: the run began with a pipeline of which{at} '{key}' was {was[key]}, and "
                f"it is {is_now.get(key)} by diffusers {now.get('diffusers')}; install diffusers "
                f"{before.get('diffusers')}, or start a new run"
            )
