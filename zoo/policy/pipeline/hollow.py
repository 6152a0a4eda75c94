"""A pipeline whose networks and autoencoder are shapes alone: no weights are read for it."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import one_line
from zoo.policy.parts import is_part, num_numbers
from zoo.policy.pipeline import modular
from zoo.policy.pipeline.names import is_network_class
from zoo.policy.pipeline.parts import require_named
from zoo.policy.pretrained import Precision, Pretrained

_TINY = "zoo.policy.tiny_pipelines."
"""Where the parts of tiny pipelines are that no library has."""


def shape_pipeline(
    files: Pretrained, cls: Any, precision: Precision, without: Sequence[str]
) -> Any:
    """A pipeline whose networks and autoencoder are shapes alone and read no weights.

    Its tokenizers and its scheduler are real. Its text encoders give made-up numbers of the right
    shapes.

    Raises:
        ValueError: a part's configuration cannot be had.
    """
    if modular.is_modular(cls):
        return modular.with_parts(
            cls, files, without, lambda *named: _shape_part(*named, precision=precision)
        )
    import diffusers
    import transformers

    require_named(cls, without)
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
        kwargs[name] = None if part is None else _shape_part(files, part, name, precision=precision)
    try:
        return cls(**kwargs)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{cls.__name__} cannot be made of the parts of '{files.source}': {one_line(error)}"
        ) from error


def _own_module(cls: Any) -> Any:
    """Where a pipeline's own classes are: beside it."""
    return importlib.import_module(cls.__module__.rpartition(".")[0])


def _shape_part(files: Pretrained, cls: Any, name: str, *, precision: Precision) -> Any:
    if not issubclass(cls, nn.Module):
        return files.load(cls, name)
    dtype = precision.part(name, is_network=is_network_class(cls))
    if cls.__module__.startswith("diffusers."):
        return files.empty(cls, name, dtype).eval()
    from transformers import AutoConfig

    projects = "WithProjection" in cls.__name__
    config, count = files.load(AutoConfig, name), partial(num_numbers, files, name)
    return HollowEncoder(config, dtype, projects=projects, num_numbers=count)


class HollowEncoder(nn.Module):
    """A text or image encoder's outputs without its weights: their shapes by its configuration."""

    device = torch.device("cpu")

    def __init__(
        self, config: Any, dtype: torch.dtype, *, projects: bool, num_numbers: Callable[[], int]
    ) -> None:
        """With the configuration of transformers; of a model that projects what it pools.

        `num_numbers` says how many its weights are.
        """
        super().__init__()
        self.config, self.dtype, self._projects = config, dtype, projects
        self.num_numbers = num_numbers

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
