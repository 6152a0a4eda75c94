"""Latents to images and videos, and back, by the pipeline's own end and its autoencoder."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from zoo.policy.pipeline.contract import Contract, UnsupportedError
from zoo.policy.pipeline.decoder import decoder_input
from zoo.policy.pipeline.questions import Encoded, Question
from zoo.policy.pipeline.seam import Seam
from zoo.seeds import Draws

_CLOSE = {True: 1e-4, False: 2e-2}
"""How far what is decoded may be from a permuted latent, in float32 and in half precision."""
_RGBA = 4
_BASE = 8
"""Of the digits of a place: all are exact in half precision."""


class Pictures:
    """Decodes and encodes a portion at a time, which bounds memory."""

    def __init__(self, seam: Seam, contract: Contract, encoded: Encoded, *, portion: int) -> None:
        """`encoded` is any one prompt, which a pipeline wants for its end as well.

        A `portion` counts pictures and the frames of videos: a longer video goes by itself. The
        first goes by itself, by which their number is known.
        """
        self._seam, self._contract, self._encoded = seam, contract, encoded
        self._portion = 1 if contract.manner.batching == "alone" else portion
        self._frames = portion
        self._inverse: _Inverse | None = None

    @torch.no_grad()
    def decode(self, x: Float[Tensor, "batch *latent"]) -> Float[Tensor, "batch *frames 3 h w"]:
        """Images in [0, 1], float32."""
        parts = []
        while len(x):
            part, x = x[: self._rows(self._frames)], x[self._rows(self._frames) :]
            parts.append(on_white(self._end(part).float()))
            self._frames = _num_frames(parts[-1])
        return torch.cat(parts).clamp(0, 1)

    def _rows(self, frames: int) -> int:
        """The pictures or videos that go through the autoencoder together."""
        return max(1, self._portion // frames)

    @torch.no_grad()
    def encode(
        self, images: Float[Tensor, "batch *frames 3 h w"]
    ) -> Float[Tensor, "batch *latent"]:
        """The most probable latents of images in [0, 1], float32.

        Raises:
            ValueError: they are not of the policy's size.
            UnsupportedError: the pipeline decodes no shifted, scaled and permuted latent.
        """
        vae = self._seam.real.vae
        if self._inverse is None:
            self._inverse = self._invert()
        parts = []
        for part in torch.split(images, self._rows(_num_frames(images))):
            inputs = (2 * part - 1).to(self._seam.device, vae.dtype)
            if getattr(vae.config, "in_channels", 3) == _RGBA:
                inputs = torch.cat([inputs, torch.ones_like(inputs[..., :1, :, :])], -3)
            if inputs.ndim > 4:
                inputs = (
                    inputs.transpose(1, 2) if self._inverse.has_frames else inputs.flatten(0, 1)
                )
            elif self._inverse.has_frames:
                inputs = inputs.unsqueeze(2)
            parts.append(self._inverse(_mode(vae.encode(inputs)).float()))
        return torch.cat(parts)

    def _end(self, x: Tensor) -> Any:
        """What the pipeline makes of latents after its last step."""
        made = self._seam.ask(self._question(x))
        return made[0] if isinstance(made, tuple) else made

    def _question(self, x: Tensor) -> Question:
        encoded = self._encoded.of_rows(self._contract.encoded[False], [0] * len(x))
        return Question("end", [""] * len(x), latents=self.states(x), encoded=encoded)

    def states(self, x: Float[Tensor, "batch *latent"]) -> list[Tensor]:
        """The parts of latents that a pipeline denoises each by itself; mostly the latents."""
        shapes = self._contract.shapes
        if len(shapes) == 1:
            return [x]
        parts = torch.split(x.flatten(1), [torch.Size(shape).numel() for shape in shapes], dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]

    def _invert(self) -> "_Inverse":
        """By the decoder's input for zeros, for ones, and for every place's number in digits."""
        if len(self._contract.shapes) > 1:
            raise UnsupportedError("several things are denoised, and only one of them is pictures")
        shape = self._contract.shapes[0]
        n = torch.Size(shape).numel()
        zero = self._decoded(torch.zeros(1, *shape))
        if zero.is_meta:
            # Without numbers no place is found; the shapes are those of any.
            return _Inverse(zero, zero, torch.zeros(zero.numel(), dtype=torch.long), shape)
        slope = self._decoded(torch.ones(1, *shape)) - zero
        place = torch.zeros(zero.numel(), dtype=torch.long)
        for digit in reversed(range(math.ceil(math.log(max(n, 2), _BASE)))):
            digits = (torch.arange(n) // _BASE**digit % _BASE).float().reshape(1, *shape)
            found = ((self._decoded(digits) - zero) / slope).flatten().round().long()
            place = _BASE * place + found
        # A permutation first: other numbers are no places.
        if len(place) != n or not torch.equal(place.sort().values, torch.arange(n)):
            raise UnsupportedError("what is decoded is no permuted latent")
        trial = Draws(0, "inverse", 0, torch.zeros(1, dtype=torch.long)).normal(shape)
        expected = zero.flatten() + slope.flatten() * trial.flatten().double()[place]
        close = _CLOSE[self._seam.real.vae.dtype == torch.float32]
        if not torch.allclose(expected, self._decoded(trial).flatten(), atol=close, rtol=close):
            raise UnsupportedError("what is decoded is no shifted, scaled and permuted latent")
        return _Inverse(zero, slope, place, shape)

    def _decoded(self, x: Tensor) -> Tensor:
        """What reaches the decoder, float64, on the CPU where it has numbers."""
        question = self._question(x.to(self._seam.device))
        given = decoder_input(self._seam, question).double()
        return given if given.is_meta else given.cpu()


class _Inverse:
    """From what the autoencoder gives to a pipeline's latents."""

    def __init__(
        self, zero: Tensor, slope: Tensor, place: Int[Tensor, " n"], shape: tuple[int, ...]
    ) -> None:
        self._zero, self._slope, self._place, self._shape = zero, slope, place, shape
        self.has_frames = zero.ndim > 4

    def __call__(self, encoded: Tensor) -> Tensor:
        # A decoder of single pictures is given the frames of a video as rows.
        if encoded.shape[1:] != self._zero.shape[1:] or len(encoded) % len(self._zero):
            raise ValueError(
                f"images of another size than the policy's: their latents are "
                f"{list(encoded.shape[1:])}, and the policy's {list(self._zero.shape[1:])}; resize "
                "them, or set policy.resolution"
            )
        zero, slope = self._zero.to(encoded).flatten(), self._slope.to(encoded).flatten()
        flat = (encoded.reshape(-1, len(zero)) - zero) / slope
        latents = torch.empty_like(flat)
        latents[:, self._place.to(flat.device)] = flat
        return latents.reshape(-1, *self._shape)


def on_white(images: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch _ h w"]:
    """Pictures in [0, 1] as they are seen: those with an opacity (Qwen-Image 2.1's) over white."""
    if images.shape[-3] != _RGBA:
        return images
    colour, opacity = torch.split(images, [3, 1], dim=-3)
    return 1 + opacity * (colour - 1)


def _num_frames(images: Tensor) -> int:
    return images.shape[1] if images.ndim > 4 else 1


def _mode(made: Any) -> Tensor:
    """The most probable latent, or the only one."""
    if hasattr(made, "latent_dist"):
        return made.latent_dist.mode()  # type: ignore[no-any-return]
    return made.latent if hasattr(made, "latent") else made.latents  # type: ignore[no-any-return]
