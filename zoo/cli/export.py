"""`zoo export`: a run's weights as the files that diffusers and PEFT load."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo import __version__
from zoo.cli.export_folder import CARD, in_place_of, require_free
from zoo.cli.export_formats import (
    DiffusersLora,
    Export,
    Full,
    PeftLora,
    push_folder,
    require_can_push,
)
from zoo.cli.source import checkpoint_folder, parse_weights
from zoo.errors import UserError, visible
from zoo.policy import lora_files
from zoo.policy.base import Policy
from zoo.recipe.recipe import Recipe
from zoo.rollout import Weights
from zoo.run import checkpoint, model_record
from zoo.run.folder import recipe_of
from zoo.storage.tensor_file import TensorFile
from zoo.terminal import say
from zoo.training.build import lora_of
from zoo.training.components import evaluated_weights

FORMATS = ("diffusers", "peft")

_MEANING = {
    Weights.LIVE: "the trained weights",
    Weights.OLD: "the weights that made the images to learn from",
    Weights.REFERENCE: "the reference that training moved along",
    Weights.EMA: "the average of the trained weights",
    Weights.SAMPLING: "the weights that made the images to learn from",
}


@dataclass(frozen=True)
class _CheckpointWeights:
    """What to export: one set of weights of one checkpoint."""

    recipe: Recipe
    folder: Path
    epoch: int
    which: Weights
    tensors: TensorFile
    names: Mapping[str, str]
    """A parameter's name in the file, by its name in the network."""

    @property
    def base(self) -> str | None:
        """The model that the run started from, where the policy has an option for it."""
        named = self.recipe.policy.options.get("pretrained")
        return None if named is None else str(named)


