"""Where there is no accelerator the CPU is taken, and memory that ran out is known by its words."""

import os

import pytest
import torch

from zoo import devices


@pytest.fixture(autouse=True)
def _no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


def test_the_cpu_is_taken_where_there_is_no_other():
    assert devices.accelerator() is None
    assert devices.default_device() == torch.device("cpu")
    assert (devices.num_accelerators(), devices.accelerator_names()) == (0, [])
    assert devices.most_memory() == 0
    with pytest.raises(RuntimeError, match="no accelerator"):
        devices.whole_memory()


def test_an_accelerator_without_float64_is_none(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert devices.accelerator() is None


def test_what_is_sent_to_the_host_is_as_it_was():
    value = torch.arange(3)
    assert devices.send(value, "cpu") is value
    assert devices.send(value, "cpu", torch.float64).dtype == torch.float64


@pytest.mark.parametrize(
    ("error", "place", "wanted"),
    [
        (torch.OutOfMemoryError("Tried to allocate 2.00 GiB."), "the GPU",
         " (2.00 GiB more were wanted)"),
        (MemoryError(), "this machine", ""),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_known(error, place, wanted):
    found = devices.out_of_memory(error)
    assert (found.place, found.wanted) == (place, wanted)


def test_another_error_is_none_of_memory():
    assert devices.out_of_memory(ValueError("tried to allocate 2 GiB")) is None


VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")
GROWING = "expandable_segments:True"
CARD = torch.device("cuda", 0)


@pytest.fixture
def told(monkeypatch):
    """What torch was told of an accelerator's memory, in an environment that says nothing of it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    heard = []
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", heard.append, raising=False)
    return heard


def said():
    return {name: os.environ[name] for name in VARIABLES if name in os.environ}


def test_an_accelerators_memory_grows(told):
    devices.let_memory_grow(CARD)
    assert told == [GROWING]
    assert said() == {"PYTORCH_ALLOC_CONF": GROWING}
    # A process that this one started has it from there, and may tell it again.
    devices.let_memory_grow(CARD)
    assert told == [GROWING] * 2


def test_the_hosts_memory_is_not_torchs_to_keep(told):
    devices.let_memory_grow(devices.CPU)
    assert (told, said()) == ([], {})


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.parametrize("value", ["expandable_segments:False", "max_split_size_mb:128", ""])
def test_what_the_user_says_of_it_holds(told, name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    devices.let_memory_grow(CARD)
    assert (told, said()) == ([], {name: value})


def test_a_torch_that_cannot_be_told_reads_it(told, monkeypatch):
    monkeypatch.delattr(torch._C, "_accelerator_setAllocatorSettings")
    devices.let_memory_grow(CARD)
    assert said() == {"PYTORCH_CUDA_ALLOC_CONF": GROWING}


@pytest.mark.skipif(
    not hasattr(torch._C, "_accelerator_getAllocatorSettings"), reason="torch before 2.10"
)
def test_torch_hears_it_after_it_has_read_its_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = torch._C._accelerator_getAllocatorSettings()
    try:
        devices.let_memory_grow(CARD)
        assert torch._C._accelerator_getAllocatorSettings() == GROWING
    finally:
        torch._C._accelerator_setAllocatorSettings(before or "expandable_segments:False")
