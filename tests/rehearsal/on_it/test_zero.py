"""DeepSpeed's stages on the device, of one process: the numbers are the CPU's."""

import pytest
import torch.distributed as dist

from benchmarks.acceptance_parts import correctness
from benchmarks.acceptance_parts.part import Report, Setting
from tests.rehearsal import deepspeed
from tests.rehearsal.device import NAME
from tests.rehearsal.on_it.both import SHORT, made, require_used
from tests.runs import RECIPES, ROOT, without_clocks
from tests.train_here import train_here
from zoo.devices import CPU
from zoo.engine import rendezvous, zero
from zoo.engine.rendezvous import join, leave
from zoo.policy.weights import WeightSets
from zoo.training.build import build

pytestmark = pytest.mark.slow

CASES = {
    "0": {"engine__zero_stage": 0},
    "1": {"engine__zero_stage": 1},
    "2": {"engine__zero_stage": 2},
    "2, the optimizer on the host": {"engine__zero_stage": 2, "engine__offload": "optimizer"},
    "3": {"engine__zero_stage": 3},
    "3, the optimizer on the host": {"engine__zero_stage": 3, "engine__offload": "optimizer"},
    "3, the parameters on the host": {"engine__zero_stage": 3, "engine__offload": "parameters"},
}


@pytest.fixture(scope="module")
def alone():
    """A process group of this process, of which DeepSpeed keeps what it has made."""
    join(10, print, alone=True)
    assert dist.get_world_size() == 1
    yield
    leave()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("alone")
def test_a_stage_has_the_same_numbers(case, tmp_path, monkeypatch, traffic):
    changes = {**SHORT, **CASES[case]}
    monkeypatch.setenv("LOCAL_RANK", "0")  # as a launcher does
    expected = train_here(made(RECIPES["nft"], "cpu", **changes), tmp_path / "cpu")
    deepspeed.use(monkeypatch)
    traffic.clear()
    found = train_here(made(RECIPES["nft"], "auto", **changes), tmp_path / "sim")
    assert without_clocks(found) == without_clocks(expected)
    require_used()


@pytest.mark.usefixtures("alone")
def test_stages_of_lora_over_bfloat16_learn_as_none_does(tmp_path, monkeypatch):
    deepspeed.use(monkeypatch)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(rendezvous, "leave", lambda: None)  # others here are in the group as well
    setting = Setting(tmp_path, True, "auto")
    correctness.make_model(setting, Report("model", setting))
    report = Report("zero", setting)
    correctness.compare_zero(setting, report)
    assert list(report.result.numbers.values()) == [0.0] * 3


@pytest.mark.usefixtures("alone")
def test_a_network_waits_on_the_host_until_it_is_cut(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("LOCAL_RANK", "0")
    deepspeed.use(monkeypatch)
    cut, of_weights = zero._cut, WeightSets.__init__
    seen = []

    def watched(deepspeed, module, config, device):
        assert {p.device for p in module.parameters()} == {CPU}
        cut(deepspeed, module, config, device)
        pieces = {p.ds_tensor.device.type for p in module.parameters()}
        seen.append((pieces, {buffer.device.type for buffer in module.buffers()}))

    def made_at(self, network, *args, **kwargs):
        seen.append({p.device for p in network.parameters()})
        of_weights(self, network, *args, **kwargs)

    monkeypatch.setattr(zero, "_cut", watched)
    monkeypatch.setattr(WeightSets, "__init__", made_at)
    recipe = ROOT / "recipes" / "nft_sd3_pickscore.yaml"
    run = build(made(recipe, "auto", tiny=True, engine__processes=1, engine__zero_stage=3))
    assert seen[-2:] == [{CPU}, ({NAME}, {NAME})]
    # The whole pipeline was then asked for its own velocities, on the device.
    differs = run.sizes.first.findings()["differs from its own loop"]
    assert len(differs) > 0
    assert max(differs.values()) < 1e-3
