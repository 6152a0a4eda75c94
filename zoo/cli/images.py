"""`zoo eval` and `zoo sample`: images of a checkpoint, or of the model a recipe starts from."""

from dataclasses import dataclass
from pathlib import Path

import torch
import typer
from PIL import Image
from torch import Tensor

from zoo import checkpoint, pictures, run_dir, run_state
from zoo.build import Run, build, evaluated_weights, plain_engine
from zoo.cli.chosen import checkpoint_folder, weights_named
from zoo.cli.ready import num_prompts, require_device
from zoo.evaluate import evaluate as evaluate_images
from zoo.generate import Wanted, generate
from zoo.prompt import Prompt
from zoo.recipe.recipe import RecipeError, load_recipe
from zoo.rollout import Weights
from zoo.seeds import Draws


@dataclass(frozen=True)
class _Loaded:
    run: Run
    weights: Weights
    origin: str


def evaluate(
    source: Path, overrides: list[str], epoch: int | None, weights: str | None, out: Path | None
) -> None:
    """Prints every metric of the recipe's evaluation."""
    loaded = _load(source, overrides, epoch, weights)
    run, options = loaded.run, loaded.run.recipe.eval
    if run.evaluation is None or options is None:
        raise RecipeError(f"{source} has no `eval` section; write one, or -s 'eval={{every: 10}}'")
    evaluated = evaluate_images(
        run.engine, run.policy,
        run.evaluation.sampler, run.evaluation.judge, run.evaluation.prompts,
        images_per_prompt=options.images_per_prompt,
        weights=loaded.weights,
        seed=run.recipe.seed,
        micro_batch=run.recipe.engine.micro_batch.sample,
    )  # fmt: skip
    typer.echo(f"{loaded.weights.value} weights of {loaded.origin}")
    for line in evaluated.failures:
        typer.echo(f"warning: {line}", err=True)
    for name, value in evaluated.metrics.items():
        typer.echo(f"{name:30} {value:.4g}")
    if out is not None:
        _save(pictures.grid(evaluated.shown, evaluated.columns), out)
        typer.echo(f"wrote {out}")


def sample(
    source: Path,
    overrides: list[str],
    epoch: int | None,
    weights: str | None,
    texts: list[str],
    num: int,
    seed: int,
    out: Path,
) -> None:
    """Writes one picture: a row a prompt, `num` images each."""
    loaded = _load(source, overrides, epoch, weights)
    run = loaded.run
    sampler = run.evaluation.sampler if run.evaluation else run.sampler
    prompts = [Prompt(text) for text in texts]
    images: list[Tensor] = []
    wanted = Wanted(
        prompts,
        prompt=torch.arange(len(prompts)).repeat_interleave(num),
        key=torch.arange(num).repeat(len(prompts)),
        largest=len(prompts) * num,
    )  # fmt: skip
    generate(
        run.policy, sampler, wanted,
        lambda key: Draws(seed, "sample", 0, key, run.engine.device),
        weights=loaded.weights,
        micro_batch=run.recipe.engine.micro_batch.sample,
        keep_path=False,
        receive=lambda batch, rows: images.append(batch.cpu()),
    )  # fmt: skip
    _save(pictures.grid(torch.cat(images).clamp(0, 1), num), out)
    typer.echo(
        f"wrote {out}: {len(prompts) * num} images "
        f"with the {loaded.weights.value} weights of {loaded.origin}"
    )


def _save(picture: Image.Image, out: Path) -> None:
    try:
        pictures.save(picture, out)
    except OSError as error:
        raise RecipeError(f"--out {out} cannot be written: {error.strerror or error}") from error


def _load(source: Path, overrides: list[str], epoch: int | None, weights: str | None) -> _Loaded:
    """A run with its checkpoint's weights, or a recipe's model as it starts."""
    named = weights_named(weights)
    if source.is_dir():
        recipe = run_dir.recipe_of(source, overrides)
        folder: Path | None = checkpoint_folder(source, epoch)
    else:
        if epoch is not None:
            raise RecipeError(
                f"--epoch {epoch}: {source} is a recipe; only a run folder has checkpoints"
            )
        recipe, folder = load_recipe(source, overrides), None
    require_device(recipe)
    num_prompts(recipe)
    run = build(recipe, plain_engine, resumed=folder is not None, shown=named)
    if folder is not None:
        run_state.load_weights(run, checkpoint.load(folder).tensors, folder)
    usual = evaluated_weights(recipe)
    which = named or usual
    have = {Weights.LIVE, Weights.REFERENCE, *run.copies}
    if which not in have:
        names = ", ".join(sorted(each.value for each in have))
        raise RecipeError(f"--weights {which.value}: this run has {names}")
    return _Loaded(run, which, str(folder or source))
