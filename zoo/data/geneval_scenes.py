"""Scenes of GenEval's six kinds, of any objects, and the sentences that ask for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.prompt import Prompt

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


COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
POSITIONS = ("left of", "right of", "above", "below")
COUNTS = (2, 3, 4)

# There is no "red person", as in GenEval.
_COLORABLE = tuple(name for name in CLASSES if name != "person")
_MIRRORED = {"right of": "left of", "below": "above"}


def key(metadata: Mapping[str, Any]) -> str:
    """A name for a scene, the same for two wordings that differ in order alone.

    "A cat and a dog" and "a dog and a cat" are one scene, and so are "a cat left of a dog" and "a
    dog right of a cat".
    """
    include = metadata["include"]
    parts = [f"{each['count']} {each.get('color', '')} {each['class']}" for each in include]
    if metadata["tag"] != "position":
        return "|".join([metadata["tag"], *sorted(parts)])
    # The second object's place is told from the first's.
    place = include[1]["position"][0]
    if place not in _MIRRORED:
        parts.reverse()
    return "|".join([metadata["tag"], _MIRRORED.get(place, place), *parts])


@dataclass(frozen=True)
class World:
    """What there is to draw: scenes of GenEval's six kinds are made of it.

    `opening` begins every sentence; `colorable` are the classes that are asked for by colour.
    """

    classes: tuple[str, ...]
    colors: tuple[str, ...]
    colorable: tuple[str, ...]
    opening: str = ""

    @property
    def scenes(self) -> dict[str, tuple[int, Callable[[int], Prompt]]]:
        """How many scenes there are of each kind, and the one of a number."""
        pairs, colorable = _num_pairs(self.classes), self.colorable
        return {
            "single_object": (len(self.classes), self._single_object),
            "two_object": (pairs, self._two_object),
            "counting": (len(self.classes) * len(COUNTS), self._counting),
            "colors": (len(colorable) * len(self.colors), self._colors),
            "position": (pairs * len(POSITIONS), self._position),
            "color_attr": (_num_pairs(colorable) * _num_pairs(self.colors), self._color_attr),
        }

    def _scene(
        self, text: str, tag: str, *include: dict[str, Any], **exclude: list[dict[str, Any]]
    ) -> Prompt:
        return Prompt(f"{self.opening}{text}", {"tag": tag, "include": list(include), **exclude})

    def _single_object(self, i: int) -> Prompt:
        name = self.classes[i]
        return self._scene(one(name), "single_object", _object(name))

    def _two_object(self, i: int) -> Prompt:
        a, b = (self.classes[each] for each in _pair(i, len(self.classes)))
        return self._scene(f"{one(a)} and {one(b)}", "two_object", _object(a), _object(b))

    def _counting(self, i: int) -> Prompt:
        name, num = self.classes[i // len(COUNTS)], COUNTS[i % len(COUNTS)]
        return self._scene(
            several(name, num),
            "counting",
            {"class": name, "count": num},
            exclude=[{"class": name, "count": num + 1}],
        )

    def _colors(self, i: int) -> Prompt:
        which, colored = divmod(i, len(self.colors))
        name, color = self.colorable[which], self.colors[colored]
        return self._scene(one(name, color), "colors", {**_object(name), "color": color})

    def _position(self, i: int) -> Prompt:
        a, b = (self.classes[each] for each in _pair(i // len(POSITIONS), len(self.classes)))
        place = POSITIONS[i % len(POSITIONS)]
        placed = {**_object(a), "position": [place, 0]}
        return self._scene(f"{one(a)} {place} {one(b)}", "position", _object(b), placed)

    def _color_attr(self, i: int) -> Prompt:
        which, colored = divmod(i, _num_pairs(self.colors))
        a, b = (self.colorable[each] for each in _pair(which, len(self.colorable)))
        first, second = (self.colors[each] for each in _pair(colored, len(self.colors)))
        return self._scene(
            f"{one(a, first)} and {one(b, second)}",
            "color_attr",
            {**_object(a), "color": first},
            {**_object(b), "color": second},
        )


def _object(name: str) -> dict[str, Any]:
    return {"class": name, "count": 1}


def _pair(i: int, num: int) -> tuple[int, int]:
    """The i-th ordered pair of two different numbers under `num`."""
    first, second = divmod(i, num - 1)
    return first, second + (second >= first)


def _num_pairs(things: tuple[str, ...]) -> int:
    return len(things) * (len(things) - 1)


SCENES = World(CLASSES, COLORS, _COLORABLE, "a photo of ").scenes
"""Of COCO's objects."""
