"""Collecting images that are stored: each is read and encoded once, and kept as latents.

What is scored is what stands in the prompts' metadata, or the images as the policy decodes their
latents, where a reward reads pixels: the policy can come no closer to an image than that.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.data.images import ImageReader
from zoo.devices import send
from zoo.policy.base import Policy
from zoo.prompt import Prompt, PromptError, StoredImage
from zoo.rollout import Path
from zoo.sampler.base import ImageSource, StoredImages
from zoo.training.generate import Batch, Wanted, drop_broken
from zoo.training.looks import Looks, look
from zoo.training.micro_batches import balanced_batch_size, micro_batches, num_micro_batches

TOGETHER = 8
"""Images that are encoded together, at most: no more than policies decode."""


@dataclass(frozen=True)
class EncodedImage:
    """A stored image in the host's memory: its latents, and what is looked at of it."""

    latents: Float[Tensor, "*latent"]
    thumbnail: Float[Tensor, " values"]
    measures: Float[Tensor, " measures"]

    @property
    def num_bytes(self) -> int:
        """What it takes."""
        return sum(part.nbytes for part in (self.latents, self.thumbnail, self.measures))


class ImageCache:
    """The encoded images that were used last, up to a number of bytes."""

    def __init__(self, gb: float) -> None:
        """Room for so many GB."""
        self._limit, self._num_bytes = gb * 1e9, 0
        self._kept: OrderedDict[StoredImage, EncodedImage] = OrderedDict()

    def get(self, image: StoredImage) -> EncodedImage | None:
        """The image if it is kept, which makes it the one used last."""
        if image in self._kept:
            self._kept.move_to_end(image)
        return self._kept.get(image)

    def keep(self, image: StoredImage, encoded: EncodedImage) -> None:
        """Takes one that is not kept; those used longest ago make room."""
        self._kept[image] = encoded
        self._num_bytes += encoded.num_bytes
        while self._num_bytes > self._limit:
            _, dropped = self._kept.popitem(last=False)
            self._num_bytes -= dropped.num_bytes


class EncodedImages(ImageSource):
    """Stored images as a policy's latents.

    Images are encoded in micro-batches of one shape, so that what becomes of one does not depend on
    which others are kept: a resumed run, which keeps none yet, gets the same latents.
    """

    def __init__(
        self, stored: StoredImages, policy: Policy, device: torch.device, cache: ImageCache
    ) -> None:
        """`device` is the policy's. An image must stay as it is while the run goes on."""
        self.policy, self.device, self.cache = policy, device, cache
        self._stored, self.guidance = stored, stored.guidance
        self._size: tuple[int, int] | None = None

    def grid(self, policy: Policy) -> Float[Tensor, " num_points"] | None:
        """The times that the stored images are given."""
        return self._stored.grid(policy)

    def encode(
        self, images: Sequence[StoredImage], reader: ImageReader, batch: int
    ) -> list[EncodedImage]:
        """Reads, encodes and keeps at most `batch` images that are not kept.

        Raises:
            PromptError: an image cannot be read.
            ValueError: the policy makes videos.
        """
        height, width = self._resolution()
        pixels = torch.stack([reader.pixels(image, height, width) for image in images])
        latents = encode_together(self.policy, send(pixels, self.device), batch).cpu()
        looks = look(as_decoded(pixels), latents)
        rows = zip(latents, looks.thumbnail, looks.measures, strict=True)
        # Copies: a row of a batch would keep all of it in memory.
        encoded = [EncodedImage(*(part.clone() for part in row)) for row in rows]
        for image, parts in zip(images, encoded, strict=True):
            self.cache.keep(image, parts)
        return encoded

    def _resolution(self) -> tuple[int, int]:
        """The height and width of the policy's images, found by decoding one once."""
        if self._size is None:
            zeros = torch.zeros(1, *self.policy.latent_shape, device=self.device)
            shape = self.policy.decode(zeros).shape
            if len(shape) != 4:
                raise ValueError(
                    "stored images are still images, and the policy makes videos; use "
                    "sampler: {name: flow, ...}"
                )
            self._size = (shape[2], shape[3])
        return self._size


def encode_together(
    policy: Policy, pixels: Float[Tensor, "images 3 height width"], batch: int
) -> Float[Tensor, "images *latent"]:
    """The latents of at most `batch` images, filled up to as many with the first one."""
    index = torch.arange(batch, device=pixels.device) % len(pixels)
    with torch.no_grad():
        return policy.latents(pixels[index])[: len(pixels)]


def as_decoded(pixels: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Pixels in [0, 1] as a decoder has them, which come from [-1, 1]: another last bit."""
    return (2 * pixels - 1 + 1) / 2


class _EpochImages:
    """The images of an epoch in the order of their use, encoded a few at a time as they come up."""

    def __init__(self, encoded: EncodedImages, images: Sequence[StoredImage], batch: int) -> None:
        self._encoded, self._batch = encoded, batch
        # Held until the epoch's end: what is encoded now may push it out of what is kept.
        self._ready = {
            image: parts for image in images if (parts := encoded.cache.get(image)) is not None
        }
        missing = dict.fromkeys(image for image in images if image not in self._ready)
        self._missing, self._reader = deque(missing), ImageReader(missing)

    def __getitem__(self, image: StoredImage) -> EncodedImage:
        while image not in self._ready:
            some = [self._missing.popleft() for _ in range(min(self._batch, len(self._missing)))]
            encoded = self._encoded.encode(some, self._reader, self._batch)
            self._ready |= zip(some, encoded, strict=True)
        return self._ready[image]


def own_prompt(prompt: Prompt, i: int) -> Prompt:
    """The prompt as its image `i` has it: with that image alone, and the preference of that.

    Raises:
        PromptError: it has fewer images.
    """
    num = len(prompt.images)
    if i >= num:
        raise PromptError(
            f"the prompt {prompt.text!r} comes with {num or 'no'} images and was asked for number "
            f"{i + 1}; "
            + (f"write data.group_size: {num}" if num else "name a source of prompts with images")
        )
    preference, metadata = prompt.metadata.get("preference"), prompt.metadata
    if isinstance(preference, list | tuple) and len(preference) == num:
        metadata = {**metadata, "preference": preference[i]}
    return replace(prompt, metadata=metadata, images=(prompt.images[i],))


def read_stored(
    encoded: EncodedImages, wanted: Wanted, *, micro_batch: int, reads_pixels: bool
) -> Iterator[Batch]:
    """The images of prompts that have one each; decoded where pixels are read, else without any.

    Raises:
        PromptError: an image cannot be read.
    """
    size = balanced_batch_size(wanted.largest, micro_batch)
    count = num_micro_batches(wanted.largest, size)
    images = [prompt.images[0] for prompt in wanted.prompts]
    epoch = _EpochImages(encoded, images, min(size, TOGETHER))
    for micro in micro_batches(torch.arange(wanted.num), size, count):
        num, rows = micro.num_real, micro.index[: micro.num_real]
        parts = [epoch[images[row]] for row in micro.index.tolist()]
        clean = send(torch.stack([part.latents for part in parts]), encoded.device)
        if reads_pixels:
            with torch.no_grad():
                pixels = encoded.policy.decode(clean)[:num]
            looks = look(pixels, clean[:num])
        else:
            pixels = clean.new_zeros(num, 3, 0, 0)
            looks = Looks(
                torch.stack([part.thumbnail for part in parts])[:num],
                torch.stack([part.measures for part in parts])[:num],
            )
        yield drop_broken(Batch(Path(clean[:num], 0), pixels, looks, rows, wanted.key[rows], 0))
