"""What a pipeline's parts, methods and keywords are by their names."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from zoo.policy.pipeline.contract import Family, UnsupportedError

_NETWORKS = ("diffusers.models.transformers.", "diffusers.models.unets.")


def is_network(part: Any) -> bool:
    """Whether it is what denoises: a transformer or a U-Net."""
    return isinstance(part, nn.Module) and is_network_class(type(part))


def is_network_class(cls: Any) -> bool:
    """Whether parts of a class are."""
    return str(getattr(cls, "__module__", "")).startswith(_NETWORKS)


def encoder_of(pipe: Any, call: Any) -> str:
    """The method that encodes prompts: that of the usual name, or one that the call has.

    Raises:
        UnsupportedError: there is none.
    """
    named: list[str] = [
        name for name in call.__code__.co_names if name.lstrip("_").startswith("encode_prompt")
    ]
    names = [name for name in ("encode_prompt", *named) if hasattr(pipe, name)]
    if not names:
        raise UnsupportedError(
            f"{type(pipe).__name__} has no encode_prompt, so its prompts cannot be encoded once "
            "and kept; train another pipeline of the model by policy.pipeline"
        )
    return names[0]


def guidance_keyword(pipe: Any, family: Family, takes: Mapping[str, Any]) -> str | None:
    """The keyword of classifier-free guidance, or `guider` where it is a part; None: neither."""
    if getattr(pipe, "guider", None) is not None:
        return "guider"
    for keyword in (family.guidance, "true_cfg_scale", "guidance_scale"):
        if keyword is not None and keyword in takes:
            return keyword
    return None
