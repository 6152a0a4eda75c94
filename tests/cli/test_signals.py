"""Ctrl-C and SIGTERM on real runs: a whole checkpoint is left, from which the run goes on."""

import os
import signal

import pytest
from PIL import Image

from tests.processes import children_of, hanging_reward, wait_until
from tests.runs import RECIPES, metrics, only_run, overrides, require_same, zoo
from zoo.run import checkpoint

NFT = RECIPES["nft"]


def recorded(out, count):
    """Whether the run under a folder has so many lines of metrics."""
    return any(file.read_text().count("\n") >= count for file in out.glob("*/*/metrics.jsonl"))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    whole = zoo("train", NFT, *overrides("nft", out, epochs=12, checkpoint__every=100))
    assert whole.returncode == 0, whole.stderr
    return only_run(out)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_saves_and_goes_on_as_if_it_never_was(
    number, start, uninterrupted, tmp_path
):
    process = start("train", NFT, *overrides("nft", tmp_path, epochs=12, checkpoint__every=100))
    wait_until(lambda: recorded(tmp_path, 3), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "Traceback" not in err
    run = only_run(tmp_path)
    saved = checkpoint.load(checkpoint.latest(run))
    assert 2 <= saved.epoch < 12
    assert metrics(run)[-1]["epoch"] == saved.epoch
    resumed = zoo("train", "--resume", run)
    assert resumed.returncode == 0, resumed.stderr
    require_same(run, uninterrupted)


@pytest.mark.slow
def test_a_second_signal_leaves_at_once(start, tmp_path):
    # The reward hangs when the epoch's one micro-batch is sampled: the first signal has to wait.
    reward, hangs = hanging_reward(tmp_path)
    changed = overrides(
        "nft",
        tmp_path / "out",
        rewards=f"[{{name: python, path: '{reward}:score'}}]",
        eval="null",
        engine__micro_batch="{sample: 20, train: 20}",
    )
    process = start("train", NFT, *changed)
    wait_until(hangs, process)
    process.send_signal(signal.SIGINT)
    assert any("again to leave at once" in line for line in process.stdout)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGINT, 128 + signal.SIGINT)


@pytest.mark.slow
def test_a_signal_to_the_launcher_ends_all_processes_with_a_checkpoint(start, tmp_path):
    changed = overrides("nft", tmp_path, epochs=500, checkpoint__every=1000, engine__processes=2)
    process = start("train", NFT, *changed)
    wait_until(lambda: recorded(tmp_path, 3), process)
    workers = children_of(process)
    assert len(workers) == 2
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "Traceback" not in err
    assert not [pid for pid in workers if alive(pid)]
    run = only_run(tmp_path)
    saved = checkpoint.load(checkpoint.latest(run))
    assert saved.epoch == metrics(run)[-1]["epoch"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_evaluation_leaves_its_images_and_no_results(processes, start, tmp_path):
    out = tmp_path / "out"
    process = start(
        "eval", NFT, "-n", 100_000, "--limit", 2, "--out", out, "--processes", processes,
        "-s", "engine.micro_batch.sample=50",
    )  # fmt: skip
    wait_until(lambda: any(out.glob("images/*.png")), process)
    process.send_signal(signal.SIGINT)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert err == ""
    assert said.splitlines()[1:] == [
        "stopping after these images; again to leave at once",
        f"the images so far are in {out / 'images'}",
    ]
    assert [path.name for path in out.iterdir()] == ["images"]
    for path in (out / "images").iterdir():
        with Image.open(path) as image:
            image.load()
