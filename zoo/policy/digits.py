"""A tiny SD3 transformer that draws 8 x 8 digits: a real model for runs of a minute, shipped here.

The architecture is Stable Diffusion 3's (MMDiT, Esser et al. 2024, arXiv 2403.03206) at 287k
parameters, with a text encoder of words in place of CLIP and T5, and pixels in place of a VAE.
`python -m benchmarks.make_digits` made its weights.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from torch import Tensor, nn

from zoo.data.digits import CAPTIONS, SIZE, WORDS, grey
from zoo.devices import send
from zoo.errors import reason
from zoo.policy.base import Makes, Policy
from zoo.policy.lora import ATTENTION
from zoo.policy.pretrained import Dtype, Precision
from zoo.policy.tiny import WIDTH, sd3_transformer
from zoo.policy.waiting import network_device
from zoo.policy.weights import CopiesOn, Lora, WeightSets
from zoo.prompt import Prompt, PromptError
from zoo.rollout import Cond, Lookup, rows_of
from zoo.storage.tensor_file import TensorFile

_CAPTION_WORDS = sorted(
    {word for caption in CAPTIONS for word in caption.replace("{}", "").split()}
)
VOCABULARY = ("", *WORDS, *_CAPTION_WORDS)
"""The words that a prompt may hold; the first entry fills up short prompts."""

NUM_TOKENS = 6


class TextEncoder(nn.Module):
    """Embeds words and their positions; an MLP of their mean is the pooled embedding."""

    def __init__(self) -> None:
        """Random weights from torch's global generator."""
        super().__init__()
        self.word = nn.Embedding(len(VOCABULARY), WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(NUM_TOKENS, WIDTH))
        self.pool = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))

    def forward(
        self, words: Int[Tensor, "batch tokens"]
    ) -> tuple[Float[Tensor, "batch tokens width"], Float[Tensor, "batch width"]]:
        """The embedding of each token, and of the whole."""
        embedded = self.word(words) + self.position
        real = (words != 0).unsqueeze(-1)
        pooled = self.pool((embedded * real).sum(dim=1) / real.sum(dim=1).clamp(min=1))
        return embedded, pooled


def tokenize(texts: Sequence[str]) -> Int[Tensor, "batch tokens"]:
    """Each text's words as indices into `VOCABULARY`, filled up with 0.

    The empty text is the null caption.

    Raises:
        PromptError: a text has an unknown word, or more than 6.
    """
    tokens = torch.zeros(len(texts), NUM_TOKENS, dtype=torch.long)
    for row, text in zip(tokens, texts, strict=True):
        words = text.lower().split()
        if len(words) > NUM_TOKENS:
            raise PromptError(
                f"the prompt {text!r} has {len(words)} words; the digits model reads {NUM_TOKENS}"
            )
        for i, word in enumerate(words):
            if word not in VOCABULARY:
                raise PromptError(
                    f"unknown word {word!r} in the prompt {text!r}; "
                    f"the digits model knows: {', '.join(VOCABULARY[1:])}"
                )
            row[i] = VOCABULARY.index(word)
    return tokens


def new_network() -> nn.Module:
    """The transformer with random weights from torch's global generator, at float32."""
    network: nn.Module = sd3_transformer(side=SIZE, channels=1, positions=4, dual=())
    return network


