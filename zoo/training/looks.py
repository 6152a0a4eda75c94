"""What each image is like for itself, whatever its rewards: a thumbnail, and a number a measure.

A trick shows in plain numbers of an image: one that is paid for whiter, busier or greyer pictures
makes them so. All are computed where the image is, in float32 or better, and nothing waits for
them.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from zoo.rollout import join

MEASURES = ("saturated", "brightness", "edge_density", "colour_entropy", "latent_square")
"""The numbers of an image, in the order of `Looks.measures`; `look` says what each is."""

_LARGEST = 32
_EDGE = 0.1
_LEVELS = 4


@dataclass(frozen=True)
class Looks:
    """What is looked at of images: their thumbnails' values, and the numbers of `MEASURES`."""

    thumbnail: Float[Tensor, "batch values"]
    measures: Float[Tensor, "batch measures"]


def look(
    images: Float[Tensor, "batch *frames 3 height width"], clean: Float[Tensor, "batch *latent"]
) -> Looks:
    """Looks at images in [0, 1], each for itself, and at the clean latents that they are of.

    * `saturated`: the share of values that are black or white in 8 bits.
    * `brightness`: the mean luminance (ITU-R BT.601), in [0, 1].
    * `edge_density`: the share of neighbouring pixels, side by side or one above the other, whose
      luminance differs by more than 0.1; NaN of an image of one pixel.
    * `colour_entropy`: the entropy of the histogram of colours at 4 levels a channel, divided by
      that of 64 equally frequent colours, 6 bits: in [0, 1], and at most 1/3 of grey images.
    * `latent_square`: the mean square of the clean latents; about 1 where they are normalised.

    Of a video they are of all its frames together.
    """
    if images.ndim == 5 and len(images) > 1:
        # One by one: what the measures need besides is many times a video.
        rows = range(len(images))
        return join([look(images[i : i + 1], clean[i : i + 1]) for i in rows])
    pixels = images.detach().float()
    red, green, blue = pixels.unbind(-3)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    # In the order of MEASURES.
    measures = (
        _mean((pixels < 0.5 / 255) | (pixels >= 254.5 / 255)),
        _mean(luminance),
        _edge_density(luminance),
        _colour_entropy(pixels),
        _mean(clean.detach().double().square()),
    )
    return Looks(_thumbnails(images), torch.stack(measures, 1))


def _edge_density(
    luminance: Float[Tensor, "batch *frames height width"],
) -> Float[Tensor, " batch"]:
    beside, below = ((luminance.diff(dim=dim).abs() > _EDGE).flatten(1) for dim in (-1, -2))
    return _mean(torch.cat([beside, below], 1))


def _colour_entropy(
    pixels: Float[Tensor, "batch *frames 3 height width"],
) -> Float[Tensor, " batch"]:
    num, colours = len(pixels), _LEVELS**3
    # The clamp is after the cast: what a NaN becomes is undefined, and it must stay an index.
    red, green, blue = (pixels * _LEVELS).int().clamp(0, _LEVELS - 1).unbind(-3)
    colour = ((red * _LEVELS + green) * _LEVELS + blue).flatten(1).long()
    place = colour + colours * torch.arange(num, device=colour.device)[:, None]
    one = place.new_ones(()).expand(place.numel())
    count = place.new_zeros(num * colours).index_add_(0, place.flatten(), one)
    share = count.reshape(num, colours).double() / max(1, colour.shape[1])
    entropy: Tensor = torch.special.entr(share).sum(1)
    return entropy / math.log(colours)


def _mean(values: Tensor) -> Float[Tensor, " batch"]:
    return values.flatten(1).mean(1, dtype=torch.float64)


def _thumbnails(
    images: Float[Tensor, "batch *frames 3 height width"],
) -> Float[Tensor, "batch values"]:
    height, width = images.shape[-2:]
    flat = images.detach().reshape(-1, *images.shape[-3:])
    if max(height, width) > _LARGEST:
        factor = _LARGEST / max(height, width)
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        flat = adaptive_avg_pool2d(flat.float(), size)
    # Not reshape(len(images), -1), which no image at all would leave open.
    return flat.reshape(*images.shape[:-2], *flat.shape[-2:]).flatten(1)
