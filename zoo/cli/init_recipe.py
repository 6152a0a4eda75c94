"""The recipe that `zoo init` writes: what ships for the model and the algorithm, with the changes.

A draft is the data of a shipped recipe with all that it extends, for the wished model, rewards and
number of GPUs; settings of memory and the number of epochs come from the estimates; then it is
written out with a comment for each section.
"""

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.errors import UserError, suggest
from zoo.plan.settings import Settings
from zoo.recipe import shipped
from zoo.recipe.load import read
from zoo.recipe.signature import signature
from zoo.registry import load

MODELS = ("digits", "scenes", "sd3", "flux")
"""Those that have a name of their own."""

_ANY = "nft_z_image"
"""What a model of the hub begins with that no shipped recipe is for."""

ON_A_CPU = ("digits", "scenes")
"""Models that ship with zoo, and need no GPU."""

Entry = dict[str, Any]
"""A reward as a recipe names it."""

_TASKS = ("", "_pickscore", "_geneval", "_ocr")
"""How names of shipped recipes go on after algorithm and model, the one to prefer first."""

_HELD_OUT = ("image_reward", "pickscore", "aesthetic")
"""Rewards that say whether another is cheated: the first that is not trained on."""

_SMALL_CARD = 40.0
"""GB of memory below which rewards leave the device while it trains, at some cost in time."""

_GROUPS_A_GPU, _FEWEST_GROUPS = 6, 8
_WIDTH = 96
_FULL_RATE = 1 / 30
"""Of LoRA's learning rate: 1e-5 of 3e-4, as full fine-tuning is published (Flow-GRPO)."""


@dataclass(frozen=True)
class Wish:
    """What a newcomer knows: `gpus` is 0 for a CPU; `memory` is of one of them, in GB."""

    model: str
    algorithm: str
    rewards: tuple[str, ...]
    gpus: int
    memory: float
    hours: float | None
    full: bool


def base_of(model: str, algorithm: str) -> str:
    """The shipped recipe to begin with.

    Raises:
        UserError: there is none of that algorithm for the model, or no such model.
    """
    by_algorithm = _of_the_hub(model) if "/" in model else _of_a_name(model)
    if algorithm not in by_algorithm:
        raise UserError(
            f"no recipe for '{model}' ships with the algorithm '{algorithm}'"
            f"{suggest(algorithm, sorted(by_algorithm), 'there is')}"
        )
    return by_algorithm[algorithm]


def _of_a_name(model: str) -> dict[str, str]:
    names = [recipe.name for recipe in shipped.recipes()]
    # The first of the tasks is put in last, and stays.
    ends = [f"_{model}{task}" for task in reversed(_TASKS)]
    found = {name.removesuffix(end): name for end in ends for name in names if name.endswith(end)}
    if not found or model not in MODELS:
        raise UserError(
            f"unknown model '{model}'{suggest(model, MODELS, 'allowed')}, or OWNER/NAME of the "
            "Hugging Face Hub"
        )
    return found


def _of_the_hub(hub_id: str) -> dict[str, str]:
    """Recipes of that model; those for another, whose model is replaced, where there is none."""
    data = {recipe.name: read(recipe.name).data for recipe in shipped.recipes()}
    own = {
        each["objective"]["name"]: name
        for name, each in data.items()
        if each["policy"].get("pretrained") == hub_id
    }
    return own or {"nft": _ANY}


def rewards_of(base: str) -> tuple[str, ...]:
    """What a shipped recipe trains on, by name."""
    entries = read(base).data["rewards"]
    return tuple(entry["name"] for entry in entries if not _is_measure(entry))


def draft(wish: Wish, base: str, name: str) -> dict[str, Any]:
    """The recipe without what the estimates say.

    Raises:
        UserError: a reward is not installed.
    """
    data = read(base).data
    data["name"] = name
    if "/" in wish.model and data["policy"].get("pretrained") != wish.model:
        del data["policy"]["pipeline"]
        data["policy"]["pretrained"] = wish.model
    if wish.full:
        _train_all(data, wish)
    evaluated = data.get("eval", {}).get("rewards", [])
    if wish.rewards != rewards_of(base):
        evaluated = [*_named(wish.rewards), *_held_out(evaluated, wish, rewards_of(base))]
        measures = [entry for entry in data["rewards"] if _is_measure(entry)]
        data["rewards"] = [*_named(wish.rewards), *measures]
    data["rewards"] = _on_the_card(data["rewards"], wish)
    if "eval" in data:
        data["eval"]["rewards"] = _on_the_card(evaluated, wish)
    if wish.model not in ON_A_CPU:
        data["data"] = _data(data["data"], wish)
    data["engine"] = {**data.get("engine", {}), "processes": max(1, wish.gpus)}
    return data


def _is_measure(entry: Entry) -> bool:
    """Whether nothing is trained on it: the section `advantage` names it."""
    return entry.get("weight") == 0


def _train_all(data: dict[str, Any], wish: Wish) -> None:
    data["policy"]["lora"] = None
    data["optim"]["lr"] = float(f"{_FULL_RATE * data['optim']['lr']:.2g}")


def _named(rewards: Iterable[str]) -> list[Entry]:
    return [{"name": reward} for reward in rewards]


