"""`zoo init`: a recipe for who knows what should get better, and on which GPUs."""

import math
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import typer

from zoo import devices, registry
from zoo.cli import init_recipe
from zoo.cli.check_cost import UTILISATION
from zoo.cli.init_recipe import ON_A_CPU, Wish
from zoo.errors import UserError
from zoo.plan.flops import reachable
from zoo.plan.footprint import NoEstimateError
from zoo.plan.layout import Layout
from zoo.plan.preflight import (
    count_prompts_of_stages,
    geometries,
    num_processes,
    require_models,
    require_rewards,
)
from zoo.plan.settings import Fit, Machine, Settings, find_fit
from zoo.policy.published import published, write_shapes
from zoo.recipe.recipe import load_recipe, recipe_from
from zoo.recipe.sections import MicroBatchSizes
from zoo.storage.files import why_unwritable, writing
from zoo.terminal import say

T = TypeVar("T", str, int, float)

_MEMORY, _HOURS = 80.0, 24.0
"""GB of a GPU where there is none here, and hours of a run, where nobody says."""

_RATES = ((64.0, 2.5e14), (0.0, 8e13))
"""Operations a second in bfloat16 that are reached on GPUs of so many GB and more, in order.

Those of an A100 and of an RTX 3090, about: where there is a GPU here it is measured.
"""

_CAUTIOUS = Settings(2, 1, True, Layout(None))
"""Where there is no estimate."""


_ANOTHER = "name another: zoo init OTHER.yaml"


@dataclass(frozen=True)
class Given:
    """The options of the command; None is asked for, or has a default that is said."""

    model: str | None = None
    rewards: tuple[str, ...] = ()
    gpus: int | None = None
    memory: float | None = None
    hours: float | None = None
    full: bool = False
    algorithm: str = "nft"


def init(file: Path | None, given: Given) -> None:
    """Writes the recipe, which is checked, and says what to type next.

    Raises:
        UserError: there is such a file, or can be none; a name is none; or nothing fits.
    """
    if file is not None:
        _require_free(file)
    model = _ask(
        given.model, "Model (digits, scenes, sd3, flux, or OWNER/NAME)", "digits", "model",
        lambda answer: init_recipe.base_of(answer, given.algorithm),
    )  # fmt: skip
    base = init_recipe.base_of(model, given.algorithm)
    slug = re.sub(r"[^a-z0-9]+", "_", model.rpartition("/")[2].lower())
    file = Path(f"my_{slug}.yaml") if file is None else file
    _require_free(file)
    wish = _wish(model, base, given)
    data = init_recipe.draft(wish, base, file.stem)
    # What is wrong by itself is refused before a minute is spent on it.
    recipe_from(data, str(file))
    _write(file, _text(wish, base, data))
    say(f"wrote {file}; next:", f"  zoo check {file}", f"  zoo train {file}")


def _require_free(file: Path) -> None:
    if os.path.lexists(file):
        raise UserError(f"{file}: there is a file already; {_ANOTHER}")
    if why := why_unwritable(file.parent):
        raise UserError(f"{file} cannot be written: {why}; {_ANOTHER}")


def _wish(model: str, base: str, given: Given) -> Wish:
    """All that is asked, in order."""
    on_cpu = model in ON_A_CPU
    usual = " ".join(init_recipe.rewards_of(base)) if on_cpu or "/" in model else "pickscore"
    question = "What should get better (rewards, a space between)"
    named = " ".join(given.rewards) or None
    rewards = tuple(_ask(named, question, usual, "reward", _require_rewards).split())
    here, least = devices.num_accelerators(), 0 if on_cpu else 1
    why = "" if on_cpu else f", and '{model}' needs one"
    gpus = _ask(
        given.gpus, "GPUs", here or least, "gpus",
        lambda answer: _require_least(answer, least, "--gpus", why),
    )  # fmt: skip
    memory = 0.0
    if gpus:
        size = float(round(devices.whole_memory() / 1e9)) if here else _MEMORY
        memory = _ask(
            given.memory, "GB of memory of each", size, "gpu-memory",
            lambda answer: _require_least(answer, 1, "--gpu-memory"),
        )  # fmt: skip
    hours = given.hours
    if hours is None and not on_cpu:
        hours = _ask(
            None, "Hours", _HOURS, "hours",
            lambda answer: _require_least(answer, 0.01, "--hours"),
        )  # fmt: skip
    return Wish(model, given.algorithm, rewards, gpus, memory, hours, given.full)


