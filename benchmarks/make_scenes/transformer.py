"""The transformer of the model `scenes` and its text encoders, by flow matching.

Lipman et al. 2022 (arXiv 2210.02747), at the logit-normal times of Stable Diffusion 3 (Esser et al.
2024, arXiv 2403.03206). Departs from it: it learns from right captions first, and then from some
that are wrong in part, so that it draws clean shapes, knows what is asked of it, and does it only
in part, which leaves learning something to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.make_scenes.autoencoder import encode
from benchmarks.make_scenes.parts import new_text_encoders, new_transformer
from benchmarks.make_scenes.sampled import captions, shown
from benchmarks.make_scenes.training import Schedule, train
from benchmarks.make_scenes.words import tokenizer
from zoo.data.scenes.layout import place
from zoo.data.scenes.prompts import every
from zoo.data.scenes.shapes import render
from zoo.flow import noised, velocity_target
from zoo.seeds import Draws

WITHOUT_CAPTION = 0.1
"""The share that guidance learns from."""


@dataclass(frozen=True)
class Stage:
    """A part of the training: what it learns from, and for how long.

    Kinds of prompts are as `often` as their weights say, 1 by default, and of each kind a share has
    captions that are `wrong`, by default none.
    """

    name: str
    schedule: Schedule
    often: Mapping[str, float] = field(default_factory=dict)
    wrong: Mapping[str, float] = field(default_factory=dict)


def make_transformer(
    folder: Path, autoencoder: Any, stages: Sequence[Stage], *, seed: int
) -> tuple[Any, tuple[Any, Any]]:
    """The transformer and both text encoders, trained together, stage by stage.

    Each goes on from the averaged weights of the one before.
    """
    transformer, encoders = new_transformer(seed), new_text_encoders(seed)
    model = nn.ModuleDict({"transformer": transformer, "first": encoders[0], "second": encoders[1]})
    tokens = all_tokens()
    for stage in stages:
        batch = stage.schedule.batch

        def loss_of(step: int, stage: Stage = stage, batch: int = batch) -> Float[Tensor, ""]:
            keys = torch.arange(step * batch, (step + 1) * batch)
            draws = Draws(seed, f"scenes transformer, {stage.name} captions", 0, keys)
            rows = captions().some(draws, stage.often)
            images = render(place(shown(rows, stage.wrong, draws), draws))
            without = draws.at("without caption").uniform() < WITHOUT_CAPTION
            told = tokens[rows.masked_fill(without, -1)]
            return loss(model, encode(autoencoder, images), told, draws)

        train(f"transformer_{stage.name}", model, loss_of, stage.schedule, folder)
    return transformer.eval(), (encoders[0].eval(), encoders[1].eval())


def all_tokens() -> Int[Tensor, "prompts_and_none tokens"]:
    """Of every prompt, and last of the empty one."""
    words = tokenizer()
    texts = [*(prompt.text for prompt in every()), ""]
    length = words.model_max_length
    tokens: Tensor = words(
        texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return tokens


def loss(
    model: nn.ModuleDict,
    clean: Float[Tensor, "batch 4 8 8"],
    tokens: Int[Tensor, "batch tokens"],
    draws: Draws,
) -> Float[Tensor, ""]:
    """The error of the velocity, at times and with noise of a row of `draws` each."""
    numbers = draws.at("noise").normal((1 + clean[0].numel(),))
    t, noise = numbers[:, 0].sigmoid(), numbers[:, 1:].reshape(clean.shape)
    words, pooled = embedded(model, tokens)
    (velocity,) = model["transformer"](
        noised(clean, noise, t), words, pooled, t * 1000.0, return_dict=False
    )
    return F.mse_loss(velocity, velocity_target(clean, noise))


def embedded(
    model: nn.ModuleDict, tokens: Int[Tensor, "batch tokens"]
) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch width"]]:
    """As diffusers' pipeline: each encoder's last layer but one, and zeros in place of T5."""
    read = [model[name](tokens, output_hidden_states=True) for name in ("first", "second")]
    words = torch.cat([each.hidden_states[-2] for each in read], dim=-1)
    return F.pad(words, (0, 0, 0, 1)), torch.cat([each.text_embeds for each in read], dim=-1)
