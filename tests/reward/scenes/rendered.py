"""Rendered scenes with the prompts that they were rendered for, and with others."""

from functools import cache

import torch

from zoo.data.geneval_scenes import key
from zoo.data.scenes.layout import Asked, place
from zoo.data.scenes.prompts import TESTED, every
from zoo.data.scenes.shapes import render
from zoo.seeds import Draws


@cache
def by_kind():
    """The prompts of each kind, with what each asks for."""
    pools = {tag: [] for tag in TESTED}
    for prompt in every():
        pools[prompt.metadata["tag"]].append((prompt, key(prompt.metadata)))
    return pools


def prompts_of_every_kind(num):
    """As many of each kind."""
    pools = by_kind().values()
    return [pool[(i * 7) % len(pool)][0] for i in range(num // 6 + 1) for pool in pools][:num]


def placed(prompts, seed=0):
    """What a scene for each shows."""
    return place(Asked.of(prompts), Draws(seed, "test scenes", 0, torch.arange(len(prompts))))


def scenes(prompts, seed=0):
    """An image for each."""
    return render(placed(prompts, seed))


def others(prompts):
    """For each prompt another of its kind, that asks for something else."""
    found = []
    for i, prompt in enumerate(prompts):
        pool, own = by_kind()[prompt.metadata["tag"]], key(prompt.metadata)
        turned = (pool[(i + step) % len(pool)] for step in range(len(pool)))
        found.append(next(other for other, what in turned if what != own))
    return found
