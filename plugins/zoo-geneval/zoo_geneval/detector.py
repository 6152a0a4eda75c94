"""A Mask2Former that finds objects of COCO's classes, through transformers.

Images go in as in mmdet's configuration that GenEval uses
(mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco, test pipeline): the shortest side to 800 pixels but
the longest to no more than 1333, bilinear without antialiasing, ImageNet's mean and deviation, then
padded to multiples of 32. The hub checkpoint's own processor would squeeze them to 384 x 384.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from zoo.reward.base import Images
from zoo_geneval.classes import outputs
from zoo_geneval.detections import Detection, Geometry, Limits, Size, detections
from zoo_geneval.loading import pretrained_model

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_DIVISOR = 32


class Detector:
    """Finds the objects of given classes in images of one size."""

    def __init__(
        self,
        device: torch.device,
        pretrained: str,
        *,
        dtype: torch.dtype,
        shortest: int,
        longest: int,
        batch: int,
    ) -> None:
        """Loads the model; `batch` images go through it at a time.

        Raises:
            ValueError: it cannot be loaded, or its labels are not COCO's 80 classes.
        """
        self._device, self._dtype = device, dtype
        self._shortest, self._longest, self._batch = shortest, longest, batch
        from transformers import Mask2FormerForUniversalSegmentation

        self._model = pretrained_model(
            Mask2FormerForUniversalSegmentation, pretrained, "detector", dtype
        ).to(device)
        try:
            self._outputs = outputs(self._model.config.id2label)
        except ValueError as error:
            raise ValueError(
                f"the detector {pretrained!r} does not know COCO's classes: {error}"
            ) from None

    def find(
        self,
        images: Images,
        names: Sequence[frozenset[str]],
        limits: Sequence[Limits],
    ) -> list[dict[str, list[Detection]]]:
        """For each image, in [0, 1], the objects of the classes named for it."""
        objects = []
        for first in range(0, len(images), self._batch):
            rows = slice(first, first + self._batch)
            pixels, geometry = prepare(images[rows].to(self._device), self._shortest, self._longest)
            out = self._model(pixel_values=pixels.to(self._dtype))
            for i, (asked, limit) in enumerate(zip(names[rows], limits[rows], strict=True)):
                wanted = {name: self._outputs[name] for name in sorted(asked)}
                logits = out.class_queries_logits[i], out.masks_queries_logits[i]
                objects.append(detections(*logits, geometry, wanted, limit))
        return objects


def prepare(
    images: Images, shortest: int, longest: int
) -> tuple[Float[Tensor, "batch 3 padded_height padded_width"], Geometry]:
    """What the network gets of images in [0, 1], as 8-bit images, and the sizes on the way."""
    image = (images.shape[-2], images.shape[-1])
    resized = _resize(image, shortest, longest)
    bytes_ = (images.float() * 255).round().clamp(0, 255)
    pixels = nn.functional.interpolate(bytes_, resized, mode="bilinear").round()
    mean, std = (
        torch.tensor(values, device=images.device)[:, None, None] for values in (_MEAN, _STD)
    )
    bottom, right = (-side % _DIVISOR for side in resized)
    padded = nn.functional.pad((pixels - mean) / std, (0, right, 0, bottom))
    return padded, Geometry(image, resized, (resized[0] + bottom, resized[1] + right))


def _resize(image: Size, shortest: int, longest: int) -> Size:
    """As large as both limits allow, in the same shape."""
    scale = min(shortest / min(image), longest / max(image))
    height, width = (max(int(side * scale + 0.5), 1) for side in image)
    return height, width
