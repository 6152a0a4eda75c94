"""Runs on stored images: what is printed, refused and learned, by the command."""

import json

import pytest
import torch

from tests.pictures import encoded, noise
from tests.runs import (
    ROOT,
    metrics,
    only_run,
    require_same_tensors,
    settings,
    tensors,
    without_clocks,
    written,
    zoo,
)
from tests.tiny_models import write_sd3

OFFLINE = ROOT / "recipes" / "dpo_digits_offline.yaml"
SHORT = {
    "epochs": 2,
    "data.groups_per_epoch": 5,
    "objective.draws_per_pair": 3,
    "optim.updates_per_epoch": 2,
    "engine.micro_batch": "{sample: 3, train: 7}",
    "engine.device": "cpu",
    "eval.images_per_prompt": 1,
    "eval.steps": 2,
    "eval.every": 1,
    "checkpoint.every": 1,
}


def short(out, **changes):
    return settings({**SHORT, "output_dir": out}, **changes)


@pytest.fixture
def refused(zoo_here, tmp_path):
    """Runs `zoo check` and `zoo train`, which must both refuse; gives their one line."""

    def run(*overrides):
        said = []
        for verb in ("check", "train"):
            ended = zoo_here(verb, OFFLINE, *short(tmp_path / "out"), *overrides)
            assert ended.code == 2, ended.out
            (line,) = ended.lines
            said.append(line)
        assert said[0] == said[1]
        assert not (tmp_path / "out").exists()
        return said[0]

    return run


def pairs(folder, *sizes):
    """A file of pairs of pictures; the sizes are of each pair."""
    rows = []
    for i, both in enumerate(sizes):
        for j, size in enumerate(both):
            (folder / f"{i}{j}.png").write_bytes(encoded(noise(2 * i + j, size)))
        asked = {"prompt": f"the digit {('one', 'two')[i % 2]}", "digit": i % 2 + 1}
        rows.append({**asked, "win": f"{i}1.png", "lose": f"{i}0.png"})
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_check_says_that_nothing_is_sampled(zoo_here):
    ended = zoo_here("check", OFFLINE, *short("unused"))
    assert ended.code == 0, ended.err
    assert "5 groups x 2 = 10 images, of 898 prompts" in ended.out
    assert "none to collect: the images come with the prompts" in ended.out
    # 5 pairs, 3 draws each, 2 images each, by live and by the reference.
    assert "60 to train, 30 with gradients" in ended.out
    assert "60 an epoch, 120 in 2 epochs" in ended.out
    assert "plain *" in ended.out  # the memory of such a run is estimated too


def test_prompts_with_images_are_shown_so(zoo_here):
    ended = zoo_here("prompts", "builtin:digits/pairs", "-n", 1)
    assert ended.out.splitlines()[1] == (
        "  a photo of the digit two  2 images  {'digit': 2, 'preference': [1, 0]}"
    )


def test_groups_of_another_size_than_the_prompts_have_are_refused(refused):
    line = refused("-s", "data.group_size=4")
    assert "data.group_size is 4, and the prompt 'a photo of the digit two' comes with 2; " in line
    assert "write data.group_size: 2" in line


def test_prompts_without_images_are_refused(refused):
    line = refused("-s", "data.train=builtin:digits/train")
    assert "-s data.train=builtin:digits/train: the sampler 'dataset' needs a group's imag" in line
    assert "'a photo of the digit zero' comes with none" in line


def test_a_missing_and_a_broken_image_are_refused(refused, tmp_path):
    path = pairs(tmp_path, [(8, 8), (8, 8)])
    (tmp_path / "00.png").write_text("<html>")
    assert "00.png' is no image that Pillow can read" in refused("-s", f"data.train={path}")
    (tmp_path / "00.png").unlink()
    line = refused("-s", f"data.train={path}")
    assert f"{path}:1: the image file '{tmp_path / '00.png'}' does not exist" in line


@pytest.mark.slow
def test_nft_is_told_to_give_times(refused):
    line = refused("-s", "objective={name: nft}")
    assert (
        "the objective 'nft' trains at the sampler's own times, and the sampler 'dataset'" in line
    )
    assert "write sampler.steps: 10, say, if it takes steps, or use sampler: {name: flow" in line


def test_flow_grpo_is_refused(refused):
    line = refused("-s", "objective={name: flow_grpo}")
    assert (
        "the objective 'flow_grpo' needs a StochasticSolver, and the sampler 'dataset' has n"
        in line
    )


def test_the_preference_of_images_that_were_made_is_refused_in_a_line(zoo_here, tmp_path):
    changed = short(tmp_path, data__train="builtin:digits/train", data__group_size=4)
    ended = zoo_here("train", OFFLINE, *changed, "-s", "sampler={solver: {name: euler}, steps: 2}")
    assert ended.code == 2
    assert "the reward 'preference' reads what the data says" in ended.lines[-1]


def test_an_image_that_breaks_off_ends_the_run_in_a_line(zoo_here, tmp_path):
    path = pairs(tmp_path, *[[(64, 64), (64, 64)]] * 5)
    file = tmp_path / "30.png"
    file.write_bytes(file.read_bytes()[:3000])
    ended = zoo_here("train", OFFLINE, *short(tmp_path / "out", data__train=path))
    assert ended.code == 2
    assert ended.lines[-1].startswith(f"error: the image '{file}' cannot be read: ")


