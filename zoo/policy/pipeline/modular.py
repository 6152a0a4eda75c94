"""A modular pipeline of diffusers as one with a call, an `encode_prompt` and a `prepare_latents`.

Its blocks are run one after another on a state. That which encodes texts runs first and its results
are put into the state; what the denoising loop begins with goes through `prepare_latents`. So it is
asked like any other.
"""

import copy
import inspect
from collections.abc import Callable, Collection, Iterator
from typing import Any

from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pretrained import Pretrained, Types

_ENCODER, _DECODER = "text_encoder", "decode"
"""The blocks that pipelines have by these names."""
_TEXTS = ("prompt", "negative_prompt")
_MADE = ("images", "videos")


def is_modular(cls: Any) -> bool:
    """Whether a class of diffusers is a pipeline of blocks."""
    import diffusers

    modular = getattr(diffusers, "ModularPipeline", None)
    return isinstance(cls, type) and modular is not None and issubclass(cls, modular)


def load_modular(cls: Any, files: Pretrained, types: Types, without: Collection[str]) -> Any:
    """A modular pipeline with its weights, on the CPU.

    Raises:
        UnsupportedError: it has no block that encodes texts, or no loop.
        ValueError: it is to be `without` a part, or of a single file.
    """
    _require_whole(cls, files, without)
    pipe = cls(pretrained_model_name_or_path=files.source)
    which = {"revision": files.revision, "variant": files.variant}
    said = {key: value for key, value in which.items() if value is not None}
    pipe.load_components(dtype=types, **said)
    return as_called(pipe)


def with_parts(
    cls: Any, files: Pretrained, without: Collection[str], make: Callable[..., Any]
) -> Any:
    """A modular pipeline with parts that `make` gives, by where one is, its class and its name.

    Parts that are of no file, as its guider is, are its own.

    Raises:
        UnsupportedError: it has no block that encodes texts, or no loop.
        ValueError: it is to be `without` a part, or of a single file.
    """
    _require_whole(cls, files, without)
    pipe = cls(pretrained_model_name_or_path=files.source)
    for name, spec in pipe._component_specs.items():
        source = spec.pretrained_model_name_or_path
        if spec.default_creation_method != "from_pretrained" or not source:
            continue
        # The index may say that a part is of another model.
        place = files if source == files.source else Pretrained(source, spec.revision)
        pipe.register_components(**{name: make(place, spec.type_hint, spec.subfolder)})
    return as_called(pipe)


def _require_whole(cls: Any, files: Pretrained, without: Collection[str]) -> None:
    if without or files.file:
        raise ValueError(
            f"{cls.__name__} is made of blocks, which are loaded whole from a folder or hub id; "
            "leave policy.without out, and name no single file"
        )


def as_called(pipe: Any) -> Any:
    """A modular pipeline with its parts that is asked like any other.

    Raises:
        UnsupportedError: it has no block that encodes texts, or no loop.
    """
    blocks = copy.deepcopy(pipe.blocks)
    kind = type(pipe).__name__
    if _ENCODER not in blocks.sub_blocks:
        raise UnsupportedError(f"{kind} has no block '{_ENCODER}' for its prompts")
    if not any([_free(block) for block in _all_blocks(blocks)]):
        raise UnsupportedError(f"{kind} has no block that loops over its steps")
    made = copy.copy(pipe)
    members = {
        "__call__": _call_of(blocks),
        "encode_prompt": _encode_prompt,
        "prepare_latents": _prepare_latents,
        "components": property(_components),
        "__module__": type(pipe).__module__,
    }
    made.__class__ = type(kind, (type(pipe),), members)
    made.__dict__["_blocks"] = blocks
    return made


def _components(pipe: Any) -> dict[str, Any]:
    """Those that it has: some are of other things than it is asked for."""
    found = {name: getattr(pipe, name, None) for name in pipe._component_specs}
    return {name: part for name, part in found.items() if part is not None}


def inputs_of(blocks: Any) -> dict[str, Any]:
    """What blocks take and what it is by default, but for latents, which are given otherwise."""
    named = {each.name: each.default for each in blocks.inputs if each.name is not None}
    return {name: default for name, default in named.items() if name != "latents"}


def _call_of(blocks: Any) -> Any:
    """A call that takes the inputs of all blocks by keyword."""
    inputs = inputs_of(blocks)

    def call(self: Any, *, output_type: str = "pt", return_dict: bool = True, **given: Any) -> Any:
        state = _state_of(blocks, {**inputs, "output_type": output_type, **given})
        texts = {name: given.get(name, inputs.get(name)) for name in _TEXTS}
        for name, value in self.encode_prompt(**texts, state=state).items():
            state.set(name, value)
        without = (_ENCODER, _DECODER) if output_type == "latent" else (_ENCODER,)
        for name, block in blocks.sub_blocks.items():
            if name not in without:
                _, state = block(self, state)
        made = [state.get(name) for name in _MADE if state.get(name) is not None]
        return (made[0] if made else state.get("latents"),)

    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in {**inputs, "output_type": "pt", "return_dict": True}.items()
    ]
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *keywords]
    )
    return call


def _state_of(blocks: Any, given: dict[str, Any]) -> Any:
    from diffusers.modular_pipelines import PipelineState

    state = PipelineState()
    kinds = {each.name: each.kwargs_type for each in blocks.inputs}
    for name, value in given.items():
        state.set(name, value, kinds.get(name))
    return state


def _encode_prompt(self: Any, *, prompt: Any, negative_prompt: Any, state: Any) -> dict[str, Any]:
    """What the block of texts puts into the state."""
    block, inner = self._blocks.sub_blocks[_ENCODER], copy.copy(state)
    inner.values = {**state.values, "prompt": prompt, "negative_prompt": negative_prompt}
    block(self, inner)
    names = [each.name for each in block.intermediate_outputs]
    return {name: inner.values[name] for name in names if inner.values.get(name) is not None}


def _prepare_latents(self: Any, latents: Any) -> Any:
    """What blocks before the loop have made: another may take its place."""
    return latents


def _all_blocks(block: Any) -> Iterator[Any]:
    yield block
    for inner in (getattr(block, "sub_blocks", None) or {}).values():
        yield from _all_blocks(inner)


def _free(block: Any) -> bool:
    """Takes from a block that it computes no gradients; says whether it is a loop.

    What a loop begins with goes through the pipeline's `prepare_latents`.
    """
    from diffusers.modular_pipelines import LoopSequentialPipelineBlocks

    cls = type(block)
    call, loops = inspect.unwrap(cls.__call__), isinstance(block, LoopSequentialPipelineBlocks)

    def looped(self: Any, components: Any, state: Any) -> Any:
        state.set("latents", components.prepare_latents(state.get("latents")))
        self.set_progress_bar_config(disable=True)
        return call(self, components, state)

    block.__class__ = type(cls.__name__, (cls,), {"__call__": looped if loops else call})
    return loops
