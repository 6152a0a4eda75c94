"""Every reward answers where the images are, and a model that leaves the device is not copied."""

import pytest
import torch
from torch import nn

from tests.contracts.components import build, parameters
from zoo.devices.lending import Lent
from zoo.testing.inputs import some_images, some_prompts

SIM, CPU = torch.device("sim", 0), torch.device("cpu")


@pytest.mark.parametrize("entry", parameters("rewards"))
def test_scores_are_where_the_images_are(entry, tmp_path):
    at = {}
    for device in (CPU, SIM):
        folder = tmp_path / device.type
        folder.mkdir()
        reward, images = build(entry, folder, device=device), some_images(2)
        given = reward.score(images.to(device), some_prompts(1) * 2)
        at[device] = given if isinstance(given, torch.Tensor) else given.value
    assert {device: value.device.type for device, value in at.items()} == {CPU: "cpu", SIM: "sim"}
    # A product with a single row is summed by how it lies in memory, which is otherwise there.
    torch.testing.assert_close(at[SIM].cpu(), at[CPU], rtol=1e-5, atol=1e-6)


def some_module():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).eval().requires_grad_(False)
    made.add_module("shared", made[0])
    return made


def test_a_module_comes_back_without_being_copied(traffic):
    module, x = some_module(), torch.ones(2, 3)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    expected, lent = module(x), Lent([module])
    for _ in range(2):
        lent.lend(SIM)
        assert {p.device.type for p in module.parameters()} == {"sim"}
        assert torch.equal(module(x.to(SIM)).cpu(), expected)
        traffic.clear()
        lent.take_back()
        assert traffic.waits() == 0
    assert torch.equal(module(x), expected)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.shared.weight is module[0].weight


def test_what_was_changed_meanwhile_comes_back(traffic):
    module = some_module()
    lent = Lent([module])
    lent.lend(SIM)
    module[1].running_mean.add_(1)
    module[0].register_buffer("new", torch.ones(1, device=SIM))
    traffic.clear()
    lent.take_back()
    assert traffic.number("to cpu") == 2
    assert module[1].running_mean.tolist() == [1, 1, 1]
    assert module[0].new.tolist() == [1]


def test_a_reward_that_leaves_the_device_is_not_copied_back(tmp_path, traffic):
    entry = next(p.values[0] for p in parameters("rewards") if p.values[0].name == "clipscore")
    reward = build(entry, tmp_path, device=SIM, offload=True)
    images, prompts = some_images(2).to(SIM), some_prompts(1) * 2
    first = reward.score(images, prompts)
    traffic.clear()
    reward.rest()
    assert traffic.waits() == 0
    assert {p.device.type for p in reward._clip._model.parameters()} == {"cpu"}
    assert torch.equal(reward.score(images, prompts).cpu(), first.cpu())
