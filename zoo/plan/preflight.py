"""What can be known to fail before anything is paid for."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from zoo import devices
from zoo.data import images
from zoo.data.mixture import Source, marked
from zoo.data.prompts import load
from zoo.errors import join_lines
from zoo.plan.geometry import Plan, PlanError, plan
from zoo.plan.live_bytes import META
from zoo.policy import lora_files
from zoo.policy.base import Policy
from zoo.policy.weights import Lora
from zoo.prompt import Prompt, PromptError
from zoo.recipe.component import Component, components
from zoo.recipe.data_section import Which
from zoo.recipe.errors import dotted_path
from zoo.recipe.recipe import Recipe, RecipeError
from zoo.recipe.sections import RewardEntry
from zoo.reward.base import Reward
from zoo.sampler.base import StoredImages
from zoo.tracker.base import ExperimentTracker
from zoo.training.build import lora_of, start_place
from zoo.training.own_device import device_of


def geometry(recipe: Recipe, processes: int) -> Plan:
    """An epoch on so many processes.

    Raises:
        RecipeError: it cannot be formed; where the option at fault is written.
    """
    try:
        return plan(recipe, processes)
    except PlanError as error:
        raise RecipeError(f"{recipe.origin(error.loc)}: {error}") from error


def geometries(recipe: Recipe, processes: int) -> list[Plan]:
    """An epoch of each stage on so many processes.

    Raises:
        RecipeError: one cannot be formed.
    """
    return [geometry(stage.recipe, processes) for stage in recipe.timeline]


def num_processes(recipe: Recipe) -> int:
    """How many processes a run starts on this machine: `auto` is one a GPU."""
    if recipe.engine.processes != "auto":
        return recipe.engine.processes
    groups = min(stage.recipe.data.groups_per_epoch for stage in recipe.timeline)
    return min(max(1, devices.num_accelerators()), groups)


@dataclass(frozen=True)
class PromptCounts:
    """How many prompts there are to train on, and how many to evaluate.

    `refused` has a line for each reward that cannot use some of them; `sources` is how many prompts
    each source to train on has.
    """

    train: int
    eval: int
    refused: tuple[str, ...] = ()
    sources: tuple[int, ...] = ()


def count_prompts(recipe: Recipe) -> PromptCounts:
    """Reads the prompts, and asks the rewards which of them they can use.

    Raises:
        PromptError: they or their images cannot be read, they lack the images that the sampler
            takes, or are of no use to a reward: more of them than `scoring.max_invalid` allows.
    """
    trained = _load(recipe, "train")
    if issubclass(recipe.sampler.cls, StoredImages):
        who = f"the sampler '{recipe.sampler.name}'"
        for source, prompts in trained.items():
            try:
                images.require(prompts, recipe.data.group_size, who)
            except PromptError as error:
                raise PromptError(f"{recipe.origin(source.loc)}: {error}") from error
    refused = _refused(recipe, trained, recipe.rewards)
    evaluated = _load(recipe, "eval") if recipe.data.eval else trained
    if recipe.eval is not None:
        refused += _refused(recipe, evaluated, recipe.eval.rewards or recipe.rewards)
    sizes = tuple(map(len, trained.values()))
    num_evaluated = sum(map(len, evaluated.values()))
    return PromptCounts(sum(sizes), num_evaluated, tuple(dict.fromkeys(refused)), sizes)


def _refused(
    recipe: Recipe,
    loaded: Mapping[Source, Sequence[Prompt]],
    rewards: Sequence[RewardEntry],
) -> list[str]:
    """A line for each reward that cannot use some of the prompts that it is to score images of."""
    return [
        line
        for source, prompts in loaded.items()
        for line in _refused_of(
            recipe, source, prompts, [reward for reward in rewards if source.asks(reward.label)]
        )
    ]


def _refused_of(
    recipe: Recipe, source: Source, prompts: Sequence[Prompt], rewards: Sequence[RewardEntry]
) -> Iterator[str]:
    """Those of one source."""
    for reward in rewards:
        why = [text for prompt in prompts if (text := _why_refused(reward, prompt))]
        if not why:
            continue
        share = len(why) / len(prompts)
        line = (
            f"{source.shown}: the reward '{reward.label}' cannot use {len(why):,} of "
            f"{len(prompts):,} prompts: {why[0]}"
        )
        if share > recipe.scoring.max_invalid or share == 1:
            raise PromptError(
                f"{recipe.origin(source.loc)}: {line} (scoring.max_invalid allows "
                f"{recipe.scoring.max_invalid:.0%})"
            )
        yield f"{line}; their images are invalid"


def _why_refused(reward: RewardEntry, prompt: Prompt) -> str:
    try:
        reward.cls.check_prompt(prompt, reward.options)
    except PromptError as error:
        return f"{prompt.place}: {error}" if prompt.place else str(error)
    return ""


def require_usable(recipe: Recipe, prompts: Sequence[Prompt]) -> None:
    """Asks the rewards of evaluations whether there are prompts that they can use.

    Where they cannot use some an evaluation counts their images as invalid.

    Raises:
        PromptError: one can use none of those that it is to score images of.
    """
    own = recipe.eval.rewards if recipe.eval else ()
    for reward in own or recipe.rewards:
        asked = [prompt for prompt in prompts if prompt.asks(reward.label)]
        why = [_why_refused(reward, prompt) for prompt in asked]
        if why and all(why):
            place = recipe.origin(("eval", "rewards") if own else ("rewards",))
            raise PromptError(
                f"{place}: the reward '{reward.label}' can use none of the {len(why):,} prompts: "
                f"{why[0]}; name other rewards or other prompts"
            )


def evaluation_prompts(recipe: Recipe) -> list[Prompt]:
    """The prompts to evaluate with: those to train on where there are no others.

    Raises:
        PromptError: they cannot be read.
    """
    loaded = _load(recipe, recipe.data.evaluated)
    return [prompt for source, found in loaded.items() for prompt in marked(found, source)]


def count_prompts_of_stages(recipe: Recipe) -> list[PromptCounts]:
    """As `count_prompts`, of each stage.

    Raises:
        PromptError: one has prompts that cannot be read or used.
    """
    return [count_prompts(stage.recipe) for stage in recipe.timeline]


def refused_prompts(counts: Sequence[PromptCounts]) -> list[str]:
    """All lines of refused prompts, each once."""
    return list(dict.fromkeys(line for count in counts for line in count.refused))


def require_models(recipe: Recipe) -> None:
    """Looks for the files of the policy's model, where they are to be here; loads nothing.

    Raises:
        RecipeError: one is missing, or it is no model of that policy.
    """
    sizes = []
    for stage in recipe.timeline:
        for one in (stage.recipe, stage.recipe.for_images()):
            if one.size not in sizes:
                sizes.append(one.size)
                _require_start_of(one, one.policy)


def require_rewards(recipe: Recipe) -> None:
    """Looks whether the rewards of all stages can be made; imports their files, loads no weights.

    Raises:
        RecipeError: one cannot.
    """
    for stage in recipe.timeline:
        evaluated = stage.recipe.eval.rewards if stage.recipe.eval else ()
        for entry in (*stage.recipe.rewards, *evaluated):
            _require_start_of(stage.recipe, entry)


def require_trackers(recipe: Recipe) -> None:
    """Looks whether the trackers can be used here, for what they need may not be installed.

    Raises:
        RecipeError: one cannot.
    """
    for tracker in recipe.trackers:
        _require_start_of(recipe, tracker)


def _require_start_of(
    recipe: Recipe, component: Component[Policy] | Component[Reward] | Component[ExperimentTracker]
) -> None:
    try:
        component.cls.check_start(component.options)
    except ValueError as error:
        loc = next((loc for loc, other in components(recipe) if other is component), ())
        raise RecipeError(
            f"{recipe.origin(loc)}: {dotted_path(loc)}: '{component.name}' refuses its options: "
            f"{join_lines(error)}"
        ) from error


def require_device(recipe: Recipe) -> None:
    """Looks for the device that the recipe wants.

    Raises:
        RecipeError: this machine has none.
    """
    try:
        device_of(recipe)
    except ValueError as error:
        raise RecipeError(f"{recipe.origin(('engine', 'device'))}: {error}") from error


def require_deepspeed_options(recipe: Recipe) -> None:
    """Has DeepSpeed read its own options, where there are any; it takes seconds to import.

    Raises:
        RecipeError: it refuses one.
    """
    options = recipe.engine
    if options.zero_stage is None or not options.deepspeed:
        return
    from zoo.engine.zero_options import ZeroOptions, require_valid

    try:
        require_valid(
            ZeroOptions(options.zero_stage, options.offload, options.deepspeed), device_of(recipe)
        )
    except ValueError as error:
        place = recipe.origin(("engine", "deepspeed"))
        raise RecipeError(f"{place}: engine.deepspeed: {error}") from error


def _load(recipe: Recipe, which: Which) -> dict[Source, list[Prompt]]:
    loaded = {}
    for source in recipe.data.sources(which):
        try:
            loaded[source] = load(source.place)
            images.require_inputs(loaded[source])
        except PromptError as error:
            raise PromptError(f"{recipe.origin(source.loc)}: {source.shown}: {error}") from error
    return loaded


def require_start(recipe: Recipe) -> None:
    """Reads the header of the LoRA that a run starts from, where it names one; fetches its file.

    Raises:
        RecipeError: it cannot be had, or is of a kind or a rank that the recipe cannot start from.
    """
    lora = lora_of(recipe)
    if lora is not None and lora.start is not None:
        _require_start(recipe, lora, lora.start)


def require_local_start(recipe: Recipe) -> None:
    """As `require_start` and its layers too, of a file that is here; loads and fetches nothing.

    Raises:
        RecipeError: the recipe cannot start from it; or it is not here, nor a place on the Hub.
    """
    lora = lora_of(recipe)
    if lora is None or lora.start is None:
        return
    if not lora_files.is_local(lora.start):
        with _names_start(recipe):
            lora_files.require_hub_place(lora.start)
        return
    file = _require_start(recipe, lora, lora.start)
    try:
        policy = recipe.build(recipe.policy, {"device": META})
        with META:
            policy.weights.allocate((), seed=recipe.seed)
    except Exception:
        # A policy need not work on shapes alone, and its model need not be here yet.
        return
    with _names_start(recipe):
        lora_files.require_fit(file, policy.weights)


def _require_start(recipe: Recipe, lora: Lora, source: str) -> lora_files.LoraFile:
    with _names_start(recipe):
        file = lora_files.open_lora(source)
        lora_files.require_rank(file, lora)
        return file


@contextmanager
def _names_start(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except lora_files.LoraError as error:
        raise RecipeError(f"{start_place(recipe)}: {error}") from error
