"""COCO's 80 classes, under GenEval's names and the others that are in use.

GenEval's names are those of its `object_names.txt` (Ghosh et al. 2023, arXiv 2310.11513); the
others are COCO's own and those of darknet, which label many checkpoints on the hub.
"""

from collections.abc import Mapping

from zoo.errors import closest

CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote",
    "computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""In COCO's order."""

OTHER_NAMES: Mapping[str, str] = {
    "mouse": "computer mouse",
    "remote": "tv remote",
    "keyboard": "computer keyboard",
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
    "hair dryer": "hair drier",
}
"""By another name, GenEval's."""


def canonical(name: str) -> str:
    """GenEval's name of a class that is given under any of its names.

    Raises:
        ValueError: no class is called so.
    """
    found = OTHER_NAMES.get(name, name)
    if found not in CLASSES:
        guess = closest(name, [*CLASSES, *OTHER_NAMES]) or "; GenEval knows COCO's 80 classes"
        raise ValueError(f"unknown class {name!r}{guess}")
    return found


def outputs(labels: Mapping[int, str]) -> dict[str, int]:
    """By GenEval's name, which of a detector's outputs stands for a class.

    `labels` are a model's `id2label`.

    Raises:
        ValueError: they are not COCO's 80 classes, each once, numbered from 0.
    """
    found = {canonical(label): index for index, label in labels.items()}
    if sorted(labels) != list(range(len(CLASSES))) or len(found) != len(CLASSES):
        missing = [name for name in CLASSES if name not in found]
        raise ValueError(
            f"{len(labels)} labels for {len(found)} of COCO's 80 classes"
            + (f" (without {', '.join(missing[:3])})" if missing else "")
            + "; each must be there once, numbered from 0"
        )
    return found
