"""`zoo export`: a run's weights as the files that diffusers and PEFT load."""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from safetensors import SafetensorError
from torch import Tensor, nn

from zoo import __version__, checkpoint, lora_files, run_dir
from zoo.cli.chosen import checkpoint_folder, weights_named
from zoo.parts import evaluated_weights
from zoo.policy.base import Policy
from zoo.policy.weights import Lora
from zoo.recipe.component import rebuilt
from zoo.recipe.recipe import Recipe, RecipeError
from zoo.rollout import Weights
from zoo.tensor_file import TensorFile

FORMATS = ("diffusers", "peft")

_MARK = "<!-- zoo export -->"
_CARD = "README.md"
_WRITTEN = re.compile(r"README\.md|(adapter_)?config\.json|.+\.safetensors(\.index\.json)?")
_MEANING = {
    Weights.LIVE: "the trained weights",
    Weights.OLD: "the weights that made the images to learn from",
    Weights.REFERENCE: "the reference that training moved along",
    Weights.EMA: "the average of the trained weights",
}


@dataclass(frozen=True)
class _Chosen:
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


@dataclass(frozen=True)
class _Full:
    """A network of diffusers, its weights put in."""

    network: Any
    kind = "the whole network for diffusers"

    def write(self, folder: Path) -> None:
        self.network.save_pretrained(folder)

    def loading(self, folder: str) -> tuple[str, ...]:
        """How to load it from a folder, in Python."""
        name = type(self.network).__name__
        return f"from diffusers import {name}", f'network = {name}.from_pretrained("{folder}")'


@dataclass(frozen=True)
class _Lora:
    """Adapters, and the model that they are of, if it has a name."""

    tensors: Mapping[str, Tensor]
    lora: Lora
    base: str | None


class _DiffusersLora(_Lora):
    kind = "LoRA for diffusers"

    def write(self, folder: Path) -> None:
        lora_files.write_diffusers(folder, self.tensors, self.lora)

    def loading(self, folder: str) -> tuple[str, ...]:
        if self.base is None:
            return (
                "# network: the transformer that the run started from, a model of diffusers",
                f'network.load_lora_adapter("{folder}/{lora_files.DIFFUSERS}", '
                'prefix="transformer")',
            )
        return (
            "from diffusers import DiffusionPipeline",
            f'pipeline = DiffusionPipeline.from_pretrained("{self.base}")',
            f'pipeline.load_lora_weights("{folder}")',
        )


class _PeftLora(_Lora):
    kind = "LoRA for PEFT"

    def write(self, folder: Path) -> None:
        lora_files.write_peft(folder, self.tensors, self.lora, base=self.base)

    def loading(self, folder: str) -> tuple[str, ...]:
        return (
            "from peft import PeftModel  # network: the transformer that the run started from",
            f'network = PeftModel.from_pretrained(network, "{folder}")',
        )


_Export = _Full | _DiffusersLora | _PeftLora


def export(source: Path, out: Path, form: str, epoch: int | None, weights: str | None) -> None:
    """Writes one set of weights of one checkpoint, with a model card."""
    if form not in FORMATS:
        raise RecipeError(f"--format {form}: allowed are {', '.join(FORMATS)}")
    chosen = _choose(source, epoch, weights)
    _require_free(out)
    made = _made(chosen, form)
    with _in_place_of(out) as folder:
        made.write(folder)
        card = folder / _CARD
        card.write_text(_card(chosen, made, out.resolve().name), encoding="utf-8")
        for path in folder.iterdir():
            # safetensors gives its files to their owner alone.
            path.chmod(card.stat().st_mode)
    typer.echo(f"wrote {out}: {made.kind}, the {chosen.which.value} weights of {chosen.folder}")


def _choose(source: Path, epoch: int | None, weights: str | None) -> _Chosen:
    named = weights_named(weights)
    recipe = run_dir.recipe_of(source)
    folder = checkpoint_folder(source, epoch)
    saved = checkpoint.load(folder)
    which = named or evaluated_weights(recipe)
    sets: dict[str, dict[str, str]] = {each.value: {} for each in Weights}
    for name in saved.tensors:
        owner, _, inner = name.partition("/")
        if owner in sets:
            sets[owner][inner] = name
    if not sets[which.value]:
        have = ", ".join(name for name, found in sets.items() if found)
        moved = "" if which is not Weights.REFERENCE else (
            ": its reference never moved, so it is the model that the run started from"
        )  # fmt: skip
        raise RecipeError(f"--weights {which.value}: {folder} has {have}{moved}")
    return _Chosen(recipe, folder, saved.epoch, which, saved.tensors, sets[which.value])


