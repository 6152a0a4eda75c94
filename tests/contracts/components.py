"""Everything that is registered, built as a recipe would: what the contracts are checked on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.policy.base import Policy
from zoo.recipe.signature import signature
from zoo.registry import Entry, entries, load
from zoo.reward.base import Reward
from zoo.sampler.ode import Euler
from zoo.sampler.sde import FlowSDE

REWARD_FILE = """
def brightness(images, prompts):
    return images.flatten(1).mean(1)
"""


ELSEWHERE = {
    "diffusion-rl-zoo:motion": "tests/reward/test_motion.py",
    "diffusion-rl-zoo:nearest": "tests/reward/test_nearest.py",
    "diffusion-rl-zoo:preference": "tests/reward/test_preference.py",
    "diffusion-rl-zoo:preservation": "tests/reward/test_preservation.py",
    "diffusion-rl-zoo:remote": "tests/reward/test_remote.py",
    "diffusion-rl-zoo:scenes": "tests/reward/scenes/test_detectors.py",
    "diffusion-rl-zoo:scenes_judge": "tests/reward/scenes/test_detectors.py",
    "diffusion-rl-zoo:smoothness": "tests/reward/test_smoothness.py",
    "diffusion-rl-zoo:sde_window": "tests/sampler/test_window.py",
    "diffusion-rl-zoo:wandb": "tests/tracker/test_wandb_tracker.py",
    "zoo-example:asked_brightness": "plugins/zoo-example/tests/test_example.py",
    "zoo-geneval:geneval": "plugins/zoo-geneval/tests/test_geneval_reward.py",
    "zoo-human:human": "plugins/zoo-human/tests/test_human_contract.py",
    "zoo-ocr:ocr": "plugins/zoo-ocr/tests/test_ocr_contract.py",
    "zoo-unified-reward:unified_reward": (
        "plugins/zoo-unified-reward/tests/test_unified_contract.py"
    ),
    "zoo-unified-reward:vlm_judge": "plugins/zoo-unified-reward/tests/test_vlm_judge.py",
}
"""What cannot be built or asked in general, by package and name, and who inherits the checks.

It asks a server, has tests of its own environment, is made of other components, or needs prompts
that say more than these here.
"""


def options(entry: Entry, folder: Path) -> dict[str, Any]:
    """The options that a component cannot do without."""
    cls = cls_of(entry)
    if (entry.kind, entry.target) == ("rewards", "zoo.reward.python:PythonReward"):
        file = folder / "reward.py"
        file.write_text(REWARD_FILE)
        return {"path": f"{file}:brightness"}
    if entry.kind == "samplers":
        return {"steps": 3}
    if (entry.kind, entry.target) == ("solvers", "zoo.sampler.window:SDEWindow"):
        return {"inside": FlowSDE(), "outside": Euler(), "size": 1}
    return cls.write_tiny(folder) if issubclass(cls, Policy | Reward) else {}


def build(entry: Entry, folder: Path, **changes: Any) -> Any:
    """A new instance; `changes` are options, or what the run gives: the solver of an objective."""
    wanted = signature(cls_of(entry))
    given = {"device": torch.device("cpu"), **changes}
    positional = [given[name] for name in wanted.given]
    chosen = {name: value for name, value in changes.items() if name in wanted.options}
    return cls_of(entry)(*positional, **options(entry, folder) | chosen)


def cls_of(entry: Entry) -> type[Any]:
    return load(entry.kind, f"{entry.package}:{entry.name}")


def parameters(kind: str) -> list[Any]:
    """Every registered component of a kind, for the fixture of a test class."""
    return [
        pytest.param(entry, id=f"{entry.package}-{entry.name}")
        for entry in entries(kind)
        if f"{entry.package}:{entry.name}" not in ELSEWHERE
    ]


def every(components: list[Any]) -> Any:
    """The fixture of a test class that asks each in turn, of its `entry` and `folder`."""

    @pytest.fixture(autouse=True, params=components)
    def one(self: Any, request: pytest.FixtureRequest, tmp_path: Path) -> None:
        self.entry, self.folder = request.param, tmp_path

    return one


def built(self: Any) -> Any:
    """The `make` of such a class, where nothing but the component is needed."""
    return build(self.entry, self.folder)
