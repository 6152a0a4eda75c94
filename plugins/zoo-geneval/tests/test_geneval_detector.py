"""The detector: what the network gets, and a tiny random network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from zoo_geneval.classes import CLASSES
from zoo_geneval.detections import Limits
from zoo_geneval.detector import Detector, prepare

from zoo.testing import some_images

CPU = torch.device("cpu")
LIMITS = Limits(0.002, 16, 1.0)


def detector(tiny, **changes):
    options = {"dtype": torch.float32, "shortest": 64, "longest": 128, "batch": 3}
    return Detector(CPU, tiny["detector"], **options | changes)


@pytest.mark.parametrize(
    ("image", "resized", "padded"),
    [
        ((512, 512), (800, 800), (800, 800)),
        ((1024, 1024), (800, 800), (800, 800)),
        ((512, 768), (800, 1200), (800, 1216)),
        ((512, 1024), (667, 1333), (672, 1344)),
        ((1024, 512), (1333, 667), (1344, 672)),
        ((2, 1333), (2, 1333), (32, 1344)),
    ],
)
def test_images_are_resized_as_in_mmdets_configuration(image, resized, padded):
    pixels, geometry = prepare(torch.zeros(1, 3, *image), 800, 1333)
    assert (geometry.image, geometry.resized, geometry.padded) == (image, resized, padded)
    assert pixels.shape == (1, 3, *padded)


def reference(image, height, width):
    """Rounded to bytes, bilinear without antialiasing, rounded, normalised: in float64."""
    image = np.rint(image * 255.0)
    for axis, size in ((1, height), (2, width)):
        length = image.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, length - 1)
        part = (at - low).reshape((-1, 1) if axis == 1 else (1, -1))
        image = np.take(image, low, axis) * (1 - part) + np.take(image, high, axis) * part
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    return image, (np.rint(image) - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize("size", [(48, 48), (40, 56), (150, 150)])
def test_pixels_agree_with_a_float64_version(size):
    draw = np.random.RandomState(0)
    image = draw.randint(0, 256, (3, *size)) / 255.0
    pixels, geometry = prepare(torch.tensor(image)[None].float(), 64, 128)
    height, width = geometry.resized
    exact, expected = reference(image, height, width)
    # Where rounding decides, float32 may decide otherwise.
    tie = np.abs(np.abs(exact - np.floor(exact)) - 0.5) < 1e-3
    found = pixels[0, :, :height, :width].double().numpy()
    assert np.abs(np.where(tie, 0, found - expected)).max() < 1e-5
    assert tie.mean() < 0.05
    assert not pixels[0, :, height:].any()
    assert not pixels[0, :, :, width:].any()


def test_what_is_outside_of_0_and_1_is_clamped():
    wild = torch.tensor([-1.0, 2.0]).reshape(2, 1, 1, 1).expand(2, 3, 8, 8)
    torch.testing.assert_close(prepare(wild, 64, 64)[0], prepare(wild.clamp(0, 1), 64, 64)[0])


def test_objects_are_found_for_the_classes_that_are_asked_for(tiny):
    names = [frozenset(CLASSES), frozenset({"dog"}), frozenset({"cup", "bus"}), frozenset(CLASSES)]
    found = detector(tiny).find(some_images(4, 48), names, [LIMITS] * 4)
    assert [set(each) for each in found] == names
    assert all(len(objects) <= 16 for each in found for objects in each.values())
    assert sum(map(len, found[0].values())) == 100
    boxes = [{name: [o.box for o in objects] for name, objects in found[i].items()} for i in (0, 3)]
    assert boxes[0] != boxes[1]
    assert found[0]["dog"][0].mask.shape == (48, 48)


def test_every_image_has_limits_of_its_own(tiny):
    names = [frozenset(CLASSES)] * 2
    images = some_images(1, 48).expand(2, 3, 48, 48)
    few, many = detector(tiny).find(images, names, [Limits(0.002, 1, 1.0), LIMITS])
    assert max(map(len, few.values())) == 1 < max(map(len, many.values()))
    for name in CLASSES:
        assert [o.box for o in few[name]] == [o.box for o in many[name]][:1]


def test_batches_change_nothing(tiny):
    images, names = some_images(5, 48), [frozenset(CLASSES)] * 5
    one, five = (detector(tiny, batch=batch).find(images, names, [LIMITS] * 5) for batch in (1, 5))
    for a, b in zip(one, five, strict=True):
        for name in CLASSES:
            assert [o.box for o in a[name]] == [o.box for o in b[name]]


def test_labels_of_darknet_and_in_another_order_are_followed(tiny, tmp_path):
    straight = detector(tiny)
    folder = Path(shutil.copytree(tiny["detector"], tmp_path / "other"))
    config = json.loads((folder / "config.json").read_text())
    labels = [config["id2label"][str(i)] for i in range(80)]
    spelt = {"motorcycle": "motorbike", "tv": "tvmonitor", "computer mouse": "mouse"}
    labels = [spelt.get(label, label) for label in reversed(labels)]
    config["id2label"] = {str(i): label for i, label in enumerate(labels)}
    config["label2id"] = {label: i for i, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    turned = detector({"detector": str(folder)})
    images, names = some_images(2, 48), [frozenset(CLASSES)] * 2
    a, b = (each.find(images, names, [LIMITS] * 2) for each in (straight, turned))
    for i, name in enumerate(CLASSES):
        other = CLASSES[79 - i]
        assert [o.box for o in a[0][name]] == [o.box for o in b[0][other]]


def test_a_detector_of_other_classes_is_refused(tiny, tmp_path):
    folder = Path(shutil.copytree(tiny["detector"], tmp_path / "other"))
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text.replace('"toothbrush"', '"brush"'))
    with pytest.raises(ValueError, match="does not know COCO's classes: unknown class 'brush'"):
        detector({"detector": str(folder)})


def test_a_model_of_another_kind_is_refused(tiny):
    with pytest.raises(ValueError, match="it is of the type 'clip', not 'mask2former'; name one"):
        detector({"detector": tiny["clip"]})


def test_a_model_that_lacks_weights_is_refused(tiny, tmp_path, capfd):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(tiny["detector"], tmp_path / "other"))
    weights = load_file(folder / "model.safetensors")
    del weights["class_predictor.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights, such as class_predictor.weight; name"):
        detector({"detector": str(folder)})


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the detector '.*' cannot be loaded: .*; name one on"):
        detector({"detector": str(tmp_path)})
