"""A pipeline's parts: loaded from a folder or the hub, or made as shapes alone."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import closest, one_line
from zoo.policy.pipeline import modular
from zoo.policy.pretrained import Pretrained

_LIBRARIES = ("diffusers", "transformers")


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


def load_pipeline(files: Pretrained, cls: Any, dtype: torch.dtype) -> Any:
    """A pipeline with its weights, on the CPU.

    Raises:
        ValueError: it is missing, broken, or cannot be had.
    """
    if modular.is_modular(cls):
        return modular.load_modular(cls, files, dtype)
    return files.pipeline(cls, dtype, {})


def keywords_of(cls: Any) -> dict[str, Any]:
    """The keywords of every call of pipelines of a class, with their defaults."""
    if modular.is_modular(cls):
        return modular.inputs_of(cls().blocks)
    taken = inspect.signature(cls.__call__).parameters
    return {name: parameter.default for name, parameter in taken.items()}


def shape_pipeline(files: Pretrained, cls: Any, dtype: torch.dtype) -> Any:
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

    kwargs: dict[str, Any] = {}
    for name, named in files.index().items():
        if name.startswith("_"):
            continue
        if not _is_part(named):
            kwargs[name] = named
            continue
        library, kind = named
        module = {"diffusers": diffusers, "transformers": transformers}.get(library)
        part = getattr(module, kind, None) if module is not None else None
        if part is None:
            part = getattr(_own_module(cls), kind, None)
        kwargs[name] = None if part is None else _shape_part(files, part, name, dtype)
    try:
        return cls(**kwargs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{cls.__name__} cannot be made of the parts of '{files.source}': {one_line(error)}"
        ) from error


def _is_part(named: Any) -> bool:
    return isinstance(named, list) and len(named) == 2 and named[0] is not None


def _own_module(cls: Any) -> Any:
    """Where a pipeline's own classes are: beside it."""
    import importlib

    return importlib.import_module(cls.__module__.rpartition(".")[0])


def _shape_part(files: Pretrained, cls: Any, name: str, dtype: torch.dtype) -> Any:
    if not issubclass(cls, nn.Module):
        return files.load(cls, name)
    if cls.__module__.startswith("diffusers."):
        return files.empty(cls, name, dtype).eval()
    from transformers import AutoConfig

    return HollowEncoder(files.load(AutoConfig, name), projects="WithProjection" in cls.__name__)


class HollowEncoder(nn.Module):
    """A text or image encoder's outputs without its weights: their shapes by its configuration."""

    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, config: Any, *, projects: bool) -> None:
        """With the configuration of transformers; of a model that projects what it pools."""
        super().__init__()
        self.config, self._projects = config, projects

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
        made["hidden_states"] = (hidden,) * (layers + 1)
        return ModelOutput(made)  # Their order counts: pipelines take the first.


def _tensors(kwargs: Mapping[str, Any]) -> Any:
    return (value for value in kwargs.values() if isinstance(value, Tensor))


def _first_of(config: Any, *names: str) -> int:
    return int(next(getattr(config, name) for name in names if hasattr(config, name)))
