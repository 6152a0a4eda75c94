"""A run that was killed and resumed is the run that was not."""

import random
import signal
import time

import pytest

from tests.processes import starting
from tests.runs import RECIPES, metrics, only_run, overrides, require_same, zoo

# The kills are about where one stage ends and the next begins.
VARIED = "rewards: [{name: digit}, {name: diversity}]"
IN_STAGES = {"stages": f"[{{epochs: 2}}, {{epochs: 2, {VARIED}}}, {{epochs: 2}}]"}

MIXED = {
    "rewards": "[{name: digit}, {name: diversity, weight: 0.3}]",
    "data.train": "[{source: builtin:digits/train, weight: 2, rewards: [digit]}, "
    "{source: builtin:digits/images, rewards: [digit, diversity]}]",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "changes"),
    [
        *(pytest.param(name, {}, id=name) for name in sorted(RECIPES)),
        pytest.param("nft", IN_STAGES, id="nft_in_stages"),
        pytest.param("nft", MIXED, id="nft_of_two_sources"),
    ],
)
def test_a_run_killed_at_several_instants_ends_as_one_that_was_not(algorithm, changes, tmp_path):
    recipe = RECIPES[algorithm]
    whole = zoo("train", recipe, *overrides(algorithm, tmp_path / "whole", epochs=6, **changes))
    assert whole.returncode == 0, whole.stderr
    broken = tmp_path / "broken"
    arguments = ["train", recipe, *overrides(algorithm, broken, epochs=6, **changes)]
    instants = random.Random(algorithm)
    with starting() as start:
        for kill in range(2):
            process = start(*arguments)
            # An epoch is saved after its line: with that of epoch 2 there is a checkpoint for sure.
            wait_for_lines(broken, 3 + 2 * kill, process)
            time.sleep(instants.uniform(0, 0.2))  # anywhere in the epochs after that line
            process.send_signal(signal.SIGKILL)
            process.wait()
            arguments = ["train", "--resume", only_run(broken)]
    resumed = zoo(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    require_same(only_run(broken), only_run(tmp_path / "whole"))


def wait_for_lines(out, count, process):
    """Waits until the run has recorded so many lines, or is over."""
    while process.poll() is None:
        files = list(out.glob("*/*/metrics.jsonl"))
        if files and files[0].read_text().count("\n") >= count:
            return
        time.sleep(0.01)


def test_a_run_goes_on_at_another_number_of_processes(tmp_path):
    recipe, same = RECIPES["nft"], {"optim__schedule": "constant"}
    whole = zoo("train", recipe, *overrides("nft", tmp_path / "whole", epochs=3, **same))
    half = zoo("train", recipe, *overrides("nft", tmp_path / "half", epochs=2, **same))
    assert (whole.returncode, half.returncode) == (0, 0), whole.stderr + half.stderr
    changed = ["-s", "engine.processes=2", "--epochs", 3, "-s", "checkpoint.keep=2"]
    resumed = zoo("train", "--resume", only_run(tmp_path / "half"), *changed)
    assert resumed.returncode == 0, resumed.stderr
    runs = [only_run(tmp_path / out) for out in ("whole", "half")]
    rewards = [[line["reward"] for line in metrics(run)] for run in runs]
    assert rewards[0] == pytest.approx(rewards[1], rel=1e-5)
    assert [line["step"] for line in metrics(runs[1])] == [0, 2, 4, 6]
