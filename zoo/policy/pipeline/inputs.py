"""The images that a model is given with a prompt: opened, and at the policy's size."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.data.images import open_inputs
from zoo.prompt import Prompt, PromptError, StoredImage

_SIZE = 512, 512
"""Where a pipeline is told no size."""


@dataclass(frozen=True)
class InputImages:
    """Of a pipeline that takes so `many` with each prompt, made to cover its `size` in pixels."""

    many: int
    size: tuple[int, int] | None
    pipeline: str

    def of(self, prompt: Prompt) -> tuple[StoredImage, ...]:
        """Where those of a prompt are; none where the pipeline takes text alone.

        Raises:
            PromptError: it has more or fewer than the model takes.
        """
        if not self.many:
            return ()
        if len(prompt.inputs) != self.many:
            where = f"{prompt.place}: " if prompt.place else ""
            raise PromptError(
                f"{where}the prompt {prompt.text!r} has {len(prompt.inputs)} input images, and "
                f"{self.pipeline} takes {self.many}; docs/prompts.md says how to write them, and "
                "policy.family.inputs how many it takes"
            )
        return prompt.inputs

    def open(self, prompts: Sequence[Prompt]) -> dict[Hashable, Any]:
        """The pictures of prompts, by where they are: one, or a list of several."""
        distinct = {self.of(prompt): prompt for prompt in prompts} if self.many else {}
        opened = open_inputs(list(distinct.values()))
        return {key: self._fitted(images) for key, images in zip(distinct, opened, strict=True)}

    def any(self) -> Any:
        """What stands for a prompt's while the pipeline is learned; None where it takes none."""
        from PIL import Image

        if not self.many:
            return None
        shades = Image.linear_gradient("L").convert("RGB")
        return self._fitted([shades.rotate(90 * i) for i in range(self.many)])

    def _fitted(self, images: Sequence[Any]) -> Any:
        from PIL import Image, ImageOps

        size = self.size or _SIZE
        fitted = [ImageOps.fit(image, size, Image.Resampling.BICUBIC) for image in images]
        return fitted[0] if len(fitted) == 1 else fitted
