"""The groups that a tracker's page shows metrics in: what comes before the first slash."""

from collections.abc import Mapping

_PROGRESS = frozenset(
    {"num_evals", "num_images", "seconds", "stage", "step", "total_dropped", "total_invalid"}
)
_SPEED = frozenset(
    {"communication_share", "images_per_second", "images_per_second_each", "peak_memory_gb"}
)


def grouped(name: str) -> str:
    """A metric's name with its group: `train/loss` of `loss`; `eval/digit` has one already.

    What has none in `metrics.jsonl` goes to `progress` (what is counted since the run began),
    `speed`, or else `train`: rewards, losses, and whatever an objective says of its updates.
    """
    if "/" in name:
        return name
    group = "progress" if name in _PROGRESS else "speed" if name in _SPEED else "train"
    return f"{group}/{name}"


def grouped_record(metrics: Mapping[str, float]) -> dict[str, float]:
    """An epoch's numbers by grouped names; without `epoch`, which is their axis."""
    return {grouped(name): value for name, value in metrics.items() if name != "epoch"}
