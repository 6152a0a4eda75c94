"""Tensors share pieces of the host's memory that are powers of two, and hardly more than needed."""

import pytest
import torch

from zoo import devices
from zoo.devices import host_pieces as module
from zoo.devices.host_pieces import shared_host_bytes, shared_host_memory

CPU = torch.device("cpu")
MIXED = [(3,), (), (0, 2), (5, 7), (1000,), (4, 3, 2), (300, 40), (1,)]
HALF_AND_WHOLE = [torch.float32, torch.bfloat16, torch.float64]


@pytest.fixture
def asked(monkeypatch):
    """The bytes of each piece of memory, in the order in which they were asked for."""
    found: list[int] = []

    def counted(shape, device):
        made = devices.host_memory(shape, device)
        found.append(made.untyped_storage().nbytes())
        return made

    monkeypatch.setattr(module, "host_memory", counted)
    return found


def tensors(shapes, dtypes=(torch.float32,), device="cpu"):
    return [
        torch.zeros(shape, dtype=dtypes[i % len(dtypes)], device=device)
        for i, shape in enumerate(shapes)
    ]


def blocks(layers, width):
    """The shapes of a transformer's parameters, of large and small ones in turn."""
    return [
        shape for _ in range(layers) for shape in ((6 * width, width), (width, width), (width,))
    ]


def test_each_has_its_shape_and_type_and_memory_of_its_own():
    given = tensors(MIXED, HALF_AND_WHOLE)
    made = shared_host_memory(given, CPU)
    assert [(t.shape, t.dtype) for t in made] == [(t.shape, t.dtype) for t in given]
    for number, tensor in enumerate(made):
        tensor.fill_(number)
    for number, tensor in enumerate(made):
        assert bool((tensor == number).all()), number


def test_each_starts_where_the_widest_loads_may():
    made = shared_host_memory(tensors(MIXED, HALF_AND_WHOLE), CPU)
    assert {tensor.data_ptr() % 64 for tensor in made if tensor.numel()} == {0}


def test_each_lies_in_memory_as_what_it_is_a_copy_of():
    given = [
        torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.zeros(6, 4).t(),
        torch.zeros(8, 8)[:, ::2],
    ]
    strides = [tensor.stride() for tensor in shared_host_memory(given, CPU)]
    assert strides == [tensor.clone().stride() for tensor in given]


def test_to_write_one_is_not_to_have_written_another():
    first, second = shared_host_memory(tensors([(4,), (4,)]), CPU)
    before = second._version
    first.fill_(1)
    assert second._version == before


@pytest.mark.parametrize(
    ("shapes", "most"),
    [
        pytest.param(blocks(12, 384), 1.05, id="a transformer"),
        pytest.param([(1000,)] * 1000, 1.05, id="alike"),
        pytest.param([(512, 512)], 1.0, id="one that is a power of two"),
        pytest.param([(1 << 16,), (1,)], 1.01, id="a large one and a small one"),
    ],
)
def test_what_is_asked_for_are_powers_of_two_and_little_more_than_is_needed(asked, shapes, most):
    given = tensors(shapes)
    shared_host_memory(given, CPU)
    assert all(size.bit_count() == 1 for size in asked)
    needed = sum(t.numel() * t.itemsize for t in given)
    assert needed <= sum(asked) <= most * needed
    assert sum(asked) == shared_host_bytes(tensors(shapes, device="meta"))


def test_no_piece_for_several_is_larger_than_a_gigabyte(asked, monkeypatch):
    monkeypatch.setattr(module, "_LARGEST", 1 << 20)
    shared_host_memory(tensors([(1 << 19,), *[(1 << 10,)] * 2000]), CPU)
    assert asked == [1 << 21, *[1 << 20] * 7, 1 << 19, 1 << 18, 1 << 16]


def test_nothing_needs_no_memory(asked):
    assert shared_host_memory([], CPU) == []
    assert asked == []
