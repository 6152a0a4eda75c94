"""Commands on the device, begun anew from what it wrote: as on the CPU, to the last bit."""

import json

import pytest
import torch
from PIL import Image

from tests.rehearsal.on_it.both import require_used
from tests.runs import RECIPES, only_run, overrides, require_same, tensors

pytestmark = pytest.mark.slow

NFT = RECIPES["nft"]
DEVICES = ("cpu", "auto")


def ran(zoo_here, *arguments):
    ended = zoo_here(*arguments)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture
def runs(zoo_here, tmp_path):
    """The folder of a run on each, of which the device's was cut and went on."""
    # The rate must not depend on the number of epochs, as the cut run has fewer at first.
    same = {"optim__schedule": "constant", "epochs": 2}
    whole = overrides("nft", tmp_path / "cpu", engine__device="cpu", **{**same, "epochs": 4})
    ran(zoo_here, "train", NFT, *whole)
    cut = overrides("nft", tmp_path / "auto", engine__device="auto", **same)
    ran(zoo_here, "train", NFT, *cut)
    folder = only_run(tmp_path / "auto")
    ran(zoo_here, "train", "--resume", folder, "--epochs", 4)
    require_used()
    return {"cpu": only_run(tmp_path / "cpu"), "auto": folder}


def test_what_is_done_with_a_run_is_the_same(runs, zoo_here, tmp_path):
    require_same(runs["auto"], runs["cpu"])
    for name, folder in runs.items():
        out = tmp_path / f"evaluated {name}"
        ran(zoo_here, "eval", folder, "--out", out)
        ran(zoo_here, "sample", folder, "-p", "the digit seven", "--out", tmp_path / f"{name}.png")
        ran(zoo_here, "export", folder, "--out", tmp_path / f"exported {name}")
    of_cpu, of_sim = (Image.open(tmp_path / f"{name}.png") for name in DEVICES)
    assert of_cpu.tobytes() == of_sim.tobytes()
    scores = [sorted((tmp_path / f"evaluated {name}").rglob("*.json*")) for name in DEVICES]
    assert [p.name for p in scores[0]] == [p.name for p in scores[1]]
    files = [sorted((tmp_path / f"exported {name}").rglob("*.safetensors")) for name in DEVICES]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]] != []


def test_a_checkpoint_has_nothing_of_the_device(runs):
    assert all(value.device.type == "cpu" for value in tensors(runs["auto"]).values())
    assert torch.accelerator.current_accelerator().type == "sim"
    recorded = json.loads((runs["auto"] / "environment.json").read_text())
    assert recorded["gpus"] == ["a pretend accelerator"]
