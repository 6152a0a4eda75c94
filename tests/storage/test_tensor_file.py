"""Tensor files: what the safetensors package reads, with one tensor whole at a time."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.storage.tensor_file import Sharded, TensorFile, local, take_part, write

TENSORS = {
    "c": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
    "a": torch.arange(3, dtype=torch.uint8),  # 3 bytes: what follows must still be aligned
    "b": torch.randn(7, generator=torch.Generator().manual_seed(1)).bfloat16(),
    "step": torch.tensor(3.0),
    "flags": torch.tensor([True, False]),
    "none": torch.zeros(0, 2),
    "wide": torch.tensor([0.1], dtype=torch.float64),
    "é/ü": torch.tensor([2**62]),
}


def test_the_package_reads_what_is_written(tmp_path: Path) -> None:
    write(tmp_path / "x", {name: local(tensor) for name, tensor in TENSORS.items()})
    found = load_file(tmp_path / "x")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_what_the_package_wrote_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x")
    found = TensorFile(tmp_path / "x")
    assert dict(found).keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found.shape(name) == tuple(tensor.shape)
        assert torch.equal(found[name], tensor)
    with pytest.raises(KeyError):
        found["other"]


def test_all_processes_make_the_tensors_whole_in_one_order(tmp_path: Path) -> None:
    asked: list[str] = []

    def noted(name: str, tensor: Tensor) -> Sharded:
        def whole() -> Tensor:
            asked.append(name)
            return tensor

        return Sharded(tuple(tensor.shape), tensor.dtype, whole)

    write(tmp_path / "x", {name: noted(name, tensor) for name, tensor in TENSORS.items()})
    written, turned = list(asked), dict(reversed(TENSORS.items()))
    asked.clear()
    take_part({name: noted(name, tensor) for name, tensor in turned.items()})
    assert written == asked
    assert sorted(asked) == sorted(TENSORS)


def test_no_more_than_one_tensor_is_held_while_writing(tmp_path: Path) -> None:
    import weakref

    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def whole() -> Tensor:
        nonlocal most
        tensor = torch.zeros(1000)
        alive.append(weakref.ref(tensor))
        most = max(most, sum(ref() is not None for ref in alive))
        return tensor

    write(tmp_path / "x", {str(i): Sharded((1000,), torch.float32, whole) for i in range(9)})
    assert len(alive) == 9
    assert most <= 2  # the one before may live until its name is bound anew


def test_a_tensor_that_is_not_as_announced_is_an_error(tmp_path: Path) -> None:
    wrong = Sharded((2,), torch.float32, lambda: torch.zeros(3))
    with pytest.raises(ValueError, match=r"'x' is torch.float32 \[3\], not .* \[2\]"):
        write(tmp_path / "x", {"x": wrong})


def test_a_file_that_is_cut_short_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path / "x", {"a": local(torch.zeros(100))})
    data = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(data[:-1])
    with pytest.raises(SafetensorError):
        TensorFile(tmp_path / "x")
