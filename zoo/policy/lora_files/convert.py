"""LoRAs of the layers of other programs, as those of diffusers' network: kohya's, BFL's, XLabs'.

FLUX's are converted by diffusers, layer by layer. Its converters choose by names, and leave out in
silence what they do not know; so each layer must come out as large as it went in: by the Frobenius
norm of up down, which neither the splitting of a fused layer nor an exchange of its rows changes.
SD3's, which diffusers does not know, are those of Stability's code (`joint_blocks`, see diffusers'
`convert_sd3_transformer_checkpoint_to_diffusers`), and of either family diffusers' own names with
underscores for dots.
"""

import re
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from zoo.errors import one_line
from zoo.policy.lora_files.names import are_lora, module_of
from zoo.policy.lora_files.source import LoraError

_FLAT = ("lora_unet_", "lora_transformer_")
_TOP = (
    "double_blocks.", "single_blocks.", "joint_blocks.", "img_in", "txt_in", "time_in.",
    "vector_in.", "guidance_in.", "final_layer.",
)  # fmt: skip
"""Where the layers of the published code begin that diffusers' networks call otherwise."""

_QKV = ("to_q", "to_k", "to_v")
_OF_JOINT_BLOCKS: Mapping[str, tuple[str, ...]] = {
    "x_block.attn.qkv": tuple(f"attn.{name}" for name in _QKV),
    "x_block.attn.proj": ("attn.to_out.0",),
    "x_block.attn2.qkv": tuple(f"attn2.{name}" for name in _QKV),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "context_block.attn.proj": ("attn.to_add_out",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
}
_OWN = (
    *{name for names in _OF_JOINT_BLOCKS.values() for name in names},
    "norm.linear", "proj_mlp", "proj_out",
)  # fmt: skip
"""Of a block of SD3's or FLUX's network in diffusers."""

_ROUNDING = 1e-4
"""Of a norm: a float32 has 6e-8, and a sum of thousands of products a little more."""

Scaled = Mapping[str, tuple[Tensor, Tensor]]
"""By layer: down and up matrices, float32, of which up down is what is added."""


def is_foreign(layer: str) -> bool:
    """Whether another program's name of a layer."""
    return layer.startswith((*_FLAT, *_TOP)) or ".processor." in layer


def convert(layers: Scaled, source: str) -> dict[str, Tensor]:
    """All of them as adapters, by the names of diffusers' network.

    Raises:
        LoraError: a layer cannot be converted, or not as it is.
    """
    converted: dict[str, Tensor] = {}
    for layer, (down, up) in layers.items():
        by_name = _convert_layer(layer, down, up, source)
        if twice := converted.keys() & by_name.keys():
            raise LoraError(f"'{source}' has '{min(twice)}' by two names; leave one out")
        converted |= by_name
    return converted


def _convert_layer(layer: str, down: Tensor, up: Tensor, source: str) -> dict[str, Tensor]:
    if not is_foreign(layer):
        return _adapter(layer, down, up)
    for find in (_flattened, _of_joint_block):
        names = find(layer)
        if names:
            if names[0].endswith("norm1_context.linear") and len(up) == 2 * down.shape[1]:
                # The last block's has shift and scale alone, which diffusers has the other way.
                up = torch.cat([*reversed(up.chunk(2))])
            if len(up) % len(names):
                raise LoraError(
                    f"'{source}': '{layer}' has {len(up)} rows, which are not {len(names)} layers'"
                )
            pairs = zip(names, up.chunk(len(names)), strict=True)
            return {key: t for name, part in pairs for key, t in _adapter(name, down, part).items()}
    return _by_diffusers(layer, down, up, source)


def _adapter(layer: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    return {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up.contiguous()}


def _flattened(layer: str) -> tuple[str, ...]:
    """Diffusers' own layer of a name in which underscores stand for dots."""
    match = re.fullmatch(
        rf"({'|'.join(_FLAT)})(?P<blocks>(single_)?transformer_blocks)_(?P<i>\d+)_(?P<rest>\w+)",
        layer,
    )
    rest = {name.replace(".", "_"): name for name in _OWN}.get(match["rest"]) if match else None
    return () if match is None or rest is None else (f"{match['blocks']}.{match['i']}.{rest}",)


def _of_joint_block(layer: str) -> tuple[str, ...]:
    """Diffusers' layers of one of Stability's, dotted or with underscores."""
    match = re.fullmatch(
        rf"({'|'.join(_FLAT)})?joint_blocks[._](?P<i>\d+)[._](?P<rest>[\w.]+)", layer
    )
    if match is None:
        return ()
    by_name = {name.replace(".", "_"): names for name, names in _OF_JOINT_BLOCKS.items()}
    names = by_name.get(match["rest"].replace(".", "_"), ())
    return tuple(f"transformer_blocks.{match['i']}.{name}" for name in names)


def _by_diffusers(layer: str, down: Tensor, up: Tensor, source: str) -> dict[str, Tensor]:
    """What diffusers makes of a layer of FLUX: whole, and nothing besides."""
    fix = "convert it to diffusers' or PEFT's layout with the program that wrote it"
    try:
        converted = _read_by_diffusers(layer, down, up)
    except Exception as error:
        raise LoraError(
            f"'{source}' has '{layer}', which diffusers does not read ({one_line(error)}); {fix}"
        ) from error
    if not converted or not are_lora(converted):
        raise LoraError(f"'{source}' has '{layer}', which diffusers does not read; {fix}")
    size = _squared_norm(down, up)
    if abs(sum(_sizes(converted)) - size) > _ROUNDING * size:
        raise LoraError(f"'{source}' has '{layer}', of which diffusers gives up a part; {fix}")
    return converted


def _read_by_diffusers(layer: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    """As its pipelines read a file, and its networks what these give them."""
    from diffusers import FluxPipeline
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    read: Callable[..., dict[str, Tensor]] = FluxPipeline.lora_state_dict
    if ".processor." in layer:
        tensors = read({f"{layer}.down.weight": down, f"{layer}.up.weight": up})
    else:
        name = layer if layer.startswith(_FLAT) else f"diffusion_model.{layer}"
        tensors = read({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up})
    if not are_lora(tensors):
        tensors = convert_unet_state_dict_to_peft(tensors)
    return {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}


def _sizes(adapters: Mapping[str, Tensor]) -> Iterator[float]:
    for layer in {module_of(name) for name in adapters}:
        yield _squared_norm(adapters[f"{layer}.lora_A.weight"], adapters[f"{layer}.lora_B.weight"])


def _squared_norm(down: Tensor, up: Tensor) -> float:
    """The squared Frobenius norm of up down, by the products of either with itself."""
    down, up = down.double(), up.double()
    return float(torch.sum((down @ down.T) * (up.T @ up)))
