"""COCO's classes under all their names."""

import pytest
from zoo_geneval.classes import CLASSES, OTHER_NAMES, canonical, outputs

COCO = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
    "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
]  # fmt: skip
DARKNET = {
    "motorcycle": "motorbike",
    "airplane": "aeroplane",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}
SPELLINGS = {
    "geneval": list(CLASSES),
    "coco": COCO,
    "darknet": [DARKNET.get(name, name) for name in COCO],
}


def test_there_are_80_classes_and_no_name_stands_for_two():
    assert len(CLASSES) == len(set(CLASSES)) == len(COCO) == 80
    assert not set(OTHER_NAMES) & set(CLASSES)
    assert set(OTHER_NAMES.values()) <= set(CLASSES)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_every_class_is_genevals(spelling):
    names = zip(SPELLINGS[spelling], CLASSES, strict=True)
    assert [given for given, name in names if canonical(given) != name] == []


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_detectors_outputs_are_found_by_their_labels(spelling):
    labels = dict(enumerate(SPELLINGS[spelling]))
    assert outputs(labels) == {name: i for i, name in enumerate(CLASSES)}


def test_labels_in_another_order_are_followed():
    labels = dict(enumerate(reversed(COCO)))
    assert outputs(labels)["person"] == 79
    assert outputs(labels)["computer mouse"] == 79 - 64


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (COCO[:-1], r"79 labels for 79 of COCO's 80 classes \(without toothbrush\)"),
        ([*COCO[:-1], "person"], r"80 labels for 79 of .* \(without toothbrush\)"),
        ([*COCO[:-1], "LABEL_79"], "unknown class 'LABEL_79'"),
        ([*COCO, "sofa"], "81 labels for 80 of COCO's 80 classes; each must be there once"),
    ],
)
def test_labels_that_are_not_cocos_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        outputs(dict(enumerate(labels)))


def test_an_unknown_class_is_refused_with_one_like_it():
    with pytest.raises(ValueError, match="unknown class 'pizzza'; did you mean 'pizza'"):
        canonical("pizzza")
    with pytest.raises(ValueError, match="unknown class 'xylograph'; GenEval knows COCO's 80"):
        canonical("xylograph")
