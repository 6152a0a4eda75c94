"""What the commands say of a run in stages, and what they refuse before anything is loaded."""

import json

import pytest

from tests.runs import RECIPES, metrics, only_run, overrides
from zoo.policy.digits import Digits

STAGES = (
    "[{name: one, epochs: 1}, {epochs: 2, rewards: [{name: digit}, {name: diversity, weight: 0.3}],"
    " sampler: {steps: 2}, eval: {images_per_prompt: 2}}]"
)


@pytest.fixture
def run(zoo_here, tmp_path):
    """The arguments of a short run in two stages."""

    def arguments(verb="train", **changes):
        said = overrides("nft", tmp_path / "out", **{"epochs": 3, "stages": STAGES, **changes})
        return [verb, RECIPES["nft"], *said]

    return arguments


def rows(text):
    """What a table of two columns says of each name."""
    found = {}
    for line in text.splitlines():
        name, _, said = line.partition("  ")
        found[name.strip()] = said.strip()
    return found


@pytest.mark.slow
def test_check_has_a_line_for_each_stage_and_what_they_come_to(run, zoo_here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    said = zoo_here(*run("check")).out
    found = rows(said)
    assert found["trains"] == "digits with nft in 2 stages"
    assert found["stage 0 (one)"] == (
        "1 epoch on digit x 1; an epoch is 5 x 4 images of 40 prompts, 180 forwards, padding 0% "
        "of sampling, 5% of training"
    )
    assert found["stage 1"] == (
        "2 epochs on digit x 1, diversity x 0.3; an epoch is 5 x 4 images of 40 prompts, "
        "160 forwards, padding 0% of sampling, 5% of training"
    )
    assert found["in all"] == "3 epochs, 60 images, 500 forwards"
    assert "of stage 0 (one), which needs most" in said
    said = zoo_here(*run("check"), "--epochs", 2).out
    assert rows(said)["stage 1"].startswith("1 of its 2 epochs on digit x 1")
    assert rows(said)["in all"] == "2 epochs, 40 images, 340 forwards"
    said = zoo_here(*run("check", stages__1__sampler__solver="{name: dopri5}")).out
    assert "forwards to train" in rows(said)["stage 1"]
    assert rows(said)["in all"] == "3 epochs, 60 images"


@pytest.mark.slow
def test_the_forwards_that_check_counts_are_those_that_train_makes(run, zoo_here, tmp_path):
    ended = zoo_here(*run(eval="null", stages=STAGES.replace(", eval: {images_per_prompt: 2}", "")))
    assert ended.code == 0, ended.err
    assert metrics(only_run(tmp_path / "out"))[-1]["num_evals"] == 500


@pytest.mark.slow
def test_train_says_when_a_stage_begins_and_keeps_the_stages_in_its_folder(run, zoo_here, tmp_path):
    ended = zoo_here(*run(), "--epochs", 2)
    assert ended.code == 0, ended.err
    told = [line for line in ended.out.splitlines() if line.startswith(("stage ", "epoch "))]
    assert [line.partition("  ")[0] for line in told] == [
        "stage 0 (one): epochs 1 to 1, on digit x 1",
        "epoch 0/2",
        "epoch 1/2",
        "stage 1: epochs 2 to 2, on digit x 1, diversity x 0.3",
        "epoch 2/2",
    ]
    folder = only_run(tmp_path / "out")
    stored = json.loads((folder / "recipe.json").read_text())
    assert (stored["epochs"], [stage["epochs"] for stage in stored["stages"]]) == (2, [1, 2])
    ended = zoo_here("train", "--resume", folder)
    assert "has its 2 epochs; --epochs 3 goes on to the end of its stages" in ended.out
    ended = zoo_here("train", "--resume", folder, "--epochs", 3)
    assert "stage 1: epochs 2 to 3, on" in ended.out
    assert "has its 3 epochs, and its stages have no more" in zoo_here(
        "train", "--resume", folder
    ).out  # fmt: skip
    ended = zoo_here("train", "--resume", folder, "--epochs", 4)
    assert (ended.code, ended.lines) == (
        2,
        [
            "error: -s epochs=4: epochs is 4, and the stages have 3 (1 + 2); write epochs: 3 or "
            "fewer, to end early, or change the epochs of a stage (stages.1.epochs)"
        ],
    )


@pytest.mark.slow
def test_a_run_may_go_on_with_other_evaluations_of_a_stage_and_no_other_rewards(
    run, zoo_here, tmp_path
):
    assert zoo_here(*run(), "--epochs", 1).code == 0
    folder = only_run(tmp_path / "out")
    ended = zoo_here("train", "--resume", folder, "-s", "stages.1.rewards=[{name: digit}]")
    assert ended.code == 2
    assert "may change only engine, eval" in ended.lines[0]
    ended = zoo_here(
        "train", "--resume", folder, "--epochs", 3, "-s", "stages.1.eval.every=1"
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert all("eval/digit" in line for line in metrics(folder))


@pytest.mark.slow
def test_eval_is_of_the_checkpoints_stage(run, zoo_here, tmp_path):
    assert zoo_here(*run()).code == 0
    folder = only_run(tmp_path / "out")
    recorded = {line["epoch"]: line for line in metrics(folder)}
    for epoch in (1, 3):
        said = zoo_here("eval", folder, "--epoch", epoch).out
        (found,) = [line.split() for line in said.splitlines() if "digit " in line]
        assert float(found[1]) == pytest.approx(recorded[epoch]["eval/digit"], rel=1e-3)
    assert zoo_here("eval", folder).out.splitlines()[1:] == said.splitlines()[1:]


def test_probe_asks_the_rewards_of_all_stages_once(run, zoo_here, tmp_path):
    path = tmp_path / "staged.yaml"
    path.write_text(f"extends: {RECIPES['nft']}\nepochs: 3\nstages: {STAGES}\n")
    said = zoo_here("probe", path).out
    labels = [line.split()[0] for line in said.splitlines()[1:]]
    assert labels == ["digit", "judge", "diversity"]


def test_a_later_stages_reward_that_cannot_start_stops_the_run_before_the_model_loads(
    run, zoo_here, tmp_path, monkeypatch
):
    def loaded(*args, **options):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Digits, "__init__", loaded, raising=True)
    stages = "[{epochs: 1}, {epochs: 2, rewards: [{name: python, path: 'no.py:score'}]}]"
    ended = zoo_here(*run(stages=stages))
    assert ended.code == 2
    assert ": stages.1: rewards.0: 'python' refuses its options: " in ended.lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "objective: {trained_steps: 4}",
            "trained_steps is 4, but only 3 of the sampler's 3 steps",
        ),
        ("data: {train: no.txt}", "data.train: prompt file 'no.txt' does not exist"),
        ("data: {groups_per_epoch: 1}", "engine.processes is 2 and data.groups_per_epoch is 1"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "check"])
def test_what_a_later_stage_cannot_do_is_said_at_once(verb, change, said, run, zoo_here, tmp_path):
    stages = f"[{{epochs: 1}}, {{epochs: 2, {change}}}]"
    ended = zoo_here(*run(verb, stages=stages, engine__processes=2))
    assert ended.code == 2
    (line,) = ended.lines
    assert ": stages.1: " in line
    assert said in line
    assert not (tmp_path / "out").exists()