@pytest.mark.slow
def test_nft_trains_on_stored_images_at_the_times_of_steps(zoo_here, tmp_path):
    changed = ["-s", "objective={name: nft, trained_steps: 2}", "-s", "sampler.steps=4"]
    ended = zoo_here("train", OFFLINE, *short(tmp_path), *changed)
    assert ended.code == 0, ended.err
    before, *_, last = metrics(only_run(tmp_path))
    assert before["probe/gradient_at_zero_advantage"] < 1e-3
    assert last["grad_norm"] > 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    ended = zoo("train", OFFLINE, *short(out))
    assert ended.returncode == 0, ended.stderr
    return only_run(out)


@pytest.mark.slow
def test_a_run_probes_evaluates_and_records_no_forward_to_collect(trained):
    before, first, second = metrics(trained)
    assert before["num_evals"] == 0
    assert before["probe/loss_at_live_==_reference"] == pytest.approx(0.693147, abs=1e-3)
    assert (first["num_evals"], second["num_evals"]) == (60, 120)
    assert first["reward/preference"] == 0.5
    assert first["grad_norm"] > 0
    assert {"eval/digit", "eval/judge"} <= second.keys()
    assert len(list((trained / "images").glob("*.png"))) >= 3


@pytest.mark.slow
def test_other_numbers_of_processes_make_the_same_run(trained, tmp_path):
    ended = zoo("train", OFFLINE, *short(tmp_path, engine__processes=3))
    assert ended.returncode == 0, ended.stderr
    mine, theirs = tensors(only_run(tmp_path)), tensors(trained)
    for name, value in theirs.items():
        if not name.startswith("optimizer/"):
            torch.testing.assert_close(mine[name], value, rtol=0, atol=0.05 * 3e-3)
    for key in ("reward", "num_evals", "loss"):
        assert metrics(only_run(tmp_path))[-1][key] == pytest.approx(
            metrics(trained)[-1][key], rel=1e-4
        )


@pytest.mark.slow
def test_a_resumed_run_is_the_one_that_was_not_interrupted(trained, tmp_path):
    started = zoo("train", OFFLINE, *short(tmp_path), "--epochs", 1)
    assert started.returncode == 0, started.stderr
    ended = zoo("train", "--resume", only_run(tmp_path), "--epochs", 2)
    assert ended.returncode == 0, ended.stderr
    require_same_tensors(only_run(tmp_path), trained)
    lines = [without_clocks(metrics(run)) for run in (only_run(tmp_path), trained)]
    assert lines[0][-1] == lines[1][-1]


@pytest.mark.slow
def test_images_are_made_by_the_evaluations_solver(trained, zoo_here, tmp_path):
    picture = tmp_path / "seven.png"
    ended = zoo_here("sample", trained, "-p", "the digit seven", "-o", picture)
    assert ended.code == 0, ended.err
    assert picture.is_file()
    ended = zoo_here("sample", OFFLINE, "-s", "eval=null", "-p", "the digit one", "-o", picture)
    assert ended.code == 0, ended.err
    assert zoo_here("eval", trained, "--rewards", "digit").code == 0


@pytest.mark.slow
def test_training_prompts_with_images_can_be_evaluated_and_sampled_for(zoo_here, tmp_path):
    # Without prompts of its own an evaluation takes those of training: pairs, and four images.
    few = {
        "epochs": 1,
        "data.train": pairs(tmp_path, *[[(8, 8), (8, 8)]] * 5),
        "data.eval": "null",
        "eval.images_per_prompt": 4,
    }
    ended = zoo_here("train", OFFLINE, *short(tmp_path / "a", **few))
    assert ended.code == 0, ended.err
    flow = ["-s", "sampler={solver: {name: euler}, steps: 2}", "-s", "rewards=[{name: digit}]"]
    ended = zoo_here(
        "train", OFFLINE, *short(tmp_path / "b", **few), *flow, "-s", "data.group_size=4"
    )
    assert ended.code == 0, ended.err


@pytest.mark.slow
def test_sd3_trains_on_pictures_of_another_size(zoo_here, tmp_path):
    options = write_sd3(tmp_path / "sd3")
    path = pairs(tmp_path, [(100, 50), (64, 64)], [(30, 80), (65, 64)], [(64, 64), (200, 200)])
    model = written(options)
    changed = short(
        tmp_path / "out",
        epochs=1,
        policy=f"{{name: diffusers, {model}, lora: {{rank: 4, alpha: 8}}}}",
        data__train=path,
        data__groups_per_epoch=3,
        eval="null",
    )
    assert zoo_here("check", OFFLINE, *changed).code == 0
    ended = zoo_here("train", OFFLINE, *changed)
    assert ended.code == 0, ended.err
    before, after = metrics(only_run(tmp_path / "out"))
    assert before["probe/loss_at_live_==_reference"] == pytest.approx(0.693147, abs=1e-3)
    assert after["grad_norm"] > 0
