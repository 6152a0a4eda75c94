"""One reward by itself, without a recipe around it: what `zoo probe` and `zoo serve` take."""

from collections.abc import Sequence
from typing import Annotated

from zoo.recipe.component import Strict, placed
from zoo.recipe.constructor_schema import Slot
from zoo.recipe.explain import validated
from zoo.recipe.load import overridden
from zoo.recipe.model import RewardEntry, Weighted, reward_class
from zoo.reward.base import Reward


class _Single(Strict):
    reward: Annotated[RewardEntry, Slot(Reward, base=Weighted, find=reward_class)]


def single_reward(name: str, overrides: Sequence[str] = ()) -> RewardEntry:
    """The reward of that name with options `a.b=c`, as `-s` has them.

    Raises:
        RecipeError: the name or an option is wrong; a line each.
    """
    raw = overridden({"reward": {"name": name}}, overrides, below=("reward",))
    return placed(validated(_Single, raw.data, raw.origins), raw.origins).reward
