"""Everything that is registered, built as a recipe would: what the contracts are checked on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.digits import prompts
from zoo.prompt import Prompt
from zoo.recipe.signature import signature
from zoo.registry import Entry, entries, load
from zoo.sampler.ode import Euler
from zoo.sampler.sde import FlowSDE

CPU = torch.device("cpu")
SIZE = 8
PROMPTS = tuple(prompts("train")[:5])
STOCHASTIC = FlowSDE()

REWARD_FILE = """
def brightness(images, prompts):
    return images.flatten(1).mean(1)
"""


def options(entry: Entry, tmp_path: Path) -> dict[str, Any]:
    """The options that a component cannot do without."""
    if (entry.kind, entry.target) == ("rewards", "zoo.reward.python:PythonReward"):
        file = tmp_path / "reward.py"
        file.write_text(REWARD_FILE)
        return {"path": f"{file}:brightness"}
    if entry.kind == "samplers":
        return {"solver": Euler(), "steps": 3}
    write_tiny = getattr(cls_of(entry), "write_tiny", None)
    return write_tiny(tmp_path) if write_tiny else {}


def build(entry: Entry, tmp_path: Path, **changes: Any) -> Any:
    cls = cls_of(entry)
    given = {"device": CPU, "solver": STOCHASTIC}
    positional = [given[name] for name in signature(cls).given]
    return cls(*positional, **options(entry, tmp_path) | changes)


def cls_of(entry: Entry) -> type[Any]:
    return load(entry.kind, f"{entry.package}:{entry.name}")


def each(kind: str) -> pytest.MarkDecorator:
    """The test for every registered component of a kind."""
    found = entries(kind)
    return pytest.mark.parametrize("entry", found, ids=[f"{e.package}-{e.name}" for e in found])


def some_prompts(num: int) -> list[Prompt]:
    return [PROMPTS[i % len(PROMPTS)] for i in range(num)]


def some_images(num: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(num, 3, SIZE, SIZE, generator=generator)
