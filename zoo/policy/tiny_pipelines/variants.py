"""Checkpoints of one pipeline class that are made of other parts: Wan 2.2's two experts, say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zoo.policy.tiny_pipelines.autoencoder_table import WAN22_AUTOENCODER


@dataclass(frozen=True)
class Variant:
    """What differs from what the constructor of the pipeline needs.

    `parts` are optional components that it has, `options` those of the pipeline's constructor, and
    `networks` those of components' constructors, by the components' names.
    """

    parts: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    networks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_WAN22_5B = {
    "vae": WAN22_AUTOENCODER,
    "transformer": {"in_channels": 48, "out_channels": 48},
}

VARIANTS: Mapping[str, Mapping[str, Variant]] = {
    "FluxPipeline": {
        "schnell": Variant(
            networks={
                "transformer": {"guidance_embeds": False},
                "scheduler": {"shift": 1.0, "use_dynamic_shifting": False},
            }
        ),
    },
    "WanPipeline": {
        "2.2-A14B": Variant(("transformer_2",), {"boundary_ratio": 0.875}),
        "2.2-5B": Variant(options={"expand_timesteps": True}, networks=_WAN22_5B),
    },
    "WanImageToVideoPipeline": {
        "": Variant(("image_encoder", "image_processor")),
        "2.2-A14B": Variant(("transformer_2",), {"boundary_ratio": 0.9}),
        "2.2-5B": Variant(options={"expand_timesteps": True}, networks=_WAN22_5B),
    },
}
"""By the pipeline's class and a name, which is empty of the one that is meant without one."""


def variant_of(pipeline: str, name: str) -> Variant:
    """The variant of that name.

    Raises:
        ValueError: there is none.
    """
    known = {"": Variant(), **VARIANTS.get(pipeline, {})}
    if name not in known:
        names = ", ".join(filter(None, known)) or "none"
        raise ValueError(f"there is no tiny '{name}' of {pipeline}; there are: {names}")
    return known[name]
