"""What people compare: the images of a prompt, known by what is in them, and their inputs."""

import hashlib
from dataclasses import dataclass
from io import BytesIO

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from zoo.data.images import open_inputs
from zoo.prompt import Prompt
from zoo.reward.base import Images
from zoo.run.pictures import levels
from zoo.run.votes import IMAGES

_DIGITS = 16
_INPUT = 384
"""Pixels of an input's longer side."""


@dataclass(frozen=True, eq=False)
class Group:
    """A prompt with its images; `id` is the same for the same images of the same prompt."""

    id: str
    prompt: str
    images: UInt8[Tensor, "group 3 height width"]
    names: tuple[str, ...]
    """Of the images, as a vote has them: relative paths that say what is in them."""
    inputs: tuple[bytes, ...] = ()
    """What the images were made from beside the prompt, small, as files."""

    @classmethod
    def of(cls, images: Images, prompt: Prompt) -> "Group":
        """Images in [0, 1] as people see them, with 8 bits.

        Raises:
            PromptError: an input of the prompt cannot be read.
        """
        seen = levels(images)
        digests = [_digest(image.shape, image.numpy().tobytes()) for image in seen]
        names = tuple(f"{IMAGES}/{digest}.png" for digest in digests)
        (opened,) = open_inputs([prompt], longest=_INPUT)
        inputs = tuple(map(_encoded, opened))
        return cls(_digest(prompt.text, *digests), prompt.text, seen, names, inputs)

    def png(self, place: int) -> bytes:
        """One of the images as a file."""
        return _encoded(Image.fromarray(self.images[place].movedim(0, -1).contiguous().numpy()))


def _encoded(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "png")
    return file.getvalue()


def _digest(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else f"{part}\x1f".encode(errors="backslashreplace")
        digest.update(data)
    return digest.hexdigest()[:_DIGITS]
