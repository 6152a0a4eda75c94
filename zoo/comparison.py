"""What a suite's runs come to, side by side: the numbers of a comparison's report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.run_record import RunRecord

AXES: Mapping[str, str] = {
    "seconds": "seconds",
    "forwards": "num_evals",
    "images": "num_images",
    "steps": "step",
}
"""What scores are shown against, and the metric that counts it: all are 0 before any update."""


@dataclass(frozen=True)
class Target:
    """A score to be reached: of `eval/<label>`."""

    label: str
    at_least: float


@dataclass(frozen=True)
class Failed:
    """A run that has no result: why, in a line, and the file with all that it said."""

    seed: int
    why: str
    log: str


@dataclass(frozen=True)
class Contender:
    """What is compared: its runs by seed; `written` is what the suite writes of it."""

    name: str
    written: Mapping[str, Any]
    runs: Mapping[int, RunRecord]
    failed: tuple[Failed, ...] = ()


@dataclass(frozen=True)
class Contest:
    """A suite that has been run: its name, the budget (`{forwards: 60000}`), and the contenders.

    `command` makes it again; the first contender is the one that ratios are to.
    """

    name: str
    about: str
    budget: Mapping[str, float]
    seeds: tuple[int, ...]
    contenders: tuple[Contender, ...]
    targets: tuple[Target, ...]
    command: str
