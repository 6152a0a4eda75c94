"""`zoo sample`: images of prompts, as one picture or a folder of files, without any reward."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import typer
from torch import Tensor

from zoo.cli import output
from zoo.cli.source import ImageJob, load_model, say_cut
from zoo.devices import send
from zoo.engine.interrupt import Interrupt, Interrupted
from zoo.run import pictures
from zoo.run.console import count_on_bar
from zoo.run.moving import Picture
from zoo.seeds import Draws
from zoo.terminal import say
from zoo.training.components import evaluation_sampler
from zoo.training.generate import encode, generate

_SHOWN_PROMPTS = 10
_WIDTH, _PIXELS = 1600, 4e6
"""For a row of videos, and for all in a picture of them: one that has few shows them larger."""


def sample(job: ImageJob) -> None:
    """Writes one picture, a row a prompt with its images; or a folder with all of them.

    An image depends on its prompt, the seed and its number among the prompt's: the i-th images of
    all prompts start from the same noise.
    """
    out = job.out
    assert out is not None  # the command chooses one
    output.require_free(out, overwrite=job.overwrite)
    try:
        made = make(job, out)
    except Interrupted as stop:
        raise typer.Exit(128 + stop.number) from None
    if made.num_broken:
        say(f"warning: {made.num_broken} images came out with NaN or infinity", err=True)
    say(
        f"wrote {made.path}: {job.num_images} images "
        f"with the {job.source.weights.value} weights of {job.source.origin}",
        *(output.video_hint(made.picture) if made.path == out else []),
    )


@dataclass(frozen=True)
class Made:
    """What was written, the picture of it, and how many images are broken."""

    path: Path
    picture: Picture
    num_broken: int


def make(job: ImageJob, out: Path) -> Made:
    """Makes and writes them.

    Raises:
        Interrupted: a signal asked to stop.
    """
    source, num = job.source, job.images_per_prompt
    model, sampler = load_model(source), evaluation_sampler(source.recipe, source.evaluation)
    say_cut(job, ())
    if not model.policy.num_inputs and any(prompt.inputs for prompt in job.prompts):
        _say_left_aside(source.recipe.policy.name)
    key = torch.arange(num).repeat(len(job.prompts))
    wanted = encode(
        model.policy, sampler, job.prompts,
        torch.arange(len(job.prompts)).repeat_interleave(num),
        Draws(job.seed, "sample", 0, key, model.engine.device),
        largest=job.num_images,
    )  # fmt: skip
    single = output.is_picture(out)
    # Beside single files a picture of the first prompts is enough.
    shown = job.num_images if single else min(job.num_images, _SHOWN_PROMPTS * num)
    images: list[Tensor] = []
    places: list[Tensor] = []
    longest = max(1, min(_WIDTH // num, int(math.sqrt(_PIXELS / shown))))
    done = 0
    stopping = "stopping after these images; again to leave at once"
    with (
        pictures.Writer() as writer,
        count_on_bar("images", job.num_images) as count,
        Interrupt(model.engine, say, stopping) as interrupt,
    ):
        folder = None
        if not single:
            output.remove_earlier(out)
            folder = output.ImageFolder(out, num, writer, source.evaluation.fps)
        batches = generate(
            model.policy, sampler, wanted,
            weights=source.weights,
            micro_batch=source.recipe.engine.micro_batch.sizes.sample,
            keep_path=False,
        )  # fmt: skip
        for batch in interrupt.leave_between(batches):
            if folder is not None:
                folder.put(batch.images, batch.rows)
            first = (batch.rows < shown).nonzero()[:, 0]
            some = batch.images[send(first, batch.images.device)]
            images.append(pictures.thumbnails(some, longest))
            places.append(batch.rows[first])
            done += len(batch.rows)
            count(done)
        tiles = _sheet(shown, torch.cat(images), torch.cat(places))
        picture = pictures.sheet(tiles, num, source.evaluation.fps)
        if folder is None:
            out = output.save_picture(picture, out, overwrite=job.overwrite)
        else:
            folder.finish()
            folder.write(job.prompts, {}, picture)
    return Made(out, picture, job.num_images - done)


def _say_left_aside(policy: str) -> None:
    say(f"warning: the policy '{policy}' reads text alone: input images are left aside", err=True)


def _sheet(num: int, images: Tensor, places: Tensor) -> Tensor:
    """All images in order; a broken one stays grey."""
    sheet = torch.full((num, *images.shape[1:]), pictures.GREY, dtype=torch.uint8)
    sheet[places] = images
    return sheet
