"""What a made model draws: its pictures, and how often they show what was asked for."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.make_scenes.sampled import TAGS
from zoo.data.scenes.layout import Asked, place
from zoo.data.scenes.prompts import every
from zoo.data.scenes.shapes import render
from zoo.policy.base import Policy
from zoo.policy.scenes import Scenes
from zoo.prompt import Prompt
from zoo.reward.scenes.judge import ScenesJudge
from zoo.seeds import Draws, order

NUM_STEPS = 20


def reconstructions(autoencoder: Any, file: Path, *, seed: int, num: int = 240) -> float:
    """In how many scenes the judge still sees what was asked for, after the autoencoder.

    The first 96 are drawn, each row above what has become of it.
    """
    prompts = [prompt for tag in TAGS for prompt in _some_prompts(tag, num // len(TAGS), seed)]
    shuffled = order(len(prompts), seed=seed, purpose="scenes rebuilt").tolist()
    prompts = [prompts[i] for i in shuffled]
    draws = Draws(seed, "scenes rebuilt", 0, torch.arange(len(prompts)))
    images = render(place(Asked.of(prompts), draws))
    with torch.no_grad():
        latents = autoencoder.encode(images * 2.0 - 1.0).latent_dist.mode()
        made = (autoencoder.decode(latents).sample / 2.0 + 0.5).clamp(0.0, 1.0)
    rows = [each[:96].unflatten(0, (-1, 16)) for each in (images, made)]
    picture(torch.stack(rows, dim=1).flatten(0, 2), file)
    return float(ScenesJudge(score="strict").score(made, prompts).value.mean())


def accuracies(folder: Path, file: Path, *, seed: int, each: int) -> dict[str, float]:
    """The strict accuracy of every kind by the judge, their mean, and the mean with guidance 3.

    Of `each` images a kind, made by Euler steps; the first 32 of them are drawn into the file, each
    kind in two rows.
    """
    policy = Scenes(torch.device("cpu"), lora=None, pretrained=str(folder))
    prompts = [prompt for tag in TAGS for prompt in _some_prompts(tag, each, seed)]
    measured = {}
    for name, guidance in (("mean", 1.0), ("mean with guidance 3", 3.0)):
        images = _sampled(policy, prompts, guidance, seed)
        scores = ScenesJudge().score(images, prompts).extras
        by_tag = {tag: float(scores[f"strict_accuracy/{tag}"].nanmean()) for tag in TAGS}
        measured[name] = sum(by_tag.values()) / len(TAGS)
        if guidance == 1.0:
            measured = {**by_tag, **measured}
            picture(images.unflatten(0, (len(TAGS), each))[:, :32].flatten(0, 1), file)
    return measured


def _some_prompts(tag: str, num: int, seed: int) -> list[Prompt]:
    pool = [prompt for prompt in every() if prompt.metadata["tag"] == tag]
    shuffled = order(len(pool), seed=seed, purpose=f"scenes measured {tag}").tolist()
    return [pool[shuffled[i % len(pool)]] for i in range(num)]


@torch.no_grad()
def _sampled(
    policy: Policy, prompts: list[Prompt], guidance: float, seed: int
) -> Float[Tensor, "num 3 32 32"]:
    images = []
    for rows in torch.arange(len(prompts)).split(120):
        draws = Draws(seed, "scenes measured", 0, rows)
        x, grid = draws.normal(policy.latent_shape), policy.grid(NUM_STEPS)
        cond = policy.encode([prompts[i] for i in rows.tolist()], guidance=guidance)
        for t, s in zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True):
            x = x + (s - t) * policy.velocity(x, torch.full((len(x),), t), cond)
        images.append(policy.decode(x))
    return torch.cat(images)


def picture(images: Float[Tensor, "num 3 32 32"], file: Path, *, columns: int = 16) -> None:
    """Images side by side, three times their size."""
    from PIL import Image

    framed = torch.nn.functional.pad(images, (1, 1, 1, 1))
    rows = framed.unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    pixels = (rows * 255).round().byte().numpy()
    small = Image.fromarray(pixels)
    file.parent.mkdir(parents=True, exist_ok=True)
    small.resize((small.width * 3, small.height * 3), Image.Resampling.NEAREST).save(file)
