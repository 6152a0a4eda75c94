"""`--tiny`: the same recipe and code path on random weights and few images, in about a minute.

Whatever loads weights writes random ones in the published layout and reads them as it always does;
one fixed overlay shrinks the numbers. What the command line sets (`-s`) stays as it says.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from zoo.policy.base import Policy
from zoo.recipe.component import Component, components
from zoo.recipe.errors import Loc
from zoo.recipe.model import Recipe, Stage
from zoo.reward.base import Reward
from zoo.storage.files import cache_folder, filling_cache, fingerprint

AT_MOST: Mapping[Loc, int] = {
    ("epochs",): 2,
    ("sampler", "steps"): 4,
    ("sampler", "solver", "size"): 2,
    ("sampler", "solver", "start"): 1,
    ("sampler", "solver", "end"): 3,
    ("objective", "trained_steps"): 3,
    ("objective", "draws_per_image"): 4,
    ("objective", "draws_per_pair"): 4,
    ("objective", "pairs_per_group"): 2,
    ("objective", "times", "skip"): 0,
    ("data", "groups_per_epoch"): 4,
    ("data", "group_size"): 4,
    ("optim", "updates_per_epoch"): 2,
    ("engine", "micro_batch", "sample"): 16,
    ("engine", "micro_batch", "train"): 16,
    ("eval", "steps"): 4,
    ("eval", "images_per_prompt"): 2,
}
"""What is made smaller, where it is larger."""

_OPTIONS = "zoo_options.json"
_ON_THE_WEB = ("hub:", "https://", "http://")


def smaller(recipe: Recipe) -> dict[Loc, Any]:
    """The parts of a recipe that `--tiny` replaces, by location, with their new values.

    Every stage has one epoch.
    """
    changes = _smaller(recipe)
    if recipe.stages:
        stages = [_stage(recipe, stage) for stage in recipe.timeline]
        changes[("stages",)] = stages
        if not recipe.origin(("epochs",)).on_command_line:
            changes[("epochs",)] = sum(stage["epochs"] for stage in stages)
    return changes


def _stage(run: Recipe, stage: Stage) -> dict[str, Any]:
    """What a recipe writes of a stage, made smaller."""
    index = stage.index or 0
    written = run.resolved()["stages"][index]
    small = put(stage.recipe.resolved(), _smaller(stage.recipe))
    own = ("name", "epochs", "optim", "policy")
    changes = {key: small[key] for key in written if key not in own}
    if "optim" in written:
        changes["optim"] = {key: small["optim"][key] for key in written["optim"]}
    if "policy" in written:
        changes["policy"] = _smallest_size(stage.recipe.size, small["policy"])
    by_hand = stage.recipe.origin(("epochs",)).on_command_line
    epochs = stage.recipe.epochs if by_hand else 1
    return {"name": stage.name, "epochs": epochs, **changes}


def _smaller(recipe: Recipe) -> dict[Loc, Any]:
    changes = {("name",): f"{recipe.name}_tiny", **dict(_numbers(recipe)), **dict(_prompts(recipe))}
    data = recipe.resolved()
    for loc, component in components(recipe):
        if issubclass(component.cls, (Policy, Reward)):
            options = _tiny_weights(component)
            changes |= {(*loc, key): value for key, value in options.items()}
            if options and _at(data, (*loc, "lora", "start")) is not None:
                # It is of the model that is replaced.
                changes[(*loc, "lora", "start")] = None
            if recipe.eval is not None and issubclass(component.cls, Policy):
                size = _smallest_size(recipe.eval.size, options)
                changes |= {("eval", key): value for key, value in size.items()}
    return {loc: value for loc, value in changes.items() if not recipe.origins.on_command_line(loc)}


def _smallest_size(written: Mapping[str, Any], tiny: Mapping[str, Any]) -> dict[str, Any]:
    """A size as it is written, where that is not larger than a tiny model's own."""

    def smallest(key: str, value: Any) -> Any:
        own = tiny.get(key, value)
        fewer = isinstance(value, int) and isinstance(own, int) and value < own
        return value if fewer else own

    return {key: smallest(key, value) for key, value in written.items()}


def put(data: Mapping[str, Any], changes: Mapping[Loc, Any]) -> dict[str, Any]:
    """A resolved recipe's data with these parts replaced."""
    whole: Any = dict(data)
    for loc, value in changes.items():
        whole = _put(whole, loc, value)
    return dict(whole)


def _numbers(recipe: Recipe) -> Iterator[tuple[Loc, int]]:
    data = recipe.resolved()
    for loc, most in AT_MOST.items():
        value = _at(data, loc)
        if value == "auto" or (isinstance(value, int) and value > most):
            yield loc, most


def _prompts(recipe: Recipe) -> Iterator[tuple[Loc, str]]:
    for source in (*recipe.data.sources("train"), *recipe.data.sources("eval")):
        tiny = source.tiny or recipe.data.tiny
        if tiny is not None and source.place.startswith(_ON_THE_WEB):
            yield source.place_loc, tiny


def _tiny_weights(component: Component[Any]) -> dict[str, Any]:
    """The options that load a component's random weights, which are written where they are not."""
    folder = cache_folder("tiny") / fingerprint(component.cls.__module__)
    name = f"{component.cls.__module__}.{component.cls.__qualname__}"
    kinds = []
    if issubclass(component.cls, Policy):
        kinds = [kind for kind in [component.cls.tiny_kind(component.options)] if kind]
        name = ".".join([name, *kinds])
    if not (folder / name / _OPTIONS).is_file():
        with filling_cache(folder):
            if not _write_tiny(component.cls, folder, name, kinds):
                return {}
    return dict(json.loads((folder / name / _OPTIONS).read_text()))


def _write_tiny(cls: Any, folder: Path, name: str, kinds: Sequence[str]) -> bool:
    """Whether there are any; they are in that folder then, with the options that load them."""
    # Every process of a run may come here at once: each writes whole, the first to rename wins.
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix="."))
    try:
        new = temporary / name
        options = cls.write_tiny(new, *kinds)
        if not options:
            return False
        here = {key: _move(value, temporary, folder) for key, value in options.items()}
        (new / _OPTIONS).write_text(json.dumps(here))
        with suppress(OSError):
            new.rename(folder / name)
        return True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move(value: Any, old: Path, new: Path) -> Any:
    """An option's value, with paths below `old` as they are below `new`."""
    if isinstance(value, str) and value.startswith(f"{old}{os.sep}"):
        return str(new / Path(value).relative_to(old))
    return value


def _at(data: Any, loc: Sequence[str | int]) -> Any:
    for key in loc:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _put(data: Any, loc: Sequence[str | int], value: Any) -> Any:
    if not loc:
        return value
    key, *rest = loc
    if isinstance(data, list):
        return [_put(item, rest, value) if i == key else item for i, item in enumerate(data)]
    return {**data, key: _put(data[key], rest, value)}
