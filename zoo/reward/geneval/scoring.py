"""What found objects are worth: GenEval's accuracy, a strict one, and a score to train on.

`accuracy` is the official one (Ghosh et al. 2023, arXiv 2310.11513): at least the wanted count, of
which the most confident objects are looked at. `strict_accuracy` and `training_score` are those of
Flow-GRPO (Liu et al. 2025, arXiv 2505.05470; its reward server, yifan123/reward-server). Departs
from them: `strict_accuracy` honours `exclude`, so that what is strictly right is right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zoo.reward.geneval.position import Box, relations
from zoo.reward.geneval.wanted import Position, Requirement, Wanted


@dataclass(frozen=True)
class Found:
    """An object in an image; its colour is None where nobody asked for one."""

    box: Box
    color: str | None = None


FoundObjects = Mapping[str, Sequence[Found]]
"""By GenEval's name of a class, what was found of it, the most confident first."""


def accuracy(wanted: Wanted, found: FoundObjects, *, position_threshold: float) -> bool:
    """Whether all is there, at least as often as wanted, and nothing that is excluded."""
    matched: list[Sequence[Found] | None] = []
    for requirement in wanted.include:
        best = found.get(requirement.name, ())[: requirement.count]
        holds = (
            len(best) == requirement.count
            and _right_color(requirement, best) == len(best)
            and _holds(requirement.position, best, matched, position_threshold)
        )
        matched.append(best if holds else None)
    excluded = any(len(found.get(each.name, ())) >= each.count for each in wanted.exclude)
    return None not in matched and not excluded


def strict_accuracy(wanted: Wanted, found: FoundObjects, *, position_threshold: float) -> bool:
    """As `accuracy`, but exactly as often as wanted."""
    exact = all(len(found.get(each.name, ())) == each.count for each in wanted.include)
    return exact and accuracy(wanted, found, position_threshold=position_threshold)


def training_score(
    wanted: Wanted,
    found: FoundObjects,
    *,
    position_threshold: float,
    clamp: bool,
    partial_position: bool,
) -> float:
    """The mean of what each requirement earns; 1 is all right, and many too many is below 0.

    A requirement earns 1 - abs(wanted - found) / wanted for its count. If that is wrong, a colour
    or a position adds a 0; if it is right, a colour adds the share of objects that have it, and
    then, if all have, a position adds 1 or 0. `partial_position` gives a wrong position both
    numbers, as published, and `clamp` a count no less than 0.
    """
    earned: list[float] = []
    matched: list[Sequence[Found] | None] = []
    for requirement in wanted.include:
        objects = found.get(requirement.name, ())
        for_count = 1 - abs(requirement.count - len(objects)) / requirement.count
        earned.append(max(for_count, 0.0) if clamp else for_count)
        holds = len(objects) == requirement.count
        if not holds and (requirement.color or requirement.position):
            earned.append(0.0)
        if holds and requirement.color:
            right = _right_color(requirement, objects)
            earned.append(right / requirement.count)
            holds = right == requirement.count
        if holds and requirement.position:
            holds = _holds(requirement.position, objects, matched, position_threshold)
            near = partial_position and matched[requirement.position.target] is not None
            earned += [1.0] if holds else [0.0, 1.0] if near else [0.0]
        matched.append(objects if holds else None)
    return sum(earned) / len(earned)


def _right_color(requirement: Requirement, objects: Sequence[Found]) -> int:
    """How many objects have the wanted colour: all, if none is wanted."""
    return sum(requirement.color in (None, each.color) for each in objects)


def _holds(
    position: Position | None,
    objects: Sequence[Found],
    matched: Sequence[Sequence[Found] | None],
    threshold: float,
) -> bool:
    """Whether every object lies as wanted from every one of the target, which must be there."""
    if position is None:
        return True
    targets = matched[position.target]
    return targets is not None and all(
        position.relation in relations(each.box, target.box, threshold)
        for each in objects
        for target in targets
    )
