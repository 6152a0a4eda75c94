"""Pictures of words, and the scores that they must get wherever this is installed."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import Prompt
from zoo.reward.base import KnownAnswer

KNOWN_CONFIDENCE = 0.9
"""The known answers hold for a `min_confidence` up to this."""


def picture(
    text: str, *, size: tuple[int, int] = (128, 128), letters: int = 40
) -> Float[Tensor, "3 height width"]:
    """Black text in the middle of a white image of a height and width, in [0, 1].

    `letters` is the size of Pillow's own font in pixels; lines are parted by newlines.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = size
    image = Image.new("L", (width, height), 255)
    font = ImageFont.load_default(letters)
    draw = ImageDraw.Draw(image)
    draw.text((width / 2, height / 2), text, fill=0, font=font, anchor="mm", align="center")
    grey = torch.from_numpy(np.array(image)).float() / 255.0
    return grey.expand(3, height, width).contiguous()


def known_answers() -> Sequence[KnownAnswer]:
    """One picture that says HELP, and an empty one."""
    wanted = ["HELP", "KELP", "TOYS", "HELP"]
    images = torch.stack([picture("HELP")] * 3 + [picture("")])
    prompts = [Prompt(f'a sign that says "{text}"') for text in wanted]
    return (KnownAnswer(images, prompts, torch.tensor([1.0, 0.75, 0.0, 0.0]), tolerance=1e-3),)
