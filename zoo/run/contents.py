"""What a run is made of that lies elsewhere, by its content: its model, prompts and reward files.

A run that goes on may find them at another place where they are the same. `contents.json` in its
folder has a fingerprint of each; of a model there is one for every part of it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter

from zoo.data import prompts
from zoo.errors import UserError
from zoo.policy.pretrained import Pretrained
from zoo.prompt import ImageBytes, ImageCell, Prompt, StoredImage
from zoo.recipe.data_section import Which
from zoo.recipe.model import Recipe
from zoo.run.folder import recipe_of
from zoo.storage import files, json_data

CONTENTS = "contents.json"
_SHIPPED = "policy"
"""Of what has no place, for it comes with a package."""
_SAME = "use the version that it was begun with (see its environment.json)"

Fingerprints = Mapping[str, str]
"""Of the parts of one thing, by name."""

_KIND = TypeAdapter(dict[str, dict[str, str]]).validate_json


def write(folder: Path, recipe: Recipe) -> None:
    """Remembers what a new run is made of."""
    found = {place: _fingerprints(recipe, place) for place in _at(recipe)}
    files.write(folder / CONTENTS, found | _shipped(recipe))


def compare_moved(folder: Path, recipe: Recipe, *, accept: bool) -> list[str]:
    """A run goes on with `recipe`: what is elsewhere now must be what it was.

    With `accept` it may be another, or not known: gives a line for each such.

    Raises:
        UserError: it is another, or not known; or sources are mixed otherwise.
        DamagedFileError: the run's fingerprints are not what was written.
    """
    began = recipe_of(folder)
    _require_same_mixture(began, recipe)
    other = _shipped_difference(folder, recipe)
    if other is not None and not accept:
        raise UserError(
            f"{folder}: {other}; {_SAME}, start a new run, or take it knowingly with --moved"
        )
    before, now = _at(began), _at(recipe)
    moved = _moved(before, now)
    known = _read(folder) if moved else {}
    lines = [] if other is None else [f"{other} (--moved)"]
    for place in moved:
        why = _difference(known.get(place), _fingerprints(recipe, place))
        if why is None:
            continue
        place_now, place_then = (
            f"'{at[place]}'" if place in at else "none" for at in (now, before)
        )
        if not accept:
            raise UserError(
                f"{recipe.origin(_loc(place))}: {place} is {place_now}, where the run began with "
                f"{place_then}, and {why}; name the same, or take it knowingly with --moved"
            )
        lines.append(f"{place} is {place_now} from here on, and {why} (--moved)")
    return lines


def require_shipped(folder: Path, recipe: Recipe) -> None:
    """What a run has trained is of the model that came with its policy as it began.

    Raises:
        UserError: another comes with it now.
        DamagedFileError: the run's fingerprints are not what was written.
    """
    other = _shipped_difference(folder, recipe)
    if other is not None:
        raise UserError(f"{folder}: {other}; {_SAME}")


def _require_same_mixture(began: Recipe, recipe: Recipe) -> None:
    for before, now in zip(began.timeline, recipe.timeline, strict=True):
        if _mixture(before.recipe) != _mixture(now.recipe):
            raise UserError(
                f"{now.recipe.origin(('data', 'train'))}: data.train has other sources, weights or "
                "rewards than the run began with; say only where a source is now: "
                "-s data.train.0.source=PLACE, or start a new run"
            )


def _mixture(recipe: Recipe) -> list[tuple[float, frozenset[str] | None]]:
    return [(source.weight, source.rewards) for source in recipe.data.sources("train")]


def goes_on(folder: Path, recipe: Recipe) -> None:
    """Remembers what is elsewhere now; to be called while the folder has the recipe as it was."""
    moved = _moved(_at(recipe_of(folder)), _at(recipe))
    new = {place: _fingerprints(recipe, place) for place in moved}
    if _shipped_difference(folder, recipe) is not None:
        new |= _shipped(recipe)
    if new:
        files.write(folder / CONTENTS, {**_read(folder), **new})


def _shipped(recipe: Recipe) -> dict[str, Fingerprints]:
    """Of the model that comes with the policy's package, where it is one."""
    path = recipe.policy.cls.shipped(recipe.policy.options)
    if path is None:
        return {}
    parts = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {
        _SHIPPED: {
            part.relative_to(path.parent).as_posix(): _of_bytes(part)
            for part in parts
            if part.is_file()
        }
    }


