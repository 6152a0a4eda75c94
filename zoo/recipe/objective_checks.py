"""What an objective, the rewards and their advantages must have in common: part of `checks`."""

from collections.abc import Callable, Iterator
from typing import Any, get_origin

from zoo.recipe.component import Component, rebuild
from zoo.recipe.constructor_schema import fitting
from zoo.recipe.errors import Loc, dotted_path
from zoo.recipe.model import Recipe
from zoo.recipe.signature import signature
from zoo.sampler.base import Solver, StochasticSolver

Mistakes = Iterator[tuple[Loc, str]]


def _solver_suits_objective(recipe: Recipe) -> Mistakes:
    objective, solver = recipe.objective, recipe.sampler.options.get("solver")
    wanted = _solver_wanted(objective)
    if wanted is None or (isinstance(solver, Component) and issubclass(solver.cls, wanted)):
        return
    allowed = " or ".join(f"{{name: {name}}}" for name in fitting(wanted))
    why = f"the objective '{objective.name}' needs a {wanted.__name__}"
    if isinstance(solver, Component):
        yield (
            ("sampler", "solver"),
            f"{why}, and sampler.solver is '{solver.name}', which is not one; "
            f"write sampler.solver: {allowed}",
        )
    else:
        yield (
            ("sampler",),
            f"{why}, and the sampler '{recipe.sampler.name}' has no solver; "
            f"write sampler: {{name: flow, solver: ...}} with solver {allowed}",
        )


def _solver_wanted(objective: Component[Any]) -> type[Solver] | None:
    annotation = signature(objective.cls).given.get("solver")
    wanted = get_origin(annotation) or annotation
    if isinstance(wanted, type) and issubclass(wanted, Solver):
        return wanted
    return StochasticSolver if objective.cls.needs_path else None


def _guidance_can_be_trained(recipe: Recipe) -> Mistakes:
    guidance = recipe.sampler.options.get("guidance", 1.0)
    if guidance != 1 and not recipe.objective.cls.trains_guided:
        yield (
            ("sampler", "guidance"),
            f"sampler.guidance is {guidance} and the objective '{recipe.objective.name}' trains "
            "without guidance; write sampler.guidance: 1.0 (evaluation has eval.guidance)",
        )


def _groups_are_groups(recipe: Recipe) -> Mistakes:
    if recipe.data.group_size < 2 and recipe.objective.cls.needs_groups:
        yield (
            ("data", "group_size"),
            "data.group_size is 1, and an advantage compares the images of one prompt with each "
            "other: alone, every image's is 0; write data.group_size: 2 or more",
        )


def _updates_have_whole_groups(recipe: Recipe) -> Mistakes:
    updates, groups = recipe.optim.updates_per_epoch, recipe.data.groups_per_epoch
    if recipe.objective.cls.whole_groups and updates > groups:
        yield (
            ("optim", "updates_per_epoch"),
            f"optim.updates_per_epoch is {updates}, and the objective '{recipe.objective.name}' "
            f"trains the images of a group in one update, of which an epoch has {groups}: a group "
            f"would cross an update's cut; write {groups} or fewer, or more data.groups_per_epoch",
        )


def _weightless_rewards_are_named(recipe: Recipe) -> Mistakes:
    """By `advantage`: nothing else looks at them."""
    gate, named = recipe.advantage.gate, {recipe.advantage.diversity}
    named |= set(gate.rewards) if gate is not None else set()
    evaluated = recipe.eval.rewards if recipe.eval else ()
    for loc, entries in ((("rewards",), recipe.rewards), (("eval", "rewards"), evaluated)):
        for i, entry in enumerate(entries):
            if not entry.weight and (entry.label not in named or loc != ("rewards",)):
                yield (
                    (*loc, i, "weight"),
                    f"{dotted_path((*loc, i, 'weight'))}: a reward of weight 0 trains "
                    "nothing; remove it or move it to eval.rewards",
                )
    if recipe.rewards and not any(entry.weight for entry in recipe.rewards):
        yield ("rewards",), "all rewards have weight 0; give one that is to be trained on another"


def _advantages_name_held_out_rewards(recipe: Recipe) -> Mistakes:
    options, held_out = recipe.advantage, [e.label for e in recipe.rewards if not e.weight]
    gate = options.gate.rewards if options.gate is not None else ()
    named: list[tuple[Loc, str]] = [(("advantage", "gate", "rewards"), name) for name in gate]
    named += [(("advantage", "diversity"), options.diversity)] if options.diversity else []
    for loc, label in named:
        if label not in held_out:
            yield (
                loc,
                f"{dotted_path(loc)} names '{label}', and no reward of that label is held out; "
                f"write rewards: [..., {{name: ..., label: {label}, weight: 0}}]",
            )


def _what_holds_is_there(recipe: Recipe) -> Mistakes:
    """What an objective's `kl` names: the moving average, a gate; and what collects."""
    options = recipe.objective.options
    kl = rebuild(options.get("kl"), {})
    to, on = getattr(kl, "to", "reference"), getattr(kl, "on", "all")
    for key, which in (("kl", to), ("collect_with", options.get("collect_with"))):
        if which == "ema" and recipe.optim.ema is None:
            what = "objective.kl.to" if key == "kl" else "objective.collect_with"
            yield (
                ("objective", key),
                f"{what} is ema, and there is no moving average; write optim.ema: {{cap: 0.9}}, or "
                f"{what}: {'reference' if key == 'kl' else 'live'}",
            )
    if on == "gated" and recipe.advantage.gate is None:
        yield (
            ("objective", "kl"),
            "objective.kl.on is gated, and no held-out rewards say which images are; write "
            "advantage.gate: {rewards: [LABEL]} with the label of a reward of weight 0, or "
            "objective.kl.on: all",
        )


OBJECTIVE_CHECKS: tuple[Callable[[Recipe], Mistakes], ...] = (
    _solver_suits_objective,
    _guidance_can_be_trained,
    _groups_are_groups,
    _updates_have_whole_groups,
    _weightless_rewards_are_named,
    _advantages_name_held_out_rewards,
    _what_holds_is_there,
)