def _require_rewards(names: str) -> None:
    if not names.split():
        raise UserError("no reward is named: see zoo list rewards")
    for name in names.split():
        registry.find("rewards", name)


def _require_least(value: float, least: float, option: str, why: str = "") -> None:
    if not least <= value < math.inf:
        raise UserError(f"{option} is {value:g}{why}: {least:g} or more")


def _ask(
    given: T | None, question: str, default: T, option: str, require: Callable[[T], object]
) -> T:
    """What an option says; or an answer at a terminal, and the default elsewhere, which is said.

    Raises:
        UserError: `require` refuses what an option says; an answer is asked for again.
    """
    if given is not None:
        require(given)
        return given
    if sys.stdin.isatty() and sys.stdout.isatty():
        while True:
            answer: T = typer.prompt(question, default=default)
            try:
                require(answer)
            except UserError as error:
                say(str(error))
            else:
                return answer
    say(f"{option}: {default} (--{option} says otherwise)")
    return default


def _text(wish: Wish, base: str, data: dict[str, Any]) -> str:
    """The recipe with what the estimates say of memory and time."""
    machine = _machine(wish)
    most = MicroBatchSizes(**data["engine"].get("micro_batch", {})).sizes
    say("estimating memory by dry runs, which take a minute each for a large model ...")
    try:
        with _measurable(data) as shapes:
            fit = find_fit(
                lambda settings: recipe_from(init_recipe.with_settings(shapes, settings), base),
                machine,
                most,
            )
    except NoEstimateError as error:
        say(f"warning: no estimate of memory and time ({error}); micro-batches are small")
        engine = "There was no estimate when it was written: zoo check says more."
        whole, epochs = init_recipe.with_settings(data, _CAUTIOUS), f"As many as {base} has."
    else:
        total = f"{fit.estimate.parts.total / 1e9:.1f} of {machine.memory / 1e9:.3g} GB a process"
        engine = (
            f"It fits: by the estimate at most {total}, while {fit.estimate.phase}. Micro-batches "
            "and what saves memory change the speed, not what is learned."
        )
        whole, epochs = _with_time(init_recipe.with_settings(data, fit.settings), wish, fit, base)
    return init_recipe.write_out(whole, init_recipe.comments_of(wish, base, whole, engine, epochs))


def _machine(wish: Wish) -> Machine:
    if wish.gpus:
        return Machine(wish.gpus, int(wish.memory * 1e9), cuda=True)
    runtime = psutil.Process().memory_info().rss
    return Machine(1, runtime + psutil.virtual_memory().available, cuda=False, runtime=runtime)


@contextmanager
def _measurable(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The recipe whose model is shapes alone, where its sizes are known and it may not be here."""
    policy = data["policy"]
    if policy.get("pretrained") not in published():
        yield data
        return
    with tempfile.TemporaryDirectory() as folder:
        shapes = Path(folder) / "shapes"
        write_shapes(policy["pretrained"], policy["pipeline"], shapes)
        yield {**data, "policy": {**policy, "pretrained": str(shapes)}}


def _with_time(
    data: Mapping[str, Any], wish: Wish, fit: Fit, base: str
) -> tuple[dict[str, Any], str]:
    """The recipe with as many epochs as the hours allow, and what is to be said of them."""
    if wish.hours is None or fit.footprint.flops is None:
        return dict(data), f"As many as {base} has."
    here = devices.default_device() if wish.gpus else devices.CPU
    rate = next(rate for least, rate in _RATES if wish.memory >= least)
    if not wish.gpus or devices.is_accelerator(here):
        rate = reachable(here, fit.footprint.dtype)
    used = sum(UTILISATION) / len(UTILISATION)
    epochs = int(wish.hours * 3600 * used * rate / fit.footprint.flops)
    if epochs >= data["epochs"]:
        said = f"As many as {base} has, in less than {wish.hours:g} hours by the estimate."
        return dict(data), said
    said = (
        f"About {wish.hours:g} hours by the estimate, at {used:.0%} of {rate:.1e} operations a "
        f"second; {base} has {data['epochs']}."
    )
    return init_recipe.with_epochs(data, max(1, epochs)), said


def _write(file: Path, text: str) -> None:
    """The file, once `zoo check` would take it."""
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    try:
        recipe = load_recipe(file)
        count_prompts_of_stages(recipe)
        geometries(recipe, num_processes(recipe))
        require_models(recipe)
        require_rewards(recipe)
    except Exception:
        file.unlink()
        raise
