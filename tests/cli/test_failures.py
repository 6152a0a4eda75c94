"""A reward that fails now and then is counted; one that stops working ends the run well."""

import json

import pytest

from tests.runs import RECIPES, metrics, only_run, overrides
from zoo.run import checkpoint

NFT = RECIPES["nft"]
# Reward batches: 20 images in micro-batches of at most 6 are 4, before any update and each epoch.
COUNTED = "score.calls = getattr(score, 'calls', 0) + 1\n"


@pytest.mark.slow
def test_a_reward_that_raises_on_some_batches_is_retried_and_then_invalid(
    reward_file, tmp_path, zoo_here
):
    # In epoch 1 the second batch fails once, the third always.
    fails = reward_file(
        COUNTED + "if score.calls in (6, 8, 9):\n    raise RuntimeError('no ink')\n"
        "return images.mean(dim=(1, 2, 3))",
        "{timeout: 60, retries: 1, max_invalid: 0.5}",
    )
    ended = zoo_here(
        "train", NFT, *overrides("nft", tmp_path / "out", epochs=2, eval="null", **fails)
    )
    assert ended.code == 0, ended.err
    said = "warning: reward 'mine' raised RuntimeError: no ink (2 tries); its images are invalid"
    assert ended.out.count(said) == 1
    run = only_run(tmp_path / "out")
    assert [line.get("invalid/mine", 0) for line in metrics(run)] == [0, 5, 0]
    assert (run / "run.log").read_text().splitlines() == [said]
    assert [line.get("retries/mine", 0) for line in metrics(run)] == [0, 2, 0]
    assert metrics(run)[-1]["step"] == 4


def test_a_reward_that_is_nan_for_a_few_images_trains_on_the_others(
    reward_file, tmp_path, zoo_here
):
    some = reward_file(
        "value = images.mean(dim=(1, 2, 3))\nvalue[0] = torch.nan\nvalue[1] = torch.inf\n"
        "return value"
    )
    ended = zoo_here(
        "train", NFT, *overrides("nft", tmp_path / "out", epochs=2, eval="null", **some)
    )
    assert ended.code == 0, ended.err
    run = only_run(tmp_path / "out")
    lines = metrics(run)
    assert [line["invalid/mine"] for line in lines] == [8, 8, 8]
    assert all(isinstance(line["reward"], float) for line in lines)
    assert lines[-1]["step"] == 4
    assert checkpoint.load(checkpoint.latest(run)).state["progress"]["num_invalid"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_reward_that_stops_working_ends_the_run_with_its_last_epoch_saved(
    every, reward_file, tmp_path, zoo_here
):
    works = "return images.mean(dim=(1, 2, 3))"
    breaks = reward_file(
        COUNTED + f"if score.calls > 12:\n    raise RuntimeError('no ink')\n{works}"
    )
    changed = overrides("nft", tmp_path / "out", checkpoint__every=every, eval="null", **breaks)
    ended = zoo_here("train", NFT, *changed)
    assert ended.code == 2
    (line,) = ended.lines
    assert "100% of the images are invalid for reward 'mine'" in line
    assert "RuntimeError: no ink" in line
    run = only_run(tmp_path / "out")
    assert checkpoint.latest(run).name == "000002"
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2]

    reward_file(works)  # repaired
    resumed = zoo_here("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert [line["epoch"] for line in metrics(run)] == [0, 1, 2, 3, 4]

    never = reward_file(works)
    whole = overrides("nft", tmp_path / "whole", checkpoint__every=every, eval="null", **never)
    assert zoo_here("train", NFT, *whole).code == 0
    rewards = [
        [line["reward"] for line in metrics(only_run(tmp_path / out))] for out in ("out", "whole")
    ]
    assert rewards[0] == rewards[1]


@pytest.mark.slow
def test_a_reward_that_never_works_in_the_evaluation_is_said_and_the_run_goes_on(
    reward_file, tmp_path, zoo_here
):
    broken = reward_file("raise RuntimeError('no ink')")
    changed = {"eval.rewards": broken["rewards"], "scoring": broken["scoring"]}
    ended = zoo_here("train", NFT, *overrides("nft", tmp_path / "out", epochs=1, **changed))
    assert ended.code == 0, ended.err
    assert "warning: reward 'mine' raised RuntimeError: no ink" in ended.out
    for line in (only_run(tmp_path / "out") / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line)["eval/mine"] is None
