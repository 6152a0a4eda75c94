"""What pipelines cannot be asked, a few words each; most need none."""

import re

from torch import nn

from zoo.policy.lora import ATTENTION
from zoo.policy.pipeline.contract import Family

FAMILIES = {"StableDiffusion3Pipeline": Family(targets=ATTENTION)}

_ATTENTION = re.compile(r".*(?:^|\.)(\w*attn\w*|\w*attention)\.(.+)$")
"""The last part of a layer's name that says attention, and what comes after it."""


_OF_AN_IMAGE = re.compile("Edit|Kontext|ImageToVideo|Image2Video|I2V|I2I|Img2Img")


def family_of(pipeline: str) -> Family:
    """Of a pipeline's class; where it is in no table, by what its name says of input images."""
    return FAMILIES.get(pipeline, Family(inputs=int(bool(_OF_AN_IMAGE.search(pipeline)))))


def targets_of(network: nn.Module) -> tuple[str, ...]:
    """The ends of the names of the linear layers of attention: `attn.to_q`, say."""
    found = {
        ".".join(match.groups())
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and (match := _ATTENTION.match(name))
    }
    return tuple(sorted(found))
