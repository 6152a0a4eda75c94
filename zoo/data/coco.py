"""COCO's 80 classes in words, as GenEval names them, in English that is grammatical.

Names: GenEval's object_names.txt (arXiv 2310.11513), after Lin et al. 2014. Departs from GenEval's
prompts, which make plurals by adding "s" ("two benchs") and write "a scissors": rewards read the
metadata, which has GenEval's names, and a text encoder is better served by "a pair of scissors".
"""

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

_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# What cannot be counted by itself is counted in these.
_UNITS = {"skis": "pair", "scissors": "pair", "broccoli": "head"}
_IRREGULAR = {
    "person": "people", "sheep": "sheep", "knife": "knives", "computer mouse": "computer mice"
}  # fmt: skip


def one(name: str, color: str = "") -> str:
    """One of a class: "an orange", "a red car", "a pair of red skis"."""
    colored = f"{color} {name}" if color else name
    noun = f"{_UNITS[name]} of {colored}" if name in _UNITS else colored
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def several(name: str, num: int) -> str:
    """Two to ten of a class: "two benches", "three people", "four pairs of scissors"."""
    unit = _UNITS.get(name)
    return f"{_NUMBERS[num]} {f'{unit}s of {name}' if unit else _plural(name)}"


def _plural(name: str) -> str:
    hissing = name.endswith(("s", "ch", "sh", "x", "z"))
    return _IRREGULAR.get(name) or f"{name}{'es' if hissing else 's'}"
