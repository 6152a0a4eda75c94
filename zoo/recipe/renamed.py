"""What recipes were once written with, put where it is now: `tracking.wandb`, in `trackers`.

Of the policies that there once were see `presets`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zoo.recipe.presets import PRESETS, without_presets
from zoo.recipe.tree import Node, merge

TRACKING = "tracking"
"""The section that had Weights & Biases alone, `tracking: {wandb: {project: ...}}` or null."""

_NAME = "wandb"


def is_older(data: Mapping[str, Any]) -> bool:
    """Whether a resolved recipe has something of them."""
    policy = data.get("policy")
    return TRACKING in data or (isinstance(policy, Mapping) and policy.get("name") in PRESETS)


def renamed(root: Node) -> Node:
    """The tree of a recipe with nothing of them."""
    return _without_tracking(without_presets(root))


def _without_tracking(root: Node) -> Node:
    """The tree of a recipe with no such section: its options are those of the tracker `wandb`.

    They are merged over those that `trackers` has; null takes that tracker away. What was never a
    section's stays, and is refused as any unknown key.
    """
    sections = root.value if isinstance(root.value, dict) else {}
    tracking = sections.get(TRACKING)
    trackers = sections.get("trackers", Node([], root.origin))
    if tracking is None or not _is_known(tracking) or not isinstance(trackers.value, list):
        return root
    kept = {key: node for key, node in sections.items() if key != TRACKING}
    if _NAME in tracking.value:
        kept["trackers"] = _with(trackers, tracking.value[_NAME])
    return replace(root, value=kept)


def _is_known(tracking: Node) -> bool:
    return isinstance(tracking.value, dict) and tracking.value.keys() <= {_NAME}


def _with(trackers: Node, wandb: Node) -> Node:
    mine = [node for node in trackers.value if _name(node) == _NAME]
    others = [node for node in trackers.value if node not in mine]
    if wandb.value is None:
        return replace(trackers, value=others)
    if isinstance(wandb.value, dict):
        wandb = replace(wandb, value={"name": Node(_NAME, wandb.origin), **wandb.value})
    now = merge(mine[0], wandb, ()) if mine else wandb
    return Node([*others, now], wandb.origin)


def _name(tracker: Node) -> Any:
    name = tracker.value.get("name") if isinstance(tracker.value, dict) else None
    return name.value if name is not None else None
