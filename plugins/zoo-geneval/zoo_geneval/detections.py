"""From a Mask2Former's logits to objects: mmdet's post-processing, which GenEval was made with.

Softmax over classes; the 100 best pairs of query and class; confidence is the class's probability
times the mean probability of the mask where it is over a half; the box is the mask's extent
(`MaskFormerFusionHead.instance_postprocess` of mmdet 2 and 3). Then GenEval's own (arXiv
2310.11513): a threshold, at most so many objects of a class, no two boxes that overlap too much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from zoo.reward.geneval.position import Box

MAX_PER_IMAGE = 100

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Geometry:
    """The sizes that an image goes through on its way into the network."""

    image: Size
    resized: Size
    padded: Size


@dataclass(frozen=True)
class Limits:
    """What counts as an object: its confidence, how many of a class, how much boxes may overlap."""

    threshold: float
    max_objects: int
    max_overlap: float


@dataclass(frozen=True)
class Detection:
    """An object: its box, how sure it is, and its pixels."""

    box: Box
    confidence: float
    mask: Bool[Tensor, "height width"]


def detections(
    class_logits: Float[Tensor, "queries classes_and_none"],
    mask_logits: Float[Tensor, "queries mask_height mask_width"],
    geometry: Geometry,
    outputs: Mapping[str, int],
    limits: Limits,
) -> dict[str, list[Detection]]:
    """The objects of each class named in `outputs`, the most confident first."""
    probability = class_logits.float().softmax(-1)[:, :-1]
    num_classes = probability.shape[1]
    best = probability.flatten().topk(min(MAX_PER_IMAGE, probability.numel()))
    label = best.indices % num_classes
    # The mask only lowers a confidence: what is below the threshold now need not be upsampled.
    asked = torch.tensor(list(outputs.values()), device=label.device)
    kept = (best.values > limits.threshold) & torch.isin(label, asked)
    query, label = best.indices[kept] // num_classes, label[kept]
    mask_logits = _upsample(mask_logits[query].float(), geometry)
    masks = mask_logits > 0
    area = masks.flatten(1).sum(1)
    in_mask = (mask_logits.sigmoid() * masks).flatten(1).sum(1) / (area + 1e-6)
    confidence = (best.values[kept] * in_mask).tolist()
    order = sorted(range(len(confidence)), key=lambda i: -confidence[i])
    by_name: dict[str, list[Detection]] = {name: [] for name in outputs}
    names = {index: name for name, index in outputs.items()}
    labels = label.tolist()
    for i in order:
        of_class = by_name[names[labels[i]]]
        if confidence[i] > limits.threshold and len(of_class) < limits.max_objects:
            of_class.append(Detection(extent(masks[i]), confidence[i], masks[i]))
    return {name: _apart(objects, limits.max_overlap) for name, objects in by_name.items()}


def extent(mask: Bool[Tensor, "height width"]) -> Box:
    """The smallest box around a mask that is not empty."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return (
        int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1,
    )  # fmt: skip


def overlap(box: Box, other: Box) -> float:
    """Intersection over union as GenEval takes it: every side a pixel longer than it is."""
    width = min(box[2], other[2]) - max(box[0], other[0]) + 1
    height = min(box[3], other[3]) - max(box[1], other[1]) + 1
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(box) + _area(other) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


def _apart(objects: Sequence[Detection], max_overlap: float) -> list[Detection]:
    """Without those whose box overlaps that of a more confident one; all, at an overlap of 1."""
    kept: list[Detection] = []
    for candidate in objects:
        if max_overlap == 1 or all(overlap(k.box, candidate.box) < max_overlap for k in kept):
            kept.append(candidate)
    return kept


def _upsample(
    mask_logits: Float[Tensor, "masks mask_height mask_width"], geometry: Geometry
) -> Float[Tensor, "masks height width"]:
    """To the network's input, without its padding, to the image."""
    if not len(mask_logits):
        return mask_logits.new_zeros(0, *geometry.image)
    wide = nn.functional.interpolate(mask_logits[None], geometry.padded, mode="bilinear")
    height, width = geometry.resized
    wide = wide[:, :, :height, :width]
    return nn.functional.interpolate(wide, geometry.image, mode="bilinear")[0]
