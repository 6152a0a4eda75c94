"""What was found of a model when a run began: a training never goes on with another finding."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from zoo.errors import UserError
from zoo.policy.base import EXACT
from zoo.storage import files, json_data

if TYPE_CHECKING:
    from zoo.policy.pipeline.contract import Contract

MODEL, CONTRACTS = "model.json", "contracts.json"
"""What was found in words, and exactly: by what was asked."""

_KIND = TypeAdapter(dict[str, Any]).validate_json
_EXACT = TypeAdapter(dict[str, dict[str, Any]]).validate_json
_WITHOUT = "delete it to have it found anew"
OTHERS = "at other sizes"
"""What was found where a run makes images of several sizes, by the others."""

_MAY_CHANGE = ("diffusers", "differs from its own loop", OTHERS)
"""With what it was found, and how well it agreed: another version may do the same."""


def keep(folder: Path, findings: Mapping[str, Any]) -> None:
    """Writes them into a run's folder, where there are any."""
    if findings:
        files.write(folder / MODEL, _words(findings))
    keep_exact(folder, findings)


def keep_exact(folder: Path, findings: Mapping[str, Any]) -> None:
    """Writes what is exact, but for what the run's folder has already."""
    had = _exact_of_run(folder)
    if (now := {**exact(findings), **had}) != had:
        files.write(folder / CONTRACTS, now, indent=None)


def exact(findings: Mapping[str, Any]) -> dict[str, Any]:
    """Of what was found, at all sizes, what a run that goes on can be told, by what was asked."""
    every = (findings, *findings.get(OTHERS, {}).values())
    return {asked: each for found in every for asked, each in found.get(EXACT, {}).items()}


def contracts(folder: Path) -> "dict[str, Contract]":
    """What was found of the model as a run began, by what was asked.

    Of another format, or in a run of before there was any, it is found anew.

    Raises:
        UserError: the file is damaged.
    """
    from zoo.policy.pipeline.written import FORMAT, from_json

    path = folder / CONTRACTS
    same = {k: v for k, v in _exact_of_run(folder).items() if v.get("format") == FORMAT}
    try:
        return {asked: from_json(each) for asked, each in same.items()}
    except ValueError as error:
        raise json_data.DamagedFileError(path, str(error), _WITHOUT) from error


def tell_other_version(folder: Path, findings: Mapping[str, Any]) -> tuple[str, ...]:
    """What to say where the model does as it did, by another diffusers than the run began with."""
    path = folder / MODEL
    was = json_data.read(path, _KIND).get("diffusers") if path.is_file() and findings else None
    now = findings.get("diffusers")
    if was is None or was == now:
        return ()
    return (f"the run began with diffusers {was}, and by {now} its pipeline still does the same",)


def _words(findings: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: found for key, found in findings.items() if key != EXACT}
    others = {size: _words(found) for size, found in findings.get(OTHERS, {}).items()}
    return {**plain, OTHERS: others} if others else plain


def _exact_of_run(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / CONTRACTS
    return json_data.read(path, _EXACT, fix=_WITHOUT) if path.is_file() else {}


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
    now = json.loads(json.dumps(_words(findings)))
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
    _require_same_exactly(folder, before, findings)


def _require_same_exactly(
    folder: Path, before: Mapping[str, Any], findings: Mapping[str, Any]
) -> None:
    """Where words are the same, numbers may differ."""
    had, now = _exact_of_run(folder), json.loads(json.dumps(exact(findings)))
    for asked in had.keys() & now.keys():
        one, other = had[asked], now[asked]
        if one != other and one.get("format") == other.get("format"):
            raise UserError(
                f"{folder / CONTRACTS}: the run began with a pipeline of which "
                f"'{_differing(one, other)}' was another than it is by diffusers "
                f"{findings.get('diffusers')}; install diffusers {before.get('diffusers')}, or "
                "start a new run"
            )


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The first field that is not the same."""
    was, now = (each["contract"]["Contract"] for each in (one, other))
    return str(next(name for name in was if was[name] != now.get(name)))