def _made(chosen: _Chosen, form: str) -> _Export:
    policy = chosen.recipe.policy
    if not lora_files.are_lora(chosen.names):
        if form == "peft":
            raise RecipeError(
                "--format peft: this run trained the whole network, and PEFT's files are of LoRA "
                "adapters; use --format diffusers"
            )
        built: Policy = policy.build({"device": torch.device("cpu")})
        return _Full(_filled(built.weights.network, chosen))
    # A policy of its own kind may take its LoRA in other words: then only it knows.
    lora = rebuilt(policy.options.get("lora"), {})
    if not isinstance(lora, Lora):
        built = policy.build({"device": torch.device("cpu")})
        lora = built.weights.lora
    if lora is None:
        raise checkpoint.CheckpointError(f"{chosen.folder} has LoRA weights, its recipe no LoRA")
    tensors = {name: chosen.tensors[stored] for name, stored in chosen.names.items()}
    try:
        lora_files.require(tensors, lora)
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{chosen.folder}: {error}") from error
    made = _PeftLora if form == "peft" else _DiffusersLora
    return made(tensors, lora, chosen.base)


def _filled(network: nn.Module, chosen: _Chosen) -> Any:
    """The network with the chosen weights, in the types that the run trained them in."""
    import diffusers

    if not isinstance(network, diffusers.ModelMixin):
        raise RecipeError(
            f"the network of the policy '{chosen.recipe.policy.name}' is a "
            f"{type(network).__name__}, not a model of diffusers; only LoRA runs of it can be "
            "exported"
        )
    parameters, names = dict(network.named_parameters()), chosen.names
    for name in sorted(parameters.keys() | names.keys()):
        found = chosen.tensors.shape(names[name]) if name in names else None
        wanted = tuple(parameters[name].shape) if name in parameters else None
        if found != wanted:
            raise checkpoint.CheckpointError(
                f"{chosen.folder}: '{name}' is of shape {found} there and {wanted} in the network "
                f"of the policy '{chosen.recipe.policy.name}'"
            )
    for name, parameter in parameters.items():
        parameter.data = chosen.tensors[names[name]]
    return network


def _card(chosen: _Chosen, made: _Export, name: str) -> str:
    rows = {
        "recipe": chosen.recipe.name,
        "epoch": str(chosen.epoch),
        "weights": f"{chosen.which.value}, {_MEANING[chosen.which]}",
        "policy": chosen.recipe.policy.name,
        "base model": chosen.base,
        "made by": f"diffusion-rl-zoo {__version__}",
    }
    lines = [f"| {key} | {value} |" for key, value in rows.items() if value is not None]
    return "\n".join((
        f"# {chosen.recipe.name}: {made.kind}", "", _MARK,
        "| | |", "|---|---|", *lines, "",
        "```python", *made.loading(name), "```", "",
    ))  # fmt: skip


def _require_free(out: Path) -> None:
    """Refuses to overwrite what no export wrote."""
    if not out.is_dir():
        if out.exists():
            raise RecipeError(f"--out {out} is a file; name a folder")
        return
    card = out / _CARD
    ours = card.is_file() and _MARK in card.read_text(encoding="utf-8", errors="replace")
    for path in sorted(out.iterdir()):
        if not (ours and _WRITTEN.fullmatch(path.name) and path.is_file()):
            raise RecipeError(
                f"--out {out} holds {path.name}, which no export wrote; name another folder"
            )


@contextmanager
def _in_place_of(out: Path) -> Iterator[Path]:
    """A new folder, which takes the place of `out` if all goes well."""
    final = out.resolve()
    new, old = (final.with_name(f".{final.name}.{what}-export") for what in ("new", "old"))
    try:
        for leftover in (new, old):
            if leftover.exists():
                shutil.rmtree(leftover)
        new.mkdir(parents=True)
        yield new
        if final.exists():
            final.rename(old)
        new.rename(final)
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        raise RecipeError(f"--out {out} cannot be written: {said or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
