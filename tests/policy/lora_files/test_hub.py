"""Starting from a LoRA of the Hub, fetched by the real code from a server on this machine."""

import pytest
import torch
from huggingface_hub import constants

from tests.data.hub_server import COMMIT, Hub, in_place_of_the_hub
from tests.exports import output
from tests.loras import by_peft, refusal, started
from zoo.policy.lora_files import PEFT, PEFT_CONFIG


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with one LoRA that huggingface_hub takes for the real one, and an empty cache."""
    network = by_peft(tmp_path / "lora")
    found = Hub()
    found.repos["ann/lora"] = {"README.md": b"#", "weights.pt": b"x"} | {
        f"{folder}{name}": (tmp_path / "lora" / name).read_bytes()
        for folder in ("", "late/")
        for name in (PEFT, PEFT_CONFIG)
    }
    with in_place_of_the_hub(found, monkeypatch, tmp_path / "cache"):
        yield found, network


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    "source",
    [
        "ann/lora",
        "ann/lora@v1",
        "ann/lora/late",
        f"ann/lora/late@{COMMIT}",
        f"ann/lora/late/{PEFT}",
    ],
)
def test_a_lora_of_the_hub_is_fetched_and_nothing_else(source, hub, monkeypatch):
    served, network = hub
    assert torch.equal(output(started(source)), output(network))
    assert not [path for path in served.requests if "weights.pt" in path]
    assert all("late" in path for path in served.requests if PEFT in path) == ("late" in source)
    asked = len(served.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(output(started(source)), output(network))
    assert len(served.requests) == asked


def test_what_the_hub_does_not_give_is_said(hub, monkeypatch):
    served, _ = hub
    served.repos["ann/cats"] = {"model.bin": b"x", "a/adapter_model.bin": b"x"}
    served.refused["ann/gated"] = (403, "GatedRepo")
    assert "is no file or folder here and cannot be had: the Hub has no" in refusal("ann/none")
    assert "it has no revision 'v9' on the Hub" in refusal("ann/lora@v9")
    assert "it has a/adapter_model.bin, model.bin; name" in refusal("ann/cats")
    assert "a pickle" in refusal("ann/cats/a")
    assert "is gated: accept its terms at http" in refusal("ann/gated")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "it is not in the Hub's cache" in (line := refusal("ann/other"))
    assert "HF_HUB_OFFLINE is set; fetch it once" in line
