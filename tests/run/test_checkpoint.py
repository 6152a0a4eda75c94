"""Checkpoints: exact, whole whatever happens, and clear about damage."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.forbidden import forbid
from zoo.errors import UserError
from zoo.run import checkpoint
from zoo.run.checkpoint import CheckpointError
from zoo.storage.files import ReadError
from zoo.storage.tensor_file import Sharded, local

__all__ = ["forbid"]

WRITER = """
import sys
from pathlib import Path
import torch
from zoo.run import checkpoint
from zoo.storage.tensor_file import local
run_dir, first, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
epoch = first
while True:
    value = local(torch.full((300_000,), float(epoch)))
    checkpoint.save(run_dir, epoch, {"value": value, "same": value}, {"epoch": epoch}, keep=2)
    print(epoch, flush=True)
    epoch += step
"""


def save(run_dir: Path, epoch: int, keep: int = 3, value: float = 0.0) -> Path:
    tensors = {"value": local(torch.full((4,), value))}
    return checkpoint.save(run_dir, epoch, tensors, {"epoch": epoch}, keep=keep)


def held(tensors: dict[str, torch.Tensor]) -> dict[str, Sharded]:
    return {name: local(tensor) for name, tensor in tensors.items()}


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def test_tensors_come_back_bit_for_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "float32": torch.randn(3, 5, generator=generator),
        "odd": torch.tensor([math.nan, math.inf, -0.0, 1e-45]),
        "bfloat16": torch.randn(7, generator=generator).bfloat16(),
        "int64": torch.tensor([[2**62, -1]]),
        "0-dim": torch.tensor(0.1, dtype=torch.float64),
        "empty": torch.zeros(0, 3),
    }
    loaded = checkpoint.load(checkpoint.save(tmp_path, 12, held(tensors), {}, keep=1))
    assert loaded.epoch == 12
    assert loaded.tensors.keys() == sorted(tensors)
    for name, tensor in tensors.items():
        found = loaded.tensors[name]
        assert found.dtype == tensor.dtype
        assert found.shape == tensor.shape
        bits, expected = found.reshape(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)
        assert torch.equal(bits, expected)


def test_tensors_that_share_memory_or_are_not_contiguous_are_saved(tmp_path: Path) -> None:
    base = torch.arange(12.0, requires_grad=True).reshape(3, 4)
    tensors = {"base": base, "same": base, "turned": base.T, "cut": base[:, 1:3]}
    loaded = checkpoint.load(checkpoint.save(tmp_path, 1, held(tensors), {}, keep=1)).tensors
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)


def test_the_state_comes_back_with_infinities_and_nan(tmp_path: Path) -> None:
    state = {
        "best": -math.inf,
        "worst": math.inf,
        "unknown": [math.nan, 0.1, 1e300],
        "nested": {"none": None, "flag": True, "count": 3, "text": "ü\n"},
    }
    folder = checkpoint.save(tmp_path, 1, {}, state, keep=1)
    loaded = checkpoint.load(folder).state
    assert math.isnan(loaded["unknown"][0])
    loaded["unknown"][0] = state["unknown"][0] = None
    assert loaded == state
    json.loads((folder / "state.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("bad", [{"t": torch.zeros(1)}, {"a": [{1: 2}]}, {"__float__": "inf"}])
def test_a_state_that_is_not_json_is_refused_and_nothing_is_written(
    tmp_path: Path, bad: dict
) -> None:
    with pytest.raises(CheckpointError, match="state"):
        checkpoint.save(tmp_path, 1, {}, bad, keep=1)
    assert checkpoint.latest(tmp_path) is None


def test_the_oldest_beyond_keep_are_removed(tmp_path: Path) -> None:
    for epoch in (5, 10, 15, 1_000_000):
        save(tmp_path, epoch, keep=2)
    assert names(tmp_path) == ["000015", "1000000"]
    assert checkpoint.latest(tmp_path) == tmp_path / "checkpoints" / "1000000"
    save(tmp_path, 1_000_005, keep=1)
    assert names(tmp_path) == ["1000005"]
    with pytest.raises(CheckpointError, match="keep is 0"):
        save(tmp_path, 1, keep=0)


def test_a_checkpoint_of_the_same_epoch_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 5)
    folder = save(tmp_path, 5, value=2.0)
    assert names(tmp_path) == ["000005"]
    assert checkpoint.load(folder).tensors["value"][0] == 2.0


def test_a_replacement_cut_off_halfway_leaves_the_replaced_one(tmp_path: Path) -> None:
    save(tmp_path, 4)
    folder = save(tmp_path, 5, value=1.0)
    folder.rename(folder.with_name(".replaced-000005"))
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert checkpoint.load(found).tensors["value"][0] == 1.0
    save(tmp_path, 6)
    assert names(tmp_path) == ["000004", "000005", "000006"]


def test_leftovers_are_never_taken_and_go_at_the_next_save(tmp_path: Path) -> None:
    # Of a process by this one's number too: in a container they begin anew.
    folder = tmp_path / "checkpoints"
    for name in (".new-000009-99", f".new-000009-{os.getpid()}", ".old-000003-1", ".mine"):
        (folder / name).mkdir(parents=True)
    assert checkpoint.latest(tmp_path) is None
    save(tmp_path, 4)
    assert names(tmp_path) == [".mine", "000004"]


def test_a_save_that_fails_leaves_the_one_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 4)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write", fail)
    with pytest.raises(UserError, match=r"000005 cannot be written: No space left on device$"):
        save(tmp_path, 5)
    assert names(tmp_path) == ["000004"]


def test_a_run_without_checkpoints_has_no_latest(tmp_path: Path) -> None:
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "missing") is None


def test_damage_is_reported_in_one_line_with_the_file(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    tensors, state = folder / "tensors.safetensors", folder / "state.json"
    good = tensors.read_bytes()
    for bad in (good[:-3], good[:5], b"", b"\xff" * len(good)):
        tensors.write_bytes(bad)
        with pytest.raises(
            CheckpointError, match=r"tensors\.safetensors is damaged \([^\n]*\)[^\n]*$"
        ):
            checkpoint.load(folder)
    tensors.write_bytes(good)
    text = state.read_text()
    for bad_text in (
        text[: len(text) // 2], "[1]", '{"format": 1}', text.replace("1", "9"),
        text.replace('"epoch": 1', '"epoch": true'), text.replace('"epoch": 1', '"epoch": 1.0'),
        text.replace('"state": {', '"state": {"more": 1, '), "[" * 100_000,
    ):  # fmt: skip
        state.write_text(bad_text)
        with pytest.raises(CheckpointError, match=r"state\.json (is damaged|has format)[^\n]*$"):
            checkpoint.load(folder)
    state.unlink()
    with pytest.raises(CheckpointError, match=r"state\.json is missing"):
        checkpoint.load(folder)
    with pytest.raises(CheckpointError, match="no such checkpoint folder"):
        checkpoint.load(folder / "nothing")


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 0], ids=["new epochs", "the same epoch again and again"])
def test_a_writer_killed_at_any_moment_leaves_the_latest_whole(tmp_path: Path, step: int) -> None:
    moments = random.Random(step)
    reported = 0
    for _ in range(4):
        first = str(reported + step)
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), first, str(step)],
            stdout=subprocess.PIPE,
            text=True,
        )
        with child:
            assert child.stdout is not None
            reported = int(child.stdout.readline())
            time.sleep(moments.uniform(0.0, 0.05))
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                reported = int(line)
        found = checkpoint.latest(tmp_path)
        assert found is not None
        loaded = checkpoint.load(found)
        # The one that it was writing may be complete without having been reported.
        assert reported <= loaded.epoch <= reported + step
        assert loaded.state == {"epoch": loaded.epoch}
        for tensor in dict(loaded.tensors).values():
            assert torch.equal(tensor, torch.full((300_000,), float(loaded.epoch)))
        reported = loaded.epoch
    whole = save(tmp_path, reported + 1, keep=2)
    assert [name for name in names(tmp_path) if name.startswith(".")] == []
    assert checkpoint.latest(tmp_path) == whole


def damage(folder: Path, name: str, value: torch.Tensor | None) -> None:
    """Writes the file of tensors anew with one changed, or without it."""
    tensors = load_file(folder / "tensors.safetensors")
    tensors.pop(name)
    save_file(tensors | ({} if value is None else {name: value}), folder / "tensors.safetensors")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "'value' is missing, and in state.json F32 [4]"),
        (torch.zeros(5), "'value' is F32 [5], and in state.json F32 [4]"),
        (torch.zeros(4, dtype=torch.float64), "'value' is F64 [4], and in state.json F32 [4]"),
        (torch.ones(4), "'value' has another checksum"),
    ],
)
def test_tensors_that_are_not_those_of_the_state_are_named_with_the_one_before(
    value: torch.Tensor | None, why: str, tmp_path: Path
) -> None:
    earlier, folder = save(tmp_path, 4), save(tmp_path, 5)
    damage(folder, "value", value)
    with pytest.raises(CheckpointError) as error:
        dict(checkpoint.load(folder).tensors)
    said = str(error.value)
    assert why in said
    assert said.endswith(
        f"use an earlier checkpoint: {earlier} is whole (delete {folder}, and --resume takes it)"
    )


def test_a_tensor_that_the_state_does_not_know_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path, 5)
    save_file({"value": torch.zeros(4), "x": torch.zeros(1)}, folder / "tensors.safetensors")
    with pytest.raises(CheckpointError, match=r"'x' is F32 \[1\], and in state.json not one of"):
        checkpoint.load(folder)


def test_one_that_is_damaged_too_is_not_named_as_whole(tmp_path: Path) -> None:
    first, second, third = (save(tmp_path, epoch) for epoch in (3, 4, 5))
    damage(second, "value", torch.ones(4))
    (third / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match=f"{first} is whole"):
        checkpoint.load(third)
    (first / "tensors.safetensors").unlink()
    with pytest.raises(CheckpointError, match="there is none that is whole"):
        checkpoint.load(third)


def test_the_state_of_another_epoch_is_refused(tmp_path: Path) -> None:
    first, second = save(tmp_path, 4), save(tmp_path, 5)
    (second / "state.json").write_bytes((first / "state.json").read_bytes())
    with pytest.raises(
        CheckpointError, match=r"of another checkpoint \(epoch: 4, in the folder of"
    ):
        checkpoint.load(second)


def test_a_checkpoint_of_an_earlier_version_is_read_as_it_was(tmp_path: Path) -> None:
    folder = save(tmp_path, 5)
    written = json.loads((folder / "state.json").read_text())
    old = {key: written[key] for key in ("format", "epoch", "state")}
    (folder / "state.json").write_text(json.dumps(old))
    damage(folder, "value", torch.ones(5))
    assert checkpoint.load(folder).tensors["value"].tolist() == [1.0] * 5


def test_one_that_is_not_finite_is_passed_over_and_said_and_loses_no_sound_one(
    tmp_path: Path,
) -> None:
    sound = save(tmp_path, 4, keep=1)
    save(tmp_path, 5, keep=1, value=math.nan)
    save(tmp_path, 6, keep=1, value=math.inf)
    assert names(tmp_path) == ["000004", "000006"]
    assert checkpoint.latest(tmp_path) == sound
    (line,) = checkpoint.passed_over(tmp_path)
    assert line == f"{tmp_path}/checkpoints/000006 is passed over: 'value' is not finite"
    save(tmp_path, 5, keep=1)
    assert names(tmp_path) == ["000005"]
    assert checkpoint.passed_over(tmp_path) == []
    checkpoint.mark_unsound(tmp_path, 5, "its images are noise")
    checkpoint.mark_unsound(tmp_path, 9, "is not there")
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.passed_over(tmp_path)[0].endswith("passed over: its images are noise")


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(name, forbid, tmp_path) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    forbid(path)
    with pytest.raises(ReadError) as error:
        checkpoint.load(path.parent)
    assert str(error.value) == f"{path} cannot be read: Permission denied"


def test_an_earlier_checkpoint_that_may_not_be_read_is_not_advised(forbid, tmp_path) -> None:
    forbid(save(tmp_path, 1) / "state.json")
    damaged = save(tmp_path, 2)
    (damaged / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match="there is none that is whole"):
        checkpoint.load(damaged)


def test_a_folder_that_may_not_be_listed_is_named(forbid, tmp_path) -> None:
    save(tmp_path, 1)
    forbid(tmp_path / "checkpoints")
    with pytest.raises(ReadError, match=r"checkpoints cannot be read: Permission denied"):
        checkpoint.epochs(tmp_path)
