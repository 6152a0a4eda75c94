import pytest
import torch

from zoo import devices
from zoo.compare.places import places
from zoo.errors import UserError

VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "ASCEND_RT_VISIBLE_DEVICES"
)  # fmt: skip


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many accelerators of a kind, with these variables set."""

    def make(kind, num, **variables):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(torch.version, "hip", "6.0" if kind == "hip" else None)
        found = torch.device({"hip": "cuda"}.get(kind, kind)) if kind else None
        monkeypatch.setattr(devices, "accelerator", lambda: found)
        monkeypatch.setattr(devices, "num_accelerators", lambda: num)

    return make


@pytest.mark.parametrize(
    ("kind", "name"),
    [("cuda", "CUDA_VISIBLE_DEVICES"), ("hip", "HIP_VISIBLE_DEVICES"), ("xpu", "ZE_AFFINITY_MASK")],
)
def test_each_run_has_as_many_devices_and_shares_none(machine, kind, name):
    machine(kind, 8)
    assert places(3, 2) == [{name: "0,1"}, {name: "2,3"}, {name: "4,5"}]


def test_of_the_devices_that_this_process_was_given(machine):
    machine("cuda", 3, CUDA_VISIBLE_DEVICES="5,7,GPU-1")
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places(3, 1)] == ["5", "7", "GPU-1"]
    machine("hip", 2, CUDA_VISIBLE_DEVICES="4,6")
    assert places(2, 1) == [{"CUDA_VISIBLE_DEVICES": "4"}, {"CUDA_VISIBLE_DEVICES": "6"}]


@pytest.mark.parametrize(("kind", "num", "jobs", "needed"), [
    (None, 0, 4, 1), ("cuda", 8, 1, 1), ("cuda", 2, 5, 0),
])  # fmt: skip
def test_on_a_cpu_and_alone_a_run_sees_what_this_process_sees(machine, kind, num, jobs, needed):
    machine(kind, num)
    assert places(jobs, needed) == [{}] * jobs


@pytest.mark.parametrize(("jobs", "needed", "most"), [(9, 1, 8), (3, 4, 2), (2, 9, 1)])
def test_too_few_devices_are_refused_with_the_most_that_go(machine, jobs, needed, most):
    machine("cuda", 8)
    with pytest.raises(UserError, match=rf"needs {needed} of the 8 GPUs; .* --jobs {most}$"):
        places(jobs, needed)


def test_what_cannot_be_shown_or_shared_out_is_refused(machine):
    machine("hpu", 8)
    with pytest.raises(UserError, match="several hpu devices is not known; write --jobs 1"):
        places(2, 1)
    machine("xpu", 4, ZE_AFFINITY_MASK="0,1")
    with pytest.raises(UserError, match="ZE_AFFINITY_MASK is 0,1, which names 2 of the 4 GPUs"):
        places(2, 1)
