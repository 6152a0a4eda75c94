"""What TensorBoard reads in a run's folder, of a run that went on from a checkpoint too."""

import io
import json
import struct

import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

from zoo.tracker import tensorboard
from zoo.tracker.base import TrackedRun
from zoo.tracker.tensorboard import TensorBoard


def events(folder):
    """Every event of every file, in order: a record is its length, data and two checksums."""
    for path in sorted((folder / "tensorboard").iterdir()):
        assert "tfevents" in path.name
        content = path.read_bytes()
        while content:
            (size,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]


def shown(folder):
    """By tag and step, as TensorBoard has it: a start forgets the steps from its own on."""
    kept = {}
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            kept = {key: value for key, value in kept.items() if key[1] < event.step}
        for value in event.summary.value:
            assert (value.tag, event.step) not in kept, "a step is shown twice"
            kept[value.tag, event.step] = value
    return kept


def run_of(folder, done=0):
    return TrackedRun(folder, "recipe/run", "a1b2c3d4", done, {"seed": 1, "rewards": []})


def test_numbers_and_texts_are_by_epoch_and_in_groups(tmp_path):
    tracker = TensorBoard()
    tracker.open(run_of(tmp_path))
    tracker.record({"epoch": 0, "reward": 0.5, "step": 0, "eval/digit": 0.25})
    tracker.warn("a *warning*", 1)
    tracker.record({"epoch": 1, "reward": 0.75})
    # It is all there before the end.
    found = shown(tmp_path)
    tracker.close(failed=False)
    assert found["train/reward", 0].simple_value == 0.5
    assert found["train/reward", 1].simple_value == 0.75
    assert found["progress/step", 0].simple_value == 0
    assert found["eval/digit", 0].simple_value == 0.25
    assert found["warnings/text_summary", 1].tensor.string_val == [b"a *warning*"]
    (recipe,) = found["recipe/text_summary", 0].tensor.string_val
    assert all(line.startswith(b"    ") for line in recipe.splitlines())
    assert json.loads(recipe) == {"seed": 1, "rewards": []}
    assert not any(tag.endswith("epoch") for tag, _ in found)


def test_a_run_that_goes_on_shows_no_epoch_twice(tmp_path):
    first = TensorBoard()
    first.open(run_of(tmp_path))
    for epoch in range(4):
        first.record({"epoch": epoch, "reward": epoch})
    first.close(failed=True)
    again = TensorBoard()
    again.open(run_of(tmp_path, done=2))
    again.record({"epoch": 3, "reward": 30})
    again.close(failed=False)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    values = {key: value.simple_value for key, value in shown(tmp_path).items()}
    assert {step: values["train/reward", step] for step in range(4)} == {0: 0, 1: 1, 2: 2, 3: 30}
    assert ("recipe/text_summary", 0) in values


def test_a_run_that_goes_on_from_its_start_has_its_recipe_once(tmp_path):
    for _ in range(2):
        tracker = TensorBoard()
        tracker.open(run_of(tmp_path))
        tracker.record({"epoch": 0, "reward": 0})
        tracker.close(failed=False)
    assert set(shown(tmp_path)) == {("recipe/text_summary", 0), ("train/reward", 0)}


def test_pictures_are_as_a_browser_plays_them(tmp_path):
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.png")
    frames[0].save(
        tmp_path / "b.webp", save_all=True, append_images=frames[1:], duration=250, lossless=True
    )
    tracker = TensorBoard()
    tracker.open(run_of(tmp_path))
    tracker.picture("images", tmp_path / "a.png", 0)
    tracker.picture("images", tmp_path / "b.webp", 5)
    tracker.close(failed=False)
    still, moving = (shown(tmp_path)["pictures/images", epoch].image for epoch in (0, 5))
    assert (still.width, still.height) == (moving.width, moving.height) == (16, 8)
    assert still.encoded_image_string == (tmp_path / "a.png").read_bytes()
    with Image.open(io.BytesIO(moving.encoded_image_string)) as gif:
        assert (gif.format, gif.n_frames, gif.info["duration"]) == ("GIF", 2, 250)


def test_without_its_package_it_says_what_to_install(monkeypatch):
    TensorBoard.check_start({})
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'diffusion-rl-zoo\[tensorboard\]'"):
        TensorBoard.check_start({})
