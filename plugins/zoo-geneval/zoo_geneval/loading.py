"""Published weights into transformers' classes, whole or not at all."""

from typing import Any

import torch


def pretrained_model(cls: Any, source: str, label: str, dtype: torch.dtype) -> Any:
    """A frozen model of a class of transformers, from a name on the hub or a local folder.

    Raises:
        ValueError: it cannot be read, is another kind of model, or lacks weights, which
            transformers would draw at random.
    """
    from transformers import AutoConfig

    form = "name one on the hub or a local folder with its config.json and model.safetensors"
    try:
        kind, wanted = AutoConfig.from_pretrained(source).model_type, cls.config_class.model_type
        if kind != wanted:
            raise ValueError(f"it is of the type {kind!r}, not {wanted!r}")
        model, read = cls.from_pretrained(source, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"the {label} {source!r} cannot be loaded: {reason}; {form}") from error
    lacking = sorted({name for name, _ in model.named_parameters()} & set(read["missing_keys"]))
    if lacking:
        raise ValueError(
            f"the {label} {source!r} lacks {len(lacking)} weights, such as {lacking[0]}; {form}"
        )
    return model.eval().requires_grad_(False)
