"""A pipeline's parts: loaded from a folder or the hub, or made as shapes alone."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import closest, one_line
from zoo.policy.parts import is_part, require_files
from zoo.policy.pipeline import modular
from zoo.policy.pipeline.names import is_network, is_network_class
from zoo.policy.pretrained import Precision, Pretrained, Types

_TINY = "zoo.policy.tiny_pipelines."
"""Where the parts of tiny pipelines are that no library has."""


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
        _require_whole(cls, files, without)
        return modular.load_modular(cls, files, _types(files, precision))
    _require_named(cls, without)
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


def _require_whole(cls: Any, files: Pretrained, without: Sequence[str]) -> None:
    if without or files.file:
        raise ValueError(
            f"{cls.__name__} is made of blocks, which are loaded whole from a folder or hub id; "
            "leave policy.without out, and name no single file"
        )


def _require_named(cls: Any, without: Sequence[str]) -> None:
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


def shape_pipeline(
    files: Pretrained, cls: Any, precision: Precision, without: Sequence[str]
) -> Any:
    """A pipeline whose networks and autoencoder are shapes alone and read no weights.

    Its tokenizers and its scheduler are real. Its text encoders give made-up numbers of the right
    shapes.

    Raises:
        ValueError: a part's configuration cannot be had, or it is made of blocks.
    """
    if modular.is_modular(cls):
        raise ValueError(
            f"{cls.__name__} is made of blocks, and its shapes alone are not: nothing is known of "
            "it before its weights are loaded; see docs/models.md"
        )
    import diffusers
    import transformers

    _require_named(cls, without)
    kwargs: dict[str, Any] = dict.fromkeys(without)
    for name, named in files.index().items():
        if name.startswith("_") or name in without:
            continue
        if not is_part(named):
            is_absent = isinstance(named, list) and named[:1] == [None]
            kwargs[name] = None if is_absent else named
            continue
        library, kind = named
        module = {"diffusers": diffusers, "transformers": transformers}.get(library)
        if library.startswith(_TINY):
            module = importlib.import_module(library)
        part = getattr(module, kind, None) if module is not None else None
        if part is None:
            part = getattr(_own_module(cls), kind, None)
        dtype = precision.part(name, is_network=is_network_class(part))
        kwargs[name] = None if part is None else _shape_part(files, part, name, dtype)
    try:
        return cls(**kwargs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{cls.__name__} cannot be made of the parts of '{files.source}': {one_line(error)}"
        ) from error


def place_parts(pipe: Any, device: torch.device) -> None:
    """The networks, the autoencoder and the rest on the device, frozen, without dropout.

    In the types that they were loaded in: diffusers keeps some of a network's numbers in float32.
    """
    for part in pipe.components.values():
        if not isinstance(part, nn.Module):
            continue
        part.requires_grad_(False).eval()
        if is_network(part) or device.type != "meta":
            part.to(device)


def _own_module(cls: Any) -> Any:
    """Where a pipeline's own classes are: beside it."""
    return importlib.import_module(cls.__module__.rpartition(".")[0])


def _shape_part(files: Pretrained, cls: Any, name: str, dtype: torch.dtype) -> Any:
    if not issubclass(cls, nn.Module):
        return files.load(cls, name)
    if cls.__module__.startswith("diffusers."):
        return files.empty(cls, name, dtype).eval()
    from transformers import AutoConfig

    projects = "WithProjection" in cls.__name__
    return HollowEncoder(files.load(AutoConfig, name), dtype, projects=projects)


class HollowEncoder(nn.Module):
    """A text or image encoder's outputs without its weights: their shapes by its configuration."""

    device = torch.device("cpu")

    def __init__(self, config: Any, dtype: torch.dtype, *, projects: bool) -> None:
        """With the configuration of transformers; of a model that projects what it pools."""
        super().__init__()
        self.config, self.dtype, self._projects = config, dtype, projects

    def forward(self, input_ids: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """Made-up hidden states that depend on the tokens, of every layer, and what is pooled."""
        from transformers.utils import ModelOutput

        text = getattr(self.config, "text_config", self.config)
        given = input_ids if input_ids is not None else next(_tensors(kwargs))
        width = _first_of(text, "hidden_size", "d_model")
        layers = _first_of(text, "num_hidden_layers", "num_layers")
        if given.is_floating_point():
            tokens = (text.image_size // text.patch_size) ** 2 + 1
            ids = given.flatten(1).mean(dim=1, keepdim=True).expand(-1, tokens)
        else:
            ids = given.to(torch.float32)
        hidden = torch.sin(ids.unsqueeze(-1) * (1 + torch.arange(width)))
        pooled = hidden.mean(dim=1)
        projected = getattr(text, "projection_dim", width) or width
        embeds = torch.sin(pooled.sum(dim=1, keepdim=True) * (1 + torch.arange(projected)))
        made: dict[str, Any] = {"text_embeds": embeds} if self._projects else {}
        made |= {"last_hidden_state": hidden, "pooler_output": pooled}
        made = {key: value.to(self.dtype) for key, value in made.items()}
        made["hidden_states"] = (hidden.to(self.dtype),) * (layers + 1)
        return ModelOutput(made)  # Their order counts: pipelines take the first.


def _tensors(kwargs: Mapping[str, Any]) -> Any:
    return (value for value in kwargs.values() if isinstance(value, Tensor))


def _first_of(config: Any, *names: str) -> int:
    return int(next(getattr(config, name) for name in names if hasattr(config, name)))
