"""`zoo sample`: images of prompts, as one picture or a folder of files, without any reward."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import typer
from torch import Tensor

from zoo.cli import output as image_folder
from zoo.cli.output import ImageFolder
from zoo.cli.source import Chosen, Source, choose, loaded
from zoo.engine.interrupt import Interrupt, Interrupted
from zoo.errors import UserError
from zoo.plan.preflight import evaluation_prompts
from zoo.prompt import Prompt
from zoo.run import pictures
from zoo.run.console import counted
from zoo.seeds import Draws
from zoo.training.components import evaluation_sampler
from zoo.training.generate import encode, generate

_SHOWN_PROMPTS = 10


@dataclass(frozen=True)
class Asked:
    """`prompts` in words come first, those of the recipe's `data.eval` if `from_source`."""

    out: Path
    prompts: Sequence[str] = ()
    from_source: bool = False
    limit: int | None = None
    num: int = 4
    seed: int = 0
    overwrite: bool = False


def sample(source: Source, asked: Asked) -> None:
    """Writes one picture, a row a prompt with `num` images each; or a folder with all of them.

    An image depends on its prompt, the seed and its number among the prompt's: the i-th images of
    all prompts start from the same noise.
    """
    if not asked.prompts and not asked.from_source:
        raise UserError("name a prompt (--prompt 'the digit seven') or a source (--prompts FILE)")
    chosen = choose(source)
    prompts = [Prompt(text) for text in asked.prompts]
    if asked.from_source:
        prompts += evaluation_prompts(chosen.recipe)[: asked.limit]
    image_folder.require_free(asked.out, overwrite=asked.overwrite)
    try:
        num_broken = _made(chosen, asked, prompts)
    except Interrupted as stop:
        raise typer.Exit(128 + stop.number) from None
    if num_broken:
        typer.echo(f"warning: {num_broken} images came out with NaN or infinity", err=True)
    typer.echo(
        f"wrote {asked.out}: {len(prompts) * asked.num} images "
        f"with the {chosen.weights.value} weights of {chosen.origin}"
    )


def _made(chosen: Chosen, asked: Asked, prompts: Sequence[Prompt]) -> int:
    """Makes and writes them; how many are broken."""
    model, sampler = loaded(chosen), evaluation_sampler(chosen.recipe, chosen.evaluation)
    total = len(prompts) * asked.num
    key = torch.arange(asked.num).repeat(len(prompts))
    wanted = encode(
        model.policy, sampler, prompts,
        torch.arange(len(prompts)).repeat_interleave(asked.num),
        Draws(asked.seed, "sample", 0, key, model.engine.device),
        largest=total,
    )  # fmt: skip
    single = image_folder.is_picture(asked.out)
    # Beside single files a picture of the first prompts is enough.
    shown = total if single else min(total, _SHOWN_PROMPTS * asked.num)
    images: list[Tensor] = []
    places: list[Tensor] = []
    done = 0
    stopping = "stopping after these images; again to leave at once"
    with (
        pictures.Writer() as writer,
        counted("images", total) as count,
        Interrupt(model.engine, typer.echo, stopping) as interrupt,
    ):
        folder = None
        if not single:
            image_folder.clear(asked.out)
            folder = ImageFolder(asked.out, asked.num, writer)
        batches = generate(
            model.policy, sampler, wanted,
            weights=chosen.weights,
            micro_batch=chosen.recipe.engine.micro_batch.sample,
            keep_path=False,
        )  # fmt: skip
        for batch in interrupt.leave_between(batches):
            if folder is not None:
                folder.put(batch.images, batch.rows)
            first = batch.rows < shown
            images.append(pictures.stills(batch.images[first.to(batch.images.device)]))
            places.append(batch.rows[first])
            done += len(batch.rows)
            count(done)
        picture = pictures.grid(_sheet(shown, torch.cat(images), torch.cat(places)), asked.num)
        if folder is None:
            image_folder.save_picture(picture, asked.out)
        else:
            folder.finish()
            folder.write(prompts, {}, picture)
    return total - done


def _sheet(num: int, images: Tensor, places: Tensor) -> Tensor:
    """All images in order; a broken one stays grey."""
    sheet = torch.full((num, *images.shape[1:]), 0.5)
    sheet[places] = images.float() / 255
    return sheet
