"""A pipeline's parts, loaded from a folder or the hub."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from zoo.errors import closest
from zoo.policy.parts import is_part, require_files
from zoo.policy.pipeline import modular
from zoo.policy.pipeline.names import is_network, is_network_class
from zoo.policy.pretrained import Precision, Pretrained, Types


def pipeline_class(files: Pretrained, name: str | None) -> Any:
    """The class of diffusers that is named, or that the model's index names.

    Raises:
        ValueError: diffusers has none of that name.
    """
    import diffusers

    wanted = name or files.index().get("_class_name")
    cls = getattr(diffusers, str(wanted), None)
    if isinstance(cls, type) and issubclass(cls, diffusers.DiffusionPipeline):
        return cls
    if modular.is_modular(cls):
        return cls
    has = [name for name in dir(diffusers) if name.endswith("Pipeline")]
    raise ValueError(
        f"diffusers {diffusers.__version__} has no pipeline '{wanted}'{closest(str(wanted), has)}; "
        "name one with policy.pipeline, or install the diffusers that has it"
    )


def files_of(options: Mapping[str, Any]) -> Pretrained:
    """The model that a policy's options name.

    Raises:
        ValueError: a single file cannot be read.
    """
    named = (options.get(key) for key in ("revision", "variant", "parts"))
    return Pretrained.of(str(options["pretrained"]), *named)


def network_of(files: Pretrained) -> str:
    """The part that a published single file has."""
    return "transformer" if files.index().get("transformer") else "unet"


def load_pipeline(files: Pretrained, cls: Any, precision: Precision, without: Sequence[str]) -> Any:
    """A pipeline with its weights, on the CPU, `without` some of its parts.

    Raises:
        ValueError: it is missing, broken, has no such part, or cannot be had.
    """
    import diffusers

    if modular.is_modular(cls):
        return modular.load_modular(cls, files, _types(files, precision), without)
    require_named(cls, without)
    own = (network_of(files),) if files.file else ()
    require_files(files, without=(*without, *own))
    given: dict[str, Any] = dict.fromkeys(without)
    if files.file:
        name = network_of(files)
        network = getattr(diffusers, files.index()[name][1])
        given[name] = files.network_in_file(network, name, precision.weights)
    return files.pipeline(cls, _types(files, precision), given)


def _types(files: Pretrained, precision: Precision) -> Types:
    """Of the parts, as diffusers is told: one of all, or each one's by its name."""
    import diffusers

    types = {
        name: precision.part(name, is_network=is_network_class(getattr(diffusers, named[1], None)))
        for name, named in files.index().items()
        if is_part(named)
    }
    if {*types.values()} <= {precision.computing}:
        return precision.computing
    return {"default": precision.computing, **types}


def require_named(cls: Any, without: Sequence[str]) -> None:
    """Sees that a pipeline of this class has the parts that it is to do without.

    Raises:
        ValueError: it has no such part.
    """
    parts = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    for name in without:
        if name not in parts:
            raise ValueError(
                f"{cls.__name__} has no part '{name}' to do without{closest(name, parts)}; "
                f"policy.without takes some of {', '.join(parts)}"
            )


def keywords_of(cls: Any) -> dict[str, Any]:
    """The keywords of every call of pipelines of a class, with their defaults."""
    if modular.is_modular(cls):
        return modular.inputs_of(cls().blocks)
    taken = inspect.signature(cls.__call__).parameters
    return {name: parameter.default for name, parameter in taken.items()}


def place_parts(pipe: Any, device: torch.device, *, networks_on: torch.device) -> None:
    """The networks, the autoencoder and the rest on their devices, frozen, without dropout.

    In the types that they were loaded in: diffusers keeps some of a network's numbers in float32.
    """
    for part in pipe.components.values():
        if not isinstance(part, nn.Module):
            continue
        part.requires_grad_(False).eval()
        if is_network(part):
            part.to(networks_on)
        elif device.type != "meta":
            part.to(device)
