"""Objects from logits, against mmdet's post-processing written out in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from zoo_geneval.classes import CLASSES
from zoo_geneval.detections import Detection, Geometry, Limits, detections, extent, overlap

GEOMETRY = Geometry(image=(20, 30), resized=(40, 60), padded=(64, 64))
OUTPUTS = {name: index for index, name in enumerate(CLASSES)}
ALL = Limits(threshold=0.05, max_objects=16, max_overlap=1.0)


def logits(queries=24, seed=0):
    """Peaked class logits, a few classes preferred, and smooth masks at a quarter of the input."""
    generator = torch.Generator().manual_seed(seed)
    classes = 3 * torch.randn(queries, len(CLASSES) + 1, generator=generator)
    classes[:, :6] += 3
    coarse = torch.randn(queries, 1, 4, 4, generator=generator)
    masks = torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic")[:, 0] * 6 - 5
    return classes, masks


def resized(image, height, width):
    """Bilinear, pixels at their centers, edges repeated."""
    for axis, size in ((0, height), (1, width)):
        length = image.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.minimum(np.floor(at).astype(int), length - 1)
        high = np.minimum(low + 1, length - 1)
        part = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        image = np.take(image, low, axis) * (1 - part) + np.take(image, high, axis) * part
    return image


def reference(class_logits, mask_logits, threshold, max_objects):
    """All classes: [(confidence, box, mask)], the most confident first, in float64."""
    class_logits, mask_logits = class_logits.double().numpy(), mask_logits.double().numpy()
    exp = np.exp(class_logits - class_logits.max(1, keepdims=True))
    probability = (exp / exp.sum(1, keepdims=True))[:, :-1]
    best = np.argsort(-probability.reshape(-1), kind="stable")[:100]
    found = {name: [] for name in CLASSES}
    for query, label in zip(best // 80, best % 80, strict=True):
        logit = resized(mask_logits[query], *GEOMETRY.padded)
        logit = logit[: GEOMETRY.resized[0], : GEOMETRY.resized[1]]
        logit = resized(logit, *GEOMETRY.image)
        mask = logit > 0
        inside = (mask / (1 + np.exp(-logit))).sum() / (mask.sum() + 1e-6)
        confidence = probability[query, label] * inside
        if confidence > threshold:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            found[CLASSES[label]].append((confidence, tuple(map(int, box)), mask))
    return {
        name: sorted(objects, key=lambda each: -each[0])[:max_objects]
        for name, objects in found.items()
    }


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("threshold", "max_objects"), [(0.0, 100), (0.05, 16), (0.05, 2), (0.5, 9)]
)
def test_detections_agree_with_mmdets_post_processing_in_float64(seed, threshold, max_objects):
    classes, masks = logits(seed=seed)
    limits = Limits(threshold, max_objects, 1.0)
    found = detections(classes, masks, GEOMETRY, OUTPUTS, limits)
    expected = reference(classes, masks, threshold, max_objects)
    assert list(found) == list(CLASSES)
    for name in CLASSES:
        assert [each.box for each in found[name]] == [box for _, box, _ in expected[name]]
        for each, (confidence, _, mask) in zip(found[name], expected[name], strict=True):
            assert each.confidence == pytest.approx(confidence, abs=1e-5)
            assert np.array_equal(each.mask.numpy(), mask)
    boxes = [each.box for objects in found.values() for each in objects]
    assert len(boxes) >= 2
    assert len(set(boxes)) > 10 or threshold > 0


def test_the_hundred_best_pairs_are_looked_at_and_no_more():
    classes, masks = torch.zeros(24, 81), torch.ones(24, 16, 16)
    nothing = Limits(0.0, 1000, 1.0)
    found = detections(classes, masks, GEOMETRY, OUTPUTS, nothing)
    assert sum(map(len, found.values())) == 100


def test_classes_that_nobody_asks_for_change_nothing():
    classes, masks = logits()
    every = detections(classes, masks, GEOMETRY, OUTPUTS, ALL)
    some = {name: OUTPUTS[name] for name in ("bicycle", "toothbrush")}
    found = detections(classes, masks, GEOMETRY, some, ALL)
    assert list(found) == list(some)
    for name in some:
        assert [each.box for each in found[name]] == [each.box for each in every[name]]
    assert len(found["bicycle"]) > 0


def test_a_network_of_few_queries_is_enough():
    classes, masks = logits(queries=1)
    found = detections(classes, masks, GEOMETRY, OUTPUTS, ALL)
    assert all(len(objects) <= 1 for objects in found.values())
    assert any(found.values())


def test_a_mask_without_a_pixel_is_no_object():
    classes, masks = logits()
    found = detections(
        classes, torch.full_like(masks, -1.0), GEOMETRY, OUTPUTS, replace(ALL, threshold=0.0)
    )
    assert not any(found.values())


def test_the_padding_of_the_input_is_left_out():
    masks = torch.full((1, 16, 16), -5.0)
    masks[:, 11:] = 5.0  # from row 44 of 64: below the image's 40
    classes = torch.zeros(1, 81)
    classes[0, 0] = 20
    assert not any(detections(classes, masks, GEOMETRY, OUTPUTS, ALL).values())
    masks[:, :5, :10] = 5.0  # rows 0 to 20 of 40, columns 0 to 40 of 60
    (person,) = detections(classes, masks, GEOMETRY, OUTPUTS, ALL)["person"]
    assert person.box == (0, 0, 20, 10)


def test_a_box_ends_behind_its_last_pixel():
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[2, 3] = True
    assert extent(mask) == (3, 2, 4, 3)
    mask[4, 1] = True
    assert extent(mask) == (1, 2, 4, 5)
    assert extent(torch.ones(6, 8, dtype=torch.bool)) == (0, 0, 8, 6)


def test_overlap_counts_a_pixel_more_on_every_side():
    assert overlap((0, 0, 9, 9), (0, 0, 9, 9)) == 1
    assert overlap((0, 0, 9, 9), (5, 0, 14, 9)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 9, 9), (10, 0, 19, 9)) == 0


def test_boxes_that_overlap_are_one_object_where_asked():
    classes = torch.zeros(3, 81)
    classes[:, 0] = torch.tensor([8.0, 9.0, 7.0])  # the second is the surest
    masks = torch.full((3, 16, 16), -5.0)
    masks[0, :6, :6] = masks[1, :6, :5] = masks[2, :6, 9:] = 5.0

    def boxes(max_overlap):
        found = detections(classes, masks, GEOMETRY, OUTPUTS, replace(ALL, max_overlap=max_overlap))
        return [each.box for each in found["person"]]

    surest, first, apart = boxes(1.0)
    assert 0.8 < overlap(surest, first) < 0.9
    assert boxes(0.9) == [surest, first, apart]
    assert boxes(0.8) == [surest, apart]


def test_a_detection_keeps_its_own_pixels():
    classes, masks = logits()
    for objects in detections(classes, masks, GEOMETRY, OUTPUTS, ALL).values():
        for each in objects:
            assert isinstance(each, Detection)
            assert each.mask.shape == GEOMETRY.image
            assert extent(each.mask) == each.box
