"""The policies `sd3` and `flux` that there once were, as `diffusers` with what they meant by it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from zoo.recipe.tree import Node, merge, to_tree

_POLICY = "diffusers"


@dataclass(frozen=True)
class _Preset:
    """The pipeline of a preset, and the options by which it differed from those of `diffusers`."""

    pipeline: str
    defaults: Mapping[str, Any]


PRESETS: Mapping[str, _Preset] = {
    "sd3": _Preset(
        "StableDiffusion3Pipeline",
        {"pretrained": "stabilityai/stable-diffusion-3.5-medium", "max_text_tokens": 128},
    ),
    "flux": _Preset(
        "FluxPipeline",
        {
            "pretrained": "black-forest-labs/FLUX.1-dev",
            "max_text_tokens": 512,
            "lora": {"rank": 64, "alpha": 128},
            "guidance_embedding": 3.5,
        },
    ),
}
_T5 = ["text_encoder_3", "tokenizer_3"]


def without_presets(root: Node) -> Node:
    """A recipe's tree with `diffusers` for a preset, and all that the preset left unsaid."""
    preset = _preset(root)
    return _as_diffusers(root, {} if preset is None else preset.defaults)


def merged(base: Node, over: Node) -> Node:
    """A recipe's tree merged over another that has no preset.

    Of the preset of the base's pipeline what is unsaid is the base's; another replaces its policy.
    """
    preset, policy = _preset(over), _policy(base)
    if preset is None or policy is None:
        return merge(base, without_presets(over), ())
    pipeline = policy.value.get("pipeline")
    if pipeline is not None and pipeline.value == preset.pipeline:
        return merge(base, _as_diffusers(over, {}), ())
    others = {key: node for key, node in base.value.items() if key != "policy"}
    return merge(replace(base, value=others), without_presets(over), ())


def _as_diffusers(root: Node, defaults: Mapping[str, Any]) -> Node:
    policy, preset = _policy(root), _preset(root)
    if policy is None:
        return root
    said = dict(policy.value)
    if preset is not None:
        origin = said["name"].origin
        now = {"name": _POLICY, "pipeline": preset.pipeline}
        before, after = (to_tree(each, lambda loc: origin) for each in (dict(defaults), now))
        said = {**before.value, **said, **after.value}
    elif "name" not in said or said["name"].value != _POLICY:
        return root
    return replace(root, value={**root.value, "policy": replace(policy, value=_rewritten(said))})


def _rewritten(said: Mapping[str, Node]) -> dict[str, Node]:
    """Options with `t5` and `guidance_embedding` as `without` and a keyword of the call."""
    new = dict(said)
    t5, scale = new.get("t5"), new.pop("guidance_embedding", None)
    if t5 is not None and isinstance(t5.value, bool):
        del new["t5"]
        new["without"] = to_tree([] if t5.value else _T5, lambda loc: t5.origin)
    if scale is not None:
        call = said.get("call")
        keywords = call.value if call is not None and isinstance(call.value, dict) else {}
        new["call"] = Node({**keywords, "guidance_scale": scale}, scale.origin)
    return new


def _policy(root: Node) -> Node | None:
    policy = root.value.get("policy") if isinstance(root.value, dict) else None
    return policy if policy is not None and isinstance(policy.value, dict) else None


def _preset(root: Node) -> _Preset | None:
    policy = _policy(root)
    name = None if policy is None else policy.value.get("name")
    return PRESETS.get(name.value) if name is not None and isinstance(name.value, str) else None
