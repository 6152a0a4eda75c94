"""LoRAs in the layouts of other programs, as diffusers reads them: kohya's, XLabs', ComfyUI's.

Diffusers' converters choose by names, and leave out in silence what they do not know: a layer, an
alpha, the text encoder's part. So each layer of a file is converted by itself and must come out as
large as it went in: by the Frobenius norm of alpha / rank * up down, which neither the splitting of
a fused layer nor an exchange of its rows changes.
"""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from zoo.errors import one_line
from zoo.policy.lora_files.names import are_lora, module_of
from zoo.policy.lora_files.source import LoraError
from zoo.storage.tensor_file import TensorFile

_MATRIX = re.compile(r"(?P<layer>.+?)\.(lora[._])?(?P<part>down|up)\.weight")
_FIX = "convert it to PEFT's or diffusers' layout with the program that wrote it"
_ROUNDING = 1e-4
"""Of a norm: a float32 has 6e-8, and a sum of thousands of products a little more."""


class Converted(Mapping[str, Tensor]):
    """Tensors in memory by their names in diffusers' network, alpha multiplied in; float32."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """These."""
        self._tensors = dict(tensors)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return tuple(self._tensors[name].shape)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._tensors))

    def __len__(self) -> int:
        return len(self._tensors)


def is_foreign(file: TensorFile) -> bool:
    """Whether it has the matrices of a LoRA by names that are not PEFT's."""
    return any(_MATRIX.fullmatch(name) for name in file)


def convert(file: TensorFile, source: str) -> Converted:
    """All of a file, by the names of diffusers' network.

    Raises:
        LoraError: diffusers does not read a part of it, or not as it is.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for name in file:
        match = _MATRIX.fullmatch(name)
        if match is None and not name.endswith(".alpha"):
            raise LoraError(f"'{source}' has '{name}', which diffusers does not read; {_FIX}")
        if not file.is_float(name):
            raise LoraError(f"'{source}': '{name}' is quantised; save it in float32 or bfloat16")
        layer = name.removesuffix(".alpha") if match is None else match["layer"]
        # Products of bfloat16 would be rounded to it.
        layers.setdefault(layer, {})[name] = file[name].float()
    converted: dict[str, Tensor] = {}
    for tensors in layers.values():
        by_name = _convert_layer(tensors, source)
        if twice := converted.keys() & by_name.keys():
            raise LoraError(f"'{source}' has '{min(twice)}' by two names; {_FIX}")
        converted |= by_name
    return Converted(converted)


def _convert_layer(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """What diffusers makes of a layer's matrices and alpha: whole, and nothing besides."""
    names = ", ".join(f"'{name}'" for name in tensors)
    parts = {m["part"]: tensors[name] for name in tensors if (m := _MATRIX.fullmatch(name))}
    if parts.keys() != {"down", "up"} or any(matrix.ndim != 2 for matrix in parts.values()):
        raise LoraError(f"'{source}' has {names}, which are not a down and an up matrix; {_FIX}")
    if any(name.startswith(("lora_te", "text_encoder")) for name in tensors):
        raise LoraError(
            f"'{source}' has {names} of a text encoder, which stays as it is in training; leave "
            "these out of the file"
        )
    try:
        converted = _by_diffusers(tensors)
    except Exception as error:
        raise LoraError(
            f"'{source}' has {names}, which diffusers does not read ({one_line(error)}); {_FIX}"
        ) from error
    if not converted or not are_lora(converted):
        raise LoraError(f"'{source}' has {names}, which diffusers does not read; {_FIX}")
    alpha = next((t for name, t in tensors.items() if name.endswith(".alpha")), None)
    scale = 1.0 if alpha is None else float(alpha) / len(parts["down"])
    size = scale**2 * _squared_norm(parts["down"], parts["up"])
    if abs(sum(_sizes(converted)) - size) > _ROUNDING * size:
        raise LoraError(f"'{source}' has {names}, of which diffusers gives up a part; {_FIX}")
    return converted


def _by_diffusers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As its pipelines read a file, and its networks what these give them."""
    from diffusers import FluxPipeline
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    # Of the families here FLUX's pipeline alone has converters; SD3's takes names as they are.
    read = FluxPipeline.lora_state_dict(dict(tensors))
    if not are_lora(read):
        read = convert_unet_state_dict_to_peft(read)
    return {name.removeprefix("transformer."): tensor for name, tensor in read.items()}


def _sizes(adapters: Mapping[str, Tensor]) -> Iterator[float]:
    for layer in {module_of(name) for name in adapters}:
        yield _squared_norm(adapters[f"{layer}.lora_A.weight"], adapters[f"{layer}.lora_B.weight"])


def _squared_norm(down: Tensor, up: Tensor) -> float:
    """The squared Frobenius norm of up down, by the products of either with itself."""
    down, up = down.double(), up.double()
    return float(torch.sum((down @ down.T) * (up.T @ up)))
