"""Where there is no accelerator the CPU is taken, and memory that ran out is known by its words."""

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
