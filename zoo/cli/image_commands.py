"""The command lines of `zoo eval` and `zoo sample`."""

from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import (
    Best,
    Checkpoint,
    Debug,
    Overrides,
    Overwrite,
    Tiny,
    Weights,
    out_option,
)
from zoo.errors import UserError

SourceOf = Annotated[Path, typer.Argument(help="A run folder, or a recipe for the model as it is.")]
Prompts = Annotated[
    str | None, typer.Option("--prompts", help="A source, as data.eval: a file, builtin:NAME, hub:")
]
Limit = Annotated[
    int | None, typer.Option("--limit", help="The first so many prompts of the source.", min=1)
]
Steps = Annotated[int | None, typer.Option("--steps", help="Instead of the recipe's eval.steps.")]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", help="Classifier-free guidance; 1 is without. For eval.guidance."),
]
Solver = Annotated[
    str | None, typer.Option("--solver", help="For eval.solver: a name, or '{name: ..., ...}'.")
]
Fps = Annotated[
    float | None, typer.Option("--fps", help="Frames a second of videos. For eval.fps.")
]
Resolution = Annotated[
    str | None,
    typer.Option("--resolution", help="Of images: 512, or 832x480. For eval.resolution."),
]
Frames = Annotated[
    int | None, typer.Option("--frames", help="The length of videos. For eval.frames.")
]
Lora = Annotated[
    str | None,
    typer.Option("--lora", help="Of a recipe's model: a PEFT folder, a hub id, diffusers' file."),
]


_SAMPLES = Path("samples.png")


def evaluate(
    source: SourceOf,
    prompts: Prompts = None,
    rewards: Annotated[
        str | None,
        typer.Option(help="For eval.rewards: names with commas, or '[{name: ...}, ...]'."),
    ] = None,
    limit: Limit = None,
    images_per_prompt: Annotated[
        int | None, typer.Option("--images-per-prompt", "-n", help="For eval.images_per_prompt.")
    ] = None,
    steps: Steps = None,
    guidance: Guidance = None,
    solver: Solver = None,
    resolution: Resolution = None,
    frames: Frames = None,
    fps: Fps = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the noise; default: the recipe's.", min=0)
    ] = None,
    epoch: Checkpoint = None,
    best: Best = False,
    weights: Weights = None,
    processes: Annotated[
        str | None, typer.Option(help="How many share the prompts; auto: one a GPU; default: 1.")
    ] = None,
    out: Annotated[
        Path | None,
        out_option("A folder for every score and image; or x.png (x.webp), one picture."),
    ] = None,
    overwrite: Overwrite = False,
    overrides: Overrides = None,
    lora: Lora = None,
    tiny: Tiny = False,
    debug: Debug = False,
) -> None:
    """Score a run's checkpoint, or a recipe's model, as its `eval` and these options say."""
    from zoo.cli.evaluate import evaluate as evaluate_images
    from zoo.cli.report import choose_epoch
    from zoo.cli.source import ImageJob, choose_checkpoint, evaluation_overrides
    from zoo.plan.preflight import evaluation_prompts

    epoch = choose_epoch(source, epoch, best=best)
    changes = evaluation_overrides(
        prompts=prompts, rewards=rewards, solver=solver, steps=steps, guidance=guidance,
        images_per_prompt=images_per_prompt, resolution=resolution, frames=frames, fps=fps,
    )  # fmt: skip
    model = choose_checkpoint(
        source, [*(overrides or []), *changes], epoch=epoch, weights=weights, tiny=tiny, lora=lora
    )
    evaluate_images(ImageJob(
        model,
        evaluation_prompts(model.recipe)[:limit],
        model.evaluation.images_per_prompt,
        model.recipe.seed if seed is None else seed,
        out=out, overwrite=overwrite, limit=limit, processes=processes,
    ))  # fmt: skip


def sample(
    source: SourceOf,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="What to show (repeatable).")
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(
            "--image", "-i", help="To edit or to animate, for each --prompt (repeatable)."
        ),
    ] = None,
    prompts: Prompts = None,
    limit: Limit = None,
    num: Annotated[int, typer.Option("--num", "-n", help="Images of each prompt.", min=1)] = 4,
    steps: Steps = None,
    guidance: Guidance = None,
    solver: Solver = None,
    resolution: Resolution = None,
    frames: Frames = None,
    fps: Fps = None,
    seed: Annotated[int, typer.Option(help="Of the noise.", min=0)] = 0,
    epoch: Checkpoint = None,
    best: Best = False,
    weights: Weights = None,
    out: Annotated[
        Path | None,
        out_option(
            "One picture, x.png (videos: .webp, .gif, .mp4), or a folder, a file an image; "
            "default: samples.png, or the next that is free."
        ),
    ] = None,
    overwrite: Overwrite = False,
    overrides: Overrides = None,
    lora: Lora = None,
    tiny: Tiny = False,
    debug: Debug = False,
) -> None:
    """Make images with a run's checkpoint, or a recipe's model, as its evaluation does."""
    from zoo.cli.new_file import next_free
    from zoo.cli.report import choose_epoch
    from zoo.cli.sample import sample as sample_images
    from zoo.cli.source import ImageJob, choose_checkpoint, evaluation_overrides
    from zoo.data.images import require_inputs
    from zoo.plan.preflight import evaluation_prompts
    from zoo.prompt import ImageFile, Prompt

    epoch = choose_epoch(source, epoch, best=best)
    changes = evaluation_overrides(
        prompts=prompts, solver=solver, steps=steps, guidance=guidance, resolution=resolution,
        frames=frames, fps=fps,
    )  # fmt: skip
    if not prompt and prompts is None:
        raise UserError("name a prompt (--prompt 'the digit seven') or a source (--prompts FILE)")
    if image and not prompt:
        raise UserError("--image is for each --prompt: name one (--prompt 'make it blue')")
    model = choose_checkpoint(
        source, [*(overrides or []), *changes], epoch=epoch, weights=weights, tiny=tiny, lora=lora
    )
    wanted = [Prompt(text, inputs=tuple(map(ImageFile, image or ()))) for text in prompt or ()]
    require_inputs(wanted)
    if prompts is not None:
        wanted += evaluation_prompts(model.recipe)[:limit]
    place = out or (_SAMPLES if overwrite else next_free(_SAMPLES))
    sample_images(ImageJob(model, wanted, num, seed, place, overwrite=overwrite, limit=limit))
