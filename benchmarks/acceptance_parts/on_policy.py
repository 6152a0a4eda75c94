"""Flow-GRPO with guidance while live is the model that collected: its ratio, and its KL.

Micro-batches that sample are not those that train, and a card rounds each otherwise, in bfloat16
by more than a `clip_range` of 1e-4; `recompute_old` asks again as training does. The reference is
asked as live is, in as many rows.
"""

import gc
from collections.abc import Mapping
from typing import Any

from benchmarks.acceptance_parts.part import Report, Setting
from benchmarks.acceptance_parts.runs import epoch, recipe
from zoo import devices
from zoo.training.build import build

_CLIP = 1e-4
_KL = 1e-6
_CHANGES: Mapping[str, Any] = {
    "sampler__guidance": 4.5, "engine__micro_batch": {"sample": 4, "train": 2},
    "objective__clip_range": _CLIP, "objective__kl_weight": 0.04,
    # The first update leaves live what it was, so that all of an epoch is before any.
    "optim__updates_per_epoch": 2, "optim__lr": 1e-30,
}  # fmt: skip


def compare_ratios(setting: Setting, report: Report) -> None:
    """Without `recompute_old` and with it, which promises a ratio of 1."""
    found = {again: _measured(setting, again) for again in (False, True)}
    for again, row in found.items():
        report.number(f"recompute_old: {str(again).lower()}", row)
    off, clipped, kl = found[True].values()
    report.judge(
        "the ratio with recompute_old", off <= _CLIP / 10, f"{off:.2g} off 1",
        f"{_CLIP / 10:g}, a tenth of clip_range: the same forwards, of as many rows",
    )  # fmt: skip
    report.judge(
        "rows that are clipped with recompute_old", clipped == 0, f"{clipped:.1%}",
        "none: clip_range is for what updates change",
    )  # fmt: skip
    report.judge(
        "the KL of live as the reference", kl <= _KL, f"{kl:.2g}",
        f"{_KL:g}: while B is 0 the base says what live says, in forwards of as many rows",
    )  # fmt: skip


def _measured(setting: Setting, recompute_old: bool) -> dict[str, float]:
    """Averages over the rows of an epoch that changes nothing."""
    changes = {**_CHANGES, "objective__recompute_old": recompute_old}
    run = build(recipe(setting, "flow_grpo", images=8, steps=3, **changes)).stages[0]
    metrics = epoch(run).learned.metrics
    del run
    gc.collect()
    devices.release_memory()
    return {
        "off 1": abs(metrics["ratio"] - 1), "clipped": metrics["clip_fraction"],
        "KL": metrics["kl"],
    }  # fmt: skip
