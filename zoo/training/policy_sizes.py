"""One model at every size that a run makes images of: stages may differ, and evaluations."""

from collections.abc import Hashable, Mapping
from typing import Any

import torch

from zoo.errors import join_lines
from zoo.policy.base import Policy
from zoo.recipe.errors import Loc, RecipeError
from zoo.recipe.model import Recipe, Size, shown_size
from zoo.run.model_record import OTHERS


class PolicySizes:
    """The policies of a recipe, which share one network with its sets of weights."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        """Loads the model at the first stage's size, and asks it for all others.

        Raises:
            RecipeError: the policy refuses its options, or a size.
        """
        start = recipe.timeline[0].recipe
        owner = recipe if start.size == recipe.size else start
        self.first: Policy = owner.build(owner.policy, {"device": device})
        self._sizes: list[Size] = [start.size]
        self._by_size: dict[Hashable, Policy] = {_key(start.size): self.first}
        for stage in recipe.timeline:
            self._ask(stage.recipe, stage.recipe.size, ("policy",))
            self._ask(stage.recipe, stage.recipe.evaluated_size, ("eval",))

    @property
    def every(self) -> tuple[Policy, ...]:
        """The first stage's, then those of other sizes."""
        return tuple(self._by_size.values())

    def trained(self, recipe: Recipe) -> Policy:
        """Of the images that a stage's recipe trains on."""
        return self._by_size[_key(recipe.size)]

    def evaluated(self, recipe: Recipe) -> Policy:
        """Of those that it is evaluated by."""
        return self._by_size[_key(recipe.evaluated_size)]

    def findings(self) -> Mapping[str, Any]:
        """What was found of the model at its first size, and under a key of its own at others."""
        found = self.first.findings()
        others = {
            shown_size(size): policy.findings()
            for size, policy in zip(self._sizes[1:], self.every[1:], strict=True)
        }
        return {**found, OTHERS: others} if found and others else found

    def _ask(self, recipe: Recipe, size: Size, section: Loc) -> None:
        if _key(size) in self._by_size:
            return
        try:
            policy = self.first.sized(size)
        except ValueError as error:
            changed = next((key for key in size if size[key] != self._sizes[0][key]), "")
            place = recipe.origin((*section, changed))
            raise RecipeError(
                f"{place}: '{recipe.policy.name}' refuses {shown_size(size)}: {join_lines(error)}"
            ) from error
        self._sizes.append(size)
        self._by_size[_key(size)] = policy


def _key(size: Size) -> Hashable:
    return tuple(size.items())