def _shipped_difference(folder: Path, recipe: Recipe) -> str | None:
    """What is another in it than in the one that the run began with, if that is known."""
    known, found = _read(folder).get(_SHIPPED), _shipped(recipe).get(_SHIPPED)
    if known is None or found is None or known == found:
        return None
    other = min(part for part in {**known, **found} if known.get(part) != found.get(part))
    return (
        f"the model of policy '{recipe.policy.name}', which comes with its package, is another "
        f"than the run began with ({other})"
    )


def _moved(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [place for place in {**before, **now} if before.get(place) != now.get(place)]


def _read(folder: Path) -> dict[str, dict[str, str]]:
    """Nothing of a run that an earlier version began."""
    path = folder / CONTENTS
    fix = "delete it, and go on with --moved"
    return json_data.read(path, _KIND, fix=fix) if path.is_file() else {}


def _difference(known: Fingerprints | None, found: Fingerprints) -> str | None:
    """Why what is found need not be what was known, if so."""
    common = sorted((known or {}).keys() & found.keys())
    if not common:
        return "whether its content is the same is not known"
    other = [part for part in common if known is not None and known[part] != found[part]]
    return f"its content is another ({other[0]})" if other else None


def _at(recipe: Recipe) -> dict[str, str]:
    """The places of all that lies elsewhere, by key; of stages each has its own."""
    return dict(_places(recipe))


def _places(recipe: Recipe) -> Iterator[tuple[str, str]]:
    pretrained = recipe.policy.options.get("pretrained")
    if isinstance(pretrained, str):
        yield "policy.pretrained", pretrained
    for stage in recipe.timeline:
        below = "" if stage.index is None else f"stages.{stage.index}."
        for key in get_args(Which):
            for source in stage.recipe.data.sources(key):
                yield below + ".".join(map(str, source.place_loc)), source.place
        for index, reward in enumerate(stage.recipe.rewards):
            path = reward.options.get("path")
            if isinstance(path, str):
                yield f"{below}rewards.{index}.path", path


def _loc(place: str) -> tuple[str | int, ...]:
    return tuple(int(key) if key.isdigit() else key for key in place.split("."))


def _fingerprints(recipe: Recipe, place: str) -> Fingerprints:
    written, kind = _at(recipe).get(place), place.rpartition(".")[2]
    if written is None:
        return {}
    if kind == "pretrained":
        revision = recipe.policy.options.get("revision")
        try:
            return Pretrained(written, revision).fingerprints()
        except ValueError:
            # A policy of a plugin may have its models elsewhere: of those nothing is known.
            return {}
    if kind == "path":
        return _of_file(written)
    return {"prompts": _digest(list(map(_content, prompts.load(written))))}


def _of_file(written: str) -> Fingerprints:
    """Of a file, and of what is named in it: `my_file.py:my_function`."""
    name, _, function = written.rpartition(":")
    path, inside = (Path(name), function) if Path(name).is_file() else (Path(written), "")
    if not path.is_file():
        return {}
    found = {"file": _of_bytes(path)}
    return {**found, "function": inside} if inside else found


def _of_bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _content(prompt: Prompt) -> object:
    """A prompt without the folder that its images are in."""
    inputs = [_shown(image) for image in prompt.inputs]
    told = [prompt.text, dict(prompt.metadata), [_shown(image) for image in prompt.images]]
    # Without inputs it is what earlier versions have written.
    return [*told, inputs] if inputs else told


def _shown(image: StoredImage) -> str:
    if isinstance(image, ImageBytes):
        return hashlib.sha256(image.data).hexdigest()
    cell = f"/{image.column}/{image.row}" if isinstance(image, ImageCell) else ""
    return f"{image.path.name}{cell}"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
