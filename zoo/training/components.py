"""What is built of a recipe before its model: prompts, rewards, sampler, objective.

What recipes have in common is made once: a reward loads its model once, however many stages of a
run name it, and evaluation beside training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from zoo.data import prompts as prompt_sources
from zoo.data.mixture import Mixture, load
from zoo.objective.base import Objective
from zoo.policy.base import Policy
from zoo.policy.weights import WeightSets
from zoo.prompt import Prompt
from zoo.recipe.errors import Loc, RecipeError
from zoo.recipe.model import Recipe
from zoo.recipe.sections import EvalOptions, RewardEntry
from zoo.reward.base import Reward
from zoo.reward.frames import misfit
from zoo.reward.judge import Judge, WeightedReward
from zoo.reward.known_answers import require_known_answers
from zoo.rollout import Weights
from zoo.sampler.base import Sampler, StoredImages
from zoo.sampler.flow_sampler import FlowSampler

_MAKES_VIDEOS = {3: False, 4: True}
"""By the axes of latents: an image has channels, height and width. Packed ones say nothing."""


@dataclass(frozen=True)
class EvaluationComponents:
    """What an evaluation needs, and the weights that it is of."""

    sampler: Sampler
    judge: Judge
    prompts: Sequence[Prompt]
    weights: Weights


@dataclass(frozen=True)
class Components:
    """Of a recipe without stages, or of one stage."""

    sampler: Sampler | StoredImages
    objective: Objective[Any]
    judge: Judge
    mixture: Mixture
    evaluation: EvaluationComponents | None


class Shared:
    """Makes the components of recipes, and what they have in common once."""

    def __init__(self, device: torch.device) -> None:
        """Rewards are made on this device."""
        self._device = device
        self._rewards: dict[tuple[type[Reward], str], Reward] = {}
        self._prompts: dict[str, Sequence[Prompt]] = {}

    def components(self, recipe: Recipe) -> Components:
        """Evaluation is by the training rewards and prompts where the recipe names no others.

        Raises:
            RecipeError: a component refuses its options.
            RewardError: a reward does not give its known answers.
            PromptError: prompts cannot be read.
        """
        mixture = load(recipe.data.sources("train"), self._read)
        sampler, objective = sampler_and_objective(recipe)
        judge, options = self.judge(recipe, recipe.rewards), recipe.eval
        if options is None:
            return Components(sampler, objective, judge, mixture, None)
        evaluation = EvaluationComponents(
            evaluation_sampler(recipe, options),
            self.judge(recipe, options.rewards) if options.rewards else judge,
            load(recipe.data.sources(recipe.data.evaluated), self._read).prompts,
            evaluated_weights(recipe),
        )
        return Components(sampler, objective, judge, mixture, evaluation)

    def judge(self, recipe: Recipe, entries: Sequence[RewardEntry]) -> Judge:
        """Scores with these rewards as the recipe says."""
        weighted = [
            WeightedReward(entry.label, self._reward(recipe, entry), entry.weight)
            for entry in entries
        ]
        return Judge(weighted, timeout=recipe.scoring.timeout, retries=recipe.scoring.retries)

    def _reward(self, recipe: Recipe, entry: RewardEntry) -> Reward:
        if entry.made_from not in self._rewards:
            reward = recipe.build(entry, {"device": self._device})
            require_known_answers(reward, entry.label, self._device, recipe.scoring.timeout)
            self._rewards[entry.made_from] = reward
        return self._rewards[entry.made_from]

    def _read(self, place: str) -> Sequence[Prompt]:
        if place not in self._prompts:
            self._prompts[place] = prompt_sources.load(place)
        return self._prompts[place]


def require_fitting_rewards(
    recipe: Recipe, components: Sequence[Components], policy: Policy
) -> None:
    """Sees that rewards can look at what the policy makes, where its latents tell what that is.

    Raises:
        RecipeError: one looks at single images and the policy makes videos, or the other way round.
    """
    videos = _MAKES_VIDEOS.get(len(policy.latent_shape))
    if videos is None:
        return
    for stage, parts in zip(recipe.timeline, components, strict=True):
        judges: list[tuple[Loc, Judge]] = [(("rewards",), parts.judge)]
        if parts.evaluation is not None and parts.evaluation.judge is not parts.judge:
            judges.append((("eval", "rewards"), parts.evaluation.judge))
        for loc, judge in judges:
            for i, weighted in enumerate(judge.rewards):
                if wrong := misfit(weighted.label, weighted.reward.takes, videos=videos):
                    raise RecipeError(f"{stage.recipe.origin((*loc, i))}: {wrong}")


def sampler_and_objective(recipe: Recipe) -> tuple[Sampler | StoredImages, Objective[Any]]:
    """Those of a recipe without stages, or of one stage."""
    sampler = recipe.build(recipe.sampler, {})
    return sampler, recipe.build(recipe.objective, {"solver": sampler.solver})


def evaluation_sampler(recipe: Recipe, options: EvalOptions) -> FlowSampler:
    """The sampler of evaluations, which are of the recipe."""
    solver = recipe.build(options.solver, {})
    return FlowSampler(solver=solver, steps=options.steps, guidance=options.guidance)


def evaluated_weights(recipe: Recipe) -> Weights:
    """The set that a run of this recipe evaluates: the one to show and to share."""
    return Weights.EMA if recipe.optim.ema else Weights.LIVE


def evaluated_rewards(recipe: Recipe) -> tuple[dict[str, float], dict[str, float]]:
    """What evaluations score: labels and weights of what is held out, and of what is trained on."""
    entries = (recipe.eval.rewards if recipe.eval else ()) or recipe.rewards
    weight_of = {entry.measures: entry.weight for entry in recipe.rewards if entry.weight}
    trained = {e.label: weight_of[e.measures] for e in entries if e.measures in weight_of}
    return {e.label: e.weight for e in entries if e.label not in trained}, trained


def compared_since(recipe: Recipe) -> tuple[int, ...]:
    """By stage, the first epoch whose evaluation can be compared with the stage's own.

    Those before it were of other prompts or images of another size, or their score was of other
    rewards.
    """
    timeline, since = recipe.timeline, [0]
    for before, stage in pairwise(timeline):
        same = _scored_on(before.recipe) == _scored_on(stage.recipe)
        since.append(since[-1] if same else stage.start + 1)
    return tuple(since)


def _scored_on(recipe: Recipe) -> tuple[object, dict[str, float]]:
    held_out, trained = evaluated_rewards(recipe)
    sources = recipe.data.sources(recipe.data.evaluated)
    of = [(source.place, source.rewards) for source in sources], dict(recipe.evaluated_size)
    return of, held_out or trained


def copies(recipe: Recipe) -> frozenset[Weights]:
    """The sets besides live that a run of this recipe writes, in any of its stages."""
    moved = [sampler_and_objective(stage.recipe)[1].moves for stage in recipe.timeline]
    ema = {Weights.EMA} if recipe.optim.ema else set()
    return frozenset(ema.union(*moved))


def allocate(recipe: Recipe, weights: WeightSets) -> None:
    """Gives a policy the sets of weights of a run: those that it writes, and what it looks back to.

    Raises:
        MisfitError: the network has no layers for LoRA.
    """
    uses = [sampler_and_objective(stage.recipe)[1].uses for stage in recipe.timeline]
    moved, reference = copies(recipe), any(Weights.REFERENCE in used for used in uses)
    base = set()
    if weights.lora is None and asks_for_drift(recipe):
        # A reference that stays what it was is the base; one that moves is none.
        base = set() if reference and Weights.REFERENCE not in moved else {Weights.BASE}
    weights.allocate(moved | base, seed=recipe.seed, reference=reference)


def asks_for_drift(recipe: Recipe) -> bool:
    """Whether a run must say how far it has gone from the base: it stops by it, or was told to."""
    told = any(stage.recipe.eval and stage.recipe.eval.drift for stage in recipe.timeline)
    return told or (recipe.stop_when is not None and recipe.stop_when.drift is not None)
