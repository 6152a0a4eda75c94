"""Preservation: whether an edited image has kept what was not to change.

SSIM of Wang et al. 2004 (IEEE Trans. Image Process. 13): windows of 11 x 11 pixels weighed by a
Gaussian of 1.5, K1 = 0.01 and K2 = 0.03, the mean over the three channels. Windows lie inside the
image; of one smaller than 11 pixels the window is the largest odd size that does.
"""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d

from zoo.data.images import floats, open_inputs
from zoo.prompt import ImageBytes, Prompt, PromptError
from zoo.reward.base import Images, KnownAnswer, PerImage, Reward

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03

Box = tuple[float, float, float, float]


class Preservation(Reward):
    """How alike an edited image and what it was made from are: their SSIM, 1 where they are equal.

    Prompts need an input image, of which the first counts; it is brought to the size of the output.
    Metadata `mask` says what is to change, and is not looked at: a box [left, top, right, bottom]
    in parts of the image from 0 to 1, or a list of them. Without it the whole image is compared.
    Leaving everything as it was is the best answer: use it beside a reward of the edit.
    """

    def score(self, images: Images, prompts: Sequence[Prompt]) -> PerImage:
        """From -1 to 1, near 0 for images that have nothing in common; NaN where all may change.

        Raises:
            PromptError: a prompt has no input image, or a mask that is none.
        """
        for prompt in prompts:
            _require_input(prompt)
        before = _inputs(prompts, *images.shape[-2:]).to(images.device)
        similar = ssim(images.float(), before)
        kept = torch.stack([_kept(prompt, images) for prompt in prompts])
        return similar.where(kept, torch.nan).flatten(1).nanmean(1)

    def known_answers(self) -> Sequence[KnownAnswer]:
        """Of flat images of 0.2 and 0.8, made from one of 0.2, by the formula."""
        flat = [torch.full((3, 16, 16), level) for level in (0.2, 0.8)]
        prompt = Prompt("", inputs=(_flat(51),))
        other = (2 * 0.16 + _K1**2) / (0.04 + 0.64 + _K1**2)
        return [KnownAnswer(torch.stack(flat), [prompt] * 2, torch.tensor([1.0, other]), 1e-4)]

    @classmethod
    def check_prompt(cls, prompt: Prompt, options: Mapping[str, Any]) -> None:
        """Looks for an input image, and at the mask.

        Raises:
            PromptError: there is none, or the mask is none.
        """
        _require_input(prompt)
        _boxes(prompt)


def ssim(first: Images, second: Images) -> Float[Tensor, "batch rows columns"]:
    """The structural similarity of images in [0, 1] around each place, the mean over channels."""
    window = _window(first)

    def mean(values: Tensor) -> Tensor:
        # Not both directions at once: the kernel is a product, and so many times cheaper.
        across = conv2d(values, window[:, :, None, :], groups=3)
        return conv2d(across, window[:, :, :, None], groups=3)

    a, b = mean(first), mean(second)
    of_a, of_b = mean(first * first) - a * a, mean(second * second) - b * b
    of_both = mean(first * second) - a * b
    c1, c2 = _K1**2, _K2**2
    alike = (2 * a * b + c1) * (2 * of_both + c2)
    return (alike / ((a * a + b * b + c1) * (of_a + of_b + c2))).mean(1)


def _size(height: int, width: int) -> int:
    """Of the window."""
    most = min(_WINDOW, height, width)
    return most - 1 + most % 2


def _window(images: Images) -> Float[Tensor, "3 1 size"]:
    size = _size(*images.shape[-2:])
    away = torch.arange(size, device=images.device, dtype=torch.float32) - size // 2
    weight = (-(away**2) / (2 * _SIGMA**2)).exp()
    return (weight / weight.sum()).expand(3, 1, size)


def _inputs(prompts: Sequence[Prompt], height: int, width: int) -> Images:
    """The first input of each prompt, each read once, at this size (bicubic)."""
    from PIL import Image

    different = list({prompt.inputs[0]: prompt for prompt in prompts}.values())
    read = {}
    for prompt, (picture, *_) in zip(different, open_inputs(different), strict=True):
        resized = picture.resize((width, height), Image.Resampling.BICUBIC)
        read[prompt.inputs[0]] = floats(resized)
    return torch.stack([read[prompt.inputs[0]] for prompt in prompts])


def _kept(prompt: Prompt, images: Images) -> Bool[Tensor, "rows columns"]:
    """The places whose window has no pixel in it that may change."""
    height, width = images.shape[-2:]
    x, y = ((torch.arange(n, device=images.device) + 0.5) / n for n in (width, height))
    changes = torch.zeros(height, width, device=images.device)
    for left, top, right, bottom in _boxes(prompt):
        inside_x, inside_y = (x >= left) & (x < right), (y >= top) & (y < bottom)
        changes[inside_y[:, None] & inside_x] = 1.0
    return max_pool2d(changes[None, None], _size(height, width), stride=1)[0, 0] == 0


def _flat(level: int) -> ImageBytes:
    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", (16, 16), (level,) * 3).save(buffer, format="PNG")
    return ImageBytes("a flat image", buffer.getvalue())


def _require_input(prompt: Prompt) -> None:
    if not prompt.inputs:
        raise PromptError(
            f"the prompt {prompt.text!r} comes with no image, and the reward 'preservation' "
            "compares an edited image with what it was made from; name it in a column `input`"
        )


def _boxes(prompt: Prompt) -> list[Box]:
    mask = prompt.metadata.get("mask")
    if mask is None:
        return []
    boxes = mask if isinstance(mask, list) and mask and isinstance(mask[0], list) else [mask]
    if not all(map(_is_box, boxes)):
        raise PromptError(
            f"the prompt {prompt.text!r} has the mask {str(mask)[:80]}; write [left, top, right, "
            "bottom] in parts of the image from 0 to 1, or a list of such boxes"
        )
    return [(box[0], box[1], box[2], box[3]) for box in boxes]


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != len(("left", "top", "right", "bottom")):
        return False
    if not all(type(edge) in (int, float) and math.isfinite(edge) for edge in box):
        return False
    left, top, right, bottom = box
    return bool(0 <= left < right <= 1 and 0 <= top < bottom <= 1)
