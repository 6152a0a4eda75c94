"""What a pipeline makes of input images or of prompts alone, in every run: it is made once.

Of images the same calls come in every run. Of prompts what is made of the last rows is kept: those
of one time are mostly those of the next, and the rows of all prompts may be large.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch

from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.run import Run
from zoo.policy.pipeline.twins import replace_method

_ENCODES_IMAGES = ("encode_image", "_get_image_embeds")
"""A pipeline's own methods by which its image encoder reads the input images."""
_OF_IMAGES = (
    ("vae", "encode"),
    ("feature_extractor", "preprocess"),
    ("image_processor", "preprocess"),
    ("image_processor", "resize"),
    ("video_processor", "preprocess"),
    ("video_processor", "resize"),
)
"""Of parts, what a pipeline does to its input images anew in every run."""
_OF_PROMPTS = (("connectors", "forward"),)
"""What a pipeline does in every run to what its text encoders gave, and to nothing else: LTX-2's
networks between them and its transformer."""

_Replace = Callable[[str, Callable[..., Any]], Callable[..., Any]]
"""A function by its name, and what takes its place."""


class Remembered:
    """Has a twin's functions answer with what is there already."""

    def __init__(
        self,
        run: Callable[[], Run],
        lent: Callable[[], AbstractContextManager[None]],
        device: Callable[[], torch.device],
    ) -> None:
        """`run` is the one that the twin is in, on a `device`; `lent` has the encoders there."""
        self._run, self._lent, self._device = run, lent, device

    def images(self, twin: Any) -> None:
        """What the twin does to its input images."""
        for name in _ENCODES_IMAGES:
            if hasattr(twin, name):
                twin.__dict__[name] = self._of_images(name, getattr(twin, name))
        _replace(twin, _OF_IMAGES, self._of_images)

    def prompts(self, twin: Any) -> None:
        """What the twin does to its prompts' embeddings."""
        _replace(twin, _OF_PROMPTS, self._of_prompts)

    def _of_images(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def lent(*args: Any, **kwargs: Any) -> Any:
            with torch.no_grad(), self._lent():
                return function(*args, **kwargs)

        def remembered(*args: Any, **kwargs: Any) -> Any:
            make = partial(lent, *args, **kwargs)
            return make() if self._is_of_shapes() else self._run().kept(name, make)

        return remembered

    def _of_prompts(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def frozen(*args: Any, **kwargs: Any) -> Any:
            with torch.no_grad():
                return function(*args, **kwargs)

        def remembered(*args: Any, **kwargs: Any) -> Any:
            make = partial(frozen, *args, **kwargs)
            return make() if self._is_of_shapes() else self._run().kept_of_rows(name, make)

        return remembered

    def _is_of_shapes(self) -> bool:
        """What was found with numbers is of no use to shapes alone."""
        return self._device().type == "meta"


class Prepared:
    """What a pipeline prepared last: the same noise and images for the same rows, step by step.

    Latents are put in the noise's place; to draw it anew takes milliseconds of a large picture.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self._last: dict[int, tuple[Any, tuple[object, ...], Any]] = {}

    def of(self, question: Question, state: int, make: Callable[[], Any]) -> Any:
        """That of a state, of the rows of a question that are encoded."""
        encoded = question.encoded
        if encoded is None:
            return make()
        rows = (encoded.rows, len(question.prompts), question.guidance, question.at)
        if (last := self._last.get(state)) and last[0] is encoded.kept and last[1] == rows:
            return last[2]
        self._last[state] = (encoded.kept, rows, make())
        return self._last[state][2]


def _replace(twin: Any, methods: Sequence[tuple[str, str]], remember: _Replace) -> None:
    for part, method in methods:
        inner = getattr(twin, part, None)
        if hasattr(inner, method):
            function = remember(f"{part}.{method}", getattr(inner, method))
            replace_method(twin, part, method, function)
