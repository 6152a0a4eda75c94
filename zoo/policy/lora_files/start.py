"""Starting from a LoRA: its weights become live's, exactly, or it is refused with the fix.

A file's alpha may be another than the recipe's: what it differs by goes into B. Its rank (where
layers have several, the largest) and its layers must be the recipe's, which the recipe can be given
from the file's `settings`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from zoo.policy.lora_files.names import module_of
from zoo.policy.lora_files.read import LoraFile, read
from zoo.policy.lora_files.source import LoraError
from zoo.policy.weights import Lora, WeightSets
from zoo.rollout import Weights

_SHOWN = 3


def open_lora(source: str) -> LoraFile:
    """A LoRA's header, read; see `start_from` for what a source is.

    Raises:
        LoraError: there is none, or it cannot be taken over exactly.
    """
    return read(source)


def start_from(source: str, weights: WeightSets, copies: Iterable[Weights]) -> None:
    """Sets live, and the allocated copies of it, to a LoRA's weights; before the engine is made.

    `source` is a folder of PEFT's (`adapter_config.json` with `adapter_model.safetensors`, also in
    `lora/` or `default/` below) or of diffusers' (`pytorch_lora_weights.safetensors`), a
    `.safetensors` file, also in another program's layout (`convert.py`), or such a place on the
    Hub: `OWNER/NAME[/FOLDER][@REVISION]`. A reference that is no copy stays the base without LoRA,
    as in the published code.

    Raises:
        LoraError: it cannot be had, is of another kind, rank or network, or not finite.
    """
    file = read(source)
    require_fit(file, weights)
    assert weights.lora is not None
    weights.assign(Weights.LIVE, _Fitted(file, weights, weights.lora.alpha / weights.lora.rank))
    for which in copies:
        weights.blend(which, decay=0.0)


def require_rank(file: LoraFile, lora: Lora) -> None:
    """Refuses a LoRA of another rank than the recipe's.

    Raises:
        LoraError: it is.
    """
    if file.rank != lora.rank:
        raise LoraError(
            f"the LoRA '{file.where}' has rank {file.rank} and the recipe's has {lora.rank}; "
            f"write policy.lora: {{rank: {file.rank}}}"
        )


def require_fit(file: LoraFile, weights: WeightSets) -> None:
    """Refuses a LoRA of other layers or shapes than these weights have.

    Raises:
        LoraError: it is; with the `targets` to write where they would help.
    """
    if weights.lora is None:
        raise LoraError(f"'{file.where}' is a LoRA, and the recipe trains without one")
    require_rank(file, weights.lora)
    modules = list(bare_modules(weights.network, map(module_of, weights.parameters())))
    if unknown := sorted(set(file.layers) - set(modules)):
        raise LoraError(
            f"the LoRA '{file.where}' is of another architecture: it has {_first(unknown)}, which "
            "the policy's network has not"
        )
    live = weights.parameters()
    layers, trained = set(file.layers), {module_of(name) for name in live}
    if layers != trained:
        surplus, missing = sorted(layers - trained), sorted(trained - layers)
        differences = (
            [f"it has {_first(surplus)}, which the recipe does not train"] if surplus else []
        )
        differences += [f"it lacks {_first(missing)}, which the recipe trains"] if missing else []
        raise LoraError(
            f"the LoRA '{file.where}' is of other layers: {'; '.join(differences)}; write "
            f"policy.lora.targets: [{', '.join(shortest(file.layers, modules))}]"
        )
    for name, parameter in live.items():
        wanted = list(parameter.shape)
        wanted[_rank_axis(name)] = file.ranks[module_of(name)]
        if list(file.shape(name)) != wanted:
            raise LoraError(
                f"the LoRA '{file.where}' is of another model: its '{name}' is of shape "
                f"{list(file.shape(name))}, the policy's {wanted}"
            )


def settings(source: str, network: nn.Module | None = None) -> dict[str, Any]:
    """What a recipe's policy.lora must say for a LoRA: `rank`, `alpha` and `targets`.

    The targets are the shortest that train its layers and no others of the `network`, which is
    without LoRA and may be on the meta device. Without a network they are the file's own, where it
    has them and they agree with its layers, or else the layers' whole names.

    Raises:
        LoraError: there is none, or a run cannot start from it.
    """
    file = read(source)
    alphas = {scale * file.ranks[layer] for layer, scale in file.scales.items()}
    alpha = alphas.pop() if len(alphas) == 1 else 0.0
    if network is not None:
        targets = shortest(file.layers, [name for name, _ in network.named_modules()])
    elif _agree(file.listed, file.layers):
        targets = list(file.listed)
    else:
        targets = file.layers
    return {
        "rank": file.rank,
        # Whatever is written here, B makes up for what the file's differs by.
        "alpha": int(alpha) if alpha >= 1 and alpha.is_integer() else file.rank,
        "targets": targets,
    }


def bare_modules(network: nn.Module, adapted: Iterable[str]) -> Iterator[str]:
    """The modules that a network had before the `adapted` ones were given LoRA."""
    inside = tuple(f"{name}." for name in adapted)
    return (name for name, _ in network.named_modules() if not name.startswith(inside))


def shortest(layers: Sequence[str], modules: Iterable[str]) -> list[str]:
    """The shortest ends of names that, among these modules, only the layers' names have."""
    others = [f".{name}" for name in set(modules) - set(layers)]
    shortest_ends: set[str] = set()
    for layer in layers:
        parts = layer.split(".")
        ends = (".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1))
        shortest_ends.add(
            next((e for e in ends if not any(o.endswith(f".{e}") for o in others)), layer)
        )
    return sorted(e for e in shortest_ends if not any(e.endswith(f".{f}") for f in shortest_ends))


def _agree(targets: Sequence[str], layers: Sequence[str]) -> bool:
    """Whether every layer ends in a target, and every target is the end of a layer."""
    ends = [{t for t in targets if f".{layer}".endswith(f".{t}")} for layer in layers]
    return bool(targets) and all(ends) and set().union(*ends) == set(targets)


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


class _Fitted(Mapping[str, Tensor]):
    """A file's tensors for weights that multiply by `scale`, each read when it is asked for.

    A layer of a smaller rank keeps in the rest of A what it was drawn with, and in the rest of B
    the zeros: the network is the file's, and training goes on at the whole rank.
    """

    def __init__(self, file: LoraFile, weights: WeightSets, scale: float) -> None:
        self._file, self._scale = file, scale
        self._drawn = weights.parameters()

    def __getitem__(self, name: str) -> Tensor:
        tensor, drawn = self._file.tensor(name, self._scale), self._drawn[name]
        if tensor.shape == drawn.shape:
            return tensor
        rank = tensor.shape[_rank_axis(name)]
        whole = drawn.detach().clone()
        whole.narrow(_rank_axis(name), 0, rank).copy_(tensor)
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.names)

    def __len__(self) -> int:
        return len(self._file.names)


def _rank_axis(name: str) -> int:
    """The axis of an adapter's matrix that is as long as the rank: rows of A, columns of B."""
    return 1 if ".lora_B." in name else 0