def _held_out(evaluated: list[Entry], wish: Wish, trained: tuple[str, ...]) -> list[Entry]:
    """What the shipped recipe evaluates by and does not train on, or another of that kind."""
    own = [entry for entry in evaluated if entry["name"] not in {*wish.rewards, *trained}]
    if own or wish.model in ON_A_CPU:
        return own
    return _named([each for each in _HELD_OUT if each not in wish.rewards][:1])


def _on_the_card(entries: list[Entry], wish: Wish) -> list[Entry]:
    """On a small card in half precision, and off it while nothing is scored, where they can be."""
    if not 0 < wish.memory < _SMALL_CARD:
        return entries
    small = {"dtype": "bfloat16", "offload": True}
    able = [
        small.keys() <= signature(load("rewards", each["name"])).options.keys() for each in entries
    ]
    return [{**entry, **small} if can else entry for entry, can in zip(entries, able, strict=True)]


def _data(published: Mapping[str, Any], wish: Wish) -> dict[str, Any]:
    """Prompts that ship, unless the model is asked with more than texts; fewer on fewer GPUs."""
    data = {key: value for key, value in published.items() if key != "tiny"}
    task = next((reward for reward in wish.rewards if reward in ("geneval", "ocr")), None)
    if "/" not in wish.model or published["train"].startswith("https://"):
        data["train"] = f"builtin:{task or 'general'}/train"
        data["eval"] = f"builtin:{task}/test" if task else "builtin:general/eval"
    groups = max(_FEWEST_GROUPS, _GROUPS_A_GPU * wish.gpus)
    return {**data, "groups_per_epoch": min(data["groups_per_epoch"], groups)}


def with_settings(data: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The recipe with micro-batches and what spreads or saves memory, where it is not the usual."""
    layout = settings.layout
    engine = {
        **data["engine"],
        "micro_batch": {"sample": settings.sample, "train": settings.train},
        "gradient_checkpointing": settings.checkpointing,
        "zero_stage": layout.stage,
        "offload": layout.offload,
    }
    usual = {"gradient_checkpointing": False, "zero_stage": None, "offload": "none"}
    kept = {key: value for key, value in engine.items() if usual.get(key, ...) != value}
    return {**data, "engine": kept}


def with_epochs(data: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    """The recipe of so many epochs, with about ten evaluations and checkpoints."""
    every = max(1, epochs // 10)
    changed = {**data, "epochs": epochs, "checkpoint": {"every": every, "keep": 3}}
    return {**changed, "eval": {**data["eval"], "every": every}} if "eval" in data else changed


def write_out(data: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """The text of the recipe; `comments` by section, and by "" what stands above all."""
    lines = _comment(comments[""])
    for key, value in data.items():
        lines += ["", *_comment(comments.get(key, "")), *_section(key, value)]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]


def _section(key: str, value: Any, indent: str = "") -> Iterator[str]:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        yield f"{indent}{key}:"
        yield from (f"{indent}  - {_flow(item)}" for item in value)
    elif isinstance(value, dict) and value and not indent:
        yield f"{key}:"
        for inner, part in value.items():
            yield from _section(inner, part, "  ")
    else:
        yield f"{indent}{key}: {_flow(value)}"


def _flow(value: Any) -> str:
    """On one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(part)}' for key, part in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, str) and re.fullmatch(r"[a-zA-Z][\w./:-]*\w", value):
        return value if value not in ("true", "false", "null") else json.dumps(value)
    return json.dumps(value)


def _terms(base: str, data: Mapping[str, Any]) -> str:
    """What must be done to have the model, where its shipped recipe says that it is gated."""
    needs = next(recipe.needs for recipe in shipped.recipes() if recipe.name == base)
    if f"{data['policy'].get('pretrained')} (gated)" not in needs:
        return ""
    return " It is gated: accept its terms on the Hugging Face Hub, then hf auth login."


def comments_of(
    wish: Wish, base: str, data: Mapping[str, Any], engine: str, epochs: str
) -> dict[str, str]:
    """What each section is; `engine` and `epochs` say what the estimates have chosen there."""
    where = "a CPU" if not wish.gpus else f"{wish.gpus} x {wish.memory:g} GB"
    objective, trained = data["objective"]["name"], "All of it" if wish.full else "A LoRA of it"
    return {
        "": f"{wish.model} on {', '.join(wish.rewards)} with {wish.algorithm}, for {where}: "
        f"written by zoo init from {base}, whose own comments say where the numbers are from "
        f"(zoo recipes copy {base}). Any of it may be changed: docs/recipes.md explains the "
        "sections, and zoo describe NAME the options of what has a name.",
        "name": "The folder of its runs, in runs/.",
        "seed": "With another one it is another run.",
        "epochs": f"Rounds: in each, images are made, scored and learned from. {epochs}",
        "policy": f"The model. {trained} is trained.{_terms(base, data)}",
        "sampler": "How images are made to learn from; eval has its own.",
        "rewards": "What is to get better: of several, the sum by their weight. zoo list rewards.",
        "advantage": "By how much an image is better than the others of its prompt.",
        "objective": f"The algorithm: zoo describe {objective}.",
        "data": "Prompts, or a file of yours (train: my_prompts.txt), and an epoch: so "
        "many prompts (groups), each with so many images.",
        "optim": "AdamW, at a rate for a whole network." if wish.full else "AdamW.",
        "engine": f"Where it runs. {engine}",
        "eval": "Every so many epochs other prompts are scored. Where what is trained on rises and "
        "another reward falls, the first is cheated: a run warns of it.",
        "checkpoint": "How often it is saved, in epochs.",
    }
