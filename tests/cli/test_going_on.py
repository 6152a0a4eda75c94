"""A run that goes on: with one writer, from whole files, with what it began with."""

import errno
import json
import math
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.processes import children_of, wait_until
from tests.runs import RECIPES, metrics, only_run, overrides, zoo
from zoo.run import checkpoint, writer

NFT = RECIPES["nft"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two epochs, both evaluated and saved."""
    from zoo.cli.train import train

    root = tmp_path_factory.mktemp("finished")
    train(NFT, overrides("nft", root, epochs=2, eval__every=1)[1::2], None, None)
    return only_run(root)


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def refused(zoo_here):
    """Goes on with a run for an epoch, which must be refused; gives the one line."""

    def go_on(run, *arguments):
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        ended = zoo_here("train", "--resume", run, "--epochs", 3, *arguments)
        assert ended.code == 2, ended.err
        (line,) = ended.lines
        assert "Traceback" not in line
        assert "--debug" not in line
        after = {path: path.read_bytes() for path in before}
        assert after == before | {run / ".lock": after[run / ".lock"]}
        return line

    return go_on


def test_a_run_that_is_going_on_is_refused_and_may_be_read(run, refused, zoo_here, tmp_path):
    with writer.hold(run, print):
        line = refused(run)
        assert line == (
            f"error: {run} is in use: process {os.getpid()} is a zoo train that writes there; "
            "wait for it, or stop it"
        )
        assert zoo_here("best", run).code == 0
        assert zoo_here("export", run, "-o", tmp_path / "lora").code == 0
    assert zoo_here("train", "--resume", run).code == 0


@pytest.mark.slow
def test_the_workers_hold_the_lock_too_and_all_let_go_when_they_are_killed(
    start, finished, tmp_path
):
    run = shutil.copytree(finished, tmp_path / "run")
    two = ["train", "--resume", run, "--epochs", 500, "-s", "engine.processes=2"]
    launcher = start(*two)
    lines = len(metrics(run))
    wait_until(lambda: len(metrics(run)) > lines, launcher)
    workers = children_of(launcher)
    assert f"process {launcher.pid} is a zoo train" in zoo("train", "--resume", run).stderr
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    launcher.kill()
    launcher.wait()
    assert "started still writes there" in zoo("train", "--resume", run).stderr
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    done = checkpoint.epoch_of(checkpoint.latest(run))
    resumed = zoo("train", "--resume", run, "--epochs", done + 1, "-s", "engine.processes=1")
    assert resumed.returncode == 0, resumed.stderr
    assert [line["epoch"] for line in metrics(run)] == list(range(done + 2))


def broken_weights(run):
    folder = run / "checkpoints" / "000002"
    tensors = load_file(folder / "tensors.safetensors")
    name = min(name for name in tensors if name.startswith("live/"))
    save_file(tensors | {name: tensors[name] * math.nan}, folder / "tensors.safetensors")
    return name


def test_a_wrong_checkpoint_is_refused_and_the_one_before_it_goes_on(run, refused, zoo_here):
    name = broken_weights(run)
    line = refused(run)
    first, second = (run / "checkpoints" / epoch for epoch in ("000001", "000002"))
    assert f"tensors.safetensors is damaged ('{name}' has another checksum)" in line
    assert line.endswith(f"{first} is whole (delete {second}, and --resume takes it)")
    shutil.rmtree(second)
    again = zoo_here("train", "--resume", run, "--epochs", 3)
    assert again.code == 0, again.err
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2, 3]


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("checkpoints/000002/state.json", '{"format": 1, "epoch": 2, "state": {"progress": []}}'),
        ("checkpoints/000002/state.json", "null"),
        ("metrics.jsonl", '{"epoch": 0}\n{"epoch": null}\n{"epoch": 1}\n'),
        ("metrics.jsonl", '[0]\n{"epoch": 1}\n'),
        ("recipe.json", "[]"),
        ("recipe.json", ""),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(name, text, run, refused):
    (run / name).write_text(text)
    assert str(run / name) in refused(run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["", *(pytest.param(text, marks=pytest.mark.slow) for text in ("[]", '{"epoch": 1}'))]
)
def test_a_damaged_evaluation_does_not_end_a_run(text, run, zoo_here):
    for path in (run / "evaluations").iterdir():
        path.write_text(text)
    ended = zoo_here("train", "--resume", run, "--epochs", 3)
    assert ended.code == 0, ended.err
    assert "warning: epoch 3 is not compared with epoch 0: " in ended.out
    assert metrics(run)[-1]["epoch"] == 3
    report = zoo_here("report", run)
    assert report.code == 0
    assert f"warning: left out: {run}/evaluations/000000.json is damaged" in report.err
    best = zoo_here("best", run)
    assert (best.code, best.err) == (0, report.err)


@pytest.mark.slow
def test_leftovers_of_a_kill_go_and_what_is_not_of_the_run_stays(run, zoo_here):
    gone = [
        run / "checkpoints" / ".new-000003-1", run / "checkpoints" / ".old-000001-1",
        run / "images" / ".epoch_000003.png-1-1", run / "evaluations" / ".000003.json-1-1",
        run / "images" / ".left_000003.png-1-1", run / ".prompt_lengths.json-1-1",
    ]  # fmt: skip
    for folder in gone[:2]:
        folder.mkdir()
    for file in gone[2:]:
        file.touch()
    (run / ".mine-1-1").touch()
    assert zoo_here("train", "--resume", run, "--epochs", 3).code == 0
    assert [path for path in gone if path.exists()] == []
    assert (run / ".mine-1-1").exists()
    # The name of every file that a run leaves is one of those that go where they are cut off.
    names = {path.name for path in run.iterdir()}
    assert names >= {"recipe.json", "environment.json", "contents.json", "probes.json", "end.json"}


def test_a_run_whose_end_alone_was_cut_off_by_a_kill_has_it_and_no_leftover(run, zoo_here):
    end = (run / "end.json").read_text()
    (run / "end.json").rename(run / ".end.json-1-1")
    assert zoo_here("train", "--resume", run).code == 0
    assert (run / "end.json").read_text() == end
    assert not (run / ".end.json-1-1").exists()


@pytest.mark.slow
def test_a_full_disk_is_said_with_the_path_and_leaves_the_checkpoint_before(
    run, zoo_here, monkeypatch
):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("zoo.run.checkpoint.write", fail)
    ended = zoo_here("train", "--resume", run, "--epochs", 3)
    said = f"{run}/checkpoints/000003 cannot be written: No space left on device"
    assert (ended.code, ended.lines) == (2, [f"error: {said}"])
    assert (run / "run.log").read_text().splitlines()[-1] == f"error: {said}"
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["000001", "000002"]
    monkeypatch.undo()
    assert zoo_here("train", "--resume", run, "--epochs", 3).code == 0


@pytest.mark.slow
def test_what_was_moved_is_named_where_it_is_now(tmp_path, zoo_here, refused):
    prompts, reward = tmp_path / "p.txt", tmp_path / "r.py"
    prompts.write_text("the digit seven\nthe digit two\nthe digit five\n")
    reward.write_text("def bright(images, prompts):\n    return images.flatten(1).mean(1)\n")
    own = overrides(
        "nft", tmp_path / "out", epochs=1, data__train=prompts, data__groups_per_epoch=2,
        rewards=f"[{{name: python, path: '{reward}:bright', label: bright}}]", eval="null",
    )  # fmt: skip
    assert zoo_here("train", NFT, *own).code == 0
    run, there = only_run(tmp_path / "out"), tmp_path / "there"
    there.mkdir()
    shutil.move(prompts, there)
    shutil.move(reward, there)
    moved = ["-s", f"data.train={there}/p.txt", "-s", f"rewards.0.path={there}/r.py:bright"]
    (there / "other.txt").write_text("the digit one\nthe digit two\n")
    line = refused(run, *moved, "-s", f"data.train={there}/other.txt")
    assert "its content is another (prompts); name the same, or take it knowingly" in line
    ended = zoo_here("train", "--resume", run, "--epochs", 2, *moved)
    assert ended.code == 0, ended.err
    assert not told_of_content(run)
    other = ["-s", f"data.train={there}/other.txt", "--moved"]
    assert zoo_here("train", "--resume", run, "--epochs", 3, *other).code == 0
    (line,) = told_of_content(run)
    assert line.startswith(f"warning: data.train is '{there}/other.txt' from here on, and its con")
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2, 3]


def told_of_content(run):
    """What its log says of another content; a longer run is told of its learning rate too."""
    log = run / "run.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if "learning rate" not in line]


def test_moved_is_for_a_run_that_goes_on(zoo_here):
    ended = zoo_here("train", NFT, "--moved")
    assert (ended.code, ended.lines) == (
        2, ["error: --moved is for a run that goes on; name it with --resume RUN_DIR"],
    )  # fmt: skip


def unsound(run):
    """Its last checkpoint, as it is saved where the weights are not finite."""
    name = broken_weights(run)
    folder = run / "checkpoints" / "000002"
    written = json.loads((folder / "state.json").read_text())
    old = {key: written[key] for key in ("format", "epoch", "state")}
    (folder / "state.json").write_text(json.dumps(old))
    checkpoint.mark_unsound(run, 2, f"'{name}' is not finite")
    return name


@pytest.mark.slow
def test_the_last_finite_checkpoint_is_taken_and_that_is_said(run, zoo_here, tmp_path):
    name = unsound(run)
    said = f"warning: {run}/checkpoints/000002 is passed over: '{name}' is not finite"
    sampled = zoo_here("sample", run, "-p", "seven", "-o", tmp_path / "x.png")
    assert (sampled.code, sampled.lines) == (0, [f"{said}; this is of {run}/checkpoints/000001"])
    exported = zoo_here("export", run, "-o", tmp_path / "lora")
    assert (exported.code, len(exported.lines)) == (0, 1)
    assert "checkpoints/000001" in exported.out
    resumed = zoo_here("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert said in resumed.out
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2]
    assert checkpoint.passed_over(run) == []


def test_weights_that_are_broken_or_absurd_are_warned_of_where_they_are_exported(
    run, zoo_here, tmp_path
):
    name = unsound(run).removeprefix("live/")
    folder, live = run / "checkpoints" / "000002", ["--epoch", 2, "--weights", "live"]
    named = zoo_here("export", run, *live, "-o", tmp_path / "a")
    assert named.code == 0
    (line,) = named.lines
    assert f" tensors of {folder} are not finite: '{name}'; images will be noise" in line
    tensors = load_file(folder / "tensors.safetensors")
    absurd = torch.full_like(tensors[f"live/{name}"], 1e6)
    save_file(tensors | {f"live/{name}": absurd}, folder / "tensors.safetensors")
    (line,) = zoo_here("export", run, *live, "-o", tmp_path / "b").lines
    assert f"are beyond 65504, which is absurd: '{name}'" in line


def test_what_only_the_command_line_would_end_has_not_ended(run, zoo_here):
    # As a kill after two of three epochs leaves it.
    (run / "end.json").unlink()
    recipe = json.loads((run / "recipe.json").read_text()) | {"epochs": 3}
    (run / "recipe.json").write_text(json.dumps(recipe))
    fewer = zoo_here("train", "--resume", run, "--epochs", 1)
    assert fewer.code == 2
    assert f"error: --epochs 1: {run} has 2 epochs already" in fewer.err
    as_many = zoo_here("train", "--resume", run, "--epochs", 2)
    assert (as_many.code, f"{run} has its 2 epochs" in as_many.out) == (0, True)
    spent = zoo_here("train", "--resume", run, "-s", "stop_when.images=1")
    assert (spent.code, "ended after epoch 2" in spent.out) == (0, True)
    assert not (run / "end.json").exists()
    assert json.loads((run / "recipe.json").read_text()) == recipe
