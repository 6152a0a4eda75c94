"""What of a recipe's options a model's index and configurations refuse, before weights are read."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.policy.parts import is_part
from zoo.policy.pipeline import modular
from zoo.policy.pipeline.keywords import CallOptions
from zoo.policy.pipeline.names import is_network_class
from zoo.policy.pretrained import Pretrained

_GUIDANCE = "guidance_scale"
"""The keyword of guidance that is an input of networks distilled to follow it."""


def require_configured(
    files: Pretrained, cls: Any, without: Sequence[str], call: CallOptions
) -> None:
    """Sees that a model has what a pipeline of this class is made of, and what a call asks it for.

    Raises:
        ValueError: it lacks a part that is not in `without`; or its networks have no positions for
            so large pictures, or another guidance embedding.
    """
    if modular.is_modular(cls):  # Its index says no folders.
        return
    _require_parts(files, cls, without)
    networks = list(_networks(files))
    _require_positions(files, networks, call.size)
    _require_guidance(files, networks, call.call or {})


def _require_parts(files: Pretrained, cls: Any, without: Sequence[str]) -> None:
    index = files.index()
    spared = {"self", *cls._optional_components, *without}
    lacking = [
        name
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.default is inspect.Parameter.empty
        and name not in spared
        and index.get(name) in (None, [None, None])
    ]
    if lacking:
        names = ", ".join(lacking)
        raise ValueError(
            f"the model '{files.source}', a {index.get('_class_name')}, has no {names}, of which a "
            f"{cls.__name__} is made; name another by policy.pretrained or policy.pipeline, or do "
            f"without: policy.without: [{names}]"
        )


def _networks(files: Pretrained) -> Iterator[dict[str, Any]]:
    import diffusers

    for name, named in files.index().items():
        network = getattr(diffusers, named[1], None) if is_part(named) else None
        if network is not None and is_network_class(network):
            yield files.config(network, name)


def _require_positions(
    files: Pretrained, networks: list[dict[str, Any]], size: tuple[int, int] | None
) -> None:
    """`pos_embed_max_size` are the tokens of a side, or of the whole picture: never fewer."""
    positions = [
        one
        for one in networks
        if one.get("pos_embed_max_size") and isinstance(one.get("patch_size"), int)
    ]
    vae: Any = files.index().get("vae")
    if size is None or not positions or not is_part(vae):
        return
    import diffusers

    widths = files.config(getattr(diffusers, vae[1]), "vae").get("block_out_channels", [0])
    for network in positions:
        token = network["patch_size"] * 2 ** (len(widths) - 1)
        largest = network["pos_embed_max_size"] * token
        if max(size) > largest:
            raise ValueError(
                f"the model '{files.source}' has positions for {largest} pixels a side and "
                f"resolution is {max(size)}; write {largest} or less"
            )


def _require_guidance(
    files: Pretrained, networks: list[dict[str, Any]], call: Mapping[str, Any]
) -> None:
    """Where configurations say whether it is an input: of which, if any, the call has a number."""
    embeds = [one["guidance_embeds"] for one in networks if "guidance_embeds" in one]
    if not embeds or _GUIDANCE not in call:
        return
    scale = call[_GUIDANCE]
    if any(embeds) and scale is None:
        raise ValueError(
            f"the model '{files.source}' was distilled with a guidance embedding, and "
            f"call.{_GUIDANCE} is null; write a number: 3.5, say"
        )
    if not any(embeds) and scale is not None:
        raise ValueError(
            f"the model '{files.source}' has no guidance embedding, and call.{_GUIDANCE} is "
            f"{scale}; leave it out: sampler.guidance is that by a second forward"
        )