class Digits(Policy):
    """Draws digits of 8 x 8 pixels from captions such as 'a photo of the digit seven'.

    Knows about 20 words. `checkpoint` is a file that `python -m benchmarks.make_digits` wrote; none
    is the shipped one, which draws sharp digits and the one asked for in about half of the images.
    """

    latent_shape = (1, SIZE, SIZE)

    def __init__(
        self,
        device: torch.device,
        /,
        *,
        lora: Lora | None = Lora(rank=8, alpha=16),  # noqa: B008  (frozen)
        dtype: Dtype = "float32",
        checkpoint: Path | None = None,
        copies_on: CopiesOn = "device",
    ) -> None:
        """`lora` null trains the whole transformer; the text encoder stays frozen either way.

        The transformer computes in `dtype`. What is trained is float32: adapters, or all of it,
        which is cast in every forward. With `copies_on` cpu the old, reference and EMA weights of
        training all are in the host's memory, and on the device while they are used.
        """
        precision = Precision.of(dtype, lora)
        self._device, self._dtype = device, precision.weights
        with device if device.type == "meta" else nullcontext():
            network, self._text_encoder = new_network(), TextEncoder()
        if device.type != "meta":
            modules = {"network": network, "text_encoder": self._text_encoder}
            _load(nn.ModuleDict(modules), checkpoint)
        self._text_encoder.to(device).requires_grad_(False)
        nn.Module.to(network, network_device(device), self._dtype).eval()
        self.weights = WeightSets(
            network, lora, default_targets=ATTENTION, copies_on=copies_on, casts=precision.casts
        )

    @classmethod
    def check_start(cls, options: Mapping[str, Any]) -> None:
        """Looks for the checkpoint, and for its tensors in the file's header.

        Raises:
            ValueError: there is none, it cannot be read, or is of another model.
        """
        # A policy made from this one need not have the option.
        checkpoint = options.get("checkpoint")
        if checkpoint is not None:
            with torch.device("meta"):
                modules = nn.ModuleDict({"network": new_network(), "text_encoder": TextEncoder()})
            _open(Path(checkpoint), modules)

    @classmethod
    def makes(cls, options: Mapping[str, Any]) -> Makes | None:
        """Single images."""
        return "images"

    @classmethod
    def shipped(cls, options: Mapping[str, Any]) -> Path | None:
        """The shipped checkpoint, where none is named."""
        return _SHIPPED if options["checkpoint"] is None else None

    def encode(self, prompts: Sequence[Prompt], *, guidance: float = 1.0) -> Cond:
        """Tables of embeddings, a row a prompt; with guidance also the null caption's one row."""
        words, pooled = self._embed([prompt.text for prompt in prompts])
        row = torch.arange(len(prompts), device=self._device)
        tensors: dict[str, Tensor | Lookup] = {
            "words": Lookup(words, row),
            "pooled": Lookup(pooled, row),
        }
        if guidance != 1.0:
            words, pooled = self._embed([""])
            zero = torch.zeros_like(row)
            tensors |= {"null_words": Lookup(words, zero), "null_pooled": Lookup(pooled, zero)}
        return Cond(tensors, guidance)

    def velocity(
        self, x: Float[Tensor, "batch 1 8 8"], t: Float[Tensor, " batch"], cond: Cond
    ) -> Float[Tensor, "batch 1 8 8"]:
        """dx/dt by one forward, or by two where the guidance is not 1."""
        velocity = self._forward(x, t, cond.tensors["words"], cond.tensors["pooled"])
        if cond.guidance == 1.0:
            return velocity
        with torch.no_grad():
            null = self._forward(x, t, cond.tensors["null_words"], cond.tensors["null_pooled"])
        return null + cond.guidance * (velocity - null)

    def decode(self, latents: Float[Tensor, "batch 1 8 8"]) -> Float[Tensor, "batch 3 8 8"]:
        """Latents are the grey values in [-1, 1]; what lies outside is clamped."""
        return ((latents + 1.0) / 2.0).clamp(0.0, 1.0).repeat(1, 3, 1, 1)

    def latents(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 1 8 8"]:
        """The mean of the channels, in [-1, 1].

        Raises:
            ValueError: the images are not of 8 x 8 pixels.
        """
        return grey(images)

    def grid(self, num_steps: int) -> Float[Tensor, " num_points"]:
        """Even steps from 1 to 0: at this resolution no shift is needed."""
        return torch.linspace(1.0, 0.0, num_steps + 1, dtype=torch.float64)

    def encoder_bytes(self) -> int:
        """None that leaves the device: it is small."""
        return 0

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        words, pooled = self._text_encoder(send(tokenize(texts), self._device))
        return words, pooled

    def _forward(
        self, x: Tensor, t: Tensor, words: Tensor | Lookup, pooled: Tensor | Lookup
    ) -> Tensor:
        out: tuple[Tensor, ...] = self.weights(
            hidden_states=x.to(self._dtype),
            encoder_hidden_states=rows_of(words).to(self._dtype),
            pooled_projections=rows_of(pooled).to(self._dtype),
            timestep=t * 1000.0,
            return_dict=False,
        )
        return out[0].float()


def _load(modules: nn.Module, checkpoint: Path | None) -> None:
    file = _open(_SHIPPED if checkpoint is None else checkpoint, modules)
    modules.load_state_dict({name: file[name] for name in file})


def _open(path: Path, modules: nn.Module) -> TensorFile:
    """A checkpoint whose header says that it is one of these modules."""
    if not os.path.isfile(path):
        raise ValueError(f"no such digits checkpoint: {path} ({_FIX})")
    try:
        file = TensorFile(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as safetensors: {reason(error)} ({_FIX})"
        ) from error
    _match(path, file, modules.state_dict())
    return file


_SHIPPED = Path(str(files("zoo") / "assets" / "digits.safetensors"))
_FIX = "make one with: python -m benchmarks.make_digits --out DIR"


def _match(path: Path, file: TensorFile, wanted: Mapping[str, Tensor]) -> None:
    wrong = sorted(
        name
        for name in {*file, *wanted}
        if name not in file or name not in wanted or file.shape(name) != wanted[name].shape
    )
    if wrong:
        raise ValueError(
            f"{path} is not a checkpoint of the digits model: {len(wrong)} tensors are missing, "
            f"unknown or of another shape, such as {wrong[0]} ({_FIX})"
        )
