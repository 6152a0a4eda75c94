"""DeepSpeed's stages on the device, of one process: the numbers are the CPU's."""

import pytest
import torch.distributed as dist

from tests.rehearsal import deepspeed
from tests.rehearsal.on_it.both import SHORT, made, require_used
from tests.runs import RECIPES, without_clocks
from tests.train_here import train_here
from zoo.engine.rendezvous import join, leave

pytestmark = pytest.mark.slow

CASES = {
    "0": {"engine__zero_stage": 0},
    "1": {"engine__zero_stage": 1},
    "2": {"engine__zero_stage": 2},
    "2, the optimizer on the host": {"engine__zero_stage": 2, "engine__offload": "optimizer"},
    "3": {"engine__zero_stage": 3},
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