def export(
    source: Path,
    out: Path,
    form: str,
    epoch: int | None,
    weights: str | None,
    push: str | None,
    private: bool,
) -> None:
    """Writes one set of weights of one checkpoint, with a model card; `push` uploads the folder."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: allowed are {', '.join(FORMATS)}")
    if private and push is None:
        raise UserError("--private is for what --push OWNER/NAME uploads; add it")
    if push is not None:
        require_can_push(push)
    chosen = _choose(source, epoch, weights)
    require_free(out)
    for line in _doubts(chosen):
        say(f"warning: {line}", err=True)
    exported = _make_export(chosen, form)
    with in_place_of(out) as folder:
        weights_folder = exported.write(folder)
        card = folder / CARD
        card.write_text(_card(chosen, exported, push or out.resolve().name), encoding="utf-8")
        for path in weights_folder.iterdir():
            # safetensors gives its files to their owner alone.
            if path.is_file():
                path.chmod(card.stat().st_mode)
    say(f"wrote {out}: {exported.kind}, the {chosen.which.value} weights of {chosen.folder}")
    if push is not None:
        say(f"pushed to {push_folder(out, push, private=private)}")


def _choose(source: Path, epoch: int | None, weights: str | None) -> _CheckpointWeights:
    named = parse_weights(weights)
    recipe = recipe_of(source)
    folder = checkpoint_folder(source, epoch)
    saved = checkpoint.load(folder)
    which = named or evaluated_weights(recipe)
    sets: dict[str, dict[str, str]] = {which.value: {} for which in Weights}
    for name in saved.tensors:
        owner, _, inner = name.partition("/")
        if owner in sets:
            sets[owner][inner] = name
    if not sets[which.value]:
        have = ", ".join(name for name, stored in sets.items() if stored)
        moved = "" if which is not Weights.REFERENCE else (
            ": its reference never moved, so it is the model that the run started from"
        )  # fmt: skip
        raise UserError(f"--weights {which.value}: {folder} has {have}{moved}")
    return _CheckpointWeights(recipe, folder, saved.epoch, which, saved.tensors, sets[which.value])


_ABSURD = 65504.0
"""The largest number of float16, which such weights are often loaded in; none comes near it."""


def _doubts(chosen: _CheckpointWeights) -> Iterator[str]:
    """What makes it unlikely that these weights draw anything: the first tensor of each kind."""
    largest = {
        name: float(chosen.tensors[stored].abs().max()) for name, stored in chosen.names.items()
    }
    broken = sorted(name for name, value in largest.items() if not math.isfinite(value))
    absurd = sorted(name for name, value in largest.items() if _ABSURD < value < math.inf)
    for names, what in ((broken, "not finite"), (absurd, f"beyond {_ABSURD:g}, which is absurd")):
        if names:
            yield (
                f"{len(names)} of {len(largest)} tensors of {chosen.folder} are {what}: "
                f"'{names[0]}'; images will be noise: export another epoch with --epoch"
            )


def _make_export(chosen: _CheckpointWeights, form: str) -> Export:
    if not lora_files.are_lora(chosen.names):
        if form == "peft":
            raise UserError(
                "--format peft: this run trained the whole network, and PEFT's files are of LoRA "
                "adapters; use --format diffusers"
            )
        policy = _policy(chosen.recipe)
        return Full(_fill(policy.weights.network, chosen), policy)
    # A policy of its own kind may take its LoRA in other words: then only it knows.
    lora = lora_of(chosen.recipe)
    if lora is None:
        lora = _policy(chosen.recipe).weights.lora
    if lora is None:
        raise checkpoint.CheckpointError(f"{chosen.folder} has LoRA weights, its recipe no LoRA")
    tensors = {name: chosen.tensors[stored] for name, stored in chosen.names.items()}
    try:
        lora_files.require(tensors, lora)
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{chosen.folder}: {error}") from error
    run = chosen.folder.parent.parent
    if form == "diffusers":
        _require_loader(model_record.pipeline(run))
    kind = PeftLora if form == "peft" else DiffusersLora
    return kind(tensors, lora, chosen.base, model_record.trained(run))


def _require_loader(pipeline: str | None) -> None:
    """Sees that a pipeline, where it is known, can read LoRA by itself."""
    import diffusers

    cls = getattr(diffusers, pipeline or "", None)
    if cls is not None and not hasattr(cls, "load_lora_weights"):
        raise UserError(
            f"--format diffusers: {pipeline} has no load_lora_weights to read it; use --format "
            "peft, whose files go into its network"
        )


def _policy(recipe: Recipe) -> Policy:
    return recipe.build(recipe.policy, {"device": torch.device("cpu")})


def _fill(network: nn.Module, chosen: _CheckpointWeights) -> Any:
    """The network with the chosen weights, in the types that the run trained them in."""
    import diffusers

    if not isinstance(network, diffusers.ModelMixin):
        raise UserError(
            f"the network of the policy '{chosen.recipe.policy.name}' is a "
            f"{type(network).__name__}, not a model of diffusers; only LoRA runs of it can be "
            "exported"
        )
    parameters, names = dict(network.named_parameters()), chosen.names
    for name in sorted(parameters.keys() | names.keys()):
        shape = chosen.tensors.shape(names[name]) if name in names else None
        wanted = tuple(parameters[name].shape) if name in parameters else None
        if shape != wanted:
            raise checkpoint.CheckpointError(
                f"{chosen.folder}: '{name}' is of shape {shape} there and {wanted} in the network "
                f"of the policy '{chosen.recipe.policy.name}'"
            )
    for name, parameter in parameters.items():
        parameter.data = chosen.tensors[names[name]]
    return network


def _card(chosen: _CheckpointWeights, exported: Export, name: str) -> str:
    rows = {
        "recipe": chosen.recipe.name,
        "epoch": str(chosen.epoch),
        "weights": f"{chosen.which.value}, {_MEANING[chosen.which]}",
        "policy": chosen.recipe.policy.name,
        "base model": chosen.base,
        "made by": f"diffusion-rl-zoo {__version__}",
    }
    lines = [f"| {key} | {visible(value)} |" for key, value in rows.items() if value is not None]
    return "\n".join((
        *_front_matter(chosen, exported),
        f"# {chosen.recipe.name}: {exported.kind}", "",
        "| | |", "|---|---|", *lines, "",
        "```python", *exported.loading(name), "```", "",
    ))  # fmt: skip


def _front_matter(chosen: _CheckpointWeights, exported: Export) -> tuple[str, ...]:
    """What the Hub reads of a model card, in YAML; a base that is a folder here it cannot know."""
    base = chosen.base
    known = base is not None and not Path(base).exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", base)
    tags = (*exported.tags, "text-to-image", chosen.recipe.objective.name)
    return (
        "---",
        *([f"base_model: {json.dumps(base)}"] if known else []),
        f"library_name: {exported.loaded_by}",
        "pipeline_tag: text-to-image",
        f"tags: {json.dumps(tags)}",
        "---",
        "",
    )
