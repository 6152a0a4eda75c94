"""COCO's 80 classes, in COCO's order, under GenEval's names and the others that are in use.

GenEval's names are those of its `object_names.txt` (Ghosh et al. 2023, arXiv 2310.11513), which
zoo's own scenes have too; the others are COCO's own and those of darknet, which label many
checkpoints on the hub.
"""

from collections.abc import Mapping

from zoo.data.geneval_scenes import CLASSES
from zoo.errors import closest

__all__ = ["CLASSES", "OTHER_NAMES", "canonical", "outputs"]

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
    theirs = OTHER_NAMES.get(name, name)
    if theirs not in CLASSES:
        guess = closest(name, [*CLASSES, *OTHER_NAMES]) or "; GenEval knows COCO's 80 classes"
        raise ValueError(f"unknown class {name!r}{guess}")
    return theirs


def outputs(labels: Mapping[int, str]) -> dict[str, int]:
    """By GenEval's name, which of a detector's outputs stands for a class.

    `labels` are a model's `id2label`.

    Raises:
        ValueError: they are not COCO's 80 classes, each once, numbered from 0.
    """
    by_name = {canonical(label): index for index, label in labels.items()}
    if sorted(labels) != list(range(len(CLASSES))) or len(by_name) != len(CLASSES):
        missing = [name for name in CLASSES if name not in by_name]
        raise ValueError(
            f"{len(labels)} labels for {len(by_name)} of COCO's 80 classes"
            + (f" (without {', '.join(missing[:3])})" if missing else "")
            + "; each must be there once, numbered from 0"
        )
    return by_name
