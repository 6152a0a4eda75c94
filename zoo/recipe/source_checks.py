"""What several sources of prompts and the rewards that they name must have in common."""

from collections.abc import Callable, Iterator, Sequence

from zoo.errors import suggest
from zoo.recipe.data_section import Which
from zoo.recipe.errors import dotted_path
from zoo.recipe.model import Recipe
from zoo.recipe.objective_checks import Mistakes
from zoo.recipe.sections import RewardEntry
from zoo.sampler.base import StoredImages


def _labels_are_of_rewards(recipe: Recipe) -> Mistakes:
    for which, entries, key in _judged(recipe):
        labels = [entry.label for entry in entries]
        for source in recipe.data.sources(which):
            for label in sorted(source.rewards or ()):
                if label not in labels:
                    yield (
                        (*source.loc, "rewards"),
                        f"{source.shown}.rewards names '{label}', and {key} has no reward of that "
                        f"label{suggest(label, labels, 'there')}",
                    )


def _rewards_have_a_source(recipe: Recipe) -> Mistakes:
    """One that no source names would score nothing."""
    for which, entries, key in _judged(recipe):
        for i, entry in enumerate(entries):
            if not any(source.asks(entry.label) for source in recipe.data.sources(which)):
                yield (
                    (*key.split("."), i),
                    f"{key}.{i}: no source of data.{which} names '{entry.label}', which would "
                    "score nothing; add its label to a source's rewards, or remove it",
                )


def _sources_are_trained_on(recipe: Recipe) -> Mistakes:
    """By a reward with a weight; and what `advantage` names is known of all images."""
    options = recipe.advantage
    needed = {options.diversity} if options.diversity is not None else set()
    needed |= set(options.gate.rewards) if options.gate is not None else set()
    labels = {entry.label for entry in recipe.rewards}
    for source in recipe.data.sources("train"):
        if source.rewards is None or not source.rewards <= labels:
            continue
        loc = (*source.loc, "rewards")
        if not any(entry.weight and source.asks(entry.label) for entry in recipe.rewards):
            yield loc, f"{dotted_path(loc)} has no reward with a weight: nothing is learned from it"
        for label in sorted(needed - source.rewards):
            yield (
                loc,
                f"{dotted_path(loc)} is without '{label}', by which the advantages of all images "
                "are made (advantage); add it",
            )


def _stored_images_have_one_source(recipe: Recipe) -> Mistakes:
    num = len(recipe.data.sources("train"))
    if num > 1 and issubclass(recipe.sampler.cls, StoredImages):
        yield (
            ("data", "train"),
            f"data.train has {num} sources, and the sampler '{recipe.sampler.name}' reads stored "
            "images of one; put them in one file, or write a stage for each",
        )


def _other_rewards_have_other_sources(recipe: Recipe) -> Mistakes:
    """The labels of `data.train` are of the training rewards."""
    if recipe.eval is None or not recipe.eval.rewards or recipe.data.eval is not None:
        return
    if any(source.rewards is not None for source in recipe.data.sources("train")):
        yield (
            ("data", "train"),
            "data.train names the training rewards that score each source, and evaluations have "
            "rewards of their own (eval.rewards) and no prompts; write data.eval: a source, or a "
            "list of {source: ..., rewards: [LABEL]}",
        )


def _judged(recipe: Recipe) -> Iterator[tuple[Which, Sequence[RewardEntry], str]]:
    """What is scored: which prompts, the rewards that may score them, and the key of these."""
    yield "train", recipe.rewards, "rewards"
    if recipe.eval is not None and recipe.data.eval is not None:
        own = recipe.eval.rewards
        yield "eval", own or recipe.rewards, "eval.rewards" if own else "rewards"


SOURCE_CHECKS: tuple[Callable[[Recipe], Mistakes], ...] = (
    _labels_are_of_rewards,
    _rewards_have_a_source,
    _sources_are_trained_on,
    _stored_images_have_one_source,
    _other_rewards_have_other_sources,
)
