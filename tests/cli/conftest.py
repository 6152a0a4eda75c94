import sys
from dataclasses import dataclass

import pytest
import torch

from tests.processes import starting
from tests.runs import RECIPES, only_run, overrides
from zoo.cli import main
from zoo.policy.digits import Digits


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def lines(self):
        """What was said on stderr."""
        return self.err.splitlines()


@pytest.fixture
def zoo_here(monkeypatch, capsys):
    """The command in this process; the recipes' own paths are found from the repository's root."""
    # run() may end the process; _run() is all of it but that.
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["zoo", *map(str, arguments)])
        code = main._run()
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture
def reward_file(tmp_path):
    """Writes a reward function's body; gives the overrides that use it as the only reward."""

    def write(body, scoring="{timeout: 60, retries: 0, max_invalid: 0.5}"):
        path = tmp_path / "my_reward.py"
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        path.write_text(f"import time\nimport torch\n\n\ndef score(images, prompts):\n{lines}")
        return {
            "rewards": f"[{{name: python, path: '{path}:score', label: mine}}]",
            "scoring": scoring,
        }

    return write


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run of three epochs, evaluated and saved after each, and its overrides."""
    from zoo.cli.train import train

    root = tmp_path_factory.mktemp("trained")
    changed = overrides("nft", root, eval__every=1, eval__images_per_prompt=2)
    train(RECIPES["nft"], changed[1::2], 3, None)
    return only_run(root), changed


@pytest.fixture
def start():
    """Starts the command beside the test."""
    with starting() as run:
        yield run


@pytest.fixture
def second_image_broken(monkeypatch):
    """The second image of every batch of the digits model is NaN."""
    decode = Digits.decode

    def broken(self, latents):
        images = decode(self, latents)
        images[1] = torch.nan
        return images

    monkeypatch.setattr(Digits, "decode", broken)
